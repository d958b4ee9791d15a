//! Datagrams in: whose they are, and which of them wait before str0m sees them.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::net::{Protocol, Receive};
use str0m::Input;

use super::Lane;
use crate::hold::{Datagram, Held, Hold};
use crate::peer::Incoming;
use crate::prelude::Prelude;
use crate::rtp::RtpPlace;
use crate::{stun, PeerId};

impl Lane {
    /// A datagram, or a frame of a TCP connection, from `source`. Unknown ones are dropped.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        protocol: Protocol,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let id = if stun::is_stun(datagram) {
            stun::local_ufrag(datagram).and_then(|u| self.by_ufrag.get(u))
        } else {
            self.by_address.get(&(protocol, source))
        };
        let Some(&id) = id else {
            return;
        };
        if !self.preludes.is_empty() && protocol == Protocol::Udp {
            if let Some(prelude) = self.preludes.get_mut(&id) {
                if prelude.takes(now, source, datagram) {
                    if prelude.is_full() {
                        self.end_prelude(now, id);
                    }
                    return;
                }
            }
        }
        let datagram = Datagram {
            protocol,
            source,
            bytes: datagram,
        };
        self.receive(now, id, datagram);
    }

    /// Gives on what waited long enough.
    pub(super) fn give_on(&mut self, now: Instant) {
        if !self.preludes.is_empty() {
            self.end_preludes(now);
        }
        if !self.holding.is_empty() {
            for id in self.holding.clone() {
                self.release(now, id);
            }
        }
    }

    /// When `give_on` has something to do at the latest.
    pub(super) fn kept_until(&self) -> Option<Instant> {
        let preludes = self.preludes.values().filter_map(Prelude::due);
        let holding = self.holding.iter().filter_map(|id| self.peers.get(id));
        let streams = holding.flat_map(|peer| peer.incoming.values());
        let holds = streams.filter_map(|s| s.hold.as_ref()?.due());
        preludes.chain(holds).min()
    }

    /// Gives on the first packets of publishers that waited long enough.
    fn end_preludes(&mut self, now: Instant) {
        let mut over = Vec::new();
        for (id, prelude) in &mut self.preludes {
            let peer = self.peers.get(id);
            if prelude.is_over(now, peer.is_some_and(|p| p.rtc.is_connected())) {
                over.push(*id);
            }
        }
        for id in over {
            self.end_prelude(now, id);
        }
    }

    /// Gives on a publisher's first packets.
    pub(super) fn end_prelude(&mut self, now: Instant, id: PeerId) {
        let held = self.preludes.remove(&id).map(Prelude::in_order);
        for (source, bytes) in held.unwrap_or_default() {
            let datagram = Datagram {
                protocol: Protocol::Udp,
                source,
                bytes: &bytes,
            };
            self.receive(now, id, datagram);
        }
    }

    /// Gives a datagram to its peer, unless it has to wait behind a hole; then what waited and need not any longer.
    fn receive(&mut self, now: Instant, id: PeerId, datagram: Datagram<'_>) {
        if let Some((hold, seq)) = self.hold_of(id, datagram.bytes) {
            if hold.takes(now, seq, datagram) {
                self.holding.insert(id);
                return;
            }
        }
        self.give(now, id, datagram);
        if self.holding.contains(&id) {
            self.release(now, id);
        }
    }

    /// The hold of the stream that a datagram says it belongs to, and its number there.
    fn hold_of(&mut self, id: PeerId, datagram: &[u8]) -> Option<(&mut Hold, u16)> {
        let place = RtpPlace::of(datagram)?;
        let incoming = &mut self.peers.get_mut(&id)?.incoming;
        let hold = incoming.get_mut(&place.ssrc.into())?.hold.as_mut()?;
        Some((hold, place.seq))
    }

    /// Gives on the packets of a peer that need not wait any longer.
    fn release(&mut self, now: Instant, id: PeerId) {
        while let Some(held) = self.next_of(now, id) {
            self.give(now, id, held.datagram());
        }
        let is_holding = |s: &Incoming| s.hold.as_ref().is_some_and(Hold::is_holding);
        let peer = self.peers.get(&id);
        if !peer.is_some_and(|p| p.incoming.values().any(is_holding)) {
            self.holding.remove(&id);
        }
    }

    fn next_of(&mut self, now: Instant, id: PeerId) -> Option<Held> {
        let streams = self.peers.get_mut(&id)?.incoming.values_mut();
        let mut holds = streams.filter_map(|s| s.hold.as_mut());
        holds.find_map(|hold| hold.pop(now))
    }

    fn give(&mut self, now: Instant, id: PeerId, datagram: Datagram<'_>) {
        let Datagram {
            protocol,
            source,
            bytes,
        } = datagram;
        let local = match protocol {
            Protocol::Udp => &self.config.udp,
            _ => &self.config.tcp,
        };
        let same_family = local.iter().find(|a| a.is_ipv4() == source.is_ipv4());
        let Some(&destination) = same_family.or(local.first()) else {
            return;
        };
        let Ok(contents) = bytes.try_into() else {
            return;
        };
        let receive = Receive {
            proto: protocol,
            source,
            destination,
            contents,
        };
        self.drive(id, now, Input::Receive(now, receive));
    }
}
