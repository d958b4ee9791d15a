//! When to ask a publisher for a key frame.

use std::time::{Duration, Instant};

/// Between two requests to one source: at most two a second.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// The requests to one source. They go on until a key frame comes, however long that takes: a request
/// costs a hundred bytes, a source that could not answer the last ones may be able to by now, and one that
/// never does (FFmpeg) ignores this one too.
#[derive(Debug, Default)]
pub struct KeyframeDemand {
    wanted: bool,
    last: Option<Instant>,
}

impl KeyframeDemand {
    /// Somebody needs a key frame.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// A key frame came.
    pub fn came(&mut self) {
        self.wanted = false;
    }

    /// A key frame is wanted and has not come.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// When the next request is due; at once if none was sent for [`INTERVAL`].
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let due = self.last.map_or(now, |last| last + INTERVAL);
        self.wanted.then_some(due)
    }

    /// True if a request is to be sent now; notes that it was.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.due(now).is_none_or(|at| at > now) {
            return false;
        }
        self.last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_then_twice_a_second_until_it_comes() {
        let t = Instant::now();
        let ms = Duration::from_millis;
        let mut demand = KeyframeDemand::default();
        assert!(!demand.take(t), "nobody asked");
        demand.want();
        assert!(demand.take(t));
        demand.want();
        assert!(!demand.take(t + ms(499)));
        assert_eq!(demand.due(t + ms(10)), Some(t + INTERVAL));
        assert!(demand.take(t + ms(500)));
        let hour = (2..7200).filter(|n| demand.take(t + ms(500) * *n));
        assert_eq!(hour.count(), 7198, "until it comes");
        demand.came();
        assert!(!demand.take(t + ms(3_600_000)));
    }
}
