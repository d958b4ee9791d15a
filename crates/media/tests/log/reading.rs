//! Where reading begins, what is kept for it, and where it goes on.

use crate::bench::*;

#[test]
fn demand_follows_readers_and_their_memory() {
    let mut b = Bench::new(ROOMY);
    b.sound(0);
    assert_eq!(b.logs.stats().frames_in, 0, "nobody asked for frames");
    let (views, displaced) = b.logs.open(0, R, spec("task", true));
    assert_eq!((views.len(), displaced), (2, None));
    assert!(matches!(
        &b.logs.demands()[..],
        [TapDemand::Room { on: true, .. }]
    ));
    b.logs.detach(0, R);
    b.logs.tick(REJOIN_NS - 1);
    assert!(b.logs.demands().is_empty(), "it may come back");
    b.logs.tick(REJOIN_NS);
    assert!(matches!(
        &b.logs.demands()[..],
        [TapDemand::Room { on: false, .. }]
    ));
}

#[test]
fn a_first_read_starts_at_the_oldest_key_frame_at_once() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.picture(0, false);
    b.pictures(1, 8, 3);
    b.logs.read(b.now, R, PICTURE, -1, 0).unwrap();
    assert_eq!(
        b.logs.next_due(),
        Some(0),
        "the first batch does not wait for the flush"
    );
    let got = b.logs.collect(b.now, R, usize::MAX);
    let seqs: Vec<_> = frames(&got).iter().map(|f| f.seq).collect();
    assert_eq!(seqs, vec![3, 4, 5, 6, 7]);
    assert!(gaps(&got).is_empty());
    let asked = b.now;
    let mut batches = vec![];
    while b.now < asked + 3000 * MS {
        b.picture((b.now / MS) + 40, false);
        if b.logs.next_due().is_some_and(|due| due <= b.now) {
            batches.push((b.now - asked) / MS);
            b.logs.collect(b.now, R, usize::MAX);
        }
    }
    let after = |ms: i64| batches.iter().filter(|at| **at > ms).count();
    assert!(
        batches.len() - after(1000) >= 8,
        "soon one after the other while it has only begun: {batches:?}"
    );
    assert!(after(1100) <= 2, "then with the flush: {batches:?}");
}

#[test]
fn slow_readers_are_served_together_and_none_waits_longer_than_it_said() {
    let mut b = Bench::new(ROOMY);
    let keys = [R, ReaderKey(1001), ReaderKey(1002)];
    for (nth, key) in (0..).zip(keys) {
        b.sounds(nth * 18, (nth + 1) * 18); // they come 360 ms after each other
        b.logs.open(b.now, key, spec(&format!("task {nth}"), true));
        b.logs.read(b.now, key, SOUND, -1, 0).unwrap();
        b.logs.collect(b.now, key, usize::MAX);
    }
    let mut served = vec![vec![]; keys.len()];
    for n in 54..500 {
        b.sound(n * 20);
        for key in b.logs.due(b.now) {
            b.logs.collect(b.now, key, usize::MAX);
            let nth = keys.iter().position(|k| *k == key).unwrap();
            served[nth].push(b.now / MS);
        }
    }
    for times in &mut served {
        assert!(times.windows(2).all(|w| w[1] - w[0] <= 1020), "{times:?}");
        times.retain(|at| *at > 4000);
        assert!(times.len() >= 5, "{times:?}");
    }
    assert_eq!(served[0], served[1]);
    assert_eq!(served[0], served[2]);
}

#[test]
fn a_track_that_starts_is_kept_until_its_reader_decides() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.sounds(0, 200);
    assert_eq!(
        b.oldest(SOUND),
        0,
        "four seconds, although only 400 ms are kept for nobody"
    );
    b.logs.unread(b.now, R, SOUND);
    assert_eq!(b.oldest(SOUND), 200 - 21, "declined: the tail remains");
}

#[test]
fn an_undecided_reader_does_not_hold_a_track_for_ever() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.sounds(0, 3_100);
    assert_eq!(b.oldest(SOUND), 3_100 - 21);
}

