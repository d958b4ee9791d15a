//! The first RTP packets of a publisher, put in order before str0m sees them.
//!
//! str0m takes the packet of a stream that comes first for the one that was sent first, and refuses
//! those before it; without keys it refuses all. Where the network reorders, the key frame at the
//! beginning would be lost, which a client that does not answer requests sends once in a while only.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::rtp::RtpPlace;

/// How long the first packets wait for those sent before them.
const WINDOW: Duration = Duration::from_millis(50);
/// Between two looks whether the handshake has ended.
const AGAIN: Duration = Duration::from_millis(20);
/// What is kept at most; who sends more at once is in a hurry, and most likely in order.
const PACKETS: usize = 512;

/// A datagram and the place it has in its stream.
#[derive(Debug)]
struct Held {
    place: RtpPlace,
    source: SocketAddr,
    datagram: Vec<u8>,
}

/// The packets that wait.
#[derive(Debug, Default)]
pub struct Prelude {
    held: Vec<Held>,
    due: Option<Instant>,
}

impl Prelude {
    /// Keeps an RTP packet. False: it is none.
    pub fn takes(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) -> bool {
        let Some(place) = RtpPlace::of(datagram) else {
            return false;
        };
        self.due.get_or_insert(now + WINDOW);
        self.held.push(Held {
            place,
            source,
            datagram: datagram.to_vec(),
        });
        true
    }

    /// No more packets may be given to it: it is over.
    pub fn is_full(&self) -> bool {
        self.held.len() >= PACKETS
    }

    /// When it may be over; `None` before the first packet.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// True if it is over; `connected`: they can be decrypted.
    pub fn is_over(&mut self, now: Instant, connected: bool) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.due = Some(now + AGAIN);
        connected
    }

    /// What was kept: of each stream in the order of its sequence, and among streams as it came.
    pub fn in_order(self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut held = self.held;
        let mut places: Vec<usize> = (0..held.len()).collect();
        // By stream and then by number; a number counts from the stream's first to come.
        let keys: Vec<(u32, i16)> = held
            .iter()
            .map(|h| {
                let RtpPlace { ssrc, seq } = h.place;
                let first = held.iter().find(|f| f.place.ssrc == ssrc);
                let first = first.map_or(0, |f| f.place.seq);
                (ssrc, seq.wrapping_sub(first) as i16)
            })
            .collect();
        places.sort_by_key(|&place| keys[place]);
        // The n-th place of a stream is taken by its n-th packet.
        let mut slots: Vec<usize> = (0..held.len()).collect();
        slots.sort_by_key(|&place| (keys[place].0, place));
        let mut out: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        let mut order = vec![0; held.len()];
        for (slot, place) in slots.into_iter().zip(places) {
            order[slot] = place;
        }
        for place in order {
            out.push((
                held[place].source,
                std::mem::take(&mut held[place].datagram),
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(ssrc: u8, seq: u16) -> Vec<u8> {
        let [s0, s1] = seq.to_be_bytes();
        vec![0x80, 96, s0, s1, 0, 0, 0, 0, 0, 0, 0, ssrc, 1]
    }

    #[test]
    fn each_stream_is_put_in_order_also_over_a_wrap() {
        let now = Instant::now();
        let source: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let mut prelude = Prelude::default();
        assert!(!prelude.takes(now, source, &[22, 254, 253]), "DTLS");
        let came = [(1, 2), (7, 0), (1, 65535), (7, 65534), (1, 3), (7, 65535)];
        for (ssrc, seq) in came {
            assert!(prelude.takes(now, source, &packet(ssrc, seq)));
        }
        assert!(!prelude.is_over(now, true));
        assert!(!prelude.is_over(now + WINDOW, false));
        assert!(
            !prelude.is_over(now + WINDOW, true),
            "looks again after a while"
        );
        assert!(prelude.is_over(now + WINDOW + AGAIN, true));
        let out: Vec<(u8, u16)> = prelude
            .in_order()
            .into_iter()
            .map(|(_, p)| (p[11], u16::from_be_bytes([p[2], p[3]])))
            .collect();
        let expected = [(1, 65535), (7, 65534), (1, 2), (7, 65535), (1, 3), (7, 0)];
        assert_eq!(out, expected);
    }
}
