//! UDP in batches (recvmmsg, sendmmsg) and the choice of ports and addresses.

use std::collections::VecDeque;
use std::io;
use std::mem::{size_of, zeroed, MaybeUninit};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, ToSocketAddrs,
    UdpSocket,
};
use std::os::fd::{AsRawFd, RawFd};

/// Datagrams per system call.
const BATCH: usize = 64;
/// The largest datagram that is taken; WebRTC stays below 1500 bytes.
const DATAGRAM_BYTES: usize = 2048;
/// Room for 300 publishers' bursts; the system may give less (net.core.rmem_max).
const SOCKET_BUFFER_BYTES: libc::c_int = 8 << 20;
/// Datagrams that wait for the system to take them; older ones are dropped, as a router would.
const MAX_PENDING: usize = 16 * 1024;

/// A UDP socket that reads and writes many datagrams at once.
pub struct UdpBatch {
    socket: UdpSocket,
    buffers: Vec<[u8; DATAGRAM_BYTES]>,
    pending: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Datagrams that were dropped because the system would not take them.
    pub dropped: u64,
}

impl UdpBatch {
    /// Takes a bound socket and makes it non-blocking.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        for (force, plain) in [
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        ] {
            // The first needs a privilege; the second is cut to the system's limit.
            if !set_buffer(socket.as_raw_fd(), force) {
                set_buffer(socket.as_raw_fd(), plain);
            }
        }
        Ok(Self {
            socket,
            buffers: vec![[0; DATAGRAM_BYTES]; BATCH],
            pending: VecDeque::new(),
            dropped: 0,
        })
    }

    /// Calls `each` for the datagrams that wait, at most one batch. True if there may be more.
    pub fn receive(&mut self, mut each: impl FnMut(SocketAddr, &[u8])) -> io::Result<bool> {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { zeroed() };
        let mut slices: [libc::iovec; BATCH] = unsafe { zeroed() };
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for i in 0..BATCH {
            slices[i].iov_base = self.buffers[i].as_mut_ptr().cast();
            slices[i].iov_len = DATAGRAM_BYTES;
            messages[i].msg_hdr.msg_name = (&raw mut names[i]).cast();
            messages[i].msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            messages[i].msg_hdr.msg_iov = &raw mut slices[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every header points to its own name and buffer, which outlive the call.
        let n = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if n < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                // A port unreachable of an earlier datagram is nobody's failure here.
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionRefused => Ok(false),
                _ => Err(error),
            };
        }
        let n = n as usize;
        for i in 0..n {
            let length = messages[i].msg_len as usize;
            let truncated = messages[i].msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            if let (Some(source), false) = (address_of(&names[i]), truncated) {
                each(source, &self.buffers[i][..length]);
            }
        }
        Ok(n == BATCH)
    }

    /// Queues a datagram; `send` gives it to the system.
    pub fn queue(&mut self, destination: SocketAddr, contents: Vec<u8>) {
        if self.pending.len() >= MAX_PENDING {
            self.pending.pop_front();
            self.dropped += 1;
        }
        self.pending.push_back((destination, contents));
    }

    /// True if `send` could not send all; poll for writing, then.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Sends what is queued, as far as the system takes it.
    pub fn send(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            let count = self.pending.len().min(BATCH);
            // SAFETY: all-zero is a valid value of these plain C structures.
            let mut names: [libc::sockaddr_storage; BATCH] = unsafe { zeroed() };
            let mut slices: [libc::iovec; BATCH] = unsafe { zeroed() };
            let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
            for (i, (destination, contents)) in self.pending.iter().take(count).enumerate() {
                slices[i].iov_base = contents.as_ptr().cast_mut().cast();
                slices[i].iov_len = contents.len();
                messages[i].msg_hdr.msg_namelen = put_address(destination, &mut names[i]);
                messages[i].msg_hdr.msg_name = (&raw mut names[i]).cast();
                messages[i].msg_hdr.msg_iov = &raw mut slices[i];
                messages[i].msg_hdr.msg_iovlen = 1;
            }
            // SAFETY: every header points to its own name and contents, which outlive the call.
            let n = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    messages.as_mut_ptr(),
                    count as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            if n < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted => continue,
                    _ => {
                        // One destination that cannot be reached must not stop the others.
                        self.pending.pop_front();
                        self.dropped += 1;
                        continue;
                    }
                }
            }
            self.pending.drain(..n as usize);
        }
        Ok(())
    }
}

impl AsRawFd for UdpBatch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn set_buffer(fd: RawFd, option: libc::c_int) -> bool {
    let bytes = SOCKET_BUFFER_BYTES;
    // SAFETY: the option takes one int.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as u32,
        ) == 0
    }
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds this structure.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds this structure.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            match ip.to_ipv4_mapped() {
                Some(v4) => Some(SocketAddrV4::new(v4, port).into()),
                None => Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into()),
            }
        }
        _ => None,
    }
}

fn put_address(address: &SocketAddr, storage: &mut libc::sockaddr_storage) -> u32 {
    match address {
        SocketAddr::V4(a) => {
            // SAFETY: the storage is large enough and aligned for every address.
            let v4 = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as u16;
            v4.sin_port = a.port().to_be();
            v4.sin_addr.s_addr = u32::from(*a.ip()).to_be();
            size_of::<libc::sockaddr_in>() as u32
        }
        SocketAddr::V6(a) => {
            // SAFETY: the storage is large enough and aligned for every address.
            let v6 = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as u16;
            v6.sin6_port = a.port().to_be();
            v6.sin6_addr.s6_addr = a.ip().octets();
            v6.sin6_scope_id = a.scope_id();
            size_of::<libc::sockaddr_in6>() as u32
        }
    }
}

