//! RTP time that jumps is led on where real time is.
//!
//! A client that resets its RTP clock goes on at 0, earlier, or hours later. What follows counts from
//! the last packet by the time that passed between the two arrivals, so that nothing after this place
//! has to know.

use crate::clock::MinFilter;

const SECOND_NS: i64 = 1_000_000_000;
/// A packet that comes this much earlier than its time allows: no network makes up for time.
const EARLY_NS: i64 = 2 * SECOND_NS;
/// A packet that comes this much later: longer than any queue on the way.
const LATE_NS: i64 = 10 * SECOND_NS;
/// Time that runs back by more than reordered pictures (in seconds) was set.
const BACK_S: i64 = 1;

/// The time line of one track's packets.
#[derive(Debug)]
pub struct Rebase {
    rate: i64,
    offset: i64,
    /// Sequence number of the first packet after the last jump, and the offset of those before it.
    before: Option<(u64, i64)>,
    /// Newest packet by sequence: number, its time as sent and as led on, its arrival.
    newest: Option<(u64, i64, i64, i64)>,
    transit: MinFilter,
    pub jumps: u64,
}

impl Rebase {
    /// `rate`: RTP ticks per second.
    pub fn new(rate: u32) -> Self {
        Self {
            rate: i64::from(rate),
            offset: 0,
            before: None,
            newest: None,
            transit: MinFilter::default(),
            jumps: 0,
        }
    }

    /// The time of packet `seq`, sent as extended RTP time `raw`, that arrived at `now_ns`.
    pub fn packet(&mut self, seq: u64, raw: i64, now_ns: i64) -> i64 {
        if let Some((_, offset)) = self.before.filter(|(first, _)| seq < *first) {
            return raw.wrapping_add(offset);
        }
        let mut rtp = raw.wrapping_add(self.offset);
        if let Some((newest, _, newest_rtp, arrival)) = self.newest {
            if seq < newest {
                return rtp;
            }
            let usual = self.transit.min().unwrap_or(0);
            let late = now_ns.saturating_sub(self.ns(rtp)).saturating_sub(usual);
            let back = newest_rtp.saturating_sub(rtp) > BACK_S * self.rate;
            if back || !(-EARLY_NS..=LATE_NS).contains(&late) {
                let passed = i128::from((now_ns - arrival).max(0)) * i128::from(self.rate);
                let goes_on = newest_rtp + ((passed / i128::from(SECOND_NS)) as i64).max(1);
                self.before = Some((seq, self.offset));
                self.offset = goes_on.wrapping_sub(raw);
                self.jumps += 1;
                rtp = goes_on;
            }
        }
        self.newest = Some((seq, raw, rtp, now_ns));
        self.transit
            .add(now_ns, now_ns.saturating_sub(self.ns(rtp)));
        rtp
    }

    /// The 32 bits of a sender report on the packets' time line.
    pub fn report(&self, rtp: u32) -> i64 {
        let raw = self.newest.map_or(i64::from(rtp), |(_, raw, _, _)| {
            raw + i64::from(rtp.wrapping_sub(raw as u32) as i32)
        });
        raw.wrapping_add(self.offset)
    }

    fn ns(&self, rtp: i64) -> i64 {
        let ns = i128::from(rtp) * i128::from(SECOND_NS) / i128::from(self.rate);
        ns.clamp(i128::from(i64::MIN / 2), i128::from(i64::MAX / 2)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: i64 = 960;
    const EVERY: i64 = 20_000_000;

    /// 100 packets that jump by `by` at the 50th, a second after the one before when `pause_ns` says.
    fn jump(by: i64, pause_ns: i64) -> (Vec<i64>, Rebase) {
        let mut rebase = Rebase::new(48_000);
        let out = (0..100)
            .map(|n| {
                let (off, late) = if n >= 50 { (by, pause_ns) } else { (0, 0) };
                rebase.packet(n as u64, 7_000_000 + n * PACKET + off, n * EVERY + late)
            })
            .collect();
        (out, rebase)
    }

    #[test]
    fn time_goes_on_over_every_jump() {
        const HOURS: i64 = 8 * 3600 * 48_000;
        for by in [
            HOURS,
            -HOURS,
            -7_000_000,
            -50_000,
            150_000,
            1 << 31,
            -(1 << 31),
        ] {
            let (out, rebase) = jump(by, 0);
            assert_eq!(rebase.jumps, 1, "{by}");
            assert!(
                out.windows(2).all(|w| w[1] - w[0] == PACKET),
                "{by}: {out:?}"
            );
            assert_eq!(
                rebase.report((7_000_000 + 99 * PACKET + by) as u32),
                out[99]
            );
        }
    }

    #[test]
    fn a_pause_is_no_jump_and_time_that_stood_still_for_long_is() {
        let pause = 8 * 3600 * SECOND_NS;
        let (out, rebase) = jump(8 * 3600 * 48_000, pause);
        assert_eq!(
            (rebase.jumps, out[50] - out[49]),
            (0, PACKET + 8 * 3600 * 48_000)
        );
        let (out, rebase) = jump(0, 15 * SECOND_NS);
        assert_eq!((rebase.jumps, out[50] - out[49]), (1, PACKET + 15 * 48_000));
        let (out, rebase) = jump(0, 5 * SECOND_NS); // perhaps a queue on the way
        assert_eq!((rebase.jumps, out[50] - out[49]), (0, PACKET));
    }

    #[test]
    fn what_was_sent_before_the_jump_and_comes_after_it_keeps_its_time() {
        let mut rebase = Rebase::new(48_000);
        let first = rebase.packet(1, 960, 0);
        rebase.packet(3, 900_000_000, 2 * EVERY);
        assert_eq!(rebase.packet(2, 1920, 3 * EVERY), first + PACKET);
        assert_eq!(rebase.packet(4, 900_000_960, 3 * EVERY), first + 3 * PACKET);
    }

    #[test]
    fn nothing_that_is_sent_overflows() {
        let mut rebase = Rebase::new(90_000);
        let mut seed = 3u64;
        for n in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            rebase.packet(
                n,
                seed as i64 >> (n % 40),
                i64::try_from(n).unwrap() * EVERY,
            );
            rebase.report(seed as u32);
        }
    }
}
