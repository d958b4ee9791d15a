//! What is kept, for whom, and what goes.

use super::reader::Interest;
use super::track::TrackLog;
use super::{Logs, Position, DURABLE_DECIDE_NS, KEEP_NS};
use crate::types::TrackId;

impl Logs {
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

    pub(super) fn trim(&mut self, now: i64, id: TrackId) {
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
    pub(super) fn trim_one(&mut self, now: i64, id: TrackId) {
        self.trim(now, id);
        self.bury(now, id);
    }

    pub(super) fn trim_room(&mut self, now: i64, room: &str) {
        let ids: Vec<_> = self
            .rooms
            .get(room)
            .map_or_else(Vec::new, |r| r.tracks.iter().copied().collect());
        for id in ids {
            self.trim_one(now, id);
        }
    }

    pub(super) fn enforce_caps(&mut self, id: TrackId) {
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
    pub(super) fn bury(&mut self, now: i64, id: TrackId) {
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
}
