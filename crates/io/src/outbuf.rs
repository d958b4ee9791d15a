//! Bytes on their way out of a non-blocking socket. Big payloads are shared, not copied.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// Payloads below this are copied: an iovec of their own would cost more.
const COPY_BELOW: usize = 4096;
/// As many pieces as one `writev` takes here.
const PIECES: usize = 64;

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Own(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
        }
    }
}

/// A queue of bytes.
#[derive(Debug, Default)]
pub struct OutBuffer {
    pieces: VecDeque<Piece>,
    /// What of the first piece is gone already.
    done: usize,
    len: usize,
}

impl OutBuffer {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends with `fill`, which writes to the end of the vector it is given.
    pub fn append(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.pieces.back(), Some(Piece::Own(own)) if own.len() < 1 << 16) {
            self.pieces.push_back(Piece::Own(Vec::new()));
        }
        if let Some(Piece::Own(own)) = self.pieces.back_mut() {
            let before = own.len();
            fill(own);
            self.len += own.len() - before;
        }
    }

    /// Appends a payload, without a copy when it is big.
    pub fn share(&mut self, payload: &Arc<[u8]>) {
        if payload.len() < COPY_BELOW {
            self.append(|out| out.extend_from_slice(payload));
        } else {
            self.len += payload.len();
            self.pieces.push_back(Piece::Shared(payload.clone()));
        }
    }

    /// Writes what the socket takes. `Ok(true)` when nothing is left.
    pub fn write_to(&mut self, fd: RawFd) -> io::Result<bool> {
        while !self.is_empty() {
            let mut vecs = Vec::with_capacity(PIECES);
            for (place, piece) in self.pieces.iter().take(PIECES).enumerate() {
                let bytes = &piece.bytes()[if place == 0 { self.done } else { 0 }..];
                vecs.push(libc::iovec {
                    iov_base: bytes.as_ptr().cast_mut().cast(),
                    iov_len: bytes.len(),
                });
            }
            let message = libc::msghdr {
                msg_iov: vecs.as_mut_ptr(),
                msg_iovlen: vecs.len() as _,
                // SAFETY: all zero is the empty msghdr; the two fields above are set.
                ..unsafe { std::mem::zeroed() }
            };
            // SAFETY: the iovecs point into `self.pieces`, which does not change meanwhile.
            let n = unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
            match usize::try_from(n) {
                Ok(n) => self.gone(n),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    match error.kind() {
                        io::ErrorKind::WouldBlock => return Ok(false),
                        io::ErrorKind::Interrupted => {}
                        _ => return Err(error),
                    }
                }
            }
        }
        Ok(true)
    }

    fn gone(&mut self, mut n: usize) {
        self.len -= n;
        while let Some(piece) = self.pieces.front() {
            let left = piece.bytes().len() - self.done;
            if n < left {
                self.done += n;
                return;
            }
            n -= left;
            self.done = 0;
            self.pieces.pop_front();
        }
    }
}
