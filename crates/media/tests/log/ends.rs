//! Ends and changes of tracks.

use crate::bench::*;

#[test]
fn the_end_of_a_track_comes_behind_its_last_frame() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, SOUND, -1, 0).unwrap();
    b.sounds(0, 3);
    b.stop(SOUND);
    let got = b.logs.collect(b.now, R, usize::MAX);
    let order: Vec<_> = got
        .iter()
        .map(|d| match d {
            Delivery::Batch { frames, .. } => format!("batch {}", frames.len()),
            Delivery::Track { event, cause, .. } => {
                format!("{} {:?}", event.as_str(), cause.unwrap())
            }
            Delivery::Gap { .. } => "gap".into(),
        })
        .collect();
    assert_eq!(order, vec!["batch 3", "read_out Closed", "batch 0"]);
}

fn stops(deliveries: &[Delivery]) -> usize {
    let is_stop = |d: &&Delivery| {
        matches!(
            d,
            Delivery::Track {
                event: TrackEvent::Stop | TrackEvent::ReadOut,
                ..
            }
        )
    };
    deliveries.iter().filter(is_stop).count()
}

#[test]
fn the_end_is_told_once_to_whoever_decides_when() {
    // One that reads only after the end gets the frames, then the end.
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.sounds(0, 3);
    b.stop(SOUND);
    assert_eq!(stops(&b.take(R)), 0, "it may want the frames first");
    b.logs.read(b.now, R, SOUND, -1, 0).unwrap();
    let got = b.take(R);
    assert_eq!((frames(&got).len(), stops(&got)), (3, 1));
    b.logs.tick(b.now);
    assert_eq!(stops(&b.take(R)), 0);
    // One that declines is told then; one that never decides after a minute.
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.stop(SOUND);
    b.stop(PICTURE);
    b.logs.unread(0, R, SOUND);
    assert_eq!(stops(&b.take(R)), 1);
    b.now = 60_000 * MS;
    b.logs.tick(b.now);
    b.logs.tick(b.now);
    assert_eq!(stops(&b.take(R)), 1);
}

#[test]
fn an_ended_track_waits_for_its_reader_and_then_goes() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, SOUND, -1, 0).unwrap();
    b.sounds(0, 3);
    b.stop(SOUND);
    b.logs.detach(b.now, R);
    b.logs.tick(b.now + KEEP_NS / 2);
    b.now += KEEP_NS / 2;
    b.logs.open(b.now, R, spec("task", true));
    b.logs.read(b.now, R, SOUND, 1, 0).unwrap();
    assert_eq!(b.seqs(R, SOUND).len(), 2);
    b.logs.tick(b.now + 10 * KEEP_NS);
    assert_eq!(b.logs.stats().tracks, 2, "sent, but not safe");
    b.logs.ack(b.now, R, &[(SOUND, 3)]);
    assert_eq!(b.logs.stats().tracks, 1);
    assert_eq!(b.logs.read(b.now, R, SOUND, -1, 0), Err(ReadError::NoTrack));
}

#[test]
fn an_ended_track_nobody_reads_goes_after_ten_seconds() {
    let mut b = Bench::new(ROOMY);
    b.stop(SOUND);
    b.logs.tick(KEEP_NS - 1);
    assert_eq!(b.logs.stats().tracks, 2);
    b.logs.tick(KEEP_NS);
    assert_eq!(b.logs.stats().tracks, 1);
}

#[test]
fn a_changed_configuration_comes_before_its_first_frame() {
    let mut b = Bench::new(ROOMY);
    b.logs.open(0, R, spec("task", true));
    b.logs.read(0, R, SOUND, -1, 0).unwrap();
    b.sounds(0, 2);
    let changed = TrackInfo {
        extradata: vec![0x12, 0x10],
        ..info(SOUND, Kind::Audio)
    };
    b.logs.input(b.now, TapInput::Config(changed));
    b.sounds(2, 4);
    let order: Vec<_> = b
        .take(R)
        .iter()
        .map(|d| match d {
            Delivery::Batch { frames, .. } => frames.len(),
            Delivery::Track {
                event: TrackEvent::Config,
                track,
                ..
            } => track.info.extradata.len() + 100,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, vec![2, 102, 2]);
    // One that comes later is shown the configuration of the oldest frame, then the change.
    let late = ReaderKey(2);
    let (views, _) = b.logs.open(b.now, late, spec("late", true));
    assert!(views[0].info.extradata.is_empty());
    b.logs.read(b.now, late, SOUND, 3, 0).unwrap();
    let got = b.take(late);
    assert!(
        matches!(
            &got[0],
            Delivery::Track {
                event: TrackEvent::Config,
                ..
            }
        ),
        "{got:?}"
    );
}
