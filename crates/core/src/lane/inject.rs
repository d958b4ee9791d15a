//! Tracks of other threads: whole frames come, and are packed only for somebody who watches.

use std::time::Instant;

use roomtape_media::h264::{annexb_units, nal, nal_type};
use roomtape_media::{flags, Codec, Frame, TrackId, TrackInfo};

use super::{is_forwardable, Lane};
use crate::gop::SourcePacket;
use crate::limits;
use crate::pack;
use crate::track::Track;

/// What an injected track is made of while nobody watches it.
#[derive(Debug, Default)]
pub struct Injected {
    /// Sequence of its newest packet.
    seq: u64,
    /// Frames behind those that stand packed in the track's cache. They begin with a key frame, or
    /// the cache does.
    unpacked: Vec<Frame>,
    bytes: usize,
}

impl Injected {
    fn take(&mut self) -> Vec<Frame> {
        self.bytes = 0;
        std::mem::take(&mut self.unpacked)
    }
}

impl Track {
    /// Keeps a frame that nobody watches, back to the last key frame.
    fn keep_unpacked(&mut self, frame: Frame) {
        if frame.flags & flags::KEY != 0 {
            self.cache.clear();
            self.injected.take();
        } else if !self.cache.has_key() && self.injected.unpacked.is_empty() {
            return; // nothing a decoder could start from
        }
        self.injected.bytes += frame.data.len();
        self.injected.unpacked.push(frame);
        if self.injected.bytes > limits::GOP_BYTES {
            self.cache.clear();
            self.injected.take();
        }
    }

    /// The packets of a frame, which stand in the cache from now on.
    fn pack(&mut self, now: Instant, frame: &Frame) -> Vec<SourcePacket> {
        let key = frame.flags & flags::KEY != 0;
        let payloads = match self.info.codec {
            Codec::H264 => {
                if let Some(profile) = profile_of(&frame.data).filter(|_| key) {
                    self.profile = profile;
                }
                pack::payloads(&frame.data)
            }
            _ => vec![frame.data.clone()],
        };
        let rtp = i64::from(self.rate) * frame.pts / i64::from(self.info.time_base_den.max(1));
        let count = payloads.len();
        let mut packets = Vec::with_capacity(count);
        for (n, payload) in payloads.into_iter().enumerate() {
            self.injected.seq += 1;
            let packet = SourcePacket {
                seq: self.injected.seq,
                rtp,
                marker: n + 1 == count,
                payload,
                arrival: now,
                orientation: None,
            };
            self.cache.push(&packet, key);
            packets.push(packet);
        }
        packets
    }
}

impl Lane {
    /// Another thread publishes into a room; it tells the server and the tap of it itself.
    pub(super) fn inject_start(&mut self, now: Instant, info: TrackInfo) {
        let id = info.id;
        let room = info.room.clone();
        let mut track = Track::new(info, None, now);
        track.profile = 0x42_e0_1f; // until its first SPS tells
        self.tracks.insert(id, track);
        self.rooms.entry(room.clone()).or_default().tracks.push(id);
        self.bind_viewers(now, &room);
    }

    /// A frame of an injected track, for those who watch it now or later.
    pub(super) fn inject_frame(&mut self, now: Instant, frame: Frame) {
        let id = frame.track;
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if track.source.is_some() || !is_forwardable(track.info.codec) {
            return;
        }
        if track.viewers.is_empty() {
            return track.keep_unpacked(frame);
        }
        for packet in track.pack(now, &frame) {
            self.forward(now, id, &packet, now);
        }
    }

    /// Somebody is about to watch a track: what was kept of it is packed.
    pub(super) fn catch_up(&mut self, now: Instant, id: TrackId) {
        if let Some(track) = self.tracks.get_mut(&id) {
            for frame in track.injected.take() {
                track.pack(now, &frame);
            }
        }
    }

    /// The source of an injected track is gone.
    pub(super) fn inject_stop(&mut self, now: Instant, id: TrackId) {
        let Some(track) = self.tracks.remove(&id) else {
            return;
        };
        let room = track.info.room.clone();
        if let Some(known) = self.rooms.get_mut(&room) {
            known.tracks.retain(|t| *t != id);
        }
        for (viewer, slot) in track.viewers {
            self.unbind(viewer, slot);
        }
        self.bind_viewers(now, &room);
        self.forget_empty_room(&room);
    }
}

/// `profile-level-id` as an SPS in the access unit has it: its bytes 1 to 3.
fn profile_of(unit: &[u8]) -> Option<u32> {
    let sps = annexb_units(unit).find(|n| nal_type(n) == nal::SPS)?;
    let bytes = sps.get(1..4)?;
    Some(u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]))
}
