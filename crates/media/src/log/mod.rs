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

mod reader;
mod track;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub use reader::{Delivery, OpenSpec, OutFrame, ReaderKey, TrackEvent, TrackView};
use reader::{Interest, Reader, Reading};
pub use track::{Entry, TrackLog, SOUND_TAIL_NS};

use crate::types::{flags, Frame, Source, StopCause, TapDemand, TapInput, TrackId};
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
/// How far the watermark stays behind now when no source says better.
const IDLE_LAG_NS: i64 = 300_000_000;
/// How long a freshly demanded room waits for the first word of a source.
const FIRST_WORD_NS: i64 = 1_000_000_000;
/// One pass over the tracks takes this much media of each, so that none starves the others.
const SLICE_NS: i64 = 2_000_000_000;
/// No message carries more payload than this (one frame may).
const MESSAGE_BYTES: usize = 4 << 20;

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

    // ---- what the readers say --------------------------------------------------------------

    /// A reader comes. A durable name may be held by one reader only: the one it is taken from
    /// is returned (it gets nothing any longer).
    pub fn open(
        &mut self,
        now: i64,
        key: ReaderKey,
        spec: OpenSpec,
    ) -> (Vec<TrackView>, Option<ReaderKey>) {
        let room_key = spec.room.clone();
        let mut displaced = None;
        if spec.durable {
            let memory = self
                .memories
                .entry(spec.name.clone())
                .or_insert_with(|| Memory {
                    room: room_key.clone(),
                    positions: HashMap::new(),
                    attached: None,
                    opened_ns: now,
                    left_ns: now,
                    forgotten: false,
                });
            if memory.room != room_key {
                let old_room = std::mem::replace(&mut memory.room, room_key.clone());
                memory.positions.clear();
                if let Some(room) = self.rooms.get_mut(&old_room) {
                    room.names.remove(&spec.name);
                }
            }
            displaced = memory.attached.replace(key);
            memory.opened_ns = now;
            memory.forgotten = false;
        }
        if let Some(old) = displaced {
            self.drop_reader(now, old);
        }
        let room = self.rooms.entry(room_key.clone()).or_default();
        room.readers.insert(key);
        if spec.durable {
            room.names.insert(spec.name.clone());
        }
        if !room.demanded {
            room.demanded = true;
            room.demanded_ns = now;
            room.watermarks.clear();
            self.demands.push(TapDemand::Room {
                room: room_key.clone(),
                on: true,
            });
        }
        let mut reader = Reader::new(spec, now);
        let mut views = Vec::with_capacity(room.tracks.len());
        for id in &room.tracks {
            let Some(track) = self.tracks.get(id) else {
                continue;
            };
            reader
                .shown
                .insert(*id, track.config_at(track.first_seq()).0);
            if track.stopped.is_some() {
                reader.stops.insert(*id);
            }
            views.push(TrackView::of(track));
        }
        self.timers.insert((reader.next_flush_ns, key));
        self.readers.insert(key, reader);
        self.stats.readers = self.readers.len();
        (views, displaced)
    }

    /// A reader wants a track from `from_seq` on (-1: from the oldest frame reading can begin at).
    /// Acknowledges everything before, and forgives what was sent and not acknowledged.
    pub fn read(
        &mut self,
        now: i64,
        key: ReaderKey,
        id: TrackId,
        from_seq: i64,
        preroll_ns: i64,
    ) -> Result<(), ReadError> {
        let reader = self.readers.get_mut(&key).ok_or(ReadError::NoReader)?;
        let track = self.tracks.get(&id).ok_or(ReadError::NoTrack)?;
        if track.info().room != reader.room {
            return Err(ReadError::NoTrack);
        }
        let mut need_key = false;
        let from = match u64::try_from(from_seq) {
            Ok(seq) => seq.min(track.next_seq()),
            Err(_) => {
                // A live reader begins at now: with the newest key frame, not the oldest.
                let after = if reader.durable {
                    0
                } else {
                    track.warm_start(track.next_seq(), 0)
                };
                track.entry_point(after).unwrap_or_else(|| {
                    need_key = track.is_picture();
                    track.next_seq()
                })
            }
        };
        if need_key {
            self.demands.push(TapDemand::Keyframe { track: id });
        }
        let start = if from < track.first_seq() || need_key {
            from
        } else {
            track.warm_start(from, preroll_ns)
        };
        if let Some(Interest::Reading(old)) = reader.tracks.remove(&id) {
            reader.outstanding -= old.outstanding;
        }
        let reading = Reading::new(start, from, need_key, now);
        reader.asked_ns = now;
        reader.tracks.insert(id, Interest::Reading(reading));
        if let Some(memory) = reader.memory(&mut self.memories) {
            memory.positions.insert(id, Position::Safe(from));
        }
        self.urgent.insert(key);
        self.trim_one(now, id);
        Ok(())
    }

    /// Everything before the given numbers is safe.
    pub fn ack(&mut self, now: i64, key: ReaderKey, acks: &[(TrackId, u64)]) {
        let Some(reader) = self.readers.get_mut(&key) else {
            return;
        };
        for (id, seq) in acks {
            let Some(Interest::Reading(reading)) = reader.tracks.get_mut(id) else {
                continue;
            };
            // Nobody can have made safe what was not sent.
            let seq = (*seq).min(reading.next);
            let mut freed = 0;
            while reading.sent.front().is_some_and(|(sent, _)| *sent < seq) {
                freed += reading.sent.pop_front().map_or(0, |(_, size)| size);
            }
            reading.outstanding -= freed;
            reader.outstanding -= freed;
        }
        if reader.starved && reader.outstanding < reader.credit {
            self.urgent.insert(key);
        }
        if let Some(memory) = reader.memory(&mut self.memories) {
            for (id, seq) in acks {
                let sent_to = match reader.tracks.get(id) {
                    Some(Interest::Reading(reading)) => reading.next,
                    _ => continue,
                };
                if let Some(Position::Safe(safe)) = memory.positions.get_mut(id) {
                    *safe = (*safe).max((*seq).min(sent_to));
                }
            }
        }
        for (id, _) in acks {
            self.trim_one(now, *id);
        }
    }

    /// A reader does not want a track (any longer): nothing of it is kept for it.
    pub fn unread(&mut self, now: i64, key: ReaderKey, id: TrackId) {
        let Some(reader) = self.readers.get_mut(&key) else {
            return;
        };
        if let Some(Interest::Reading(old)) = reader.tracks.insert(id, Interest::Declined) {
            reader.outstanding -= old.outstanding;
        }
        if let Some(memory) = reader.memory(&mut self.memories) {
            memory.positions.insert(id, Position::Declined);
        }
        self.tell_stop(now, id);
        self.trim_one(now, id);
    }

    /// A reader goes for good: its positions are forgotten.
    pub fn close(&mut self, now: i64, key: ReaderKey) {
        let name = self
            .readers
            .get(&key)
            .filter(|r| r.durable)
            .map(|r| r.name.clone());
        self.drop_reader(now, key);
        if let Some(name) = name {
            self.forget(now, &name);
        }
    }

    /// A reader's connection is gone: a durable one may come back within [`REJOIN_NS`].
    pub fn detach(&mut self, now: i64, key: ReaderKey) {
        self.drop_reader(now, key);
    }

    /// Nothing is kept for this durable name any longer; a reader that holds it right now reads
    /// on, but its positions go with its connection.
    pub fn forget(&mut self, now: i64, name: &str) {
        let Some(memory) = self.memories.get_mut(name) else {
            return;
        };
        if memory.attached.is_some() {
            memory.forgotten = true;
            return;
        }
        let room = memory.room.clone();
        self.memories.remove(name);
        if let Some(entry) = self.rooms.get_mut(&room) {
            entry.names.remove(name);
        }
        self.trim_room(now, &room);
        self.undemand(&room);
    }

    /// The reader's connection can take no more for now: nothing is due to it until `wake`.
    pub fn hold(&mut self, key: ReaderKey) {
        if let Some(reader) = self.readers.get(&key) {
            self.urgent.remove(&key);
            self.timers.remove(&(reader.next_flush_ns, key));
        }
    }

    /// The reader's connection can take more again.
    pub fn wake(&mut self, key: ReaderKey) {
        if let Some(reader) = self.readers.get(&key) {
            self.urgent.insert(key);
            self.timers.insert((reader.next_flush_ns, key));
        }
    }

    /// The reader wants what there is, now.
    pub fn flush(&mut self, key: ReaderKey) {
        if let Some(reader) = self.readers.get_mut(&key) {
            reader.flush_asked = true;
            self.urgent.insert(key);
        }
    }

    /// The reader wants a key frame of a picture.
    pub fn keyframe(&mut self, key: ReaderKey, id: TrackId) {
        let Some(reader) = self.readers.get(&key) else {
            return;
        };
        if self
            .tracks
            .get(&id)
            .is_some_and(|t| t.info().room == reader.room)
        {
            self.demands.push(TapDemand::Keyframe { track: id });
        }
    }

    fn drop_reader(&mut self, now: i64, key: ReaderKey) {
        let Some(reader) = self.readers.remove(&key) else {
            return;
        };
        self.stats.readers = self.readers.len();
        self.urgent.remove(&key);
        self.timers.remove(&(reader.next_flush_ns, key));
        let mut forgotten = false;
        if reader.durable {
            if let Some(memory) = self.memories.get_mut(&reader.name) {
                if memory.attached == Some(key) {
                    memory.attached = None;
                    memory.left_ns = now;
                    forgotten = memory.forgotten;
                }
            }
        }
        if let Some(room) = self.rooms.get_mut(&reader.room) {
            room.readers.remove(&key);
        }
        if forgotten {
            self.forget(now, &reader.name);
        }
        self.undemand(&reader.room);
    }

    fn undemand(&mut self, room_key: &Arc<str>) {
        let Some(room) = self.rooms.get_mut(room_key) else {
            return;
        };
        if !room.readers.is_empty() || !room.names.is_empty() {
            return;
        }
        if room.demanded {
            room.demanded = false;
            room.watermarks.clear();
            self.demands.push(TapDemand::Room {
                room: room_key.clone(),
                on: false,
            });
            for id in &room.tracks {
                if let Some(track) = self.tracks.get_mut(id) {
                    self.stats.bytes -= track.bytes();
                    track.clear();
                }
            }
        }
        self.forget_empty_room(&room_key.clone());
    }

    fn forget_empty_room(&mut self, room_key: &str) {
        let gone = self.rooms.get(room_key).is_some_and(|room| {
            room.tracks.is_empty() && room.readers.is_empty() && room.names.is_empty()
        });
        if gone {
            self.rooms.remove(room_key);
        }
    }

    // ---- what is kept ----------------------------------------------------------------------

    /// The oldest frame anybody needs of a track.
    fn needed(&self, now: i64, id: TrackId, track: &TrackLog) -> u64 {
        let mut needed = track.next_seq();
        let Some(room) = self.rooms.get(&track.info().room) else {
            return needed;
        };
        for name in &room.names {
            let Some(memory) = self.memories.get(name) else {
                continue;
            };
            match memory.positions.get(&id) {
                Some(Position::Safe(seq)) => needed = needed.min(*seq),
                Some(Position::Declined) => {}
                None if now - memory.opened_ns.max(track.known_ns) < DURABLE_DECIDE_NS => {
                    needed = needed.min(track.first_seq());
                }
                None => {}
            }
        }
        needed
    }

    fn trim(&mut self, now: i64, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let needed = self.needed(now, id, track);
        if let Some(track) = self.tracks.get_mut(&id) {
            self.stats.bytes -= track.bytes();
            track.trim(needed);
            self.stats.bytes += track.bytes();
        }
    }

    /// As `trim`, and lets an ended track go when nobody waits for it.
    fn trim_one(&mut self, now: i64, id: TrackId) {
        self.trim(now, id);
        self.bury(now, id);
    }

    fn trim_room(&mut self, now: i64, room: &str) {
        let ids: Vec<_> = self
            .rooms
            .get(room)
            .map_or_else(Vec::new, |r| r.tracks.iter().copied().collect());
        for id in ids {
            self.trim_one(now, id);
        }
    }

    fn enforce_caps(&mut self, id: TrackId) {
        if let Some(track) = self.tracks.get_mut(&id) {
            while track.bytes() > self.limits.max_track_bytes {
                let before = track.bytes();
                track.pop_front();
                self.stats.bytes -= before - track.bytes();
            }
        }
        while self.stats.bytes > self.limits.max_bytes {
            let Some(track) = self.tracks.values_mut().max_by_key(|t| t.bytes()) else {
                return;
            };
            let before = track.bytes();
            if before == 0 {
                return;
            }
            // The biggest pays, 64 KiB at a time: the search is not worth a frame.
            while track.bytes() > 0 && before - track.bytes() < 64 << 10 {
                track.pop_front();
            }
            self.stats.bytes -= before - track.bytes();
        }
    }

    /// Forgets an ended track that is safe everywhere, or that nobody came for in time.
    fn bury(&mut self, now: i64, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let Some(stopped) = track.stopped else { return };
        let room_key = track.info().room.clone();
        let Some(room) = self.rooms.get(&room_key) else {
            return;
        };
        let old = now - stopped.told_ns >= KEEP_NS;
        let (mut waiting, mut someone) = (false, false);
        for name in &room.names {
            let Some(memory) = self.memories.get(name) else {
                continue;
            };
            match memory.positions.get(&id) {
                Some(Position::Safe(seq)) => {
                    someone = true;
                    waiting |= *seq < track.next_seq() && track.bytes() > 0;
                }
                Some(Position::Declined) => {}
                None => {
                    let undecided_ns = now - memory.opened_ns.max(track.known_ns);
                    waiting |= undecided_ns < DURABLE_DECIDE_NS + KEEP_NS;
                }
            }
        }
        for key in &room.readers {
            let interest = self.readers.get(key).and_then(|r| r.tracks.get(&id));
            if let Some(Interest::Reading(reading)) = interest {
                waiting |= !reading.stop_told;
            }
        }
        if waiting || !(someone || old) {
            return;
        }
        self.stats.bytes -= track.bytes();
        self.tracks.remove(&id);
        let readers = room.readers.clone();
        for key in readers {
            if let Some(reader) = self.readers.get_mut(&key) {
                // What was told about it and not sent yet would have nothing to show.
                reader.told.retain(|(told, ..)| *told != id);
                reader.stops.remove(&id);
                reader.shown.remove(&id);
                if let Some(Interest::Reading(old)) = reader.tracks.remove(&id) {
                    reader.outstanding -= old.outstanding;
                }
            }
        }
        for memory in self.memories.values_mut().filter(|m| m.room == room_key) {
            memory.positions.remove(&id);
        }
        if let Some(room) = self.rooms.get_mut(&room_key) {
            room.tracks.remove(&id);
        }
        self.forget_empty_room(&room_key);
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

    // ---- batches ---------------------------------------------------------------------------

    /// What `key` is to be sent now, in order, at most about `max_bytes` of payload.
    pub fn collect(&mut self, now: i64, key: ReaderKey, max_bytes: usize) -> Vec<Delivery> {
        self.urgent.remove(&key);
        let Some(reader) = self.readers.get_mut(&key) else {
            return Vec::new();
        };
        let mut out = Collector::new(reader.last_watermark);
        while let Some((id, event, at_ns, cause)) = reader.told.pop_front() {
            if let Some(track) = self.tracks.get(&id) {
                if event == TrackEvent::Start {
                    reader
                        .shown
                        .insert(id, track.config_at(track.first_seq()).0);
                }
                out.push(Delivery::Track {
                    event,
                    track: TrackView::of(track),
                    at_ns,
                    cause,
                });
            }
        }
        reader.starved = false;
        let mut budget = max_bytes;
        while Self::slice(
            &self.tracks,
            reader,
            &mut out,
            &mut budget,
            &mut self.demands,
            &mut self.stats,
        ) {}

        let on_time = reader.next_flush_ns <= now;
        let watermark = self.watermark(now, key).unwrap_or(0);
        let Some(reader) = self.readers.get_mut(&key) else {
            return Vec::new();
        };
        reader.last_watermark = reader.last_watermark.max(watermark);
        if on_time || reader.flush_asked || out.has_frames() {
            out.finish(reader.last_watermark);
            reader.flush_asked = false;
            self.timers.remove(&(reader.next_flush_ns, key));
            reader.next_flush_ns = now + reader.until_flush_ns(now);
            self.timers.insert((reader.next_flush_ns, key));
        }
        self.stats.frames_out += out.frames_out;
        out.deliveries
    }

    /// Sends of each track up to [`SLICE_NS`] of media from the oldest unsent frame of all.
    /// True when there may be more.
    fn slice(
        tracks: &BTreeMap<TrackId, TrackLog>,
        reader: &mut Reader,
        out: &mut Collector,
        budget: &mut usize,
        demands: &mut Vec<TapDemand>,
        stats: &mut LogStats,
    ) -> bool {
        let mut oldest = i64::MAX;
        for (id, interest) in &reader.tracks {
            let Interest::Reading(reading) = interest else {
                continue;
            };
            let Some(track) = tracks.get(id) else {
                continue;
            };
            let unsent = track.get(reading.next.max(track.first_seq()));
            oldest = oldest.min(unsent.map_or(i64::MAX, |e| e.capture_ns));
        }
        let until = oldest.saturating_add(SLICE_NS);
        let mut more = false;
        let (mut outstanding, credit) = (reader.outstanding, reader.credit);
        let mut starved = false;
        for (id, interest) in &mut reader.tracks {
            let Interest::Reading(reading) = interest else {
                continue;
            };
            let Some(track) = tracks.get(id) else {
                continue;
            };
            loop {
                if reading.next < track.first_seq() {
                    reading.overtaken(track);
                    if reading.need_key {
                        demands.push(TapDemand::Keyframe { track: *id });
                    }
                }
                let Some(entry) = track.get(reading.next) else {
                    break;
                };
                if reading.need_key && entry.flags & flags::KEY == 0 {
                    reading.next += 1;
                    reading.from = reading.next;
                    continue;
                }
                reading.need_key = false;
                if entry.capture_ns > until {
                    more = true;
                    break;
                }
                let size = entry.data.len();
                let warming = reading.next < reading.from;
                if *budget == 0 || (outstanding >= credit && !warming) {
                    starved = true;
                    break;
                }
                if let Some(gap) = reading.take_gap(*id) {
                    stats.overrun_frames += gap.1;
                    out.push(gap.0);
                }
                let (config, info) = track.config_at(reading.next);
                if reader.shown.insert(*id, config) != Some(config) {
                    let view = TrackView {
                        info: info.clone(),
                        ..TrackView::of(track)
                    };
                    out.push(Delivery::Track {
                        event: TrackEvent::Config,
                        track: view,
                        at_ns: entry.capture_ns,
                        cause: None,
                    });
                }
                *budget = budget.saturating_sub(size);
                out.frame(reading.out_frame(*id, entry));
                if !warming && reader.durable {
                    reading.sent.push_back((reading.next, size));
                    reading.outstanding += size;
                    outstanding += size;
                }
                reading.first_pending = false;
                reading.next += 1;
            }
            if let Some(stopped) = track.stopped {
                if reading.next >= track.next_seq() && !reading.stop_told {
                    reading.stop_told = true;
                    if let Some(gap) = reading.take_gap(*id) {
                        stats.overrun_frames += gap.1;
                        out.push(gap.0);
                    }
                    out.push(Delivery::Track {
                        event: TrackEvent::ReadOut,
                        track: TrackView::of(track),
                        at_ns: stopped.at_ns,
                        cause: Some(stopped.cause),
                    });
                }
            }
        }
        reader.outstanding = outstanding;
        reader.starved |= starved;
        more && !starved
    }

    /// The time before which `key` will be sent nothing more; `None` when nothing can be said.
    fn watermark(&self, now: i64, key: ReaderKey) -> Option<i64> {
        let reader = self.readers.get(&key)?;
        let room = self.rooms.get(&reader.room)?;
        let mut mark = match room.watermarks.values().min() {
            Some(t) => (*t).min(now),
            None if now - room.demanded_ns < FIRST_WORD_NS && !room.tracks.is_empty() => {
                return None
            }
            None => now - IDLE_LAG_NS,
        };
        for id in &room.tracks {
            let Some(track) = self.tracks.get(id) else {
                continue;
            };
            match reader.tracks.get(id) {
                Some(Interest::Declined) => {}
                Some(Interest::Reading(reading)) => {
                    if let Some(unsent) = track.get(reading.next.max(track.first_seq())) {
                        mark = mark.min(unsent.capture_ns);
                    } else if reading.first_pending
                        && track.stopped.is_none()
                        && now - reading.since_ns < DECIDE_NS
                    {
                        return None;
                    }
                }
                None if reader.may_decide(now, track) => match track.get(track.first_seq()) {
                    Some(first) => mark = mark.min(first.capture_ns),
                    None if now - reader.opened_ns.max(track.known_ns) < DECIDE_NS => return None,
                    None => {}
                },
                None => {}
            }
        }
        Some(mark)
    }
}

