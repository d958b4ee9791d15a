//! From RTP time to the server's monotonic clock.
//!
//! The smallest difference (arrival - RTP time) over a window is the offset of a track's clock plus
//! its fastest way through coder and network. Sender reports put the tracks of a peer on one clock,
//! which tells how much longer that way is than the one of the peer's fastest track: so much earlier
//! than its packets say was what is in them captured. It is what keeps lips in sync, and it stays
//! known when reports stop, contradict each other or turn out wrong (see [`crate::reports`]). A
//! track that never had a report that can be believed is mapped by its arrivals alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::assemble::SETTLE;
use crate::reports::{Change, Report, Reports};

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
/// The applied mapping follows its target by at most 5 ms per second for sound, so that a correction
/// can be hidden by resampling (0.5 %), and ten times that for pictures, which follow sound.
const SOUND_SLEW_PER_1000: i64 = 5;
const PICTURE_SLEW_PER_1000: i64 = 50;
/// A larger error is no drift: the sender's clock was set. The mapping jumps.
const JUMP_NS: i64 = SECOND_NS;
/// What is learnt from reports and is more than ears and eyes tolerate is applied at once.
const TOLERATED_NS: i64 = 40_000_000;
/// Reports of one peer's tracks that are further apart are wrong: no network holds back one of them
/// so long, and no client sends sound and picture of times so different.
const CONTRADICTION_NS: i64 = 5 * SECOND_NS;
/// Reports older than this say nothing of today's drift.
const STALE_NS: i64 = 60 * SECOND_NS;
/// As long as frames wait at the beginning of a track.
const LOOSE_NS: i64 = SETTLE.as_nanos() as i64;
/// Without reports for this long, arrivals alone tell of a clock that stood still.
const UNTOLD_NS: i64 = 15 * SECOND_NS;
/// Packets that are later than ever by this much for so many seconds wait in no queue: the sender's
/// clock stood still, for want of a microphone perhaps.
const STOOD_NS: i64 = SECOND_NS / 2;
const STOOD_S: i64 = 5;

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

    /// The smallest sample of this second and the one before.
    fn recent(&self, now_ns: i64) -> Option<i64> {
        let second = now_ns.div_euclid(SECOND_NS);
        let recent = self.buckets.iter().rev();
        let recent = recent.take_while(|(at, _)| *at >= second - 1);
        recent.map(|(_, v)| *v).min()
    }

    /// Forgets what is older than `seconds` before `now_ns`.
    fn keep(&mut self, now_ns: i64, seconds: i64) {
        let oldest = now_ns.div_euclid(SECOND_NS) - seconds;
        self.buckets.retain(|(at, _)| *at > oldest);
    }

    /// True if all samples of the last [`STOOD_S`] seconds, in each of which there are some, are
    /// larger than those before by more than [`STOOD_NS`].
    fn has_stood(&self) -> bool {
        let (Some((last, _)), Some(min)) = (self.buckets.back(), self.min()) else {
            return false;
        };
        let recent = self.buckets.iter().rev();
        let recent = recent.take_while(|(at, v)| *at > last - STOOD_S && *v > min + STOOD_NS);
        recent.count() as i64 == STOOD_S
    }
}

/// What the reports say of one track.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Server time of the sender's NTP time 0 by this track's fastest packet, ns.
    offset_ns: i64,
    /// When the newest report that is believed came, and the newest packet.
    told_ns: i64,
    packet_ns: i64,
    /// Its reports ended.
    lost: bool,
}

/// The clock of a peer: what its tracks' reports have in common.
#[derive(Debug, Default)]
pub struct PeerClock {
    ways: Vec<Option<Way>>,
    /// When a track's reports stepped: the others have to be heard anew.
    stepped_ns: Option<i64>,
    /// How often a track's reports began, stepped or turned out false.
    news: u64,
}

