//! A live track: its packets, its clock, who watches it.

use std::time::Instant;

use roomtape_media::{Codec, TrackInfo};
use str0m::rtp::Ssrc;

use crate::assemble::Assembler;
use crate::clock::TrackClock;
use crate::depack::{h264, vp8, Glance};
use crate::gop::{GopCache, SourcePacket};
use crate::keyframe::KeyframeDemand;
use crate::lane::Injected;
use crate::rebase::Rebase;
use crate::PeerId;

/// What a second of a track looked like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackStats {
    pub packets: u64,
    pub bytes: u64,
    pub lost: u64,
    /// RFC 3550 section 6.4.1, in milliseconds.
    pub jitter_ms: f64,
}

/// Counts arrivals; `second` gives the difference to the last call.
#[derive(Debug, Default)]
pub struct Counters {
    packets: u64,
    bytes: u64,
    first_seq: Option<u64>,
    highest_seq: u64,
    jitter: f64,
    transit: Option<i64>,
    told: (u64, u64, u64),
}

impl Counters {
    fn arrived(&mut self, packet: &SourcePacket, rate: u32, now_ns: i64) {
        self.packets += 1;
        self.bytes += packet.payload.len() as u64;
        let first = *self.first_seq.get_or_insert(packet.seq);
        if packet.seq < first {
            self.first_seq = Some(packet.seq);
        }
        self.highest_seq = self.highest_seq.max(packet.seq);
        let arrival = (i128::from(now_ns) * i128::from(rate) / 1_000_000_000) as i64;
        let transit = arrival - packet.rtp;
        if let Some(last) = self.transit.replace(transit) {
            self.jitter += ((transit - last).abs() as f64 - self.jitter) / 16.0;
        }
    }

    /// What happened since the last call.
    pub fn second(&mut self, rate: u32) -> TrackStats {
        let expected = self.first_seq.map_or(0, |f| self.highest_seq - f + 1);
        let lost = expected.saturating_sub(self.packets);
        let (packets, bytes, lost_before) = self.told;
        self.told = (self.packets, self.bytes, lost);
        TrackStats {
            packets: self.packets - packets,
            bytes: self.bytes - bytes,
            lost: lost.saturating_sub(lost_before),
            jitter_ms: self.jitter * 1000.0 / f64::from(rate),
        }
    }
}

/// A track between its start and its stop.
pub struct Track {
    pub info: TrackInfo,
    /// The publishing peer and its stream; `None` for an injected track.
    pub source: Option<(PeerId, Ssrc)>,
    pub injected: Injected,
    /// H.264 `profile-level-id`, or 0.
    pub profile: u32,
    /// H.264: packets may hold more than single NAL units.
    pub non_interleaved: bool,
    pub rate: u32,
    pub cache: GopCache,
    pub rebase: Rebase,
    pub clock: TrackClock,
    pub assembler: Option<Assembler>,
    pub keyframe: KeyframeDemand,
    pub size: Option<(u32, u32)>,
    /// Its pictures are larger than this server takes, or nobody can tell.
    pub refused: bool,
    pub counters: Counters,
    pub started: Instant,
    /// (viewer, index of its slot).
    pub viewers: Vec<(PeerId, usize)>,
}

impl Track {
    pub fn new(info: TrackInfo, source: Option<(PeerId, Ssrc)>, now: Instant) -> Self {
        let picture = info.kind.is_picture();
        let rate = if picture { 90_000 } else { 48_000 };
        Self {
            source,
            injected: Injected::default(),
            profile: 0,
            non_interleaved: true,
            rate,
            cache: GopCache::new(!picture),
            rebase: Rebase::new(rate),
            clock: TrackClock::new(rate, picture),
            assembler: None,
            keyframe: KeyframeDemand::default(),
            size: None,
            refused: false,
            counters: Counters::default(),
            started: now,
            viewers: Vec::new(),
            info,
        }
    }

    /// What the payload tells about itself.
    pub fn glance(&self, payload: &[u8]) -> Glance {
        match self.info.codec {
            Codec::H264 => h264::glance(payload),
            Codec::Vp8 => vp8::glance(payload),
            Codec::Opus | Codec::Aac => Glance::default(),
        }
    }

    /// Counts and keeps a packet.
    pub fn keep(&mut self, packet: &SourcePacket, key: bool, now_ns: i64) {
        self.counters.arrived(packet, self.rate, now_ns);
        self.cache.push(packet, key);
        if key {
            self.keyframe.came();
        }
    }
}
