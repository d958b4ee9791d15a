//! Packets that are far past a hole wait here until it is filled or given up.
//!
//! str0m asks for a missing packet only while at most [`REACH`] packets of the stream lie beyond it, and refuses
//! it from then on. At 430 packets a second that is a quarter of a second, or two requests at a round trip of
//! 80 ms; at 1 000 it is one. What is kept from str0m leaves the hole within its reach, for all of its requests.
//! Nothing is shown later for it: a decoder waits for the missing packet as well.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use str0m::net::Protocol;

use crate::reorder::VIDEO_WINDOW;

/// str0m's window of retransmission, in packets.
const REACH: u16 = 100;
/// What is so far past a hole belongs to another series of numbers.
const JUMP: u16 = 4096;
/// So many packets do not wait for one: [`VIDEO_WINDOW`] of a stream of 30 Mb/s.
const MOST: usize = 2048;

/// What came from the network, and from whom.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub protocol: Protocol,
    pub source: SocketAddr,
    pub bytes: &'a [u8],
}

/// A datagram that waits.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    protocol: Protocol,
    source: SocketAddr,
    bytes: Vec<u8>,
    seq: u16,
}

impl Held {
    pub fn datagram(&self) -> Datagram<'_> {
        Datagram {
            protocol: self.protocol,
            source: self.source,
            bytes: &self.bytes,
        }
    }
}

/// The holes of a stream, and the datagrams past the first of them.
///
/// Which packets came is known from what was decrypted; the number of a datagram that is still to be is only
/// believed as far as it may wait.
#[derive(Debug, Default)]
pub struct Hold {
    /// The first packet that has not come.
    next: Option<u64>,
    /// Arrivals of the packets behind it; `None`: missing as well.
    past: VecDeque<Option<Instant>>,
    held: VecDeque<Held>,
}

impl Hold {
    /// The packet with this extended number was decrypted.
    pub fn came(&mut self, seq: u64, now: Instant) {
        let Some(ahead) = seq.checked_sub(*self.next.get_or_insert(seq)) else {
            return; // given up already, or sent before the first one
        };
        if ahead > u64::from(JUMP) {
            self.past.clear();
            self.next = Some(seq + 1);
        } else if ahead == 0 {
            self.step();
        } else {
            let place = ahead as usize - 1;
            if self.past.len() <= place {
                self.past.resize(place + 1, None);
            }
            self.past[place] = Some(now);
        }
    }

    /// Keeps a datagram of the stream if it is too far past a hole. True: it was kept.
    pub fn takes(&mut self, now: Instant, seq: u16, datagram: Datagram<'_>) -> bool {
        self.give_up(now);
        let behind_those_held = self.is_holding() && self.ahead(seq) > REACH;
        if !self.is_far(seq) && !behind_those_held {
            return false;
        }
        self.held.push_back(Held {
            protocol: datagram.protocol,
            source: datagram.source,
            bytes: datagram.bytes.to_vec(),
            seq,
        });
        while self.held.len() > MOST && !self.past.is_empty() {
            self.step();
        }
        true
    }

    /// The next datagram that need not wait any longer.
    pub fn pop(&mut self, now: Instant) -> Option<Held> {
        self.give_up(now);
        let first = self.held.front()?.seq;
        if self.is_far(first) {
            return None;
        }
        self.held.pop_front()
    }

    /// True if datagrams wait.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// When datagrams that wait may be had though nothing else comes.
    pub fn due(&self) -> Option<Instant> {
        self.held.front()?;
        self.given_up_at()
    }

    fn is_far(&self, seq: u16) -> bool {
        !self.past.is_empty() && (REACH + 1..JUMP).contains(&self.ahead(seq))
    }

    /// How far past the first missing packet; 0: before it.
    fn ahead(&self, seq: u16) -> u16 {
        let ahead = seq.wrapping_sub(self.next.unwrap_or_default() as u16);
        if ahead > u16::MAX / 2 {
            0
        } else {
            ahead
        }
    }

    fn given_up_at(&self) -> Option<Instant> {
        let (_, arrival) = self.first_past()?;
        Some(arrival + VIDEO_WINDOW)
    }

    /// The first packet behind the hole: its place and its arrival.
    fn first_past(&self) -> Option<(usize, Instant)> {
        let mut past = self.past.iter().enumerate();
        past.find_map(|(place, arrival)| arrival.map(|at| (place, at)))
    }