impl PeerClock {
    /// Server time of the sender's NTP time 0, ns. `None`: no track has a report, or one of them is
    /// not sure of its own, or they contradict each other.
    pub fn offset_ns(&self, now_ns: i64) -> Option<i64> {
        let ways = || self.ways.iter().flatten();
        let is_sure = |way: &Way| {
            !way.lost
                && now_ns - way.told_ns <= STALE_NS
                && now_ns - way.packet_ns <= WINDOW_S * SECOND_NS
                && self.stepped_ns.is_none_or(|at| way.told_ns >= at)
        };
        if !ways().all(is_sure) {
            return None;
        }
        let least = ways().map(|way| way.offset_ns).min()?;
        let most = ways().map(|way| way.offset_ns).max()?;
        (most.saturating_sub(least) <= CONTRADICTION_NS).then_some(least)
    }
}

/// The clock of one track.
#[derive(Debug)]
pub struct TrackClock {
    rate: i64,
    /// Per 1000 that pass.
    slew: i64,
    reports: Reports,
    /// Arrival minus RTP time, ns.
    arrival: MinFilter,
    /// So much (not above 0) is added to what arrivals say, ns.
    bias: i64,
    applied: Option<(i64, i64)>,
    /// Its place among the peer's tracks.
    place: Option<usize>,
    /// Somebody has been given a capture time: corrections are slow from here.
    settled: bool,
    /// When the newest report that is believed came, and what the peer had to say when it was heard.
    told_ns: Option<i64>,
    news: u64,
    /// Until then corrections are applied at once.
    loose_until: i64,
}

impl TrackClock {
    /// `rate`: RTP ticks per second.
    pub fn new(rate: u32, is_picture: bool) -> Self {
        Self {
            rate: i64::from(rate),
            slew: if is_picture {
                PICTURE_SLEW_PER_1000
            } else {
                SOUND_SLEW_PER_1000
            },
            reports: Reports::default(),
            arrival: MinFilter::default(),
            bias: 0,
            applied: None,
            place: None,
            settled: false,
            told_ns: None,
            news: 0,
            loose_until: i64::MIN,
        }
    }

    fn rtp_ns(&self, rtp: i64) -> i64 {
        (i128::from(rtp) * i128::from(SECOND_NS) / i128::from(self.rate)) as i64
    }

    /// A sender report that arrived at `now_ns`: `ntp` is the wall time of RTP time `rtp` (extended
    /// like the packets').
    pub fn sender_report(&mut self, peer: &mut PeerClock, ntp: SystemTime, rtp: i64, now_ns: i64) {
        let Ok(unix) = ntp.duration_since(UNIX_EPOCH) else {
            return;
        };
        let report = Report {
            ntp_ns: unix.as_nanos() as i64,
            rtp_ns: self.rtp_ns(rtp),
            arrival_ns: now_ns,
        };
        let transit = self.arrival.recent(now_ns);
        let stood = match (transit, self.arrival.min()) {
            (Some(transit), Some(min)) => transit.saturating_sub(min),
            _ => 0,
        };
        match self.reports.take(&report, transit, stood) {
            Change::Nothing => {}
            Change::Told => self.told(peer, now_ns),
            Change::Stepped => {
                if stood > TOLERATED_NS {
                    self.arrival.keep(now_ns, 2);
                }
                peer.stepped_ns = Some(now_ns);
                peer.news += 1;
                self.told(peer, now_ns);
            }
            Change::Void => self.void(peer),
            Change::Lost => {
                if let Some(way) = self.way(peer) {
                    way.lost = true;
                }
            }
        }
    }

