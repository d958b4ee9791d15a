//! What the sender reports of one track say, as far as they can be believed.
//!
//! All reports of an honest sender lie on one line: its RTP time runs as its NTP time does. A report
//! is not the word of a clock if packets of a later RTP time were there when it came, if the one
//! before it says another thing, or if the two times run at different rates. A clock that stood
//! still is told from reports that stand still by the packets: they stood with it.

const SECOND_NS: i64 = 1_000_000_000;
const MS: i64 = SECOND_NS / 1000;
/// Reports are rounded to pictures and to the pace of packets: this far off the line is on it.
const NOISE_NS: i64 = 100 * MS;
/// Further off by this share of the time that passed is still on it: no crystal is as bad as 0.1 %.
const DRIFT: i64 = 1000;
/// What is captured before a report leaves cannot be of a later time than the report, so packets that
/// came before it are not; this much is left to the network.
const BEHIND_NS: i64 = 100 * MS;
/// No coder holds back its pictures for longer, so no report is further ahead of the packets.
const AHEAD_NS: i64 = 5 * SECOND_NS;
/// Packets that come this soon after a report still tell whether it can be.
const TRIAL_NS: i64 = 500 * MS;
/// So many reports in a row that are on no line end the one they leave.
const MISSES: u32 = 5;
/// A line of so many reports was true as long as it lasted.
const PROVEN: u32 = 10;
/// After so many lines that ended, nothing is believed: arrival times must do.
const FAULTS: u32 = 3;
/// A line that held for so long makes the ends before it forgotten: a clock may be set now and then.
const FORGIVEN_NS: i64 = 600 * SECOND_NS;

/// One report, in ns: NTP time, the RTP time that is said to belong to it, and its arrival.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub ntp_ns: i64,
    pub rtp_ns: i64,
    pub arrival_ns: i64,
}

/// What a report or a packet changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// There is a line, or its newest report.
    Told,
    /// Another line is believed: the sender set its clock, or its RTP time stood still.
    Stepped,
    /// What was believed may never have been true.
    Void,
    /// The line ended; what it said of the track's way through the network remains the best guess.
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    /// NTP minus RTP time at its first report and at its newest.
    first: i64,
    newest: i64,
    /// NTP time of the first.
    since: i64,
    count: u32,
    /// RTP time and arrival of its first report, and the smallest transit of a packet near it.
    begin: (i64, i64, i64),
}

impl Line {
    fn new(report: &Report, transit: Option<i64>) -> Self {
        let value = report.ntp_ns.saturating_sub(report.rtp_ns);
        Self {
            first: value,
            newest: value,
            since: report.ntp_ns,
            count: 1,
            begin: (
                report.rtp_ns,
                report.arrival_ns,
                transit.unwrap_or(i64::MAX),
            ),
        }
    }

    fn fits(&self, report: &Report) -> bool {
        let off = report
            .ntp_ns
            .saturating_sub(report.rtp_ns)
            .saturating_sub(self.first);
        let passed = report.ntp_ns.saturating_sub(self.since).saturating_abs();
        off.saturating_abs() <= NOISE_NS + passed / DRIFT
    }

    fn take(&mut self, report: &Report) {
        self.newest = report.ntp_ns.saturating_sub(report.rtp_ns);
        self.count += 1;
    }

    /// False if its first report cannot have been sent when the packets near it were.
    fn can_be(&self) -> bool {
        let (rtp, arrival, transit) = self.begin;
        if transit == i64::MAX {
            return true;
        }
        let ahead = rtp.saturating_sub(arrival.saturating_sub(transit));
        (-BEHIND_NS..=AHEAD_NS).contains(&ahead)
    }

    fn on_trial(&self, now_ns: i64) -> bool {
        self.count == 1 && now_ns <= self.begin.1.saturating_add(TRIAL_NS)
    }

    /// A packet came; false if the line cannot be after all.
    fn try_packet(&mut self, now_ns: i64, transit: i64) -> bool {
        if !self.on_trial(now_ns) {
            return true;
        }
        self.begin.2 = self.begin.2.min(transit);
        self.can_be()
    }
}

