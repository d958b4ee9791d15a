//! The RTMP listener: who may come in.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

/// Connections at the same time; more are closed at once.
const MAX_CONNECTIONS: usize = 4096;
/// Of these, connections that have not been accepted as publishers.
const MAX_STRANGERS: usize = 512;
/// As many connections above its limit as one address is told so; more are closed at once.
const MAX_TOLD: usize = 8;
/// Between two complaints in the log.
const COMPLAINT_NS: i64 = 1_000_000_000;

/// What becomes of one who knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Welcome,
    /// Too many of its address are here: it is told so, and no more.
    Refused,
    /// There is not even room to tell it why.
    Closed(&'static str),
}

/// The listener, and how many of each address are inside.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    connections_per_address: usize,
    inside: HashMap<IpAddr, usize>,
    next_complaint_ns: i64,
}

impl Door {
    /// `connections_per_address`: 0 for no bound.
    pub fn new(listener: TcpListener, connections_per_address: usize) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            connections_per_address,
            inside: HashMap::new(),
            next_complaint_ns: 0,
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub fn connections_per_address(&self) -> usize {
        self.connections_per_address
    }

    /// The next connection that waits, ready for use without blocking.
    ///
    /// # Errors
    /// The process has no descriptor left, for example.
    pub fn knock(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        loop {
            return match self.listener.accept() {
                Ok((socket, remote)) => {
                    socket.set_nonblocking(true)?;
                    Ok(Some((socket, remote)))
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(e) => Err(e),
            };
        }
    }

    /// Decides about a connection from `remote` while `all` are here, `strangers` among them.
    pub fn judge(&self, remote: IpAddr, all: usize, strangers: usize) -> Verdict {
        let same = self.inside.get(&holder(remote)).copied().unwrap_or(0);
        if all >= MAX_CONNECTIONS {
            Verdict::Closed("too many connections")
        } else if strangers >= MAX_STRANGERS {
            Verdict::Closed("too many connections that do not publish yet")
        } else if self.connections_per_address == 0 {
            Verdict::Welcome
        } else if same >= self.connections_per_address + MAX_TOLD {
            Verdict::Closed("too many connections of this address")
        } else if same >= self.connections_per_address {
            Verdict::Refused
        } else {
            Verdict::Welcome
        }
    }

    pub fn entered(&mut self, remote: IpAddr) {
        *self.inside.entry(holder(remote)).or_insert(0) += 1;
    }

    pub fn left(&mut self, remote: IpAddr) {
        let holder = holder(remote);
        if let Some(count) = self.inside.get_mut(&holder) {
            *count -= 1;
            if *count == 0 {
                self.inside.remove(&holder);
            }
        }
    }

    /// Whether it is time to complain again: one who is turned away may knock thousands of times.
    pub fn may_complain(&mut self, now: i64) -> bool {
        let may = now >= self.next_complaint_ns;
        if may {
            self.next_complaint_ns = now + COMPLAINT_NS;
        }
        may
    }
}

impl AsRawFd for Door {
    fn as_raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

/// Who is counted as one: an IPv4 address, or the 64 bits of an IPv6 network that one subscriber has.
fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(max: usize) -> Door {
        Door::new(TcpListener::bind("127.0.0.1:0").unwrap(), max).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_is_first_told_and_then_closed_and_others_come_in() {
        let mut d = door(2);
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        for _ in 0..2 {
            assert_eq!(d.judge(one, 0, 0), Verdict::Welcome);
            d.entered(one);
        }
        for _ in 0..MAX_TOLD {
            assert_eq!(d.judge(one, 0, 0), Verdict::Refused);
            d.entered(one);
        }
        assert!(matches!(d.judge(one, 0, 0), Verdict::Closed(_)));
        assert_eq!(d.judge(other, 0, 0), Verdict::Welcome);
        (0..MAX_TOLD + 1).for_each(|_| d.left(one));
        assert_eq!(d.judge(one, 0, 0), Verdict::Welcome);
        d.left(one);
        assert!(d.inside.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_and_a_mapped_address_are_one_holder() {
        assert_eq!(
            holder(ip("2001:db8:1:2:3::4")),
            holder(ip("2001:db8:1:2::9"))
        );
        assert_ne!(holder(ip("2001:db8:1:2::4")), holder(ip("2001:db8:1:3::4")));
        assert_eq!(holder(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn strangers_leave_room_for_publishers() {
        let d = door(0);
        let one = ip("192.0.2.1");
        assert!(matches!(
            d.judge(one, 600, MAX_STRANGERS),
            Verdict::Closed(_)
        ));
        assert_eq!(d.judge(one, 600, 0), Verdict::Welcome);
        assert!(matches!(
            d.judge(one, MAX_CONNECTIONS, 0),
            Verdict::Closed(_)
        ));
    }
}
