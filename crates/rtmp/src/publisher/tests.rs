//! A publisher's frames on their way, step by step; the clock is an argument.

use super::*;
use std::cell::Cell;

struct Bench {
    p: Publisher,
    next: Cell<u64>,
    now: i64,
}

impl Bench {
    fn new(demanded: bool) -> Self {
        let mut p = Publisher::new(0, "1/s/r".into(), "u".into(), 7, 5_000 * MS, demanded);
        // Most tests are about what comes after: an ideal line, settled already.
        p.clock.observe(0, 0);
        p.settle();
        Self {
            p,
            next: Cell::new(1),
            now: 0,
        }
    }

    fn feed(&mut self, media: Media) -> Vec<Out> {
        let number = |_: &str, _: &str, _: Kind| {
            let n = self.next.get();
            self.next.set(n + 1);
            (TrackId(n), n as u32)
        };
        self.p.media(self.now, media, &number);
        self.p.take()
    }

    fn video(&mut self, dts: i64, key: bool) -> Vec<Out> {
        self.feed(Media::Video(Sample {
            dts,
            pts: dts,
            key,
            data: vec![0; 100],
        }))
    }

    fn audio(&mut self, dts: i64) -> Vec<Out> {
        self.feed(Media::Audio(Sample {
            dts,
            pts: dts,
            key: true,
            data: vec![0; 10],
        }))
    }

    fn config(&mut self, extradata: &[u8]) -> Vec<Out> {
        self.feed(Media::AudioConfig {
            config: AudioConfig::parse(extradata).unwrap(),
            extradata: extradata.into(),
        })
    }
}

/// Short words for what came out.
fn words(out: &[Out]) -> Vec<String> {
    out.iter()
        .map(|o| match o {
            Out::Tap(TapInput::Start(i)) => format!("tap start {}", i.kind.as_str()),
            Out::Tap(TapInput::Frame(f)) => format!("tap frame {}", f.pts),
            Out::Tap(TapInput::Config(_)) => "tap config".into(),
            Out::Tap(TapInput::Size { .. }) => "tap size".into(),
            Out::Tap(TapInput::Stop { .. }) => "tap stop".into(),
            Out::Tap(other) => format!("{other:?}"),
            Out::Inject(Inject::Start(_)) => "inject start".into(),
            Out::Inject(Inject::Frame(f)) => format!("inject frame {}", f.pts),
            Out::Inject(Inject::Stop(_)) => "inject stop".into(),
            Out::Start(i) => format!("start {}", i.kind.as_str()),
            Out::Stop { cause, .. } => format!("stop {}", cause.as_str()),
            Out::Size { width, height, .. } => format!("size {width}x{height}"),
        })
        .collect()
}

#[test]
fn a_picture_begins_with_its_key_frame() {
    let mut b = Bench::new(true);
    assert!(b.video(0, false).is_empty());
    b.feed(Media::Size {
        width: 640,
        height: 360,
    });
    let out = words(&b.video(40, true));
    assert_eq!(
        out,
        [
            "inject start",
            "tap start video",
            "start video",
            "tap size",
            "size 640x360",
            "inject frame 40",
            "tap frame 40"
        ]
    );
}

#[test]
fn a_demand_is_first_told_the_whole_gop_and_its_sound() {
    let mut b = Bench::new(false);
    b.config(&[0x11, 0x90]);
    for n in 0..100 {
        b.now = n * 20 * MS;
        if n % 2 == 0 {
            let out = words(&b.video(n * 20, n % 50 == 0));
            assert!(
                !out.iter().any(|w| w.starts_with("tap frame")),
                "nobody reads"
            );
        }
        b.audio(n * 20);
    }
    b.p.demand(true);
    let out = b.p.take();
    let pts = |kind: u32| {
        let found = out.iter().filter_map(move |o| match o {
            Out::Tap(TapInput::Frame(f)) if (f.data.len() == 100) == (kind == 1) => Some(f.pts),
            _ => None,
        });
        found.collect::<Vec<_>>()
    };
    assert_eq!(
        pts(1),
        (50..100).step_by(2).map(|n| n * 20).collect::<Vec<_>>()
    );
    assert_eq!(
        pts(0),
        (30..100).map(|n| n * 20).collect::<Vec<_>>(),
        "400 ms before the key frame"
    );
    b.p.demand(true);
    assert!(b.p.take().is_empty(), "told once");
}

#[test]
fn without_a_picture_the_cache_stays_small() {
    let mut b = Bench::new(false);
    b.config(&[0x11, 0x90]);
    for n in 0..1000 {
        b.now = n * 23 * MS;
        b.audio(n * 23);
    }
    assert!(b.p.cache.len() <= 19);
}

#[test]
fn an_endless_gop_does_not_fill_the_memory() {
    let mut b = Bench::new(false);
    for n in 0..2000 {
        b.now = n * 40 * MS;
        b.video(n * 40, n == 0);
    }
    assert!(b.p.cache.len() < 600);
    b.p.demand(true);
    assert!(
        b.p.take().is_empty(),
        "pictures without their key frame are of no use"
    );
}

