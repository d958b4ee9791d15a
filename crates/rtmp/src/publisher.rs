//! An accepted publisher: its frames become tracks of its room, with capture times, a GOP cache
//! and an end when it falls silent. Pure: time is an argument.

use std::sync::Arc;

use roomtape_media::aac::AudioConfig;
use roomtape_media::{flags, Codec, Frame, Kind, StopCause, TapInput, TrackId, TrackInfo};

use crate::capture::{CaptureClock, SETTLE_NS};
use crate::gop::GopCache;
use crate::tags::{Media, Sample};

const MS: i64 = 1_000_000;
/// Ticks per second of RTMP time.
const TIME_BASE: u32 = 1000;
/// Who says when nothing older will come stays this far behind now.
const LAG_NS: i64 = 300 * MS;
/// A track this far behind the other has paused; it does not hold the room up.
const PAUSED_NS: i64 = 1_500 * MS;

/// What there is to pass on, in order.
#[derive(Clone, Debug)]
pub enum Out {
    Tap(TapInput),
    /// For viewers: frames are H.264 without reordering.
    Inject(Inject),
    Start(TrackInfo),
    Stop {
        info: TrackInfo,
        at_ns: i64,
        cause: StopCause,
    },
    Size {
        info: TrackInfo,
        width: u32,
        height: u32,
        at_ns: i64,
    },
}

/// For the lane of the room, which forwards it.
#[derive(Clone, Debug)]
pub enum Inject {
    Start(TrackInfo),
    Frame(Frame),
    Stop(TrackId),
}

/// Gives a new track its number and the count of its lives.
pub type Number<'a> = &'a dyn Fn(&str, &str, Kind) -> (TrackId, u32);

/// Totals of one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub track: TrackId,
    pub frames: u64,
    pub bytes: u64,
}

#[derive(Debug)]
struct Live {
    info: TrackInfo,
    last_capture_ns: i64,
    /// Time between the last two frames.
    step_ns: i64,
    totals: Totals,
    /// Viewers are given it.
    forwarded: bool,
}

/// One publisher of one room.
#[derive(Debug)]
pub struct Publisher {
    room: Arc<str>,
    user: Arc<str>,
    entered_ns: i64,
    lost_after_ns: i64,
    clock: CaptureClock,
    video: Option<Live>,
    audio: Option<Live>,
    config: Option<(AudioConfig, Vec<u8>)>,
    size: Option<(u32, u32)>,
    blocked_audio: bool,
    blocked_video: bool,
    cache: GopCache,
    demanded: bool,
    heard_ns: i64,
    out: Vec<Out>,
    /// For the tap, until the clock has settled: nothing there can be taken back.
    held: Vec<TapInput>,
}

impl Publisher {
    /// `demanded`: somebody reads the room already.
    pub fn new(
        now: i64,
        room: Arc<str>,
        user: Arc<str>,
        entered_ns: i64,
        lost_after_ns: i64,
        demanded: bool,
    ) -> Self {
        Self {
            room,
            user,
            entered_ns,
            lost_after_ns,
            clock: CaptureClock::default(),
            video: None,
            audio: None,
            config: None,
            size: None,
            blocked_audio: false,
            blocked_video: false,
            cache: GopCache::default(),
            demanded,
            heard_ns: now,
            out: Vec::new(),
            held: Vec::new(),
        }
    }

    pub fn room(&self) -> &Arc<str> {
        &self.room
    }

