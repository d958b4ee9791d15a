//! A queue between two threads whose receiver sleeps in `poll(2)`: an mpsc channel and an
//! eventfd that becomes readable when the queue does.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::Arc;

/// The bell: one eventfd write for any number of letters until the receiver drains.
#[derive(Debug)]
struct Bell {
    fd: OwnedFd,
    rung: AtomicBool,
}

impl Bell {
    fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; the result is checked before it is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd,
            rung: AtomicBool::new(false),
        })
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let one = 1u64.to_ne_bytes();
            // SAFETY: eight readable bytes at `one`. It fails only when the counter is full,
            // and then the descriptor is readable anyway.
            unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), 8) };
        }
    }

    /// Lowers the bell. Must come before the queue is emptied, or a letter could be overlooked.
    fn hush(&self) {
        let mut count = [0u8; 8];
        // SAFETY: eight writable bytes at `count`; EAGAIN (nothing rung) is fine.
        unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), 8) };
        // A swap, not a store: it makes every letter visible whose sender found the bell rung.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

/// The sending side; any number of them, on any thread.
#[derive(Debug)]
pub struct Post<T> {
    queue: Sender<T>,
    bell: Arc<Bell>,
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            bell: self.bell.clone(),
        }
    }
}

impl<T> Post<T> {
    /// Queues `letter` and wakes the receiver; never blocks. False when the receiver is gone.
    pub fn send(&self, letter: T) -> bool {
        self.send_all([letter])
    }

    /// Queues all `letters` and wakes the receiver once, when the last one is there: it would wake
    /// for each, otherwise. False when the receiver is gone.
    pub fn send_all(&self, letters: impl IntoIterator<Item = T>) -> bool {
        let mut any = false;
        for letter in letters {
            if self.queue.send(letter).is_err() {
                return false;
            }
            any = true;
        }
        if any {
            self.bell.ring();
        }
        true
    }
}

/// The receiving side, owned by one thread.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Receiver<T>,
    bell: Arc<Bell>,
}

impl<T> Mailbox<T> {
    /// A new queue. Fails when the process has no descriptor left.
    pub fn new() -> io::Result<(Post<T>, Mailbox<T>)> {
        let (tx, rx) = mpsc::channel();
        let bell = Arc::new(Bell::new()?);
        let post = Post {
            queue: tx,
            bell: bell.clone(),
        };
        Ok((post, Mailbox { queue: rx, bell }))
    }

    /// All letters that wait now, oldest first; lowers the bell. Call it when `as_raw_fd` is readable.
    pub fn drain(&self) -> Vec<T> {
        self.bell.hush();
        self.queue.try_iter().collect()
    }

    /// One letter without waiting; `Err` when there is none. Does not lower the bell.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.queue.try_recv()
    }
}

impl<T> AsRawFd for Mailbox<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(fd: RawFd) -> bool {
        let mut p = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd, no waiting.
        unsafe { libc::poll(&mut p, 1, 0) == 1 }
    }

    #[test]
    fn bell_rings_once_and_again_after_a_drain() {
        let (post, mailbox) = Mailbox::new().unwrap();
        assert!(!readable(mailbox.as_raw_fd()));
        assert!(post.send(1));
        assert!(post.clone().send(2));
        assert!(readable(mailbox.as_raw_fd()));
        assert_eq!(mailbox.drain(), vec![1, 2]);
        assert!(!readable(mailbox.as_raw_fd()));
        post.send(3);
        assert!(readable(mailbox.as_raw_fd()));
        assert_eq!(mailbox.drain(), vec![3]);
    }

    #[test]
    fn nothing_is_overlooked_between_threads() {
        let (post, mailbox) = Mailbox::new().unwrap();
        let writers: Vec<_> = (0..4)
            .map(|w| {
                let post = post.clone();
                std::thread::spawn(move || (0..1000).for_each(|i| assert!(post.send(w * 1000 + i))))
            })
            .collect();
        let mut got = Vec::new();
        while got.len() < 4000 {
            let mut p = libc::pollfd {
                fd: mailbox.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one valid pollfd; five seconds are the test's patience.
            assert_eq!(
                unsafe { libc::poll(&mut p, 1, 5000) },
                1,
                "a letter was overlooked"
            );
            got.extend(mailbox.drain());
        }
        writers.into_iter().for_each(|w| w.join().unwrap());
        got.sort_unstable();
        assert_eq!(got, (0..4000).collect::<Vec<_>>());
    }

    #[test]
    fn sending_to_nobody_says_so() {
        let (post, mailbox) = Mailbox::<u8>::new().unwrap();
        drop(mailbox);
        assert!(!post.send(1));
    }
}
