//! A network that loses, delays, doubles and reorders, made from a seed.
//!
//! `Pipe` is one direction without sockets or clock: datagrams go in with a time, and come out when
//! they are due. `Link` puts two of them between UDP clients and a server.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use roomtape_io::clock::now_ns;
use roomtape_io::poll::PollSet;

/// Which datagrams are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Each with the same probability.
    Even(f64),
    /// Gilbert and Elliott: all of a bad stretch, which begins and ends with these probabilities per
    /// datagram.
    Bursts { begin: f64, end: f64 },
}

/// What one direction does.
#[derive(Clone, Debug)]
pub struct Weather {
    pub loss: Loss,
    pub delay: Duration,
    /// Up to this much more, the order kept.
    pub jitter: Duration,
    /// Probability that a datagram is held back by `reorder_by` behind those after it.
    pub reorder: f64,
    pub reorder_by: Duration,
    pub duplicate: f64,
    /// Bits per second; what would wait longer than `queue` is lost.
    pub rate: Option<u64>,
    pub queue: Duration,
    /// Nothing passes from the first until the second, since the client's first datagram.
    pub dead: Vec<(Duration, Duration)>,
    /// Loss begins only after this, counted alike, so that a connection is made.
    pub calm: Duration,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            loss: Loss::Even(0.0),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: 0.0,
            reorder_by: Duration::from_millis(20),
            duplicate: 0.0,
            rate: None,
            queue: Duration::from_millis(500),
            dead: Vec::new(),
            calm: Duration::ZERO,
        }
    }
}

/// What happened to the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    pub offered: u64,
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub delivered: u64,
}

/// Knuth's linear congruential generator: the same seed loses the same datagrams everywhere.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// One direction.
#[derive(Debug)]
pub struct Pipe {
    weather: Weather,
    dice: Dice,
    bad: bool,
    free_at: Duration,
    last: Duration,
    count: u64,
    waiting: BTreeMap<(Duration, u64), Vec<u8>>,
    pub passed: Passed,
}

impl Pipe {
    /// `seed` alone decides what happens to the n-th datagram.
    pub fn new(weather: Weather, seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(2).wrapping_add(1));
        dice.roll();
        Self {
            weather,
            dice,
            bad: false,
            free_at: Duration::ZERO,
            last: Duration::ZERO,
            count: 0,
            waiting: BTreeMap::new(),
            passed: Passed::default(),
        }
    }

    /// Takes a datagram at `now` (since the start).
    pub fn offer(&mut self, now: Duration, datagram: &[u8]) {
        self.passed.offered += 1;
        if self.loses(now) {
            self.passed.lost += 1;
            return;
        }
        let mut leaves = now;
        if let Some(rate) = self.weather.rate {
            let begins = self.free_at.max(now);
            if begins - now > self.weather.queue {
                self.passed.lost += 1;
                return;
            }
            let nanos = datagram.len() as u64 * 8 * 1_000_000_000 / rate.max(1);
            self.free_at = begins + Duration::from_nanos(nanos);
            leaves = self.free_at;
        }
        let mut due = leaves + self.weather.delay + self.weather.jitter.mul_f64(self.dice.roll());
        if self.dice.roll() < self.weather.reorder {
            self.passed.reordered += 1;
            due += self.weather.reorder_by;
        } else {
            due = due.max(self.last);
            self.last = due;
        }
        self.queue(due, datagram);
        if self.dice.roll() < self.weather.duplicate {
            self.passed.doubled += 1;
            self.queue(due + Duration::from_millis(1), datagram);
        }
    }

    fn loses(&mut self, now: Duration) -> bool {
        if self
            .weather
            .dead
            .iter()
            .any(|(from, to)| (*from..*to).contains(&now))
        {
            return true;
        }
        let dice = self.dice.roll();
        if now < self.weather.calm {
            return false;
        }
        match self.weather.loss {
            Loss::Even(share) => dice < share,
            Loss::Bursts { begin, end } => {
                self.bad = if self.bad { dice >= end } else { dice < begin };
                self.bad
            }
        }
    }

    fn queue(&mut self, due: Duration, datagram: &[u8]) {
        self.count += 1;
        self.waiting.insert((due, self.count), datagram.to_vec());
    }

    /// The next datagram that is due.
    pub fn take(&mut self, now: Duration) -> Option<Vec<u8>> {
        let first = self.waiting.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        self.passed.delivered += 1;
        Some(first.remove())
    }

    /// When the next one is due.
    pub fn due(&self) -> Option<Duration> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }
}

