//! From RTP time to the server's monotonic clock.
//!
//! A sender report says which NTP time belongs to an RTP time. The smallest difference
//! (arrival - NTP time) over a window, taken over all tracks of the peer, is the offset of the
//! sender's clock plus the fastest way through the network; sound and picture share it, which is
//! what keeps lips in sync. Before the first report a track uses the same minimum over
//! (arrival - RTP time) of its own; so do all of a peer whose reports contradict each other.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One instant known on both clocks; converts `Instant` to nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub struct ClockBase {
    pub instant: Instant,
    pub mono_ns: i64,
}

impl ClockBase {
    /// Nanoseconds of `CLOCK_MONOTONIC` at `t`.
    pub fn ns(&self, t: Instant) -> i64 {
        match t.checked_duration_since(self.instant) {
            Some(later) => self.mono_ns + later.as_nanos() as i64,
            None => self.mono_ns - self.instant.duration_since(t).as_nanos() as i64,
        }
    }

    /// The instant of `ns` nanoseconds of `CLOCK_MONOTONIC`.
    pub fn instant(&self, ns: i64) -> Instant {
        let distance = Duration::from_nanos((ns - self.mono_ns).unsigned_abs());
        if ns >= self.mono_ns {
            self.instant + distance
        } else {
            self.instant.checked_sub(distance).unwrap_or(self.instant)
        }
    }
}

const SECOND_NS: i64 = 1_000_000_000;
/// Seconds the minimum looks back: long enough to meet a quiet moment of the network, short enough
/// that 100 ppm of drift stay below 3 ms.
const WINDOW_S: i64 = 30;
/// The applied mapping follows its target by at most 5 ms per second, so that a correction can be
/// hidden by resampling (0.5 %).
const SLEW_PER_1000: i64 = 5;
/// A larger error is no drift: the sender's clock was set. The mapping jumps.
const JUMP_NS: i64 = SECOND_NS;
/// A report that is this much off the one before it is believed when the next one says the same:
/// clocks are set rarely, wrong reports differ from each other.
const DOUBT_NS: i64 = 100_000_000;
/// Reports of one peer's tracks that are further apart are wrong: no network holds back one of them
/// so long, and no client sends sound and picture of times so different.
const CONTRADICTION_NS: i64 = 5 * SECOND_NS;

/// Sliding minimum in buckets of one second.
#[derive(Debug, Default)]
pub struct MinFilter {
    buckets: VecDeque<(i64, i64)>,
}

impl MinFilter {
    /// Takes a sample measured at `now_ns`.
    pub fn add(&mut self, now_ns: i64, value: i64) {
        let second = now_ns.div_euclid(SECOND_NS);
        match self.buckets.back_mut() {
            Some((at, min)) if *at == second => *min = (*min).min(value),
            _ => self.buckets.push_back((second, value)),
        }
        while self
            .buckets
            .front()
            .is_some_and(|(at, _)| *at < second - WINDOW_S)
        {
            self.buckets.pop_front();
        }
    }

    /// The smallest sample of the window.
    pub fn min(&self) -> Option<i64> {
        self.buckets.iter().map(|(_, v)| *v).min()
    }

    /// The smallest sample of the window that ends at `now_ns`.
    fn min_at(&self, now_ns: i64) -> Option<i64> {
        let oldest = now_ns.div_euclid(SECOND_NS) - WINDOW_S;
        let within = self.buckets.iter().filter(|(at, _)| *at >= oldest);
        within.map(|(_, v)| *v).min()
    }
}

/// The clock of a peer: offset of its NTP time to ours.
#[derive(Debug, Default)]
pub struct PeerClock {
    /// By each of its tracks that has a report.
    offsets: Vec<MinFilter>,
}

impl PeerClock {
    /// Server time of the sender's NTP time 0, ns. `None`: no track has a report, or they contradict
    /// each other.
    pub fn offset_ns(&self, now_ns: i64) -> Option<i64> {
        let known = || self.offsets.iter().filter_map(|o| o.min_at(now_ns));
        let (least, most) = (known().min()?, known().max()?);
        (most - least <= CONTRADICTION_NS).then_some(least)
    }

    /// True once a report was of use.
    pub fn is_known(&self) -> bool {
        self.offsets.iter().any(|o| o.min().is_some())
    }
}

/// The clock of one track.
#[derive(Debug)]
pub struct TrackClock {
    rate: i64,
    /// NTP ns (UNIX epoch) minus RTP ns, by the newest sender report.
    report: Option<i64>,
    /// Another one that is not believed yet.
    doubted: Option<i64>,
    arrival: MinFilter,
    applied: Option<(i64, i64)>,
    /// Its place among the peer's offsets.
    place: Option<usize>,
    /// Somebody has been given a capture time: corrections are slow from here.
    settled: bool,
}

