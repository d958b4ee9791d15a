//! The frame log: frames of tapped tracks with rising numbers, kept until their durable readers
//! have made them safe, and handed out in batches.
//!
//! Pure: time is an argument (`now`, monotonic nanoseconds), nothing blocks, nothing is fetched.
//! A reader that does not keep up never costs more than the byte caps; it is told what it missed.
//!
//! * A **durable** reader has a name and, per track, a position: everything before it is safe.
//!   The position outlives its connection by [`REJOIN_NS`], and its frames wait that long.
//! * A track of the room that a durable reader has neither read nor declined is kept for it
//!   [`KEEP_NS`] from the moment it could know of it: the question is on its way.
//! * A **live** reader holds nothing back.

mod batches;
mod kept;
mod reader;
mod requests;
mod track;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub use reader::{Delivery, OpenSpec, OutFrame, ReaderKey, TrackEvent, TrackView};
use reader::{Interest, Reader};
pub use track::{Entry, TrackLog, SOUND_TAIL_NS};

use crate::types::{Frame, Source, StopCause, TapDemand, TapInput, TrackId};
use track::Stopped;

/// How long ended tracks are kept that nobody has come for.
pub const KEEP_NS: i64 = 10_000_000_000;
/// How long positions of a durable reader that went away are kept, and its frames with them (within the
/// byte caps): successors may die as well before they have read, each after seconds of starting.
pub const REJOIN_NS: i64 = 60_000_000_000;
/// How long a watermark waits for a reader to decide on a track, or for a track's first frame.
const DECIDE_NS: i64 = 2_000_000_000;
/// How long a track and the watermark wait for a durable reader to decide: it may be far behind, and
/// reads tracks of one user after each other.
const DURABLE_DECIDE_NS: i64 = 60_000_000_000;

/// Byte caps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_track_bytes: usize,
    pub max_bytes: usize,
}

/// Counters for the server's statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    pub bytes: usize,
    pub tracks: usize,
    pub readers: usize,
    pub frames_in: u64,
    pub frames_out: u64,
    /// Frames that a reader asked for or waited for and did not get.
    pub overrun_frames: u64,
}

/// What a durable name has said about a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Everything before is safe.
    Safe(u64),
    Declined,
}

/// A durable reader's memory; outlives its connections.
#[derive(Debug)]
struct Memory {
    room: Arc<str>,
    positions: HashMap<TrackId, Position>,
    attached: Option<ReaderKey>,
    /// When it was opened last.
    opened_ns: i64,
    /// When it went away; meaningless while attached.
    left_ns: i64,
    /// Goes as soon as its reader does.
    forgotten: bool,
}

#[derive(Debug, Default)]
struct Room {
    tracks: BTreeSet<TrackId>,
    readers: BTreeSet<ReaderKey>,
    names: BTreeSet<Arc<str>>,
    watermarks: BTreeMap<Source, i64>,
    demanded: bool,
    demanded_ns: i64,
}

/// Why a READ was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    NoReader,
    NoTrack,
}

/// The logs of all tracks of all rooms, and their readers.
#[derive(Debug)]
pub struct Logs {
    limits: Limits,
    tracks: BTreeMap<TrackId, TrackLog>,
    rooms: HashMap<Arc<str>, Room>,
    readers: BTreeMap<ReaderKey, Reader>,
    memories: HashMap<Arc<str>, Memory>,
    /// Readers with something to be sent before their next regular batch.
    urgent: BTreeSet<ReaderKey>,
    timers: BTreeSet<(i64, ReaderKey)>,
    demands: Vec<TapDemand>,
    stats: LogStats,
}