/// The reports of one track.
#[derive(Debug, Default)]
pub struct Reports {
    line: Option<Line>,
    /// Another one that is not believed yet.
    other: Option<Line>,
    misses: u32,
    faults: u32,
    /// RTP time was led on over a jump: the next report says where it is now.
    is_led_on: bool,
}

impl Reports {
    /// NTP minus RTP time, ns, by the newest report that is believed.
    pub fn value(&self) -> Option<i64> {
        self.line.map(|line| line.newest)
    }

    /// What is believed is not on trial any longer.
    pub fn is_sure(&self, now_ns: i64) -> bool {
        self.line.is_some_and(|line| !line.on_trial(now_ns))
    }

    /// RTP time jumped, and was led on by when packets arrived: the line is another.
    pub fn led_on(&mut self) {
        self.is_led_on |= self.line.take().is_some();
        self.other = None;
        self.misses = 0;
    }

    /// Takes a report. `transit`: arrival minus RTP time of the fastest packet of the last second;
    /// `stood`: how much longer that is than it was before.
    pub fn take(&mut self, report: &Report, transit: Option<i64>, stood: i64) -> Change {
        if self.faults >= FAULTS {
            return Change::Nothing;
        }
        if let Some(line) = self.line.as_mut().filter(|line| line.fits(report)) {
            line.take(report);
            if report.ntp_ns - line.since > FORGIVEN_NS {
                self.faults = 0;
            }
            self.other = None;
            self.misses = 0;
            return Change::Told;
        }
        let fresh = Line::new(report, transit);
        let Some(line) = self.line else {
            return self.begin(report, fresh);
        };
        if transit.is_none() {
            return Change::Nothing; // nothing is sent: a clock may stand still meanwhile
        }
        if line.count == 1 {
            // Two that contradict each other: neither is believed.
            self.other = Some(fresh).filter(Line::can_be);
            self.line = None;
            self.fault();
            return Change::Void;
        }
        self.misses += 1;
        let step = fresh.newest.saturating_sub(line.newest);
        let stood_too = stood > NOISE_NS && (step - stood).saturating_abs() <= NOISE_NS;
        let needed = if stood_too { 1 } else { self.needed() };
        if fresh.can_be() && self.follow(report, fresh) >= needed {
            self.line = self.other.take();
            self.misses = 0;
            if !stood_too && self.fault() {
                return Change::Void;
            }
            return Change::Stepped;
        }
        if self.misses < MISSES {
            return Change::Nothing;
        }
        let proven = line.count >= PROVEN;
        self.line = None;
        if self.fault() || !proven {
            return Change::Void;
        }
        Change::Lost
    }

    /// A packet of this transit came at `now_ns`.
    pub fn packet(&mut self, now_ns: i64, transit: i64) -> Change {
        if let Some(other) = self.other.as_mut() {
            if !other.try_packet(now_ns, transit) {
                self.other = None;
            }
        }
        let line = self.line.as_mut();
        if line.is_some_and(|line| !line.try_packet(now_ns, transit)) {
            self.line = None;
            return Change::Void;
        }
        Change::Nothing
    }

    /// No line is believed: this report may begin one, or go on with the one that waits.
    fn begin(&mut self, report: &Report, fresh: Line) -> Change {
        if !fresh.can_be() {
            return Change::Nothing;
        }
        let is_first = self.faults == 0 || self.is_led_on;
        let needed = if is_first { 1 } else { self.needed() };
        if self.follow(report, fresh) < needed {
            return Change::Nothing;
        }
        self.line = self.other.take();
        self.misses = 0;
        if self.faults == 0 && !std::mem::take(&mut self.is_led_on) {
            return Change::Told;
        }
        Change::Stepped // perhaps: the line before it may have been another
    }

    fn follow(&mut self, report: &Report, fresh: Line) -> u32 {
        match self.other.as_mut().filter(|other| other.fits(report)) {
            Some(other) => other.take(report),
            None => self.other = Some(fresh),
        }
        self.other.map_or(0, |other| other.count)
    }

    /// A line ended. True if nothing is believed from here.
    fn fault(&mut self) -> bool {
        self.faults += 1;
        if self.faults >= FAULTS {
            self.line = None;
            self.other = None;
        }
        self.faults >= FAULTS
    }

