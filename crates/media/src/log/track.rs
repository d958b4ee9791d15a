//! The frames of one track that somebody may still need, numbered without holes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::types::{flags, Frame, Kind, StopCause, TrackInfo};

/// Sound kept before the oldest frame anybody needs: a restarted decoder and AAC coder warm up on it.
pub const SOUND_TAIL_NS: i64 = 400_000_000;

/// What a frame costs beside its bytes, so that the caps also bound a flood of tiny frames.
const ENTRY_OVERHEAD: usize = 128;

/// A frame in the log; its number is its place.
#[derive(Clone, Debug)]
pub struct Entry {
    pub flags: u32,
    pub pts: i64,
    pub dts: i64,
    pub capture_ns: i64,
    pub data: Arc<[u8]>,
}

impl Entry {
    fn cost(&self) -> usize {
        self.data.len() + ENTRY_OVERHEAD
    }
}

/// How a track ended.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// When it ended, capture time.
    pub at_ns: i64,
    pub cause: StopCause,
    /// When the log was told.
    pub told_ns: i64,
}

/// The log of one track.
#[derive(Debug)]
pub struct TrackLog {
    /// Configurations by the first frame they hold for; the front one holds for the oldest frame.
    configs: VecDeque<(u64, Arc<TrackInfo>)>,
    entries: VecDeque<Entry>,
    /// Sequence number of `entries[0]`, or of the next frame when there is none.
    first: u64,
    /// Numbers of the key frames held (pictures only).
    keys: VecDeque<u64>,
    bytes: usize,
    pub width: u32,
    pub height: u32,
    pub stopped: Option<Stopped>,
    /// When the log was told of the track.
    pub known_ns: i64,
}

impl TrackLog {
    pub fn new(info: TrackInfo, now: i64) -> Self {
        Self {
            configs: VecDeque::from([(0, Arc::new(info))]),
            entries: VecDeque::new(),
            first: 0,
            keys: VecDeque::new(),
            bytes: 0,
            width: 0,
            height: 0,
            stopped: None,
            known_ns: now,
        }
    }

    /// The newest configuration.
    pub fn info(&self) -> &Arc<TrackInfo> {
        &self.configs[self.configs.len() - 1].1
    }

    /// The configuration that holds for frame `seq` (the oldest known one for older frames),
    /// and the frame it began with.
    pub fn config_at(&self, seq: u64) -> (u64, &Arc<TrackInfo>) {
        let found = self.configs.iter().rev().find(|(from, _)| *from <= seq);
        let (from, info) = found.unwrap_or(&self.configs[0]);
        (*from, info)
    }

    /// The first frame after `seq` for which another configuration holds.
    pub fn next_config_after(&self, seq: u64) -> Option<u64> {
        self.configs
            .iter()
            .map(|(from, _)| *from)
            .find(|from| *from > seq)
    }

    pub fn is_picture(&self) -> bool {
        self.info().kind != Kind::Audio
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn first_seq(&self) -> u64 {
        self.first
    }

    pub fn next_seq(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub fn get(&self, seq: u64) -> Option<&Entry> {
        let place = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.entries.get(place)
    }

    pub fn newest(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// Appends a frame and returns its number.
    pub fn push(&mut self, frame: Frame) -> u64 {
        let seq = self.next_seq();
        if self.is_picture() && frame.flags & flags::KEY != 0 {
            self.keys.push_back(seq);
        }
        let entry = Entry {
            flags: frame.flags & !flags::PREROLL,
            pts: frame.pts,
            dts: frame.dts,
            capture_ns: frame.capture_ns,
            data: frame.data,
        };
        self.bytes += entry.cost();
        self.entries.push_back(entry);
        seq
    }

    /// From the next frame on `info` holds.
    pub fn reconfigure(&mut self, info: TrackInfo) {
        let next = self.next_seq();
        if self.configs[self.configs.len() - 1].0 == next {
            self.configs.pop_back();
        }
        self.configs.push_back((next, Arc::new(info)));
    }

    /// Where reading can begin at or after `seq`: a key frame, or any frame of a sound.
    /// `None` when the log holds no such frame (yet).
    pub fn entry_point(&self, seq: u64) -> Option<u64> {
        let seq = seq.max(self.first);
        if self.is_picture() {
            self.keys.iter().copied().find(|key| *key >= seq)
        } else {
            (seq < self.next_seq()).then_some(seq)
        }
    }

    /// The first frame a decoder must be given so that it is warm at `seq`: the key frame at or
    /// before it, or sound from `tail_ns` before it. `seq` itself when the log holds no more.
    pub fn warm_start(&self, seq: u64, tail_ns: i64) -> u64 {
        let seq = seq.clamp(self.first, self.next_seq());
        if self.is_picture() {
            // With nothing at `seq` yet, the newest frame's key frame is the one that counts.
            let key = self.keys.iter().rev().copied().find(|key| *key <= seq);
            return key.unwrap_or(seq);
        }
        let Some(anchor) = self.get(seq).or(self.newest()) else {
            return seq;
        };
        let from_ns = anchor.capture_ns.saturating_sub(tail_ns);
        let mut start = seq;
        while start > self.first {
            match self.get(start - 1) {
                Some(entry) if entry.capture_ns >= from_ns => start -= 1,
                _ => break,
            }
        }
        start
    }

    /// Drops what nobody needs when `needed` is the oldest frame anybody still needs.
    pub fn trim(&mut self, needed: u64) {
        let keep_from = self.warm_start(needed, SOUND_TAIL_NS);
        while self.first < keep_from {
            self.pop_front();
        }
    }

    /// Drops the oldest frame, needed or not.
    pub fn pop_front(&mut self) {
        let Some(entry) = self.entries.pop_front() else {
            return;
        };
        self.bytes -= entry.cost();
        self.first += 1;
        while self.keys.front().is_some_and(|key| *key < self.first) {
            self.keys.pop_front();
        }
        while self.configs.len() > 1 && self.configs[1].0 <= self.first {
            self.configs.pop_front();
        }
    }

    /// Drops all frames; the numbering goes on.
    pub fn clear(&mut self) {
        while !self.entries.is_empty() {
            self.pop_front();
        }
    }
}
