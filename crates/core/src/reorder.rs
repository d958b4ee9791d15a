//! Puts packets back in order, and gives up on one that is missing for too long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long sound waits for a missing packet.
pub const AUDIO_WINDOW: Duration = Duration::from_millis(120);
/// How long pictures wait: long enough for the five requests that are made for a missing packet, one
/// per round trip of up to 100 ms, and the answer to the last. A recording loses nothing by waiting;
/// viewers are sent each packet as it comes, unless it is far past a hole (`hold.rs`).
pub const VIDEO_WINDOW: Duration = Duration::from_millis(700);
/// The first packet to come may not be the first that was sent: what went before it is waited for.
const FIRST_WINDOW: Duration = Duration::from_millis(150);
/// A packet missing for so long has been asked for three times. Where it is a picture's, the next key
/// picture had better be under way when it is given up: all until then is lost with it.
const STUCK_AFTER: Duration = Duration::from_millis(300);
/// What is this far before the first is of another series.
const MAX_JUMP: u64 = 4096;
/// So many packets do not wait for one: 20 MB, or the window of a stream of 200 Mb/s.
const MAX_WAITING: usize = 16_384;

/// Packets in order of their extended sequence number.
#[derive(Debug)]
pub struct Reorder<T> {
    window: Duration,
    next: Option<u64>,
    /// Until when `next` may still become an earlier one.
    open_until: Option<Instant>,
    /// The hole that was told to be stuck.
    told: Option<u64>,
    waiting: BTreeMap<u64, (Instant, T)>,
}

/// A packet whose turn it is; `gap` says that some before it are given up.
#[derive(Debug, PartialEq, Eq)]
pub struct Ordered<T> {
    pub gap: bool,
    pub packet: T,
}

impl<T> Reorder<T> {
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            next: None,
            open_until: None,
            told: None,
            waiting: BTreeMap::new(),
        }
    }

    /// Takes a packet that arrived at `arrival`. One that comes after it was given up is dropped.
    pub fn push(&mut self, seq: u64, arrival: Instant, packet: T) {
        match self.next {
            None => {
                self.next = Some(seq);
                self.open_until = Some(arrival + FIRST_WINDOW);
            }
            Some(next) if seq < next => {
                if self.open_until.is_none() || next - seq > MAX_JUMP {
                    return;
                }
                self.next = Some(seq);
            }
            Some(_) => {}
        }
        self.waiting.entry(seq).or_insert((arrival, packet));
    }

    /// The next packet in order; past the window also across a hole.
    pub fn pop(&mut self, now: Instant) -> Option<Ordered<T>> {
        let next = self.next?;
        let patient = self.waiting.len() <= MAX_WAITING;
        if patient && self.open_until.is_some_and(|until| now < until) {
            return None;
        }
        self.open_until = None;
        let (&seq, &(arrival, _)) = self.waiting.iter().next()?;
        let gap = seq != next;
        if gap && patient && now < arrival + self.window {
            return None;
        }
        let (_, packet) = self.waiting.remove(&seq)?;
        self.next = Some(seq + 1);
        Some(Ordered { gap, packet })
    }

    /// True once for each hole that stays open for long.
    pub fn is_stuck(&mut self, now: Instant) -> bool {
        let (Some(next), Some((&seq, &(arrival, _)))) = (self.next, self.waiting.iter().next())
        else {
            return false;
        };
        let stuck = seq != next && now >= arrival + STUCK_AFTER && self.told != Some(next);
        if stuck {
            self.told = Some(next);
        }
        stuck
    }

    /// When `pop` has to be called again although no packet comes.
    pub fn deadline(&self) -> Option<Instant> {
        let (_, (arrival, _)) = self.waiting.iter().next()?;
        Some(self.open_until.unwrap_or(*arrival + self.window))
    }

    /// Arrival of the oldest packet that waits.
    pub fn oldest(&self) -> Option<Instant> {
        self.waiting.values().map(|(arrival, _)| *arrival).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_restored_and_a_hole_waits_for_the_window() {
        let t = Instant::now();
        let mut r = Reorder::new(AUDIO_WINDOW);
        for seq in [11, 10, 12, 14] {
            r.push(seq, t - FIRST_WINDOW, seq);
        }
        let drain = |r: &mut Reorder<u64>, now| {
            std::iter::from_fn(|| r.pop(now).map(|o| (o.gap, o.packet))).collect::<Vec<_>>()
        };
        let whole = [(false, 10), (false, 11), (false, 12)];
        assert_eq!(drain(&mut r, t - FIRST_WINDOW), []);
        assert_eq!(r.deadline(), Some(t));
        assert_eq!(drain(&mut r, t - Duration::from_millis(40)), []);
        let mut all = whole.to_vec();
        all.push((true, 14)); // it came 150 ms ago
        assert_eq!(drain(&mut r, t), all);
        r.push(13, t, 13);
        assert_eq!(drain(&mut r, t), [], "given up for good");
        r.push(16, t, 16);
        assert!(!r.is_stuck(t + STUCK_AFTER - Duration::from_millis(1)));
        assert!(r.is_stuck(t + STUCK_AFTER) && !r.is_stuck(t + STUCK_AFTER));
        assert_eq!(
            drain(&mut r, t + AUDIO_WINDOW - Duration::from_millis(1)),
            []
        );
        assert_eq!(r.deadline(), Some(t + AUDIO_WINDOW));
        assert_eq!(drain(&mut r, t + AUDIO_WINDOW), [(true, 16)]);
    }

    #[test]
    fn a_burst_and_what_waits_before_a_jump_are_kept_and_too_many_wait_for_none() {
        let t = Instant::now();
        let mut r = Reorder::new(AUDIO_WINDOW);
        let count = |r: &mut Reorder<u64>, now| std::iter::from_fn(|| r.pop(now)).count();
        let burst = 6000;
        for seq in 0..burst {
            r.push(seq, t, seq);
        }
        assert_eq!(count(&mut r, t + FIRST_WINDOW), burst as usize);
        let jumped = 100_000;
        for seq in [burst + 1, jumped] {
            r.push(seq, t + FIRST_WINDOW, seq);
        }
        assert_eq!(count(&mut r, t + FIRST_WINDOW), 0);
        assert_eq!(count(&mut r, t + FIRST_WINDOW + AUDIO_WINDOW), 2);
        for seq in 0..=MAX_WAITING as u64 {
            assert_eq!(count(&mut r, t + FIRST_WINDOW + AUDIO_WINDOW), 0);
            r.push(jumped + 2 + seq, t + FIRST_WINDOW + AUDIO_WINDOW, seq);
        }
        let first = r.pop(t + FIRST_WINDOW + AUDIO_WINDOW).unwrap();
        assert!(first.gap);
        assert_eq!(count(&mut r, t + FIRST_WINDOW + AUDIO_WINDOW), MAX_WAITING);
    }
}