    /// Reports that have to agree before a line is believed in place of another.
    fn needed(&self) -> u32 {
        2 + self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: f64 = 5.0;

    /// A report that came at `at_s`.
    fn report(at_s: f64, ntp_s: f64, rtp_s: f64) -> Report {
        let ns = |s: f64| (s * 1e9) as i64;
        Report {
            ntp_ns: ns(1.7e9) + ns(ntp_s),
            rtp_ns: ns(rtp_s),
            arrival_ns: ns(at_s),
        }
    }

    /// What becomes of `count` reports (NTP, RTP time) while packets are as fast as they can be.
    fn told(count: u32, every: f64, says: impl Fn(f64) -> (f64, f64)) -> (Reports, Vec<Change>) {
        let mut all = Reports::default();
        let take = |n| {
            let at = f64::from(n) * every;
            let (ntp, rtp) = says(at);
            all.take(&report(at, ntp, rtp), Some(0), 0)
        };
        let changes = (0..count).map(take).collect();
        (all, changes)
    }

    #[test]
    fn honest_reports_are_believed_from_the_first_one_on() {
        let noise = |t: f64| (t * 7919.0) % 0.09;
        let (all, changes) = told(1000, EVERY, |t| (t, t * 1.0003 + noise(t)));
        assert!(changes.iter().all(|c| *c == Change::Told), "{changes:?}");
        assert!(all.value().is_some());
    }

    #[test]
    fn r_sync_reports_that_stand_still_while_packets_run_are_given_up() {
        for every in [0.2, 1.0, 5.0] {
            let (all, changes) = told(100, every, |t| (t, 0.0));
            assert_eq!(all.value(), None);
            let voids = changes.iter().filter(|c| **c == Change::Void).count();
            assert_eq!(voids, 1, "{changes:?}");
            assert!(changes.iter().skip(3).all(|c| *c == Change::Nothing));
        }
    }

    #[test]
    fn r_sync_reports_that_run_at_another_rate_are_given_up() {
        for rate in [
            0.0,
            8.0 / 48.0,
            44.1 / 48.0,
            0.98,
            1.02,
            48.0 / 44.1,
            2.0,
            -1.0,
        ] {
            for every in [1.0, 5.0] {
                let (all, _) = told(200, every, |t| (t, t * rate));
                assert_eq!(all.value(), None, "rate {rate}, every {every} s");
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_is_followed_at_the_second_report() {
        for by in [-3600.0, -0.5, 0.5, 3600.0] {
            let set = |t: f64| (t + if t < 25.0 { 0.0 } else { by }, t);
            let (_, changes) = told(10, EVERY, set);
            assert_eq!(changes[5..7], [Change::Nothing, Change::Stepped]);
            assert!(changes[7..].iter().all(|c| *c == Change::Told));
        }
    }

    #[test]
    fn a_clock_that_stood_with_its_packets_is_followed_at_once() {
        let mut all = Reports::default();
        let s = SECOND_NS;
        for n in 0..4 {
            all.take(
                &report(f64::from(n), f64::from(n), f64::from(n)),
                Some(0),
                0,
            );
        }
        assert_eq!(
            all.take(&report(8.0, 8.0, 5.0), Some(3 * s), 3 * s),
            Change::Stepped
        );
        assert_eq!(
            all.take(&report(9.0, 9.0, 6.0), Some(3 * s), 3 * s),
            Change::Told
        );
    }

    #[test]
    fn a_first_report_is_tried_by_the_packets_that_come_with_it() {
        // A sender that was held back: the packets of 0.6 s come right after the report of RTP time 0.
        let mut all = Reports::default();
        assert_eq!(all.take(&report(0.6, 0.6, 0.0), None, 0), Change::Told);
        assert!(!all.is_sure(700 * MS));
        assert_eq!(all.packet(601 * MS, 601 * MS), Change::Nothing);
        assert_eq!(all.packet(602 * MS, 2 * MS), Change::Void);
        assert_eq!(all.value(), None);
    }

    #[test]
    fn one_report_that_is_off_changes_nothing() {
        let off = |t: f64| (t, if t % 25.0 == 20.0 { t + 2.0 } else { t });
        let (all, changes) = told(20, EVERY, off);
        assert!(all.value().is_some());
        let calm = |c: &Change| matches!(c, Change::Told | Change::Nothing);
        assert!(changes.iter().all(calm), "{changes:?}");
    }
}