#[test]
fn silence_ends_the_tracks_and_speech_begins_new_ones() {
    let mut b = Bench::new(true);
    b.config(&[0x11, 0x90]);
    b.video(0, true);
    b.audio(0);
    b.p.tick(4_999 * MS);
    assert!(b.p.take().is_empty());
    b.p.tick(5_000 * MS);
    let out = words(&b.p.take());
    assert_eq!(
        out,
        [
            "tap stop",
            "stop lost",
            "inject stop",
            "tap stop",
            "stop lost"
        ]
    );
    assert_eq!(b.p.watermark(6_000 * MS), None);
    b.now = 7_000 * MS;
    assert!(
        b.video(7_000, false).is_empty(),
        "a picture needs a key frame again"
    );
    assert_eq!(
        words(&b.audio(7_000))[..2],
        ["tap start audio", "start audio"]
    );
}

#[test]
fn blocked_media_ends_and_comes_back() {
    let mut b = Bench::new(true);
    b.video(0, true);
    b.p.block(false, true);
    assert_eq!(
        words(&b.p.take()),
        ["inject stop", "tap stop", "stop blocked"]
    );
    assert!(b.video(40, true).is_empty());
    b.p.block(false, false);
    assert!(b.video(80, false).is_empty());
    assert!(words(&b.video(120, true)).contains(&"start video".into()));
}

#[test]
fn another_configuration_comes_before_its_sound() {
    let mut b = Bench::new(true);
    b.config(&[0x11, 0x90]);
    b.audio(0);
    assert_eq!(words(&b.config(&[0x12, 0x08])), ["tap config"]);
    assert_eq!(words(&b.audio(23)), ["tap frame 23"]);
    assert_eq!(b.p.audio.as_ref().unwrap().info.channels, 1);
}

#[test]
fn reordered_pictures_are_recorded_but_not_forwarded() {
    let mut b = Bench::new(true);
    b.video(0, true);
    let sample = Sample {
        dts: 40,
        pts: 120,
        key: false,
        data: vec![1],
    };
    assert_eq!(
        words(&b.feed(Media::Video(sample))),
        ["inject stop", "tap frame 120"]
    );
    assert_eq!(words(&b.video(80, false)), ["tap frame 80"]);
}

#[test]
fn the_first_frames_wait_and_are_placed_by_the_fastest_arrival_of_both_media() {
    let mut b = Bench::new(true);
    b.p.clock = CaptureClock::default();
    b.config(&[0x11, 0x90]);
    b.now = 1_000 * MS;
    let out = words(&b.video(0, true)); // 300 ms late on its way
    assert_eq!(
        out,
        ["inject start", "start video", "inject frame 0"],
        "viewers do not wait"
    );
    b.now = 1_100 * MS;
    b.audio(400);
    assert!(
        b.p.watermark(b.now).unwrap() <= 0,
        "nor may the room's time pass them"
    );
    b.now = 1_990 * MS;
    b.audio(500);
    b.p.tick(1_999 * MS);
    assert!(b.p.take().is_empty());
    b.p.tick(2_000 * MS);
    let times: Vec<_> =
        b.p.take()
            .iter()
            .map(|o| match o {
                Out::Tap(TapInput::Frame(f)) => f.capture_ns / MS,
                Out::Tap(TapInput::Start(i)) => i.started_ns / MS,
                other => panic!("{other:?}"),
            })
            .collect();
    assert_eq!(times, vec![700, 700, 1_100, 1_100, 1_200]);
    b.now = 2_100 * MS;
    let out = b.video(1_400, false);
    let Some(Out::Tap(TapInput::Frame(f))) = out.last() else {
        panic!("{out:?}")
    };
    assert_eq!(f.capture_ns / MS, 2_100);
}

#[test]
fn one_that_leaves_at_once_is_told_whole() {
    let mut b = Bench::new(true);
    b.p.clock = CaptureClock::default();
    b.video(0, true);
    b.p.stop(StopCause::Closed);
    assert_eq!(
        words(&b.p.take()),
        [
            "tap start video",
            "tap frame 0",
            "inject stop",
            "tap stop",
            "stop closed"
        ]
    );
}

#[test]
fn the_watermark_waits_for_a_stalled_connection_but_not_for_a_paused_track() {
    let mut b = Bench::new(true);
    b.config(&[0x11, 0x90]);
    for n in 0..100 {
        b.now = n * 40 * MS;
        b.audio(n * 40);
        if n < 20 {
            b.video(n * 40, n == 0);
        }
    }
    assert_eq!(
        b.p.watermark(b.now),
        Some(b.now - LAG_NS),
        "the picture has paused"
    );
    assert_eq!(
        b.p.watermark(b.now + 3_000 * MS),
        Some(b.now),
        "the network has stalled"
    );
}