struct Client {
    address: SocketAddr,
    /// Our end towards the server: one per client, so that the server tells them apart.
    upstream: UdpSocket,
    up: Pipe,
    down: Pipe,
}

/// The two directions between any number of clients and one server.
pub struct Link {
    front: UdpSocket,
    server: SocketAddr,
    weather: Weather,
    seed: u64,
    clients: Vec<Client>,
    begun: Instant,
    poll: PollSet,
}

impl Link {
    /// Listens on a free port of the server's interface.
    pub fn open(server: SocketAddr, weather: Weather, seed: u64) -> std::io::Result<Link> {
        let front = UdpSocket::bind((server.ip(), 0))?;
        front.set_nonblocking(true)?;
        Ok(Link {
            front,
            server,
            weather,
            seed,
            clients: Vec::new(),
            begun: Instant::now(),
            poll: PollSet::default(),
        })
    }

    /// Where clients send to instead of the server.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.front.local_addr()
    }

    /// Towards the server, and back, over all clients.
    pub fn passed(&self) -> (Passed, Passed) {
        let sum = |of: fn(&Client) -> Passed| {
            self.clients
                .iter()
                .map(of)
                .fold(Passed::default(), |a, b| Passed {
                    offered: a.offered + b.offered,
                    lost: a.lost + b.lost,
                    doubled: a.doubled + b.doubled,
                    reordered: a.reordered + b.reordered,
                    delivered: a.delivered + b.delivered,
                })
        };
        (sum(|c| c.up.passed), sum(|c| c.down.passed))
    }

    /// Carries datagrams until `stop` (a descriptor) can be read: its other end has closed.
    pub fn run(&mut self, stop: &impl AsRawFd) -> std::io::Result<()> {
        loop {
            self.deliver();
            self.poll.clear();
            let ended = self.poll.add(stop.as_raw_fd(), false);
            let front = self.poll.add(self.front.as_raw_fd(), false);
            for client in &self.clients {
                self.poll.add(client.upstream.as_raw_fd(), false);
            }
            let due = self.clients.iter().flat_map(|c| [c.up.due(), c.down.due()]);
            let now = self.begun.elapsed();
            let start = now_ns();
            let until = due
                .flatten()
                .min()
                .map(|due| start + due.saturating_sub(now).as_nanos() as i64);
            self.poll.wait(start, until)?;
            if self.poll.readable(ended) {
                return Ok(());
            }
            let ready: Vec<bool> = (0..self.clients.len())
                .map(|n| self.poll.readable(front + 1 + n))
                .collect();
            if self.poll.readable(front) {
                self.hear_clients()?;
            }
            let mut buffer = [0; 2048];
            let now = self.begun.elapsed();
            for (client, _) in self
                .clients
                .iter_mut()
                .zip(ready)
                .filter(|(_, ready)| *ready)
            {
                while let Ok(size) = client.upstream.recv(&mut buffer) {
                    client.down.offer(now, &buffer[..size]);
                }
            }
        }
    }

    fn hear_clients(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; 2048];
        let now = self.begun.elapsed();
        while let Ok((size, address)) = self.front.recv_from(&mut buffer) {
            let known = self.clients.iter().position(|c| c.address == address);
            let place = match known {
                Some(place) => place,
                None => self.meet(address)?,
            };
            self.clients[place].up.offer(now, &buffer[..size]);
        }
        Ok(())
    }

    fn meet(&mut self, address: SocketAddr) -> std::io::Result<usize> {
        let upstream = UdpSocket::bind((self.server.ip(), 0))?;
        upstream.set_nonblocking(true)?;
        upstream.connect(self.server)?;
        let number = self.clients.len() as u64;
        let since = self.begun.elapsed();
        let mut weather = self.weather.clone();
        weather.calm += since;
        for (from, to) in &mut weather.dead {
            (*from, *to) = (*from + since, *to + since);
        }
        let pipe = |way| Pipe::new(weather.clone(), self.seed ^ (number * 2 + way) << 32);
        let (up, down) = (pipe(0), pipe(1));
        self.clients.push(Client {
            address,
            upstream,
            up,
            down,
        });
        Ok(self.clients.len() - 1)
    }

    fn deliver(&mut self) {
        let now = self.begun.elapsed();
        for client in &mut self.clients {
            // A full socket buffer loses it, as the network would.
            while let Some(datagram) = client.up.take(now) {
                let _ = client.upstream.send(&datagram);
            }
            while let Some(datagram) = client.down.take(now) {
                let _ = self.front.send_to(&datagram, client.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn carried(weather: Weather, seed: u64, count: u32) -> (Vec<u32>, Passed) {
        let mut pipe = Pipe::new(weather, seed);
        let mut out = Vec::new();
        for n in 0..count + 1000 {
            let now = MS * n;
            if n < count {
                pipe.offer(now, &n.to_be_bytes());
            }
            while let Some(got) = pipe.take(now) {
                out.push(u32::from_be_bytes(got.try_into().unwrap()));
            }
        }
        (out, pipe.passed)
    }

    #[test]
    fn the_same_seed_loses_the_same_datagrams() {
        let weather = Weather {
            loss: Loss::Even(0.1),
            jitter: 30 * MS,
            reorder: 0.1,
            duplicate: 0.1,
            ..Weather::default()
        };
        assert_eq!(
            carried(weather.clone(), 5, 2000),
            carried(weather.clone(), 5, 2000)
        );
        assert_ne!(
            carried(weather.clone(), 5, 2000).0,
            carried(weather, 6, 2000).0
        );
    }

    #[test]
    fn shares_are_what_was_asked_for() {
        let even = Weather {
            loss: Loss::Even(0.05),
            reorder: 0.2,
            duplicate: 0.1,
            ..Weather::default()
        };
        let (out, passed) = carried(even, 1, 20_000);
        assert!((900..1100).contains(&passed.lost), "{passed:?}");
        assert!((3500..4100).contains(&passed.reordered), "{passed:?}");
        assert!((1750..2050).contains(&passed.doubled), "{passed:?}");
        assert_eq!(out.len() as u64, passed.delivered);
        assert_eq!(
            passed.delivered,
            passed.offered - passed.lost + passed.doubled
        );
        // 5 % in stretches of four: begin / (begin + end) = 0.05, 1 / end = 4.
        let bursts = Weather {
            loss: Loss::Bursts {
                begin: 0.25 * 0.05 / 0.95,
                end: 0.25,
            },
            ..Weather::default()
        };
        let (out, passed) = carried(bursts, 1, 20_000);
        assert!((800..1200).contains(&passed.lost), "{passed:?}");
        let stretches = out.windows(2).filter(|w| w[1] != w[0] + 1).count() as u64;
        assert!(
            (3..=5).contains(&(passed.lost / stretches)),
            "{stretches} stretches"
        );
    }

    #[test]
    fn jitter_keeps_the_order_and_a_cut_lets_nothing_through() {
        let weather = Weather {
            delay: 40 * MS,
            jitter: 100 * MS,
            dead: vec![(100 * MS, 200 * MS)],
            ..Weather::default()
        };
        let (out, _) = carried(weather, 3, 1000);
        let expected: Vec<u32> = (0..100).chain(200..1000).collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn a_narrow_way_queues_and_then_loses() {
        let weather = Weather {
            rate: Some(16_000), // 2 bytes a millisecond, and 4 are offered
            queue: 100 * MS,
            ..Weather::default()
        };
        let (out, passed) = carried(weather, 3, 1000);
        assert!((400..=600).contains(&passed.lost), "{passed:?}");
        assert!(out.is_sorted());
    }
}
