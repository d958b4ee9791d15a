//! `poll(2)` with a deadline in monotonic nanoseconds.

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
