//! What the readers say.

use std::collections::HashMap;
use std::sync::Arc;

use super::reader::{Interest, OpenSpec, Reader, ReaderKey, Reading, TrackView};
use super::{Logs, Memory, Position, ReadError};
use crate::types::{TapDemand, TrackId};

impl Logs {
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

    /// A reader's connection is gone: a durable one may come back within [`super::REJOIN_NS`].
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

    pub(super) fn forget_empty_room(&mut self, room_key: &str) {
        let gone = self.rooms.get(room_key).is_some_and(|room| {
            room.tracks.is_empty() && room.readers.is_empty() && room.names.is_empty()
        });
        if gone {
            self.rooms.remove(room_key);
        }
    }
}