    fn way<'a>(&self, peer: &'a mut PeerClock) -> Option<&'a mut Way> {
        peer.ways.get_mut(self.place?)?.as_mut()
    }

    fn told(&mut self, peer: &mut PeerClock, now_ns: i64) {
        self.told_ns = Some(now_ns);
        self.place(peer, now_ns);
        if let Some(way) = self.way(peer) {
            (way.told_ns, way.lost) = (now_ns, false);
        }
    }

    /// Puts what is known now among the peer's tracks.
    fn place(&mut self, peer: &mut PeerClock, now_ns: i64) {
        let (Some(value), Some(arrival)) = (self.reports.value(), self.arrival.min()) else {
            return;
        };
        let offset_ns = arrival.saturating_sub(value);
        if let Some(way) = self.way(peer) {
            way.offset_ns = offset_ns;
            return;
        }
        let place = *self.place.get_or_insert_with(|| {
            peer.ways.push(None);
            peer.ways.len() - 1
        });
        if let Some(slot) = peer.ways.get_mut(place) {
            peer.news += 1;
            *slot = Some(Way {
                offset_ns,
                told_ns: now_ns,
                packet_ns: now_ns,
                lost: false,
            });
        }
    }

    fn void(&mut self, peer: &mut PeerClock) {
        self.bias = 0;
        peer.news += 1;
        self.end(peer);
    }

    /// The track ends: its peer's others go on without it.
    pub fn end(&mut self, peer: &mut PeerClock) {
        if let Some(slot) = self.place.and_then(|place| peer.ways.get_mut(place)) {
            *slot = None;
        }
    }

    /// The packets' time was led on over a jump, by when they arrived: that is as inexact as the
    /// first packets of a track are, and what they teach is taken as it is for as long.
    pub fn led_on(&mut self, peer: &mut PeerClock, now_ns: i64) {
        self.arrival = MinFilter::default();
        self.reports.led_on();
        if let Some(way) = self.way(peer) {
            way.lost = true;
        }
        self.loose_until = now_ns + LOOSE_NS;
    }

    /// The next capture times are used: from now on they are corrected slowly.
    pub fn settle(&mut self) {
        self.settled = true;
    }

    /// True once there is a sender report that withstood its trial.
    pub fn is_known(&self, now_ns: i64) -> bool {
        self.reports.is_sure(now_ns)
    }

    /// A packet of RTP time `rtp` arrived.
    pub fn arrived(&mut self, peer: &mut PeerClock, rtp: i64, now_ns: i64) {
        let transit = now_ns.saturating_sub(self.rtp_ns(rtp));
        self.arrival.add(now_ns, transit);
        if self.reports.packet(now_ns, transit) == Change::Void {
            self.void(peer);
        }
        self.place(peer, now_ns);
        if let Some(way) = self.way(peer) {
            way.packet_ns = now_ns;
        }
        let untold = self.told_ns.is_none_or(|at| now_ns - at > UNTOLD_NS);
        if untold && self.arrival.has_stood() {
            self.arrival.keep(now_ns, STOOD_S);
        }
    }

    /// Server time at which RTP time `rtp` was captured.
    pub fn capture_ns(&mut self, peer: &PeerClock, rtp: i64, now_ns: i64) -> i64 {
        let rtp_ns = self.rtp_ns(rtp);
        let arrival = self.arrival.min();
        let arrival = arrival.unwrap_or(now_ns.saturating_sub(rtp_ns));
        if let (Some(value), Some(offset)) = (self.reports.value(), peer.offset_ns(now_ns)) {
            self.bias = offset.saturating_add(value).saturating_sub(arrival).min(0);
        }
        let target = arrival.saturating_add(self.bias);
        let news = std::mem::replace(&mut self.news, peer.news) != peer.news;
        let most = match news {
            _ if now_ns < self.loose_until => 0,
            true => TOLERATED_NS,
            false => JUMP_NS,
        };
        let applied = match self.applied {
            Some((applied, at)) if self.settled && (target - applied).abs() < most => {
                let most = (now_ns - at).max(0) / 1000 * self.slew;
                applied + (target - applied).clamp(-most, most)
            }
            _ => target,
        };
        self.applied = Some((applied, now_ns));
        rtp_ns + applied
    }
}

