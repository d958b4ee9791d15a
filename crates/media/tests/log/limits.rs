//! Readers that do not keep up: gaps, caps and credit.

use crate::bench::*;

#[test]
fn a_reader_overtaken_is_told_and_goes_on_with_a_key_frame() {
    let limits = Limits {
        max_track_bytes: 20_000,
        max_bytes: 1 << 20,
    };
    let mut b = Bench::new(limits);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, PICTURE, -1, 0).unwrap();
    b.pictures(0, 5, 10);
    assert_eq!(b.seqs(R, PICTURE).len(), 5);
    b.pictures(5, 45, 10);
    let got = b.take(R);
    assert_eq!(gaps(&got), vec![(PICTURE, 5, 30)]);
    let f = frames(&got);
    assert_eq!((f[0].seq, f.len()), (30, 15));
    assert_eq!(f[0].flags, flags::KEY | flags::GAP);
    assert_eq!(b.logs.stats().overrun_frames, 25);
}

#[test]
fn a_gap_is_told_whole_even_when_its_end_is_yet_to_come() {
    let limits = Limits {
        max_track_bytes: 5_000,
        max_bytes: 1 << 20,
    };
    let mut b = Bench::new(limits);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, PICTURE, -1, 0).unwrap();
    b.pictures(0, 2, 100);
    b.take(R);
    b.logs.demands();
    b.pictures(2, 20, 100);
    assert!(frames(&b.take(R)).is_empty());
    assert!(matches!(
        b.logs.demands()[..],
        [TapDemand::Keyframe { track: PICTURE }]
    ));
    b.pictures(20, 30, 100);
    b.picture(1200, true);
    let got = b.take(R);
    assert_eq!(gaps(&got), vec![(PICTURE, 2, 30)]);
    assert_eq!(frames(&got)[0].seq, 30);
}

#[test]
fn the_biggest_track_pays_for_the_total_cap() {
    let limits = Limits {
        max_track_bytes: 1 << 20,
        max_bytes: 300_000,
    };
    let mut b = Bench::new(limits);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, SOUND, -1, 0).unwrap();
    b.logs.read(0, R, PICTURE, -1, 0).unwrap();
    b.sounds(0, 50);
    b.pictures(0, 500, 10);
    assert!(b.logs.stats().bytes <= 300_000);
    let got = b.take(R);
    assert_eq!(frames(&got).iter().filter(|f| f.track == SOUND).count(), 50);
    assert!(gaps(&got).iter().all(|g| g.0 == PICTURE));
}

#[test]
fn credit_stops_and_an_acknowledgement_goes_on() {
    let mut b = Bench::new(ROOMY);
    let tight = OpenSpec {
        credit: 3_000,
        ..spec("task", true)
    };
    b.logs.open(0, R, tight);
    b.logs.read(0, R, PICTURE, -1, 0).unwrap();
    b.pictures(0, 10, 10);
    let got = b.take(R);
    assert_eq!(frames(&got).len(), 3);
    assert_eq!(
        watermark(&got),
        0,
        "the fourth frame is not told to be late"
    );
    b.logs.ack(b.now, R, &[(PICTURE, 2)]);
    assert_eq!(b.logs.next_due(), Some(0));
    let got = b.logs.collect(b.now, R, usize::MAX);
    assert_eq!(
        frames(&got).iter().map(|f| f.seq).collect::<Vec<_>>(),
        vec![3, 4]
    );
    b.logs.read(b.now, R, PICTURE, 5, 0).unwrap();
    let got = b.take(R);
    let fresh = frames(&got)
        .iter()
        .filter(|f| f.flags & flags::PREROLL == 0)
        .count();
    assert_eq!(fresh, 3, "a read resets the credit");
}
