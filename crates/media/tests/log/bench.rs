//! A log, its clock, and short words for what comes out.

pub use roomtape_media::log::{
    Delivery, Limits, LogStats, Logs, OpenSpec, OutFrame, ReadError, ReaderKey, TrackEvent,
    KEEP_NS, REJOIN_NS,
};
pub use roomtape_media::{
    flags, Codec, Frame, Kind, Source, StopCause, TapDemand, TapInput, TrackId, TrackInfo,
};

pub const MS: i64 = 1_000_000;
pub const ROOMY: Limits = Limits {
    max_track_bytes: 64 << 20,
    max_bytes: 256 << 20,
};
pub const ROOM: &str = "1400000001/s/room";
pub const SOUND: TrackId = TrackId(1);
pub const PICTURE: TrackId = TrackId(2);
pub const R: ReaderKey = ReaderKey(1);

pub fn info(id: TrackId, kind: Kind) -> TrackInfo {
    let sound = kind == Kind::Audio;
    TrackInfo {
        id,
        room: ROOM.into(),
        user: "anchor".into(),
        kind,
        codec: if sound { Codec::Opus } else { Codec::H264 },
        time_base_den: if sound { 48_000 } else { 90_000 },
        sample_rate: if sound { 48_000 } else { 0 },
        channels: if sound { 2 } else { 0 },
        extradata: Vec::new(),
        entered_ns: 0,
        started_ns: 0,
        life: 1,
        derived_from: None,
    }
}

pub fn spec(name: &str, durable: bool) -> OpenSpec {
    OpenSpec {
        name: name.into(),
        room: ROOM.into(),
        durable,
        flush_ns: 1000 * MS,
        credit: 16 << 20,
    }
}

pub fn frame_of(track: TrackId, at_ms: i64, bits: u32, size: usize) -> Frame {
    Frame {
        track,
        flags: bits,
        pts: at_ms * 90,
        dts: at_ms * 90,
        capture_ns: at_ms * MS,
        arrival_ns: at_ms * MS,
        data: vec![7u8; size].into(),
    }
}

/// A log with one demanded room, a sound and a picture, and what a test does to it.
pub struct Bench {
    pub logs: Logs,
    pub now: i64,
}

impl Bench {
    pub fn new(limits: Limits) -> Self {
        let mut logs = Logs::new(limits);
        logs.input(0, TapInput::Start(info(SOUND, Kind::Audio)));
        logs.input(0, TapInput::Start(info(PICTURE, Kind::Video)));
        Self { logs, now: 0 }
    }

    pub fn sound(&mut self, at_ms: i64) {
        self.now = self.now.max(at_ms * MS);
        self.logs.input(
            self.now,
            TapInput::Frame(frame_of(SOUND, at_ms, flags::KEY, 100)),
        );
    }

    pub fn picture(&mut self, at_ms: i64, key: bool) {
        self.picture_of(at_ms, key, 1000);
    }

    pub fn picture_of(&mut self, at_ms: i64, key: bool, size: usize) {
        self.now = self.now.max(at_ms * MS);
        let bits = if key { flags::KEY } else { 0 };
        self.logs.input(
            self.now,
            TapInput::Frame(frame_of(PICTURE, at_ms, bits, size)),
        );
    }

    /// Pictures each 40 ms, a key frame each `gop`, numbers `from..to`.
    pub fn pictures(&mut self, from: i64, to: i64, gop: i64) {
        (from..to).for_each(|n| self.picture(n * 40, n % gop == 0));
    }

    pub fn sounds(&mut self, from: i64, to: i64) {
        (from..to).for_each(|n| self.sound(n * 20));
    }

    pub fn stop(&mut self, track: TrackId) {
        let (at_ns, cause) = (self.now, StopCause::Closed);
        self.logs.input(
            self.now,
            TapInput::Stop {
                track,
                at_ns,
                cause,
            },
        );
    }

    /// Flushes and returns everything the reader gets.
    pub fn take(&mut self, key: ReaderKey) -> Vec<Delivery> {
        self.logs.flush(key);
        self.logs.collect(self.now, key, usize::MAX)
    }

    pub fn seqs(&mut self, key: ReaderKey, track: TrackId) -> Vec<(u64, u32)> {
        let got = self.take(key);
        frames(&got)
            .iter()
            .filter(|f| f.track == track)
            .map(|f| (f.seq, f.flags))
            .collect()
    }

    pub fn oldest(&mut self, track: TrackId) -> u64 {
        // A passing live reader sees what is held without holding anything.
        let probe = ReaderKey(999);
        let (views, _) = self.logs.open(self.now, probe, spec("probe", false));
        self.logs.detach(self.now, probe);
        views
            .iter()
            .find(|v| v.info.id == track)
            .unwrap()
            .oldest_seq
    }
}

pub fn frames(deliveries: &[Delivery]) -> Vec<OutFrame> {
    let batches = deliveries.iter().filter_map(|d| match d {
        Delivery::Batch { frames, .. } => Some(frames.clone()),
        _ => None,
    });
    batches.flatten().collect()
}

pub fn gaps(deliveries: &[Delivery]) -> Vec<(TrackId, u64, u64)> {
    let found = deliveries.iter().filter_map(|d| match d {
        Delivery::Gap {
            track, from, to, ..
        } => Some((*track, *from, *to)),
        _ => None,
    });
    found.collect()
}

pub fn watermark(deliveries: &[Delivery]) -> i64 {
    match deliveries.last() {
        Some(Delivery::Batch { watermark_ns, .. }) => *watermark_ns,
        other => panic!("no batch at the end: {other:?}"),
    }
}