    pub fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// What is to be passed on since the last call.
    pub fn take(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// Takes in what arrived at `now`.
    pub fn media(&mut self, now: i64, media: Media, number: Number<'_>) {
        self.heard_ns = now;
        if self.clock.due(now) {
            self.settle();
        }
        match media {
            Media::Size { width, height } => {
                self.size = Some((width, height));
                if self.video.is_some() {
                    self.tell_size();
                }
            }
            Media::AudioConfig { config, extradata } => self.configure(config, extradata),
            Media::Video(sample) if !self.blocked_video => self.picture(now, sample, number),
            Media::Audio(sample) if !self.blocked_audio => self.sound(now, sample, number),
            Media::Video(_) | Media::Audio(_) | Media::Refuse(_) => {}
        }
    }

    fn picture(&mut self, now: i64, sample: Sample, number: Number<'_>) {
        self.clock.observe(now, sample.dts);
        let capture_ns = self.clock.capture_ns(sample.pts);
        if self.video.is_none() {
            if !sample.key {
                return;
            }
            let info = self.info(Kind::Video, capture_ns, number);
            self.out.push(Out::Inject(Inject::Start(info.clone())));
            self.start(Kind::Video, info);
            self.tell_size();
        }
        if sample.key {
            self.cache.begin(capture_ns);
        }
        self.frame(now, Kind::Video, capture_ns, sample);
    }

    fn sound(&mut self, now: i64, sample: Sample, number: Number<'_>) {
        self.clock.observe(now, sample.dts);
        let capture_ns = self.clock.capture_ns(sample.pts);
        if self.audio.is_none() {
            if self.config.is_none() {
                return;
            }
            let info = self.info(Kind::Audio, capture_ns, number);
            self.start(Kind::Audio, info);
        }
        if self.video.is_none() {
            self.cache.shorten_sound(capture_ns);
        }
        self.frame(now, Kind::Audio, capture_ns, sample);
    }

    fn info(&self, kind: Kind, started_ns: i64, number: Number<'_>) -> TrackInfo {
        let (id, life) = number(&self.room, &self.user, kind);
        let sound = self.config.as_ref().filter(|_| kind == Kind::Audio);
        TrackInfo {
            id,
            room: self.room.clone(),
            user: self.user.clone(),
            kind,
            codec: if kind == Kind::Audio {
                Codec::Aac
            } else {
                Codec::H264
            },
            time_base_den: TIME_BASE,
            sample_rate: sound.map_or(0, |(c, _)| c.sample_rate),
            channels: sound.map_or(0, |(c, _)| c.channels),
            extradata: sound.map_or_else(Vec::new, |(_, e)| e.clone()),
            entered_ns: self.entered_ns,
            started_ns,
            life,
            derived_from: None,
        }
    }

    fn start(&mut self, kind: Kind, info: TrackInfo) {
        self.tap(TapInput::Start(info.clone()));
        self.out.push(Out::Start(info.clone()));
        let live = Live {
            last_capture_ns: info.started_ns,
            step_ns: 0,
            totals: Totals {
                track: info.id,
                frames: 0,
                bytes: 0,
            },
            forwarded: kind == Kind::Video,
            info,
        };
        *self.slot(kind) = Some(live);
    }

    fn tap(&mut self, input: TapInput) {
        if self.clock.is_settled() {
            self.out.push(Out::Tap(input));
        } else {
            self.held.push(input);
        }
    }

    /// The clock has seen enough: what was held back gets its true times and goes.
    fn settle(&mut self) {
        let shift = self.clock.settle();
        for live in self.audio.iter_mut().chain(&mut self.video) {
            live.info.started_ns += shift;
            live.last_capture_ns += shift;
        }
        self.cache.shift(shift);
        for mut input in std::mem::take(&mut self.held) {
            match &mut input {
                TapInput::Start(info) | TapInput::Config(info) => info.started_ns += shift,
                TapInput::Frame(frame) => frame.capture_ns += shift,
                TapInput::Size { at_ns, .. } | TapInput::Stop { at_ns, .. } => *at_ns += shift,
                TapInput::Watermark { .. } | TapInput::RoomClosed { .. } => {}
            }
            self.out.push(Out::Tap(input));
        }
    }

    fn slot(&mut self, kind: Kind) -> &mut Option<Live> {
        if kind == Kind::Audio {
            &mut self.audio
        } else {
            &mut self.video
        }
    }

    fn frame(&mut self, now: i64, kind: Kind, capture_ns: i64, sample: Sample) {
        let demanded = self.demanded;
        let Some(live) = self.slot(kind) else { return };
        let frame = Frame {
            track: live.info.id,
            flags: if sample.key { flags::KEY } else { 0 },
            pts: sample.pts,
            dts: sample.dts,
            capture_ns,
            arrival_ns: now,
            data: sample.data.into(),
        };
        live.step_ns = (capture_ns - live.last_capture_ns).clamp(0, 200 * MS);
        live.last_capture_ns = live.last_capture_ns.max(capture_ns);
        live.totals.frames += 1;
        live.totals.bytes += frame.data.len() as u64;
        let mut injected = None;
        if live.forwarded && sample.pts != sample.dts {
            // Viewers over WebRTC cannot be given reordered pictures.
            live.forwarded = false;
            injected = Some(Inject::Stop(live.info.id));
        } else if live.forwarded {
            injected = Some(Inject::Frame(frame.clone()));
        }
        self.out.extend(injected.map(Out::Inject));
        if demanded {
            self.tap(TapInput::Frame(frame.clone()));
        }
        self.cache.push(kind, frame);
    }

    fn configure(&mut self, config: AudioConfig, extradata: Vec<u8>) {
        self.config = Some((config, extradata.clone()));
        if let Some(live) = &mut self.audio {
            live.info.sample_rate = config.sample_rate;
            live.info.channels = config.channels;
            live.info.extradata = extradata;
            let info = live.info.clone();
            self.tap(TapInput::Config(info));
            // What is cached belongs to the old one.
            self.cache.forget(Kind::Audio);
        }
    }

    fn tell_size(&mut self) {
        let (Some(live), Some((width, height))) = (&self.video, self.size) else {
            return;
        };
        let (info, at_ns) = (live.info.clone(), live.last_capture_ns);
        self.tap(TapInput::Size {
            track: info.id,
            width,
            height,
            at_ns,
        });
        self.out.push(Out::Size {
            info,
            width,
            height,
            at_ns,
        });
    }

    /// Whether somebody reads the room. When it begins, the cache is told first.
    pub fn demand(&mut self, on: bool) {
        if on && !self.demanded {
            for frame in self.cache.replay() {
                self.tap(TapInput::Frame(frame));
            }
        }
        self.demanded = on;
    }

    // ---- ends --------------------------------------------------------------------------------

    /// Media that is not to be taken, from now on.
    pub fn block(&mut self, audio: bool, video: bool) {
        self.blocked_audio = audio;
        self.blocked_video = video;
        if audio {
            self.end(Kind::Audio, StopCause::Blocked);
        }
        if video {
            self.end(Kind::Video, StopCause::Blocked);
        }
    }

    /// Ends both tracks.
    pub fn stop(&mut self, cause: StopCause) {
        self.end(Kind::Audio, cause);
        self.end(Kind::Video, cause);
    }

    fn end(&mut self, kind: Kind, cause: StopCause) {
        if self.slot(kind).is_some() && !self.clock.is_settled() {
            self.settle();
        }
        let Some(live) = self.slot(kind).take() else {
            return;
        };
        self.cache.forget(kind);
        let at_ns = live.last_capture_ns + live.step_ns;
        let track = live.info.id;
        if live.forwarded {
            self.out.push(Out::Inject(Inject::Stop(track)));
        }
        self.tap(TapInput::Stop {
            track,
            at_ns,
            cause,
        });
        self.out.push(Out::Stop {
            info: live.info,
            at_ns,
            cause,
        });
    }

    /// Ends the tracks of a publisher that has been silent too long; they begin anew when it speaks.
    pub fn tick(&mut self, now: i64) {
        if self.clock.due(now) {
            self.settle();
        }
        if now - self.heard_ns >= self.lost_after_ns {
            self.stop(StopCause::Lost);
        }
    }

    // ---- what is known -----------------------------------------------------------------------

    /// No frame captured before this will follow, as far as one can tell; `None` without tracks.
    pub fn watermark(&self, now: i64) -> Option<i64> {
        let lives = || self.audio.iter().chain(&self.video);
        let newest = lives().map(|l| l.last_capture_ns).max()?;
        if !self.clock.is_settled() {
            // What is held back may turn out to be older than it looks.
            return lives().map(|l| l.info.started_ns - SETTLE_NS).min();
        }
        let flowing = lives()
            .map(|l| l.last_capture_ns)
            .filter(|t| newest - t < PAUSED_NS);
        flowing.chain([now - LAG_NS]).min()
    }

    pub fn totals(&self) -> impl Iterator<Item = Totals> + '_ {
        self.audio.iter().chain(&self.video).map(|l| l.totals)
    }
}

#[cfg(test)]
mod tests {
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
}
