//! A sender, a network and two busy machines from a seed; the truth is known.

use super::*;
use crate::assemble::REPORT_PATIENCE;

const MS: i64 = 1_000_000;
const S: i64 = SECOND_NS;
const RATES: [i64; 2] = [48_000, 90_000];
const EVERY: [i64; 2] = [20 * MS, 33 * MS];

struct Dice(u64);

impl Dice {
    /// From 0 to below `most`.
    fn roll(&mut self, most: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) as i64 % most.max(1)
    }
}

/// What a report says instead of (NTP, RTP time in ns since the start): sound (0) or picture (1).
type Lie = fn(usize, i64, i64) -> (i64, i64);

struct World {
    seed: u64,
    seconds: i64,
    /// Of sound and picture: from capture to sending.
    coder: [i64; 2],
    jitter: i64,
    /// A machine is busy with other things for up to this long.
    busy: i64,
    /// Between two reports.
    reports: [i64; 2],
    lie: Lie,
    /// From one instant of capture on RTP time is so much later than it should be (or earlier).
    standing: [Option<(i64, i64)>; 2],
}

impl World {
    fn new(seed: u64) -> World {
        World {
            seed,
            seconds: 60,
            coder: [10 * MS, 30 * MS],
            jitter: 10 * MS,
            busy: 0,
            reports: [5 * S, S],
            lie: |_, ntp, rtp| (ntp, rtp),
            standing: [None; 2],
        }
    }

    /// Runs it; (server time, sound ahead of picture, sound and picture behind the truth) in ns for
    /// each picture that a recorder is given.
    fn run(&self) -> Vec<(i64, i64, [i64; 2])> {
        let mut dice = Dice(self.seed ^ 0x5eed);
        // Ready to be sent: (when, track, is a report, capture or report time).
        let mut ready: Vec<(i64, usize, bool, i64)> = Vec::new();
        for (track, every) in EVERY.into_iter().enumerate() {
            let captured = (0..).map(|n| n * every);
            for at in captured.take_while(|at| *at < self.seconds * S) {
                let stands = |(from, by): (i64, i64)| (from..from - by.min(0)).contains(&at);
                if !self.standing[track].is_some_and(stands) {
                    ready.push((at + self.coder[track], track, false, at));
                }
            }
            let first = dice.roll(self.reports[track]);
            let mut reports = (0..).map(|n| first + n * self.reports[track]);
            while let Some(at) = reports.next().filter(|at| *at < self.seconds * S) {
                ready.push((at, track, true, at));
            }
        }
        ready.sort_unstable();
        let sent = pass(&ready, self.busy, 0, &mut dice);
        let arrived = pass(&sent, self.busy, self.jitter, &mut dice);

        let mut peer = PeerClock::default();
        let mut clocks = RATES.map(|rate| TrackClock::new(rate as u32, rate == RATES[1]));
        let mut began: [Option<i64>; 2] = [None; 2];
        let mut off = [None; 2];
        let mut out = Vec::new();
        for ((now, track, is_report, at), (left, ..)) in arrived.iter().zip(&sent) {
            let (now, track, at) = (now + S, *track, *at);
            let ticks =
                |ns: i64| (i128::from(ns) * i128::from(RATES[track]) / i128::from(S)) as i64;
            let led = self.standing[track].filter(|(from, _)| at >= *from);
            let led = led.map_or(0, |(_, by)| by);
            if *is_report {
                // What it says is made when it is sent.
                let (ntp, rtp) = (self.lie)(track, *left, left + led);
                let wall = UNIX_EPOCH + Duration::from_nanos((1_700_000_000 * S + ntp) as u64);
                clocks[track].sender_report(&mut peer, wall, ticks(rtp), now);
                continue;
            }
            let clock = &mut clocks[track];
            let rtp = ticks(at + led);
            clock.arrived(&mut peer, rtp, now);
            let age = now - *began[track].get_or_insert(now);
            let ready = clock.is_known(now) && age >= SETTLE.as_nanos() as i64;
            let captured = clock.capture_ns(&peer, rtp, now);
            if !ready && age < REPORT_PATIENCE.as_nanos() as i64 {
                continue;
            }
            clock.settle();
            off[track] = Some(captured - S - at);
            if let ([Some(sound), Some(picture)], 1) = (off, track) {
                out.push((now - S, sound - picture, [sound, picture]));
            }
        }
        out
    }
}

/// What leaves a busy machine or a network that keeps the order.
fn pass(
    items: &[(i64, usize, bool, i64)],
    busy: i64,
    jitter: i64,
    dice: &mut Dice,
) -> Vec<(i64, usize, bool, i64)> {
    let (mut away_from, mut away_until) = (0, dice.roll(busy));
    let mut last = 0;
    let mut out = Vec::new();
    for (at, track, is_report, what) in items {
        let mut due = at + dice.roll(jitter);
        while due >= away_until {
            away_from = away_until + dice.roll(4 * busy + MS) + MS;
            away_until = away_from + dice.roll(busy);
            if due < away_from {
                break;
            }
        }
        if (away_from..away_until).contains(&due) {
            due = away_until;
        }
        last = due.max(last);
        out.push((last, *track, *is_report, *what));
    }
    out
}