    /// Goes on behind holes that stood open for as long as pictures wait.
    fn give_up(&mut self, now: Instant) {
        while self.given_up_at().is_some_and(|at| at <= now) {
            let missing = self.first_past().map_or(0, |(place, _)| place);
            self.past.drain(..missing);
            self.next = self.next.map(|next| next + missing as u64);
            self.step();
        }
    }

    /// The first missing packet is missing no longer: goes on to the next one that is.
    fn step(&mut self) {
        loop {
            self.next = self.next.map(|next| next + 1);
            if !matches!(self.past.pop_front(), Some(Some(_))) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FIRST: u64 = 65_500; // the numbers of the wire wrap on the way

    /// A hold that has seen `FIRST` and everything to `FIRST + 100` but `FIRST + missing`.
    fn with_holes(missing: &[u64], now: Instant) -> Hold {
        let mut hold = Hold::default();
        for n in (0..=100).filter(|n| !missing.contains(n)) {
            hold.came(FIRST + n, now);
        }
        hold
    }

    fn takes(hold: &mut Hold, n: u64, now: Instant) -> bool {
        let datagram = Datagram {
            protocol: Protocol::Udp,
            source: "127.0.0.1:9".parse().unwrap(),
            bytes: &n.to_be_bytes(),
        };
        hold.takes(now, (FIRST + n) as u16, datagram)
    }

    /// Gives on what may go, as str0m would take it.
    fn drain(hold: &mut Hold, now: Instant) -> Vec<u64> {
        let mut out = Vec::new();
        while let Some(held) = hold.pop(now) {
            let n = u64::from_be_bytes(held.bytes.try_into().unwrap());
            hold.came(FIRST + n, now);
            out.push(n);
        }
        out
    }

    #[test]
    fn what_is_out_of_reach_of_a_hole_waits_until_it_is_filled() {
        let now = Instant::now();
        let mut hold = with_holes(&[10, 50], now);
        assert!(!takes(&mut hold, 110, now), "within reach of both");
        for n in [111, 112, 150, 151] {
            assert!(takes(&mut hold, n, now));
        }
        assert!(!takes(&mut hold, 10, now), "the missing one, late");
        assert_eq!(drain(&mut hold, now), []);
        hold.came(FIRST + 10, now);
        assert_eq!(
            drain(&mut hold, now),
            [111, 112, 150],
            "the next hole is 50"
        );
        hold.came(FIRST + 50, now);
        assert_eq!(drain(&mut hold, now), [151], "the next hole is 101");
        assert!(!hold.is_holding());
    }

    #[test]
    fn a_hole_is_waited_for_as_long_as_pictures_wait_and_holes_of_one_time_not_in_turn() {
        let now = Instant::now();
        let mut hold = with_holes(&[10, 12, 50], now);
        assert!(takes(&mut hold, 200, now + VIDEO_WINDOW / 2));
        assert_eq!(hold.due(), Some(now + VIDEO_WINDOW));
        let soon = now + VIDEO_WINDOW - Duration::from_millis(1);
        assert_eq!(drain(&mut hold, soon), []);
        assert_eq!(drain(&mut hold, now + VIDEO_WINDOW), [200]);
        assert_eq!(hold.due(), None);
    }

    #[test]
    fn nothing_waits_where_nothing_is_missing_or_the_numbers_jump() {
        let now = Instant::now();
        let mut hold = Hold::default();
        assert!(!takes(&mut hold, 5000, now), "nothing came yet");
        let mut hold = with_holes(&[], now);
        assert!(!takes(&mut hold, 300, now));
        let mut hold = with_holes(&[10], now);
        assert!(!takes(&mut hold, 10 + u64::from(JUMP), now));
        hold.came(FIRST + 20_000, now);
        assert!(
            !takes(&mut hold, 20_200, now),
            "of the new series nothing is missing"
        );
    }

    #[test]
    fn a_jump_waits_behind_those_before_it_and_no_more_than_the_most_wait() {
        let now = Instant::now();
        let mut hold = with_holes(&[10], now);
        assert!(takes(&mut hold, 200, now) && takes(&mut hold, 20_000, now));
        hold.came(FIRST + 10, now);
        assert_eq!(drain(&mut hold, now), [200, 20_000]);
        let mut hold = with_holes(&[10], now);
        let most = MOST as u64;
        for n in 0..most {
            assert!(takes(&mut hold, 150 + n, now));
            assert_eq!(hold.pop(now), None);
        }
        assert!(takes(&mut hold, 150 + most, now));
        let given: Vec<u64> = (150..=201).collect();
        assert_eq!(drain(&mut hold, now), given, "the next hole is 101");
    }
}
