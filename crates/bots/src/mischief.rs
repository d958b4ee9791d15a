//! What a publisher may do wrong with its clocks and its key frames.

use std::time::Duration;

/// How RTP time goes on at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jump {
    /// It is 0 from here.
    Zero,
    /// It is something else altogether.
    Reset,
    /// It is this many seconds later (or earlier).
    By(f64),
}

/// All of it; the default does nothing wrong. Pairs are (sound, picture); times are since the connection.
#[derive(Clone, Debug, Default)]
pub struct Mischief {
    /// Sender reports do not leave before this.
    pub reports_after: Duration,
    /// RTP time in sender reports is so many seconds off.
    pub report_error_s: [f64; 2],
    /// The media clock runs so many parts per million fast.
    pub skew_ppm: f64,
    pub rtp_start: [u32; 2],
    pub jumps: Vec<(Duration, Jump)>,
    /// (from, for how long) nothing is sent.
    pub pauses: Vec<(Duration, Duration)>,
    /// (from, for how long) key frames are not sent, whoever asks.
    pub withheld: Vec<(Duration, Duration)>,
    /// After this much the next file of pictures has its turn.
    pub switch_every: Option<Duration>,
}

/// `AT_S:VALUE`.
pub fn at(value: &str) -> Option<(Duration, &str)> {
    let (at, rest) = value.split_once(':')?;
    Some((seconds(at)?, rest))
}

pub fn seconds(value: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(value.parse().ok()?).ok()
}

/// `SOUND,PICTURE`, or one value for both.
fn pair<T: std::str::FromStr + Copy>(value: &str) -> Option<[T; 2]> {
    match value.split_once(',') {
        Some((a, b)) => Some([a.parse().ok()?, b.parse().ok()?]),
        None => value.parse().ok().map(|both| [both, both]),
    }
}

impl Mischief {
    /// Takes a command line option. `None`: it is not one of these, or its value is none.
    pub fn option(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "--reports-after-s" => self.reports_after = seconds(value)?,
            "--report-error-s" => self.report_error_s = pair(value)?,
            "--skew-ppm" => self.skew_ppm = value.parse().ok()?,
            "--rtp-start" => self.rtp_start = pair(value)?,
            "--jump" => {
                let (when, how) = at(value)?;
                let jump = match how {
                    "zero" => Jump::Zero,
                    "reset" => Jump::Reset,
                    by => Jump::By(by.parse().ok()?),
                };
                self.jumps.push((when, jump));
            }
            "--pause" => {
                let (from, length) = at(value)?;
                self.pauses.push((from, seconds(length)?));
            }
            "--withhold" => {
                let (from, length) = at(value)?;
                self.withheld.push((from, seconds(length)?));
            }
            "--switch-s" => self.switch_every = Some(seconds(value)?),
            _ => return None,
        }
        Some(())
    }

    pub fn is_paused(&self, at: Duration) -> bool {
        within(&self.pauses, at)
    }

    pub fn withholds(&self, at: Duration) -> bool {
        within(&self.withheld, at)
    }

    /// Real time that passes while `media` of the sender's time does.
    pub fn real(&self, media: Duration) -> Duration {
        media.div_f64(1.0 + self.skew_ppm / 1e6)
    }

    /// RTP time of media time `at` for sound (0) or picture (1).
    pub fn rtp(&self, which: usize, rate: u32, at: Duration) -> u32 {
        let ticks = |d: Duration| (d.as_nanos() * u128::from(rate) / 1_000_000_000) as u32;
        let mut rtp = self.rtp_start[which].wrapping_add(ticks(at));
        for (when, jump) in self.jumps.iter().filter(|(when, _)| *when <= at) {
            let since = ticks(at).wrapping_sub(ticks(*when));
            rtp = match jump {
                Jump::Zero => since,
                Jump::Reset => 0x9e37_79b9u32
                    .wrapping_mul(which as u32 + 1)
                    .wrapping_add(since),
                Jump::By(s) => rtp.wrapping_add((s * f64::from(rate)) as i64 as u32),
            };
        }
        rtp
    }
}

fn within(stretches: &[(Duration, Duration)], at: Duration) -> bool {
    stretches
        .iter()
        .any(|(from, length)| (*from..*from + *length).contains(&at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_time_runs_wraps_and_jumps() {
        let mut m = Mischief::default();
        for (name, value) in [
            ("--rtp-start", "4294967295,10"),
            ("--jump", "2:zero"),
            ("--jump", "3:-1.5"),
            ("--withhold", "1:2"),
        ] {
            m.option(name, value).unwrap();
        }
        let s = Duration::from_secs;
        assert_eq!(m.rtp(0, 48_000, s(1)), 47_999);
        assert_eq!(m.rtp(1, 90_000, s(1)), 90_010);
        assert_eq!(m.rtp(1, 90_000, s(2)), 0);
        assert_eq!(m.rtp(1, 90_000, s(3)), 0u32.wrapping_sub(45_000));
        assert!(m.withholds(s(2)) && !m.withholds(s(3)));
        assert!(m.option("--jump", "soon").is_none());
    }
}
