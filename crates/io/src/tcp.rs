//! ICE over TCP: frames with a 16 bit length (RFC 4571) on accepted connections.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::poll::PollSet;

/// Connections of one lane at the same time.
const MAX_CONNECTIONS: usize = 1024;
/// A reader this far behind gets no more: pictures that old are of no use.
const MAX_OUT_BYTES: usize = 4 << 20;
/// A live session is answered several times in this time; anything else is closed.
const IDLE: Duration = Duration::from_secs(30);

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    out: Vec<u8>,
    last_out: Instant,
    place: usize,
    gone: bool,
}

/// The listener of a lane and its connections, by the remote address.
pub struct TcpFrames {
    listener: TcpListener,
    listener_place: usize,
    connections: HashMap<SocketAddr, Connection>,
}

impl TcpFrames {
    pub fn new(listener: TcpListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            listener_place: 0,
            connections: HashMap::new(),
        })
    }

    /// Names what to wait for.
    pub fn register(&mut self, poll: &mut PollSet) {
        self.listener_place = poll.add(self.listener.as_raw_fd(), false);
        for connection in self.connections.values_mut() {
            let write = !connection.out.is_empty();
            connection.place = poll.add(connection.stream.as_raw_fd(), write);
        }
    }

    /// Reads what came; `each` gets every whole frame.
    pub fn receive(
        &mut self,
        poll: &PollSet,
        now: Instant,
        mut each: impl FnMut(SocketAddr, &[u8]),
    ) {
        for (source, connection) in &mut self.connections {
            if poll.readable(connection.place) {
                connection.read(|frame| each(*source, frame));
            }
            if poll.writable(connection.place) {
                connection.write();
            }
            connection.gone |= now > connection.last_out + IDLE;
        }
        self.connections.retain(|_, c| !c.gone);
        if poll.readable(self.listener_place) {
            while let Ok((stream, source)) = self.listener.accept() {
                let usable =
                    stream.set_nonblocking(true).is_ok() && stream.set_nodelay(true).is_ok();
                if !usable || self.connections.len() >= MAX_CONNECTIONS {
                    continue; // dropped: closed
                }
                let connection = Connection {
                    stream,
                    input: Vec::new(),
                    out: Vec::new(),
                    last_out: now,
                    place: 0,
                    gone: false,
                };
                self.connections.insert(source, connection);
            }
        }
    }

    /// Sends one frame; a connection that is gone swallows it, as UDP would.
    pub fn send(&mut self, now: Instant, destination: SocketAddr, contents: &[u8]) {
        let Some(connection) = self.connections.get_mut(&destination) else {
            return;
        };
        let Ok(length) = u16::try_from(contents.len()) else {
            return;
        };
        if connection.out.len() > MAX_OUT_BYTES {
            connection.gone = true;
            return;
        }
        connection.last_out = now;
        let idle = connection.out.is_empty();
        connection.out.extend_from_slice(&length.to_be_bytes());
        connection.out.extend_from_slice(contents);
        if idle {
            connection.write();
        }
    }
}

impl Connection {
    fn read(&mut self, mut each: impl FnMut(&[u8])) {
        let mut buffer = [0; 16 * 1024];
        // One buffer per turn: a fast sender must not starve the others.
        match self.stream.read(&mut buffer) {
            Ok(0) => self.gone = true,
            Ok(n) => self.input.extend_from_slice(&buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.gone = true,
        }
        let mut at = 0;
        while let [a, b, rest @ ..] = &self.input[at..] {
            let length = usize::from(u16::from_be_bytes([*a, *b]));
            let Some(frame) = rest.get(..length) else {
                break;
            };
            each(frame);
            at += 2 + length;
        }
        self.input.drain(..at);
    }

    fn write(&mut self) {
        match self.stream.write(&self.out) {
            Ok(n) => {
                self.out.drain(..n);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.gone = true,
        }
    }
}
