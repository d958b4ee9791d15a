//! The newest group of pictures of a publisher and the sound that belongs to it, for who comes late.

use std::collections::VecDeque;

use roomtape_media::{flags, Frame, Kind};

const MS: i64 = 1_000_000;
/// It never holds more; a publisher with longer groups has its first pictures late.
const MOST_BYTES: usize = 32 << 20;
const MOST_NS: i64 = 20_000 * MS;
/// Sound kept from before the key frame (or of a publisher without a picture).
const SOUND_NS: i64 = 400 * MS;

/// Frames of both media in the order of their arrival.
#[derive(Debug, Default)]
pub struct GopCache {
    frames: VecDeque<(Kind, Frame)>,
    bytes: usize,
}

impl GopCache {
    /// A key frame captured at `key_ns` comes next: of what is older only the newest sound stays.
    pub fn begin(&mut self, key_ns: i64) {
        self.drop_where(|kind, f| kind != Kind::Audio || f.capture_ns < key_ns - SOUND_NS);
    }

    /// Without a picture the newest sound is enough.
    pub fn shorten_sound(&mut self, now_ns: i64) {
        let is_old =
            |(kind, f): &(Kind, Frame)| *kind == Kind::Audio && f.capture_ns < now_ns - SOUND_NS;
        while self.frames.front().is_some_and(is_old) {
            self.bytes -= self.frames.pop_front().map_or(0, |(_, f)| f.data.len());
        }
    }

    pub fn push(&mut self, kind: Kind, frame: Frame) {
        let now_ns = frame.capture_ns;
        self.bytes += frame.data.len();
        self.frames.push_back((kind, frame));
        let oldest = self.frames.front().map_or(now_ns, |(_, f)| f.capture_ns);
        if now_ns - oldest > MOST_NS || self.bytes > MOST_BYTES {
            // Part of a group is of no use: its picture is gone until the next key frame.
            self.begin(now_ns);
        }
    }

    /// The frames of one medium are of no use any longer.
    pub fn forget(&mut self, kind: Kind) {
        self.drop_where(|k, _| k == kind);
    }

    /// All were captured later by so much than was thought.
    pub fn shift(&mut self, by_ns: i64) {
        self.frames
            .iter_mut()
            .for_each(|(_, f)| f.capture_ns += by_ns);
    }

    /// What a reader that comes now is given first: no picture whose key frame is gone.
    pub fn replay(&self) -> Vec<Frame> {
        let is_key = |(kind, f): &(Kind, Frame)| *kind != Kind::Audio && f.flags & flags::KEY != 0;
        let keyed = self.frames.iter().any(is_key);
        let useful = |(kind, _): &&(Kind, Frame)| keyed || *kind == Kind::Audio;
        let frames = self.frames.iter().filter(useful);
        frames.map(|(_, f)| f.clone()).collect()
    }

    fn drop_where(&mut self, gone: impl Fn(Kind, &Frame) -> bool) {
        self.frames.retain(|(kind, frame)| !gone(*kind, frame));
        self.bytes = self.frames.iter().map(|(_, f)| f.data.len()).sum();
    }
}

#[cfg(test)]
impl GopCache {
    pub fn len(&self) -> usize {
        self.frames.len()
    }
}
