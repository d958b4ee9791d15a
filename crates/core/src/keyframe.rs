//! When to ask a publisher for a key frame.

use std::time::{Duration, Instant};

/// Between two requests to one source: at most two a second.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// A source that ignores this many requests (FFmpeg does) is left alone until the next demand.
const PATIENCE: u32 = 20;

/// The requests to one source.
#[derive(Debug, Default)]
pub struct KeyframeDemand {
    asked: u32,
    wanted: bool,
    last: Option<Instant>,
}

impl KeyframeDemand {
    /// Somebody needs a key frame.
    pub fn want(&mut self) {
        self.wanted = true;
        self.asked = 0;
    }

    /// A key frame came.
    pub fn came(&mut self) {
        self.wanted = false;
    }

    /// A key frame is wanted and has not come; also when the source was asked often enough.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// When the next request is due; at once if none was sent for [`INTERVAL`].
    pub fn due(&self, now: Instant) -> Option<Instant> {
        if !self.wanted || self.asked >= PATIENCE {
            return None;
        }
        Some(self.last.map_or(now, |last| last + INTERVAL))
    }

    /// True if a request is to be sent now; notes that it was.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.due(now).is_none_or(|at| at > now) {
            return false;
        }
        self.last = Some(now);
        self.asked += 1;
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
        demand.came();
        assert!(!demand.take(t + ms(5000)));
    }
}
