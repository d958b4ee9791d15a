//! The way from a track to one viewer's m-line: numbers rebased, so that a change of the track
//! looks like one continuous stream.

use std::time::{Duration, Instant};

use crate::gop::SourcePacket;

/// A packet with the viewer's own numbers.
#[derive(Clone, Debug)]
pub struct Rebased {
    /// Extended; begins below 65 536, because a viewer's SRTP starts with rollover counter 0.
    pub seq: u64,
    pub rtp: u32,
}

/// Where a viewer's stream begins.
const FIRST_SEQ: u64 = 1;
/// Between frames that are replayed from the cache: they arrive at once, so their times are close,
/// too. With the true distances the receiver would stay behind by the cache's length.
const REPLAY_STEP: Duration = Duration::from_millis(1);

/// Rebases the packets of one source after the other onto one stream.
#[derive(Debug)]
pub struct Rebase {
    rate: u32,
    next_seq: u64,
    /// Newest outgoing RTP time and when it left.
    last: Option<(u32, Instant)>,
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    /// Packets before this one belong to the time before the viewer came.
    first_seq: u64,
    seq_offset: i64,
    rtp_offset: i64,
    /// Replayed frames: their source time and the time they were given.
    replayed: Vec<(i64, u32)>,
}

impl Rebase {
    /// `rate`: RTP ticks per second.
    pub fn new(rate: u32) -> Self {
        Self {
            rate,
            next_seq: FIRST_SEQ,
            last: None,
            source: None,
        }
    }

    fn ticks(&self, d: Duration) -> i64 {
        (d.as_micros() * u128::from(self.rate) / 1_000_000) as i64
    }

    /// A new source begins with `first`, behind `replayed` frames (their RTP times, rising).
    pub fn switch(&mut self, first_seq: u64, replayed: &[i64], newest: i64, now: Instant) {
        let live_at = match self.last {
            Some((rtp, at)) => {
                i64::from(rtp) + self.ticks(now.saturating_duration_since(at)).max(1)
            }
            None => i64::from(u32::MAX / 4),
        };
        let step = self.ticks(REPLAY_STEP).max(1);
        // The newest replayed frame is "now"; the others lie just before it.
        let live_at = live_at + step * replayed.len() as i64;
        let count = replayed.len() as i64;
        let replayed = replayed
            .iter()
            .enumerate()
            .map(|(i, rtp)| (*rtp, (live_at - step * (count - 1 - i as i64)) as u32))
            .collect();
        self.source = Some(Source {
            first_seq,
            seq_offset: self.next_seq as i64 - first_seq as i64,
            rtp_offset: live_at - newest,
            replayed,
        });
    }

    /// The viewer's numbers for a packet of the current source; `None` for one from before.
    pub fn rebase(&mut self, packet: &SourcePacket, now: Instant) -> Option<Rebased> {
        let source = self.source.as_ref().filter(|s| packet.seq >= s.first_seq)?;
        let seq = (packet.seq as i64 + source.seq_offset) as u64;
        let rtp = source
            .replayed
            .iter()
            .rev()
            .take_while(|(rtp, _)| *rtp >= packet.rtp)
            .find(|(rtp, _)| *rtp == packet.rtp)
            .map_or((packet.rtp + source.rtp_offset) as u32, |(_, given)| *given);
        if seq >= self.next_seq {
            self.next_seq = seq + 1;
            self.last = Some((rtp, now));
        }
        Some(Rebased { seq, rtp })
    }

    /// The source is gone; the next one continues where it stopped.
    pub fn stop(&mut self) {
        self.source = None;
    }

    pub fn is_started(&self) -> bool {
        self.source.is_some()
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
            payload: vec![1].into(),
            arrival: Instant::now(),
            orientation: None,
        }
    }

    #[test]
    fn a_viewer_of_an_old_stream_starts_below_the_rollover() {
        let now = Instant::now();
        let mut r = Rebase::new(90_000);
        r.switch(5_000_000, &[100, 3100], 3100, now);
        let a = r.rebase(&packet(5_000_000, 100), now).unwrap();
        let b = r.rebase(&packet(5_000_001, 3100), now).unwrap();
        let live = r.rebase(&packet(5_000_002, 6100), now).unwrap();
        assert_eq!((a.seq, b.seq, live.seq), (1, 2, 3));
        assert_eq!(
            b.rtp - a.rtp,
            90,
            "replayed frames are one millisecond apart"
        );
        assert_eq!(live.rtp - b.rtp, 3000);
        assert!(r.rebase(&packet(4_999_999, 0), now).is_none());
    }

    #[test]
    fn a_change_of_the_source_continues_numbers_and_time() {
        let now = Instant::now();
        let mut r = Rebase::new(90_000);
        r.switch(10, &[0], 0, now);
        let a = r.rebase(&packet(10, 0), now).unwrap();
        let later = now + Duration::from_secs(1);
        r.stop();
        r.switch(70_000, &[], 999_999, later);
        let b = r.rebase(&packet(70_000, 999_999), later).unwrap();
        assert_eq!(b.seq, a.seq + 1);
        assert_eq!(b.rtp - a.rtp, 90_000);
    }
}