#[test]
fn r_lost_3_acknowledged_frames_go_but_warm_up_stays() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, SOUND, -1, 0).unwrap();
    b.logs.read(0, R, PICTURE, -1, 0).unwrap();
    b.sounds(0, 100);
    b.pictures(0, 50, 25);
    b.take(R);
    assert_eq!((b.oldest(SOUND), b.oldest(PICTURE)), (0, 0));
    b.logs.ack(b.now, R, &[(SOUND, 80), (PICTURE, 30)]);
    assert_eq!(
        b.oldest(SOUND),
        60,
        "400 ms before the oldest frame still needed"
    );
    assert_eq!(b.oldest(PICTURE), 25, "the key frame before it");
}

#[test]
fn nothing_unsent_can_be_acknowledged() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, SOUND, -1, 0).unwrap();
    b.sounds(0, 10);
    b.logs
        .ack(b.now, R, &[(SOUND, 1_000_000), (TrackId(77), 3)]);
    let seqs = b.seqs(R, SOUND);
    assert_eq!(seqs.len(), 10);
}

#[test]
fn r_lost_3_a_reader_that_comes_back_goes_on_behind_a_preroll() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, SOUND, -1, 0).unwrap();
    b.logs.read(0, R, PICTURE, -1, 0).unwrap();
    b.sounds(0, 100);
    b.pictures(0, 50, 25);
    b.take(R);
    b.logs.ack(b.now, R, &[(SOUND, 80), (PICTURE, 30)]);
    b.logs.detach(b.now, R);
    b.sounds(100, 150);
    b.pictures(50, 75, 25);
    let again = ReaderKey(2);
    b.logs.open(b.now, again, spec("task", true));
    b.logs.read(b.now, again, SOUND, 80, 220 * MS).unwrap();
    b.logs.read(b.now, again, PICTURE, 30, 220 * MS).unwrap();
    let got = b.take(again);
    assert!(gaps(&got).is_empty());
    let sound: Vec<_> = frames(&got)
        .into_iter()
        .filter(|f| f.track == SOUND)
        .collect();
    assert_eq!(sound[0].seq, 69, "220 ms of sound before");
    for f in &sound {
        assert_eq!(f.flags & flags::PREROLL != 0, f.seq < 80);
    }
    let picture: Vec<_> = frames(&got)
        .into_iter()
        .filter(|f| f.track == PICTURE)
        .collect();
    assert_eq!((picture[0].seq, picture.last().unwrap().seq), (25, 74));
    for f in &picture {
        assert_eq!(f.flags & flags::PREROLL != 0, f.seq < 30);
    }
}

#[test]
fn r_lost_3_positions_are_forgotten_a_minute_after_the_reader_left() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.open(0, ReaderKey(2), spec("other", true));
    b.logs.unread(0, ReaderKey(2), SOUND);
    b.logs.read(0, R, SOUND, -1, 0).unwrap();
    b.sounds(0, 10);
    b.logs.detach(b.now, R);
    b.sounds(10, 3000);
    b.logs.tick(b.now);
    assert_eq!(b.oldest(SOUND), 0, "59.8 s later all is there");
    b.sounds(3000, 3015);
    b.logs.tick(b.now);
    assert_eq!(b.oldest(SOUND), 3015 - 21);
}

#[test]
fn forgetting_a_name_frees_its_frames() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.open(0, ReaderKey(2), spec("other", true));
    b.logs.unread(0, ReaderKey(2), SOUND);
    b.logs.read(0, R, SOUND, -1, 0).unwrap();
    b.sounds(0, 100);
    b.logs.forget(b.now, "task");
    assert_eq!(b.oldest(SOUND), 0, "it is still reading");
    b.logs.detach(b.now, R);
    assert_eq!(b.oldest(SOUND), 100 - 21);
}

#[test]
fn the_second_reader_of_a_name_takes_it_over() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    let (_, displaced) = b.logs.open(0, ReaderKey(2), spec("task", true));
    assert_eq!(displaced, Some(R));
    assert_eq!(b.logs.read(0, R, SOUND, -1, 0), Err(ReadError::NoReader));
    b.logs.detach(0, R);
    b.logs.tick(2 * REJOIN_NS);
    b.logs
        .read(2 * REJOIN_NS, ReaderKey(2), SOUND, -1, 0)
        .unwrap();
}
