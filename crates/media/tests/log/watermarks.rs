//! What is said of time, and when.

use std::sync::Arc;

use crate::bench::*;

#[test]
fn the_watermark_is_the_smallest_of_the_sources_and_never_passes_unsent_frames() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, SOUND, -1, 0).unwrap();
    b.logs.unread(0, R, PICTURE);
    b.sounds(0, 300);
    let say = |b: &mut Bench, source, t_ms: i64| {
        let room: Arc<str> = ROOM.into();
        b.logs.input(
            b.now,
            TapInput::Watermark {
                room,
                t_ns: t_ms * MS,
                source,
            },
        );
    };
    say(&mut b, Source::Lane(0), 5_500);
    say(&mut b, Source::Rtmp, 5_700);
    let got = b.take(R);
    assert_eq!(watermark(&got), 5_500 * MS);
    b.logs.input(
        b.now,
        TapInput::Watermark {
            room: ROOM.into(),
            t_ns: i64::MAX,
            source: Source::Lane(0),
        },
    );
    assert_eq!(
        watermark(&b.take(R)),
        5_700 * MS,
        "a source without tracks does not count"
    );
    say(&mut b, Source::Rtmp, 5_600);
    assert_eq!(watermark(&b.take(R)), 5_700 * MS, "it never goes back");
}

#[test]
fn the_watermark_waits_for_a_reader_to_decide_on_a_new_track() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.unread(0, R, PICTURE);
    b.logs.unread(0, R, SOUND);
    b.now = 5_000 * MS;
    assert_eq!(watermark(&b.take(R)), 4_700 * MS);
    let late = TrackId(3);
    b.logs.input(b.now, TapInput::Start(info(late, Kind::Aux)));
    b.logs.input(
        b.now,
        TapInput::Frame(frame_of(late, 4_800, flags::KEY, 10)),
    );
    b.now = 6_000 * MS;
    assert_eq!(watermark(&b.take(R)), 4_800 * MS);
    b.now = 64_000 * MS;
    let behind = watermark(&b.take(R));
    assert_eq!(behind, 4_800 * MS, "it may be far behind");
    b.now = 65_001 * MS;
    let at = watermark(&b.take(R));
    assert_eq!(at, 64_701 * MS, "a minute is enough");
}

#[test]
fn a_held_reader_is_not_due_until_it_wakes() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.hold(R);
    assert_eq!(b.logs.next_due(), None);
    assert!(b.logs.due(i64::MAX).is_empty());
    b.logs.wake(R);
    assert_eq!(b.logs.due(0), vec![R]);
}

#[test]
fn a_live_reader_begins_at_the_newest_key_frame_and_holds_nothing() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, PICTURE, -1, 0).unwrap();
    b.pictures(0, 50, 10);
    let live = ReaderKey(5);
    b.logs.open(b.now, live, spec("mix", false));
    b.logs.read(b.now, live, PICTURE, -1, 0).unwrap();
    assert_eq!(b.seqs(live, PICTURE)[0], (40, flags::KEY));
    b.take(R);
    b.logs.ack(b.now, R, &[(PICTURE, 50)]);
    assert_eq!(b.oldest(PICTURE), 40);
}