/// The sockets of one lane: UDP and TCP on the same number.
pub struct LaneSockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
    pub port: u16,
}

/// Binds `lanes` consecutive numbers from `port` on; 0 finds a free block.
///
/// # Errors
/// A number is taken (or no free block was found), or the host is no address.
pub fn bind_lanes(host: IpAddr, port: u16, lanes: u16) -> io::Result<Vec<LaneSockets>> {
    const TRIES: usize = 64;
    if port != 0 {
        return bind_block(host, port, lanes);
    }
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        let free = UdpSocket::bind((host, 0))?.local_addr()?.port();
        match bind_block(host, free, lanes) {
            Ok(sockets) => return Ok(sockets),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn bind_block(host: IpAddr, first: u16, lanes: u16) -> io::Result<Vec<LaneSockets>> {
    (0..lanes)
        .map(|n| {
            let port = first
                .checked_add(n)
                .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
            let named = |what: &str, e: io::Error| {
                io::Error::new(
                    e.kind(),
                    format!("{what} {}: {e}", SocketAddr::new(host, port)),
                )
            };
            Ok(LaneSockets {
                udp: UdpSocket::bind((host, port)).map_err(|e| named("UDP", e))?,
                tcp: TcpListener::bind((host, port)).map_err(|e| named("TCP", e))?,
                port,
            })
        })
        .collect()
}

/// The addresses to put into answers: those to advertise, else the bound one, else (bound to
/// all) those of the interfaces.
///
/// # Errors
/// A name to advertise cannot be resolved.
pub fn candidate_addresses(host: IpAddr, advertise: &[String]) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for name in advertise {
        let found = (name.as_str(), 0).to_socket_addrs().map_err(|e| {
            io::Error::new(e.kind(), format!("the address to advertise, {name:?}: {e}"))
        })?;
        addresses.extend(found.map(|a| a.ip()));
    }
    if addresses.is_empty() && !host.is_unspecified() {
        addresses.push(host);
    }
    if addresses.is_empty() {
        addresses = interface_addresses(host.is_ipv6())?;
    }
    if addresses.is_empty() {
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    let mut seen = Vec::new();
    addresses.retain(|a| {
        !seen.contains(a) && {
            seen.push(*a);
            true
        }
    });
    Ok(addresses)
}

/// Addresses of interfaces that are up, without loopback and link-local ones.
fn interface_addresses(with_v6: bool) -> io::Result<Vec<IpAddr>> {
    let mut head = MaybeUninit::<*mut libc::ifaddrs>::uninit();
    // SAFETY: getifaddrs writes the head of a list, which is freed below.
    if unsafe { libc::getifaddrs(head.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was written by the successful call.
    let head = unsafe { head.assume_init() };
    let mut addresses = Vec::new();
    let mut next = head;
    while !next.is_null() {
        // SAFETY: `next` is an entry of the list, valid until freeifaddrs.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        let up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
        let loopback = entry.ifa_flags & libc::IFF_LOOPBACK as u32 != 0;
        if entry.ifa_addr.is_null() || !up || loopback {
            continue;
        }
        // SAFETY: the entry's address is a sockaddr of the family it names; only the bytes of
        // that family's structure are copied.
        let address = unsafe {
            let mut storage: libc::sockaddr_storage = zeroed();
            let size = match libc::c_int::from((*entry.ifa_addr).sa_family) {
                libc::AF_INET => size_of::<libc::sockaddr_in>(),
                libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
                _ => continue,
            };
            std::ptr::copy_nonoverlapping(
                entry.ifa_addr.cast::<u8>(),
                (&raw mut storage).cast::<u8>(),
                size,
            );
            address_of(&storage)
        };
        match address.map(|a| a.ip()) {
            Some(IpAddr::V4(v4)) if !v4.is_link_local() => addresses.push(v4.into()),
            Some(IpAddr::V6(v6)) if with_v6 && !v6.is_unicast_link_local() => {
                addresses.push(v6.into());
            }
            _ => {}
        }
    }
    // SAFETY: `head` came from getifaddrs and is freed once.
    unsafe { libc::freeifaddrs(head) };
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_ports_is_found_and_a_taken_one_is_named() {
        let sockets = bind_lanes(Ipv4Addr::LOCALHOST.into(), 0, 2).unwrap();
        assert_eq!(sockets[1].port, sockets[0].port + 1);
        let taken = bind_lanes(Ipv4Addr::LOCALHOST.into(), sockets[0].port, 1);
        let text = taken.err().expect("the port is taken").to_string();
        assert!(text.contains(&sockets[0].port.to_string()), "{text}");
    }

    #[test]
    fn datagrams_travel_in_batches() {
        let mut a = UdpBatch::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let mut b = UdpBatch::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let to = b.socket.local_addr().unwrap();
        for i in 0..100u8 {
            a.queue(to, vec![i; 3]);
        }
        a.send().unwrap();
        let mut got = Vec::new();
        while b.receive(|_, d| got.push(d.to_vec())).unwrap() {}
        assert_eq!(got.len(), 100);
        assert_eq!(got[99], [99, 99, 99]);
    }
}
