//! What the media threads tell Python. One enum for all of them; the binding turns each into a
//! tuple whose first element is the event's name.

use std::sync::Arc;

use roomtape_media::{Codec, Kind, StopCause, TrackId, TrackInfo};

/// One second of one track: what arrived and what did not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackStats {
    pub track: TrackId,
    pub packets: u64,
    pub bytes: u64,
    pub lost: u64,
    pub jitter_ms: f64,
}

/// An event for the server. Times are monotonic nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum CoreEvent {
    Answer {
        ticket: u64,
        peer: u64,
        sdp: String,
    },
    /// `reason`: bad_sdp | no_codec | nobody | internal.
    Refused {
        ticket: u64,
        reason: &'static str,
        message: String,
    },
    /// `fragment` is empty when there is nothing to tell.
    Patched {
        ticket: u64,
        fragment: String,
    },
    /// Media can flow, for the first time or again after a loss.
    PeerUp {
        peer: u64,
        room: Arc<str>,
        user: Arc<str>,
        seat: &'static str,
    },
    /// The peer is silent; its tracks have stopped.
    PeerLost {
        peer: u64,
        room: Arc<str>,
        user: Arc<str>,
        seat: &'static str,
    },
    PeerClosed {
        peer: u64,
        room: Arc<str>,
        user: Arc<str>,
        seat: &'static str,
        reason: String,
    },
    TrackStart {
        track: TrackId,
        room: Arc<str>,
        user: Arc<str>,
        kind: Kind,
        codec: Codec,
        at_ns: i64,
    },
    TrackStop {
        track: TrackId,
        room: Arc<str>,
        user: Arc<str>,
        kind: Kind,
        at_ns: i64,
        cause: StopCause,
    },
    TrackSize {
        track: TrackId,
        room: Arc<str>,
        user: Arc<str>,
        kind: Kind,
        width: u32,
        height: u32,
        at_ns: i64,
    },
    /// Somebody wants to publish; `key` is the stream key with its query.
    RtmpPublish {
        conn: u64,
        app: String,
        key: String,
        remote: String,
    },
    /// An accepted connection is gone.
    RtmpClosed {
        conn: u64,
        room: Arc<str>,
        user: Arc<str>,
        reason: String,
    },
    /// Each second.
    Stats(Vec<TrackStats>),
    /// `level`: debug | info | warning | error.
    Log {
        level: &'static str,
        text: String,
    },
}

impl CoreEvent {
    /// A track begins at `at_ns`.
    pub(crate) fn track_start(info: TrackInfo, at_ns: i64) -> Self {
        Self::TrackStart {
            track: info.id,
            room: info.room,
            user: info.user,
            kind: info.kind,
            codec: info.codec,
            at_ns,
        }
    }

    /// A track has ended at `at_ns`.
    pub(crate) fn track_stop(info: TrackInfo, at_ns: i64, cause: StopCause) -> Self {
        Self::TrackStop {
            track: info.id,
            room: info.room,
            user: info.user,
            kind: info.kind,
            at_ns,
            cause,
        }
    }

    /// Pictures of a track are this large from `at_ns` on.
    pub(crate) fn track_size(info: TrackInfo, (width, height): (u32, u32), at_ns: i64) -> Self {
        Self::TrackSize {
            track: info.id,
            room: info.room,
            user: info.user,
            kind: info.kind,
            width,
            height,
            at_ns,
        }
    }
}