impl TrackClock {
    /// `rate`: RTP ticks per second.
    pub fn new(rate: u32) -> Self {
        Self {
            rate: i64::from(rate),
            report: None,
            doubted: None,
            arrival: MinFilter::default(),
            applied: None,
            place: None,
            settled: false,
        }
    }

    fn rtp_ns(&self, rtp: i64) -> i64 {
        (i128::from(rtp) * i128::from(SECOND_NS) / i128::from(self.rate)) as i64
    }

    /// A sender report: `ntp` is the wall time of RTP time `rtp` (extended like the packets').
    pub fn sender_report(&mut self, peer: &mut PeerClock, ntp: SystemTime, rtp: i64) {
        let Ok(unix) = ntp.duration_since(UNIX_EPOCH) else {
            return;
        };
        let report = (unix.as_nanos() as i64).saturating_sub(self.rtp_ns(rtp));
        let agrees = |other: i64| report.saturating_sub(other).saturating_abs() <= DOUBT_NS;
        if self.report.is_some_and(|old| !agrees(old)) {
            let doubted = self.doubted.replace(report);
            if doubted.is_none() {
                return;
            }
            // The sender set its clock, or its reports are worth nothing: what was learnt is void.
            if let Some(filter) = self.place.and_then(|place| peer.offsets.get_mut(place)) {
                *filter = MinFilter::default();
            }
            if !doubted.is_some_and(agrees) {
                self.report = None;
                return;
            }
        } else if self.report.is_none() && self.doubted.is_some_and(|other| !agrees(other)) {
            self.doubted = Some(report);
            return;
        }
        self.report = Some(report);
        self.doubted = None;
    }

    /// The next capture times are used: from now on they are corrected slowly.
    pub fn settle(&mut self) {
        self.settled = true;
    }

    /// True once a sender report has come.
    pub fn has_report(&self) -> bool {
        self.report.is_some()
    }

    /// A packet of RTP time `rtp` arrived.
    pub fn arrived(&mut self, peer: &mut PeerClock, rtp: i64, now_ns: i64) {
        let rtp_ns = self.rtp_ns(rtp);
        self.arrival.add(now_ns, now_ns - rtp_ns);
        if let Some(report) = self.report {
            let place = *self.place.get_or_insert_with(|| {
                peer.offsets.push(MinFilter::default());
                peer.offsets.len() - 1
            });
            let offset = now_ns.saturating_sub(report.saturating_add(rtp_ns));
            if let Some(filter) = peer.offsets.get_mut(place) {
                filter.add(now_ns, offset);
            }
        }
    }

