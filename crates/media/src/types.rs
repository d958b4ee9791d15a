//! The nouns that every Rust part shares: a track, a frame, and what is said about them.
//!
//! All times called `*_ns` are nanoseconds of `CLOCK_MONOTONIC`. `pts` and `dts` count
//! `1 / time_base_den` seconds, are extended to 64 bits and never fall within one track's dts.

use std::sync::Arc;

/// One life of one user's sound, main or second picture. Unique within one boot of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sound.
    Audio,
    /// The main picture (camera).
    Video,
    /// The second picture (screen).
    Aux,
}

impl Kind {
    /// The word used on the tap socket and towards Python.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Audio => "audio",
            Kind::Video => "video",
            Kind::Aux => "aux",
        }
    }

    /// True for both kinds of picture.
    pub fn is_picture(self) -> bool {
        !matches!(self, Kind::Audio)
    }
}

/// How the frames of a track are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Annex B access units; each key frame carries its SPS and PPS.
    H264,
    /// One raw VP8 frame.
    Vp8,
    /// One raw Opus packet.
    Opus,
    /// One raw AAC frame without ADTS; the configuration is `TrackInfo::extradata`.
    Aac,
}

impl Codec {
    /// The word used on the tap socket and towards Python.
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::H264 => "h264",
            Codec::Vp8 => "vp8",
            Codec::Opus => "opus",
            Codec::Aac => "aac",
        }
    }
}

/// Why a track ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// The publisher closed it.
    Closed,
    /// The publisher fell silent.
    Lost,
    /// The server muted it.
    Blocked,
    /// The same user published again.
    Replaced,
    /// The room was dismissed.
    Dismissed,
}

impl StopCause {
    /// The word used on the tap socket and towards Python.
    pub fn as_str(self) -> &'static str {
        match self {
            StopCause::Closed => "closed",
            StopCause::Lost => "lost",
            StopCause::Blocked => "blocked",
            StopCause::Replaced => "replaced",
            StopCause::Dismissed => "dismissed",
        }
    }
}

/// All that is known about a track when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    pub id: TrackId,
    /// Room key: `"<sdk_app_id>/s/<string room>"` or `"<sdk_app_id>/i/<integer room>"`.
    pub room: Arc<str>,
    pub user: Arc<str>,
    pub kind: Kind,
    pub codec: Codec,
    /// Ticks per second of pts and dts: 90000, 48000, or 1000 for RTMP.
    pub time_base_den: u32,
    /// Samples per second; 0 for a picture.
    pub sample_rate: u32,
    /// 0 for a picture.
    pub channels: u8,
    /// AAC: the AudioSpecificConfig. Empty for the others.
    pub extradata: Vec<u8>,
    /// When the user's membership began; orders anchors for recorders.
    pub entered_ns: i64,
    /// Capture time of the first accepted packet.
    pub started_ns: i64,
    /// Counts the lives of (room, user, kind) in this boot, from 1.
    pub life: u32,
    /// The track this one was made from by a worker; recorders leave such tracks alone.
    pub derived_from: Option<TrackId>,
}

/// One encoded frame. The log numbers it; until then it has no sequence number.
#[derive(Clone, Debug)]
pub struct Frame {
    pub track: TrackId,
    /// See [`flags`].
    pub flags: u32,
    pub pts: i64,
    pub dts: i64,
    /// When it was captured, on the server's monotonic clock.
    pub capture_ns: i64,
    /// When its last byte arrived.
    pub arrival_ns: i64,
    pub data: Arc<[u8]>,
}

/// Bits of [`Frame::flags`].
pub mod flags {
    /// Decoding may start here. Every sound frame has it, too.
    pub const KEY: u32 = 1;
    /// Sent again so that a decoder can warm up: decode it, do not output it.
    pub const PREROLL: u32 = 2;
    /// Something is missing between the frame before and this one.
    pub const GAP: u32 = 4;
}

/// What the sources of media (lanes, RTMP) tell the tap.
///
/// Start, Config, Size and Stop are told of every track always; frames only while the room
/// is demanded (see [`TapDemand`]).
#[derive(Clone, Debug)]
pub enum TapInput {
    Start(TrackInfo),
    Frame(Frame),
    /// The coder's configuration changed (AAC): frames from here on obey the new one.
    Config(TrackInfo),
    Size {
        track: TrackId,
        width: u32,
        height: u32,
        at_ns: i64,
    },
    Stop {
        track: TrackId,
        at_ns: i64,
        cause: StopCause,
    },
    /// No frame of this room and **of this source** with `capture_ns < t_ns` will follow.
    Watermark {
        room: Arc<str>,
        t_ns: i64,
        source: Source,
    },
    RoomClosed {
        room: Arc<str>,
    },
}

/// Who feeds a room. A room's watermark is the smallest of its sources'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A lane by its number.
    Lane(u16),
    /// The RTMP thread.
    Rtmp,
}

/// What the tap asks of the sources of media.
#[derive(Clone, Debug)]
pub enum TapDemand {
    /// Somebody reads this room (`on`) or nobody does any longer: assemble frames or stop it.
    /// On `on` a source first replays its GOP cache with the true arrival and capture times.
    Room { room: Arc<str>, on: bool },
    /// A reader wants a key frame of this picture.
    Keyframe { track: TrackId },
}
