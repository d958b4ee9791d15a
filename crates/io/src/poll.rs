//! `poll(2)` with a deadline in monotonic nanoseconds, and a pace for busy threads.

use std::io;
use std::os::fd::RawFd;

/// What to wait for, and after `wait` what has come.
#[derive(Debug, Default)]
pub struct PollSet {
    fds: Vec<libc::pollfd>,
}

impl PollSet {
    pub fn clear(&mut self) {
        self.fds.clear();
    }

    /// Waits for `fd` to be readable and, if `write`, writable. Returns its place for `ready`.
    pub fn add(&mut self, fd: RawFd, write: bool) -> usize {
        let events = libc::POLLIN | if write { libc::POLLOUT } else { 0 };
        self.fds.push(libc::pollfd {
            fd,
            events,
            revents: 0,
        });
        self.fds.len() - 1
    }

    /// Sleeps until something is ready or `until` (for ever if `None`); a signal only ends the sleep.
    pub fn wait(&mut self, now: i64, until: Option<i64>) -> io::Result<()> {
        let left = until.map(|t| (t - now).max(0));
        let timeout = left.map(|ns| libc::timespec {
            tv_sec: ns / 1_000_000_000,
            tv_nsec: ns % 1_000_000_000,
        });
        let pointer = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        let count = self.fds.len() as libc::nfds_t;
        // SAFETY: `fds` holds `count` initialised entries, `pointer` is null or a live timespec.
        let n = unsafe { libc::ppoll(self.fds.as_mut_ptr(), count, pointer, std::ptr::null()) };
        if n < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            self.fds.iter_mut().for_each(|fd| fd.revents = 0);
        }
        Ok(())
    }

    /// Whether the descriptor at `place` can be read (or has hung up or failed: reading tells).
    pub fn readable(&self, place: usize) -> bool {
        self.fds[place].revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0
    }

    pub fn writable(&self, place: usize) -> bool {
        self.fds[place].revents & (libc::POLLOUT | libc::POLLERR) != 0
    }
}

/// Makes a busy thread take what came in strokes: to wake up, to look at all descriptors and to wake
/// others costs more than the packet it is for. One that is not busy takes it at once.
#[derive(Debug)]
pub struct Pace {
    every_ns: i64,
    next: i64,
    busy: bool,
}

impl Pace {
    /// At most one stroke per `every_ns`, which is also the longest that anything waits.
    pub fn new(every_ns: i64) -> Self {
        Self {
            every_ns,
            next: 0,
            busy: false,
        }
    }

    /// Another pace from the next stroke on.
    pub fn set(&mut self, every_ns: i64) {
        self.every_ns = every_ns;
    }

    /// Until when the descriptors are to be left alone; `None`: they are not.
    pub fn rest(&self, now: i64) -> Option<i64> {
        (self.busy && now < self.next).then_some(self.next)
    }

    /// Something was there at `now`, and was taken.
    pub fn stroke(&mut self, now: i64) {
        self.busy = now < self.next + self.every_ns;
        self.next = now + self.every_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_busy_thread_rests_and_never_longer_than_its_pace() {
        let mut pace = Pace::new(10);
        for at in [100, 121, 142] {
            pace.stroke(at);
            assert_eq!(pace.rest(at), None, "what comes seldom does not wait");
        }
        pace.stroke(150);
        assert_eq!(pace.rest(150), Some(160));
        assert_eq!(pace.rest(160), None);
        pace.stroke(161);
        assert_eq!(pace.rest(162), Some(171));
        pace.stroke(181);
        assert_eq!(pace.rest(181), None, "it came late: no longer busy");
    }
}