impl Logs {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            tracks: BTreeMap::new(),
            rooms: HashMap::new(),
            readers: BTreeMap::new(),
            memories: HashMap::new(),
            urgent: BTreeSet::new(),
            timers: BTreeSet::new(),
            demands: Vec::new(),
            stats: LogStats::default(),
        }
    }

    // ---- what the sources say --------------------------------------------------------------

    /// Takes in what a source of media says.
    pub fn input(&mut self, now: i64, input: TapInput) {
        match input {
            TapInput::Start(info) => {
                let (id, room) = (info.id, info.room.clone());
                self.tracks.insert(id, TrackLog::new(info, now));
                self.rooms
                    .entry(room.clone())
                    .or_default()
                    .tracks
                    .insert(id);
                let at_ns = self.tracks[&id].info().started_ns;
                self.tell_room(&room, id, TrackEvent::Start, at_ns, None);
            }
            TapInput::Config(info) => {
                if let Some(track) = self.tracks.get_mut(&info.id) {
                    track.reconfigure(info);
                }
            }
            TapInput::Size {
                track: id,
                width,
                height,
                at_ns,
            } => {
                let Some(track) = self.tracks.get_mut(&id) else {
                    return;
                };
                (track.width, track.height) = (width, height);
                let room = track.info().room.clone();
                self.tell_room(&room, id, TrackEvent::Size, at_ns, None);
            }
            TapInput::Frame(frame) => self.frame(now, frame),
            TapInput::Stop {
                track: id,
                at_ns,
                cause,
            } => self.stop(now, id, at_ns, cause),
            TapInput::Watermark { room, t_ns, source } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    if t_ns == i64::MAX {
                        room.watermarks.remove(&source);
                    } else {
                        room.watermarks.insert(source, t_ns);
                    }
                }
            }
            TapInput::RoomClosed { room } => {
                if let Some(entry) = self.rooms.get_mut(&room) {
                    entry.watermarks.clear();
                    self.forget_empty_room(&room);
                }
            }
        }
    }

    fn frame(&mut self, now: i64, frame: Frame) {
        let id = frame.track;
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let room_key = track.info().room.clone();
        let Some(room) = self.rooms.get(&room_key) else {
            return;
        };
        if !room.demanded || track.stopped.is_some() {
            return;
        }
        self.stats.frames_in += 1;
        self.stats.bytes -= track.bytes();
        track.push(frame);
        self.stats.bytes += track.bytes();
        for key in &room.readers {
            let waiting = self.readers.get(key).and_then(|r| r.tracks.get(&id));
            if matches!(waiting, Some(Interest::Reading(r)) if r.first_pending) {
                self.urgent.insert(*key);
            }
        }
        self.trim(now, id);
        self.enforce_caps(id);
    }

    fn stop(&mut self, now: i64, id: TrackId, at_ns: i64, cause: StopCause) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if track.stopped.is_some() {
            return;
        }
        track.stopped = Some(Stopped {
            at_ns,
            cause,
            told_ns: now,
        });
        self.tell_stop(now, id);
    }

    /// Tells of a track's end, once: one that reads it behind its last frame, one that has not
    /// decided yet when it has, or when it has had time enough.
    fn tell_stop(&mut self, now: i64, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let Some(stopped) = track.stopped else { return };
        let Some(room) = self.rooms.get(&track.info().room) else {
            return;
        };
        for key in &room.readers {
            let Some(reader) = self.readers.get_mut(key) else {
                continue;
            };
            match reader.tracks.get(&id) {
                Some(Interest::Reading(reading)) if !reading.stop_told => {
                    self.urgent.insert(*key);
                    continue;
                }
                Some(Interest::Reading(_)) => continue,
                None if reader.may_decide(now, track) => continue,
                Some(Interest::Declined) | None => {}
            }
            if reader.stops.insert(id) {
                let (at_ns, cause) = (stopped.at_ns, Some(stopped.cause));
                reader.told.push_back((id, TrackEvent::Stop, at_ns, cause));
                self.urgent.insert(*key);
            }
        }
    }

    fn tell_room(
        &mut self,
        room: &str,
        id: TrackId,
        event: TrackEvent,
        at_ns: i64,
        cause: Option<StopCause>,
    ) {
        let Some(room) = self.rooms.get(room) else {
            return;
        };
        for key in &room.readers {
            if let Some(reader) = self.readers.get_mut(key) {
                reader.told.push_back((id, event, at_ns, cause));
                self.urgent.insert(*key);
            }
        }
    }

    // ---- time ------------------------------------------------------------------------------

    /// Lets go of what has waited long enough. Call it about once a second.
    pub fn tick(&mut self, now: i64) {
        let expired: Vec<_> = self
            .memories
            .iter()
            .filter(|(_, m)| m.attached.is_none() && now - m.left_ns >= REJOIN_NS)
            .map(|(name, _)| name.clone())
            .collect();
        for name in expired {
            self.forget(now, &name);
        }
        let ids: Vec<_> = self.tracks.keys().copied().collect();
        for id in ids {
            self.tell_stop(now, id);
            self.trim_one(now, id);
        }
    }

    /// The shortest time that a reader waits from one batch to the next at present.
    pub fn shortest_flush_ns(&self, now: i64) -> Option<i64> {
        let readers = self.readers.values();
        readers.map(|reader| reader.until_flush_ns(now)).min()
    }

    /// When the next regular batch is due; `Some(0)` when something is urgent.
    pub fn next_due(&self) -> Option<i64> {
        if !self.urgent.is_empty() {
            return Some(0);
        }
        self.timers.first().map(|(at, _)| *at)
    }

    /// The readers that are to be given something now.
    pub fn due(&self, now: i64) -> Vec<ReaderKey> {
        let mut due = self.urgent.clone();
        due.extend(
            self.timers
                .iter()
                .take_while(|(at, _)| *at <= now)
                .map(|(_, key)| *key),
        );
        due.into_iter().collect()
    }

    /// What is asked of the sources since the last call.
    pub fn demands(&mut self) -> Vec<TapDemand> {
        std::mem::take(&mut self.demands)
    }

    pub fn stats(&self) -> LogStats {
        LogStats {
            tracks: self.tracks.len(),
            ..self.stats
        }
    }
}
