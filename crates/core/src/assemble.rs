//! Frames of one tapped track: order, whole frames, capture times.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roomtape_media::{flags, Codec, Frame, Kind, TrackId};

use crate::clock::{ClockBase, PeerClock, TrackClock};
use crate::depack::h264::H264Depack;
use crate::depack::opus::OpusDepack;
use crate::depack::vp8::Vp8Depack;
use crate::depack::Assembled;
use crate::gop::SourcePacket;
use crate::reorder::{Ordered, Reorder, AUDIO_WINDOW, VIDEO_WINDOW};

/// Frames wait this long for the track's first sender report; then arrival times must do.
pub const REPORT_PATIENCE: Duration = Duration::from_secs(2);
/// Even with a report they wait this long after the track's start, so that one late packet at the
/// beginning does not set the clock (its error could be taken back at 5 ms per second only).
pub const SETTLE: Duration = Duration::from_millis(500);

enum Depack {
    H264(H264Depack),
    Vp8(Vp8Depack),
    Opus(OpusDepack),
}

/// From packets to frames for the tap.
pub struct Assembler {
    track: TrackId,
    reorder: Reorder<SourcePacket>,
    depack: Depack,
    last_rtp: Option<i64>,
    held: VecDeque<(Assembled, Instant)>,
    /// Frames are held until then, whatever is known.
    held_until: Option<Instant>,
    gap: bool,
    scratch: Vec<Assembled>,
}

/// What a round of assembling gave.
#[derive(Default)]
pub struct Round {
    pub frames: Vec<Frame>,
    /// Pictures are lost that others refer to, or soon will be: a key frame is wanted.
    pub broken: bool,
}

impl Assembler {
    pub fn new(track: TrackId, kind: Kind, codec: Codec) -> Self {
        let window = if kind == Kind::Audio {
            AUDIO_WINDOW
        } else {
            VIDEO_WINDOW
        };
        Self {
            track,
            reorder: Reorder::new(window),
            depack: match codec {
                Codec::H264 => Depack::H264(H264Depack::default()),
                Codec::Vp8 => Depack::Vp8(Vp8Depack::default()),
                _ => Depack::Opus(OpusDepack::default()),
            },
            last_rtp: None,
            held: VecDeque::new(),
            held_until: None,
            gap: false,
            scratch: Vec::new(),
        }
    }

    /// Takes a packet; what became whole waits for [`Assembler::release`].
    pub fn push(&mut self, packet: SourcePacket, now: Instant) {
        self.reorder.push(packet.seq, packet.arrival, packet);
        self.turn(now);
    }

    /// Lets go of what waited too long for a missing packet.
    pub fn turn(&mut self, now: Instant) {
        while let Some(Ordered { gap, packet }) = self.reorder.pop(now) {
            let SourcePacket {
                rtp,
                marker,
                payload,
                arrival,
                ..
            } = packet;
            match &mut self.depack {
                Depack::H264(d) => d.push(rtp, marker, gap, &payload, &mut self.scratch),
                Depack::Vp8(d) => self.scratch.extend(d.push(rtp, marker, gap, &payload)),
                Depack::Opus(d) => self.scratch.extend(d.push(rtp, gap, &payload)),
            }
            for frame in self.scratch.drain(..) {
                if self.last_rtp.is_some_and(|last| frame.rtp <= last) {
                    self.gap = true; // decoding order is not time order: not WebRTC, not kept
                    continue;
                }
                self.last_rtp = Some(frame.rtp);
                self.held.push_back((frame, arrival));
            }
        }
    }

    /// Gives no frame away before `until`.
    pub fn hold(&mut self, until: Instant) {
        self.held_until = Some(until);
    }

    /// Stamps the frames and gives them away, unless the clock is still to be learnt; `age` is the
    /// time since the track's first packet.
    pub fn release(
        &mut self,
        clock: &mut TrackClock,
        peer: &PeerClock,
        base: ClockBase,
        age: Duration,
        now: Instant,
    ) -> Round {
        let refused = match &mut self.depack {
            Depack::H264(d) => d.take_refused(),
            Depack::Vp8(d) => d.take_refused(),
            Depack::Opus(_) => false,
        };
        let mut round = Round {
            broken: refused | self.reorder.is_stuck(now),
            ..Round::default()
        };
        let now_ns = base.ns(now);
        let settled = clock.is_known(now_ns) && age >= SETTLE;
        let held = self.held_until.is_some_and(|until| now < until);
        if held || (!settled && age < REPORT_PATIENCE) {
            return round;
        }
        if !self.held.is_empty() {
            // What was learnt until now is taken as it is.
            clock.capture_ns(peer, 0, now_ns);
            clock.settle();
        }
        while let Some((frame, arrival)) = self.held.pop_front() {
            let gap = std::mem::take(&mut self.gap) | frame.gap;
            let mut bits = 0;
            if frame.key {
                bits |= flags::KEY;
            }
            if gap {
                bits |= flags::GAP;
            }
            round.frames.push(Frame {
                track: self.track,
                flags: bits,
                pts: frame.rtp,
                dts: frame.rtp,
                capture_ns: clock.capture_ns(peer, frame.rtp, now_ns),
                arrival_ns: base.ns(arrival),
                data: Arc::clone(&frame.data),
            });
        }
        round
    }

    /// When `turn` is due although nothing arrives.
    pub fn deadline(&self) -> Option<Instant> {
        self.reorder.deadline()
    }

    /// Arrival of the oldest packet or frame that is not given away yet.
    pub fn oldest(&self) -> Option<Instant> {
        let held = self.held.front().map(|(_, arrival)| *arrival);
        [held, self.reorder.oldest()].into_iter().flatten().min()
    }
}
