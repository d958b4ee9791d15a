//! One reader of the log: what it wants, what it was sent, what it owes.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::track::{Entry, TrackLog};
use super::{Memory, DECIDE_NS, DURABLE_DECIDE_NS};
use crate::types::{flags, StopCause, TrackId, TrackInfo};

/// A reader, as the owner of its connection calls it. Unique while the log lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderKey(pub u64);

/// How a reader introduces itself.
#[derive(Clone, Debug)]
pub struct OpenSpec {
    /// Its identity across connections (durable readers).
    pub name: Arc<str>,
    pub room: Arc<str>,
    pub durable: bool,
    /// Time between regular batches.
    pub flush_ns: i64,
    /// Payload bytes that may be unacknowledged (durable readers).
    pub credit: usize,
}

/// What happened to a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackEvent {
    Start,
    /// It has stopped, and this reader does not read it.
    Stop,
    /// It has stopped, and everything this reader will ever be sent of it was sent.
    ReadOut,
    Config,
    Size,
}

impl TrackEvent {
    /// The word used on the tap socket.
    pub fn as_str(self) -> &'static str {
        match self {
            TrackEvent::Start => "start",
            TrackEvent::Stop => "stop",
            TrackEvent::ReadOut => "read_out",
            TrackEvent::Config => "config",
            TrackEvent::Size => "size",
        }
    }
}

/// A track as a reader sees it.
#[derive(Clone, Debug)]
pub struct TrackView {
    /// The configuration that holds for the oldest frame held (for a config event: the new one).
    pub info: Arc<TrackInfo>,
    pub width: u32,
    pub height: u32,
    pub next_seq: u64,
    /// The oldest frame reading can begin at; `next_seq` when there is none.
    pub oldest_seq: u64,
    pub live: bool,
    /// Why it stopped.
    pub cause: Option<StopCause>,
}

impl TrackView {
    pub(super) fn of(track: &TrackLog) -> Self {
        Self {
            info: track.config_at(track.first_seq()).1.clone(),
            width: track.width,
            height: track.height,
            next_seq: track.next_seq(),
            oldest_seq: track.entry_point(0).unwrap_or(track.next_seq()),
            live: track.stopped.is_none(),
            cause: track.stopped.map(|stopped| stopped.cause),
        }
    }
}

/// A frame on its way to a reader.
#[derive(Clone, Debug)]
pub struct OutFrame {
    pub track: TrackId,
    pub seq: u64,
    pub flags: u32,
    pub pts: i64,
    pub dts: i64,
    pub capture_ns: i64,
    pub data: Arc<[u8]>,
}

/// One thing for a reader.
#[derive(Clone, Debug)]
pub enum Delivery {
    Track {
        event: TrackEvent,
        track: TrackView,
        at_ns: i64,
        cause: Option<StopCause>,
    },
    /// Nothing with `capture_ns` before the watermark will follow.
    Batch {
        frames: Vec<OutFrame>,
        watermark_ns: i64,
    },
    /// Frames `from..to` are lost to this reader.
    Gap {
        track: TrackId,
        from: u64,
        to: u64,
        reason: &'static str,
    },
}

#[derive(Debug)]
pub(super) enum Interest {
    Reading(Reading),
    Declined,
}

/// One track as one reader reads it.
#[derive(Debug)]
pub(super) struct Reading {
    /// The next frame to be sent.
    pub next: u64,
    /// Frames before this one are sent to warm up only.
    pub from: u64,
    /// Frames are skipped until a key frame comes.
    pub need_key: bool,
    /// Nothing was sent yet: the first frame goes at once.
    pub first_pending: bool,
    pub after_gap: bool,
    pub stop_told: bool,
    /// The first frame lost since the last one sent, until the reader is told.
    pub gap_from: Option<u64>,
    /// When the reader asked.
    pub since_ns: i64,
    /// Sent and not acknowledged: number and bytes.
    pub sent: VecDeque<(u64, usize)>,
    pub outstanding: usize,
}

impl Reading {
    pub fn new(start: u64, from: u64, need_key: bool, now: i64) -> Self {
        Self {
            next: start,
            from,
            need_key,
            first_pending: true,
            after_gap: false,
            stop_told: false,
            gap_from: None,
            since_ns: now,
            sent: VecDeque::new(),
            outstanding: 0,
        }
    }

    /// The log no longer holds the frame at `next`: goes on where reading can begin again.
    pub fn overtaken(&mut self, track: &TrackLog) {
        let first = track.first_seq();
        if first <= self.from {
            // Only what was to warm the decoder up is gone; the reader misses nothing.
            self.next = if track.is_picture() { self.from } else { first };
            return;
        }
        if !self.need_key {
            // One that still waits for its first key frame has missed nothing.
            self.gap_from.get_or_insert(self.next.max(self.from));
        }
        self.next = track.entry_point(first).unwrap_or_else(|| {
            self.need_key = track.is_picture();
            track.next_seq()
        });
        self.from = self.next;
    }