#[cfg(test)]
mod sim;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn sound_and_picture_of_one_instant_map_to_one_instant() {
        let mut peer = PeerClock::default();
        let (mut sound, mut picture) = (
            TrackClock::new(48_000, false),
            TrackClock::new(90_000, true),
        );
        let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        sound.sender_report(&mut peer, wall, 5_000_000, 500 * SECOND_NS);
        picture.sender_report(&mut peer, wall, 77_000, 500 * SECOND_NS);
        // Sound needs 10 ms through the network, pictures 60: the faster one sets the offset.
        let base = 500 * SECOND_NS;
        sound.arrived(&mut peer, 5_000_000, base + 10 * MS);
        picture.arrived(&mut peer, 77_000, base + 60 * MS);
        let a = sound.capture_ns(&peer, 5_000_000, base + 60 * MS);
        let v = picture.capture_ns(&peer, 77_000, base + 60 * MS);
        assert!((a - v).abs() < 1000, "{a} {v}");
        assert!((a - (base + 10 * MS)).abs() < 1000);
    }

    /// The mapping of `late` ms of a longer way a second after a report told of it.
    fn corrected(is_picture: bool, late: i64) -> i64 {
        let mut peer = PeerClock::default();
        let mut fast = TrackClock::new(48_000, false);
        let mut slow = TrackClock::new(90_000, is_picture);
        let wall = UNIX_EPOCH + Duration::from_secs(9);
        // Which nobody can know before there are reports.
        slow.arrived(&mut peer, 0, SECOND_NS + late * MS);
        slow.settle();
        let at_first = slow.capture_ns(&peer, 0, SECOND_NS + late * MS);
        assert_eq!(at_first, SECOND_NS + late * MS);
        fast.arrived(&mut peer, 0, SECOND_NS);
        fast.sender_report(&mut peer, wall, 0, SECOND_NS + late * MS);
        slow.sender_report(&mut peer, wall, 0, SECOND_NS + late * MS);
        let later = slow.capture_ns(&peer, 90_000, 2 * SECOND_NS + late * MS);
        (later - 2 * SECOND_NS) / MS
    }

    #[test]
    fn a_late_report_moves_sound_slowly_and_pictures_faster_and_what_is_heard_at_once() {
        assert_eq!(corrected(false, 39), 34);
        assert_eq!(corrected(true, 39), 0);
        assert_eq!(corrected(false, 41), 0);
    }

    #[test]
    fn what_the_first_packet_taught_is_forgotten_at_once_until_somebody_listens() {
        let mut peer = PeerClock::default();
        let mut track = TrackClock::new(48_000, false);
        track.arrived(&mut peer, 0, 90 * MS); // held back by 90 ms
        track.capture_ns(&peer, 0, 90 * MS);
        track.arrived(&mut peer, 960, 20 * MS);
        assert_eq!(track.capture_ns(&peer, 960, 100 * MS), 20 * MS);
    }

    #[test]
    fn reports_that_contradict_each_other_move_nothing() {
        let mut peer = PeerClock::default();
        let (mut sound, mut picture) = (
            TrackClock::new(48_000, false),
            TrackClock::new(90_000, true),
        );
        let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        sound.sender_report(&mut peer, wall, 0, SECOND_NS);
        picture.sender_report(&mut peer, wall + Duration::from_secs(3600), 0, SECOND_NS);
        sound.arrived(&mut peer, 0, SECOND_NS);
        picture.arrived(&mut peer, 0, SECOND_NS);
        assert_eq!(sound.capture_ns(&peer, 0, SECOND_NS), SECOND_NS);
        assert_eq!(picture.capture_ns(&peer, 0, SECOND_NS), SECOND_NS);
        assert_eq!(peer.offset_ns(SECOND_NS), None);
        // It sets its clock right: the two agree again, when it has said so often enough.
        for second in 1..=4 {
            let (now, rtp) = ((1 + second) * SECOND_NS, second * 90_000);
            let wall = wall + Duration::from_secs(second as u64);
            picture.arrived(&mut peer, rtp, now + 20 * MS);
            picture.sender_report(&mut peer, wall, rtp, now + 20 * MS);
            sound.arrived(&mut peer, second * 48_000, now);
            sound.sender_report(&mut peer, wall, second * 48_000, now);
            let captured = picture.capture_ns(&peer, rtp, now + 20 * MS);
            assert_eq!(captured, now);
        }
        let ntp_zero = SECOND_NS - 1_700_000_000 * SECOND_NS;
        assert_eq!(peer.offset_ns(5 * SECOND_NS), Some(ntp_zero));
    }

    #[test]
    fn a_day_of_skewed_clocks_is_followed_with_and_without_reports() {
        for (ppm, reports) in [(100, true), (-100, true), (100, false), (-100, false)] {
            let mut peer = PeerClock::default();
            let mut sound = TrackClock::new(48_000, false);
            sound.settle();
            for tick in 0..24 * 3600 * 5_i64 {
                let now = tick * SECOND_NS / 5;
                let rtp = now / 1_000_000 * (1_000_000 + ppm) / 1_000_000 * 48;
                if reports && tick % 25 == 0 {
                    let wall = UNIX_EPOCH + Duration::from_nanos(now as u64);
                    sound.sender_report(&mut peer, wall, rtp, now);
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
