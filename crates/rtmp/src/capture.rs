//! When what a publisher sends was captured, on the server's clock. Pure: time is an argument.

const MS: i64 = 1_000_000;

/// Maps the sender's time to the server's: arrival minus timestamp, smallest of the last seconds,
/// one filter for sound and picture, so that they never move against each other.
#[derive(Debug, Default)]
pub struct CaptureClock {
    /// Smallest of this window and of the one before.
    current: Option<i64>,
    previous: Option<i64>,
    window_from: i64,
    /// In use; follows the smallest one.
    offset: Option<i64>,
    /// Until then the offset is that of the first arrival, and nothing was told by it.
    settled: bool,
    began: i64,
    moved: i64,
}

/// Windows of the minimum filter: a sender's clock that is slow by 100 ppm moves 1.5 ms in one.
const WINDOW_NS: i64 = 15_000 * MS;
/// The first arrivals are late (connecting, starting coders): this long the best one is looked for
/// before the first frame is placed.
pub const SETTLE_NS: i64 = 1_000 * MS;
/// Later the offset moves by at most 0.5 %, so that no player hears it,
const SLEW_PER_MILLE: i64 = 5;
/// unless it is off by so much that the sender must have been stopped.
const JUMP_NS: i64 = 2_000 * MS;

impl CaptureClock {
    pub fn observe(&mut self, now: i64, dts_ms: i64) {
        let seen = now - dts_ms * MS;
        let Some(offset) = self.offset else {
            *self = Self {
                current: Some(seen),
                previous: None,
                window_from: now,
                offset: Some(seen),
                settled: false,
                began: now,
                moved: now,
            };
            return;
        };
        if now - self.window_from >= WINDOW_NS {
            self.previous = self.current.take();
            self.window_from = now;
        }
        self.current = Some(self.current.map_or(seen, |m| m.min(seen)));
        if !self.settled {
            return;
        }
        let error = self.best().unwrap_or(seen) - offset;
        if error.abs() > JUMP_NS {
            self.offset = Some(offset + error);
        } else {
            let step = (now - self.moved) * SLEW_PER_MILLE / 1000;
            self.offset = Some(offset + error.clamp(-step, step));
        }
        self.moved = now;
    }

    fn best(&self) -> Option<i64> {
        [self.current, self.previous].into_iter().flatten().min()
    }

    /// What it says holds; before, it may still be taken back.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// It is time to settle.
    pub fn due(&self, now: i64) -> bool {
        !self.settled && self.offset.is_some() && now - self.began >= SETTLE_NS
    }

    /// Takes the best offset so far; by how much it differs from the one used until now.
    pub fn settle(&mut self) -> i64 {
        self.settled = true;
        let before = self.offset.unwrap_or(0);
        self.offset = self.best();
        self.offset.map_or(0, |now| now - before)
    }

    pub fn capture_ns(&self, ts_ms: i64) -> i64 {
        ts_ms * MS + self.offset.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_sender_is_followed_slowly() {
        let mut clock = CaptureClock::default();
        let mut last = i64::MIN;
        clock.observe(0, 0);
        clock.settle();
        // The sender's clock is slow by 1 in 1000 for ten minutes: 600 ms in all.
        for n in 0..15_000i64 {
            let now = n * 40 * MS;
            let dts = n * 40 - n * 40 / 1000;
            clock.observe(now, dts);
            let capture = clock.capture_ns(dts);
            assert!(capture > last, "never back");
            assert!(
                now - capture < 40 * MS,
                "{} ms behind",
                (now - capture) / MS
            );
            last = capture;
        }
    }
}