/// Puts frames into batches, and other news between them where they belong.
struct Collector {
    deliveries: Vec<Delivery>,
    frames: Vec<OutFrame>,
    bytes: usize,
    /// Batches before the last one repeat the watermark already known.
    old_watermark: i64,
    frames_out: u64,
}

impl Collector {
    fn new(old_watermark: i64) -> Self {
        Self {
            deliveries: Vec::new(),
            frames: Vec::new(),
            bytes: 0,
            old_watermark,
            frames_out: 0,
        }
    }

    fn has_frames(&self) -> bool {
        self.frames_out > 0
    }

    fn frame(&mut self, frame: OutFrame) {
        if self.bytes + frame.data.len() > MESSAGE_BYTES && !self.frames.is_empty() {
            self.close_batch(self.old_watermark);
        }
        self.bytes += frame.data.len();
        self.frames_out += 1;
        self.frames.push(frame);
    }

    fn push(&mut self, delivery: Delivery) {
        if !self.frames.is_empty() {
            self.close_batch(self.old_watermark);
        }
        self.deliveries.push(delivery);
    }

    fn close_batch(&mut self, watermark_ns: i64) {
        let frames = std::mem::take(&mut self.frames);
        self.bytes = 0;
        self.deliveries.push(Delivery::Batch {
            frames,
            watermark_ns,
        });
    }

    fn finish(&mut self, watermark_ns: i64) {
        self.close_batch(watermark_ns);
    }
}