const LOADS: [i64; 4] = [0, 20 * MS, 150 * MS, 800 * MS];
const PACES: [[i64; 2]; 4] = [[S, S], [5 * S, S], [5 * S, 5 * S], [500 * S, 500 * S]];

/// The largest distance of sound and picture in ms, from each of `since` (seconds) on: over all loads,
/// paces of reports and many seeds.
fn apart<const N: usize>(since: [i64; N], world: impl Fn(World) -> World) -> [i64; N] {
    let mut worst = [0; N];
    for busy in LOADS {
        for reports in PACES {
            for seed in 1..=25 {
                let seen = world(World {
                    busy,
                    reports,
                    ..World::new(seed)
                })
                .run();
                assert!(seen.len() > 100);
                for (worst, since) in worst.iter_mut().zip(since) {
                    let late = seen.iter().filter(|(at, ..)| *at >= since * S);
                    let most = late.map(|(_, apart, _)| apart.abs() / MS).max();
                    *worst = most.unwrap_or(0).max(*worst);
                }
            }
        }
    }
    worst
}

fn lied(since: [i64; 2], lie: Lie) -> [i64; 2] {
    apart(since, |world| World { lie, ..world })
}

/// By what sound and picture differ in their way through the coders: unknown without reports.
const WAY_MS: i64 = 22;
/// Machines that are away for 0.8 s at a time leave this much, until a quiet moment comes.
const BUSY_MS: i64 = 80;

#[test]
fn r_sync_honest_reports_keep_lips_in_sync_on_busy_machines() {
    let [at_once, later] = lied([0, 20], |_, ntp, rtp| (ntp, rtp));
    assert!(at_once <= BUSY_MS, "{at_once}");
    assert!(later <= WAY_MS, "{later}");
}

#[test]
fn r_sync_reports_of_an_rtp_time_that_never_moves_are_given_up() {
    let lies: [Lie; 4] = [
        |track, ntp, rtp| (ntp, if track == 0 { 0 } else { rtp }),
        |track, ntp, rtp| (ntp, if track == 1 { 0 } else { rtp }),
        |_, ntp, _| (ntp, 0),
        // Only the first report says anything.
        |_, ntp, rtp| (ntp, rtp.min(S / 2)),
    ];
    for lie in lies {
        // Before the second report comes, an error of 100 ms and the noise of arrivals goes undetected.
        let [at_once, later] = lied([0, 12], lie);
        assert!(at_once <= 100 + BUSY_MS, "{at_once}");
        assert!(later <= WAY_MS, "{later}");
    }
}

#[test]
fn r_sync_reports_of_an_rtp_time_at_another_rate_are_given_up() {
    let lies: [Lie; 4] = [
        |track, ntp, rtp| (ntp, if track == 0 { rtp * 441 / 480 } else { rtp }),
        |track, ntp, rtp| (ntp, if track == 0 { rtp * 480 / 441 } else { rtp }),
        |track, ntp, rtp| (ntp, if track == 1 { rtp / 6 } else { rtp }),
        |track, ntp, rtp| (ntp, if track == 1 { rtp * 2 } else { rtp }),
    ];
    for lie in lies {
        let [later] = apart([25], |world| World { lie, ..world });
        assert!(later <= 2 * WAY_MS, "{later}");
    }
}

#[test]
fn r_sync_reports_an_hour_off_move_nothing() {
    let lies: [Lie; 3] = [
        |_, ntp, rtp| (ntp, rtp - 3600 * S),
        |track, ntp, rtp| (ntp, if track == 0 { rtp - 3600 * S } else { rtp }),
        |track, ntp, rtp| (ntp, if track == 1 { rtp + 3600 * S } else { rtp }),
    ];
    for lie in lies {
        let [at_once, later] = lied([0, 12], lie);
        assert!(at_once <= BUSY_MS, "{at_once}");
        assert!(later <= WAY_MS, "{later}");
    }
}

#[test]
fn r_sync_a_sender_that_sets_its_clock_moves_nothing() {
    let lies: [Lie; 3] = [
        |_, ntp, rtp| (ntp + if ntp > 40 * S { 3600 * S } else { 0 }, rtp),
        |_, ntp, rtp| (ntp + if ntp > 40 * S { 2 * S } else { 0 }, rtp),
        |_, ntp, rtp| (ntp - if ntp > 40 * S { S / 2 } else { 0 }, rtp),
    ];
    for lie in lies {
        let [at_once, later] = lied([0, 40], lie);
        assert!(at_once <= BUSY_MS, "{at_once}");
        assert!(later <= WAY_MS, "{later}");
    }
}

/// A microphone that is taken away for a phone call: RTP time goes on where it was. It is late from
/// then on, and known to be when reports or five seconds of packets say so.
#[test]
fn r_gap_a_clock_that_stood_still_is_told_from_reports_that_do() {
    let stood = Some((20 * S, -3 * S));
    for standing in [[stood, None], [None, stood], [stood, stood]] {
        let [before, later] = apart([45, 45], |world| World { standing, ..world });
        assert!(before.max(later) <= WAY_MS, "{later}");
    }
}

/// Where nobody is early or late, capture times are the truth and the way through the network.
#[test]
fn capture_times_are_the_truth() {
    for seed in 1..=25 {
        for (_, _, off) in World::new(seed).run() {
            assert!(off.iter().all(|o| (0..45 * MS).contains(o)), "{off:?}");
        }
    }
}