    /// What was lost before the frame at `next`, to be told before it: and how many frames.
    pub fn take_gap(&mut self, track: TrackId) -> Option<(Delivery, u64)> {
        let from = self.gap_from.take()?;
        let to = self.next;
        self.after_gap = true;
        let reason = "overrun";
        (to > from).then_some((
            Delivery::Gap {
                track,
                from,
                to,
                reason,
            },
            to - from,
        ))
    }

    /// The frame at `next` as it is sent.
    pub fn out_frame(&mut self, track: TrackId, entry: &Entry) -> OutFrame {
        let mut bits = entry.flags;
        if self.next < self.from {
            bits |= flags::PREROLL;
        }
        if std::mem::take(&mut self.after_gap) {
            bits |= flags::GAP;
        }
        OutFrame {
            track,
            seq: self.next,
            flags: bits,
            pts: entry.pts,
            dts: entry.dts,
            capture_ns: entry.capture_ns,
            data: entry.data.clone(),
        }
    }
}

/// A reader's state while it is connected.
#[derive(Debug)]
pub(super) struct Reader {
    pub name: Arc<str>,
    pub room: Arc<str>,
    pub durable: bool,
    pub flush_ns: i64,
    pub credit: usize,
    pub tracks: BTreeMap<TrackId, Interest>,
    /// The configuration each track was shown with last, by the frame it began with.
    pub shown: HashMap<TrackId, u64>,
    /// Ended tracks it does not read and knows to be ended.
    pub stops: HashSet<TrackId>,
    /// News of tracks not yet sent.
    pub told: VecDeque<(TrackId, TrackEvent, i64, Option<StopCause>)>,
    pub next_flush_ns: i64,
    pub flush_asked: bool,
    /// Something was held back for want of credit or room.
    pub starved: bool,
    pub outstanding: usize,
    pub last_watermark: i64,
    pub opened_ns: i64,
    /// When it last asked for a track.
    pub asked_ns: i64,
}

/// A reader that has just asked for a track has nothing of it stored yet, and may have to hold or
/// pass over what comes at first: for this long its batches follow each other sooner.
const FRESH_NS: i64 = 1_000_000_000;
const FRESH_FLUSH_NS: i64 = 100_000_000;
/// Readers with more time than this between their batches are served together.
const TOGETHER_NS: i64 = 250_000_000;

impl Reader {
    pub fn new(spec: OpenSpec, now: i64) -> Self {
        let flush_ns = spec.flush_ns.max(1_000_000);
        Self {
            name: spec.name,
            room: spec.room,
            durable: spec.durable,
            flush_ns,
            credit: spec.credit.max(1),
            tracks: BTreeMap::new(),
            shown: HashMap::new(),
            stops: HashSet::new(),
            told: VecDeque::new(),
            next_flush_ns: now + flush_ns.min(FRESH_FLUSH_NS),
            flush_asked: false,
            starved: false,
            outstanding: 0,
            last_watermark: 0,
            opened_ns: now,
            asked_ns: now,
        }
    }

    /// Time from one batch to the next when nothing is urgent.
    pub fn until_flush_ns(&self, now: i64) -> i64 {
        if now - self.asked_ns < FRESH_NS {
            self.flush_ns.min(FRESH_FLUSH_NS)
        } else {
            self.flush_ns
        }
    }

    /// When its next batch is due if nothing is urgent: at most `until_flush_ns` from `now`.
    ///
    /// Slow readers are served together, at whole multiples of their time: one wake-up of either end,
    /// and whoever takes the batches takes all but the first with warm caches.
    pub fn flush_after(&self, now: i64) -> i64 {
        let every = self.until_flush_ns(now);
        let latest = now + every;
        if every < TOGETHER_NS {
            return latest;
        }
        latest - latest.rem_euclid(every)
    }

    /// Whether it may still ask for a track that it has said nothing of.
    pub fn may_decide(&self, now: i64, track: &TrackLog) -> bool {
        let patience_ns = if self.durable {
            DURABLE_DECIDE_NS
        } else {
            DECIDE_NS
        };
        now - self.opened_ns.max(track.known_ns) < patience_ns
    }

    /// What is remembered under its name, when it is durable.
    pub fn memory<'a>(
        &self,
        memories: &'a mut HashMap<Arc<str>, Memory>,
    ) -> Option<&'a mut Memory> {
        self.durable.then(|| memories.get_mut(&self.name)).flatten()
    }
}
