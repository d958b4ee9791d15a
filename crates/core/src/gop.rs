//! The newest group of pictures (or the newest seconds of sound) of a track, as packets.
//!
//! It is kept from the moment of publishing, so that a viewer has a picture at once and a
//! recorder that comes after the first key frame still gets it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::limits;

/// An RTP packet as it came from its publisher.
#[derive(Clone, Debug)]
pub struct SourcePacket {
    /// Extended sequence number.
    pub seq: u64,
    /// Extended RTP time.
    pub rtp: i64,
    pub marker: bool,
    pub payload: Arc<[u8]>,
    pub arrival: Instant,
    /// How a viewer has to turn the picture, from the header extension.
    pub orientation: Option<str0m::rtp::VideoOrientation>,
}

/// Packets since the last key frame; of sound, those of the last seconds.
#[derive(Debug, Default)]
pub struct GopCache {
    packets: VecDeque<SourcePacket>,
    bytes: usize,
    /// RTP time of the key frame at its start; `None`: there is none, pictures are not kept.
    key: Option<i64>,
    /// When that key frame came.
    since: Option<Instant>,
    sound: bool,
}

impl GopCache {
    pub fn new(sound: bool) -> Self {
        Self {
            sound,
            ..Self::default()
        }
    }

    /// Keeps a packet; `key` says that it belongs to a key frame.
    pub fn push(&mut self, packet: &SourcePacket, key: bool) {
        if self.sound {
            let oldest = packet.arrival.checked_sub(limits::SOUND_KEPT);
            while self
                .packets
                .front()
                .is_some_and(|p| Some(p.arrival) < oldest)
            {
                self.drop_front();
            }
        } else {
            if key && self.key.is_none_or(|k| packet.rtp > k) {
                self.key = Some(packet.rtp);
                self.since = Some(packet.arrival);
                while self.packets.front().is_some_and(|p| p.rtp < packet.rtp) {
                    self.drop_front();
                }
            }
            if self.key.is_none_or(|k| packet.rtp < k) {
                return;
            }
        }
        self.bytes += packet.payload.len();
        self.packets.push_back(packet.clone());
        if self.bytes > limits::GOP_BYTES {
            let since = self.since; // still old, so that a key frame is asked for
            *self = Self::new(self.sound);
            self.since = since;
        }
    }

    fn drop_front(&mut self) {
        if let Some(packet) = self.packets.pop_front() {
            self.bytes -= packet.payload.len();
        }
    }

    /// What is kept, in order of the sequence.
    pub fn in_order(&self) -> Vec<SourcePacket> {
        let mut all: Vec<SourcePacket> = self.packets.iter().cloned().collect();
        all.sort_by_key(|p| p.seq);
        all
    }

    /// A viewer can be started with what is kept.
    pub fn is_replayable(&self) -> bool {
        self.has_key() && self.packets.len() <= limits::REPLAY_PACKETS
    }

    /// The group of pictures is so old that a new one should begin.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.since
            .is_some_and(|since| now >= since + limits::GOP_AGE)
    }

    /// A decoder can start from what is kept.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.sound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u64, rtp: i64) -> SourcePacket {
        SourcePacket {
            seq,
            rtp,
            marker: true,
            payload: vec![0; 10].into(),
            arrival: Instant::now(),
            orientation: None,
        }
    }

    #[test]
    fn a_key_frame_begins_the_cache_anew_and_late_packets_of_the_old_one_stay_out() {
        let mut cache = GopCache::new(false);
        cache.push(&packet(1, 100), false);
        assert!(!cache.has_key(), "nothing to start from yet");
        cache.push(&packet(2, 200), true);
        cache.push(&packet(4, 300), false);
        cache.push(&packet(5, 400), true);
        cache.push(&packet(3, 200), false);
        cache.push(&packet(6, 400), true);
        let seqs: Vec<u64> = cache.in_order().iter().map(|p| p.seq).collect();
        assert_eq!(seqs, [5, 6]);
    }
}
