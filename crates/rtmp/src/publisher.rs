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
mod tests;