    /// Server time at which RTP time `rtp` was captured.
    pub fn capture_ns(&mut self, peer: &PeerClock, rtp: i64, now_ns: i64) -> i64 {
        let target = match (self.report, peer.offset_ns(now_ns)) {
            (Some(report), Some(offset)) => report.saturating_add(offset),
            _ => self.arrival.min().unwrap_or(now_ns - self.rtp_ns(rtp)),
        };
        let applied = match self.applied {
            Some((applied, at)) if self.settled && (target - applied).abs() < JUMP_NS => {
                let most = (now_ns - at).max(0) / 1000 * SLEW_PER_1000;
                applied + (target - applied).clamp(-most, most)
            }
            _ => target,
        };
        self.applied = Some((applied, now_ns));
        self.rtp_ns(rtp) + applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn sound_and_picture_of_one_instant_map_to_one_instant() {
        let mut peer = PeerClock::default();
        let (mut sound, mut picture) = (TrackClock::new(48_000), TrackClock::new(90_000));
        let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        sound.sender_report(&mut peer, wall, 5_000_000);
        picture.sender_report(&mut peer, wall, 77_000);
        // Sound needs 10 ms through the network, pictures 60: the faster one sets the offset.
        let base = 500 * SECOND_NS;
        sound.arrived(&mut peer, 5_000_000, base + 10 * MS);
        picture.arrived(&mut peer, 77_000, base + 60 * MS);
        let a = sound.capture_ns(&peer, 5_000_000, base + 60 * MS);
        let v = picture.capture_ns(&peer, 77_000, base + 60 * MS);
        assert!((a - v).abs() < 1000, "{a} {v}");
        assert!((a - (base + 10 * MS)).abs() < 1000);
    }

    #[test]
    fn a_late_report_moves_the_mapping_by_five_ms_per_second() {
        let mut peer = PeerClock::default();
        let (mut sound, mut picture) = (TrackClock::new(48_000), TrackClock::new(90_000));
        let wall = UNIX_EPOCH + Duration::from_secs(9);
        // The way of the pictures is 40 ms longer, which nobody can know before there are reports.
        picture.arrived(&mut peer, 0, SECOND_NS + 40 * MS);
        picture.settle();
        let at_first = picture.capture_ns(&peer, 0, SECOND_NS + 40 * MS);
        assert_eq!(at_first, SECOND_NS + 40 * MS);
        sound.sender_report(&mut peer, wall, 0);
        picture.sender_report(&mut peer, wall, 0);
        sound.arrived(&mut peer, 0, SECOND_NS);
        let later = picture.capture_ns(&peer, 90_000, 2 * SECOND_NS + 40 * MS);
        assert_eq!(later, 2 * SECOND_NS + 35 * MS);
    }

    #[test]
    fn what_the_first_packet_taught_is_forgotten_at_once_until_somebody_listens() {
        let mut peer = PeerClock::default();
        let mut track = TrackClock::new(48_000);
        track.arrived(&mut peer, 0, 90 * MS); // held back by 90 ms
        track.capture_ns(&peer, 0, 90 * MS);
        track.arrived(&mut peer, 960, 20 * MS);
        assert_eq!(track.capture_ns(&peer, 960, 100 * MS), 20 * MS);
    }

    #[test]
    fn reports_that_contradict_each_other_move_nothing() {
        let mut peer = PeerClock::default();
        let (mut sound, mut picture) = (TrackClock::new(48_000), TrackClock::new(90_000));
        let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        sound.sender_report(&mut peer, wall, 0);
        picture.sender_report(&mut peer, wall + Duration::from_secs(3600), 0);
        sound.arrived(&mut peer, 0, SECOND_NS);
        picture.arrived(&mut peer, 0, SECOND_NS);
        assert_eq!(sound.capture_ns(&peer, 0, SECOND_NS), SECOND_NS);
        assert_eq!(picture.capture_ns(&peer, 0, SECOND_NS), SECOND_NS);
        // It sets its clock right: the two agree again, when it has said so twice.
        picture.sender_report(&mut peer, wall + Duration::from_secs(1), 90_000);
        picture.arrived(&mut peer, 90_000, 2 * SECOND_NS);
        assert_eq!(peer.offset_ns(2 * SECOND_NS), None);
        picture.sender_report(&mut peer, wall + Duration::from_secs(2), 180_000);
        picture.arrived(&mut peer, 180_000, 3 * SECOND_NS);
        assert_eq!(
            peer.offset_ns(3 * SECOND_NS),
            Some(SECOND_NS - 1_700_000_000 * SECOND_NS)
        );
    }

    #[test]
    fn reports_that_all_say_the_same_rtp_time_are_given_up() {
        let mut peer = PeerClock::default();
        let (mut sound, mut picture) = (TrackClock::new(48_000), TrackClock::new(90_000));
        for second in 1..20 {
            let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second as u64);
            let now = second * SECOND_NS;
            sound.sender_report(&mut peer, wall, 0);
            picture.sender_report(&mut peer, wall, second * 90_000);
            sound.arrived(&mut peer, second * 48_000, now);
            picture.arrived(&mut peer, second * 90_000, now);
            if second > 3 {
                assert_eq!(sound.capture_ns(&peer, second * 48_000, now), now);
                assert_eq!(picture.capture_ns(&peer, second * 90_000, now), now);
            }
        }
    }

    #[test]
    fn a_day_of_skewed_clocks_is_followed_with_and_without_reports() {
        for (ppm, reports) in [(100, true), (-100, true), (100, false), (-100, false)] {
            let mut peer = PeerClock::default();
            let mut sound = TrackClock::new(48_000);
            sound.settle();
            for tick in 0..24 * 3600 * 5_i64 {
                let now = tick * SECOND_NS / 5;
                let rtp = now / 1_000_000 * (1_000_000 + ppm) / 1_000_000 * 48;
                if reports && tick % 25 == 0 {
                    let wall = UNIX_EPOCH + Duration::from_nanos(now as u64);
                    sound.sender_report(&mut peer, wall, rtp);
                }
                let way = tick * 7_919 % 40 * MS; // up to 40 ms through the network
                sound.arrived(&mut peer, rtp, now + way);
                let off = sound.capture_ns(&peer, rtp, now + way) - now;
                assert!(
                    tick < 50 || off.abs() < 10 * MS,
                    "{ppm} ppm: {off} ns at {tick}"
                );
            }
        }
    }
}
