//! The thread of a lane: its sockets, its clock, its queue around the sans-IO core.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use roomtape_core::{Command, Event, Lane, LaneConfig, NumberTrack, Output, Protocol};

use crate::clock::now_ns;
use crate::event::{CoreEvent, TrackStats};
use crate::mailbox::{Mailbox, Post};
use crate::net::{LaneSockets, UdpBatch};
use crate::poll::{Pace, PollSet};
use crate::tap::TapMsg;
use crate::tcp::TcpFrames;
use crate::thread::Thread;

/// What is posted to a lane.
#[derive(Debug)]
pub enum LaneMsg {
    Command(Command),
    Stop,
}

/// What a lane counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneStats {
    pub peers: usize,
    pub tracks: usize,
    pub datagrams_in: u64,
    pub datagrams_out: u64,
    /// Datagrams the system would not take.
    pub dropped: u64,
}

/// A running lane.
pub struct LaneHandle {
    pub post: Post<LaneMsg>,
    stats: Arc<Mutex<LaneStats>>,
    thread: Thread<LaneMsg>,
}

impl LaneHandle {
    pub fn stats(&self) -> LaneStats {
        self.stats.lock().map_or_else(|e| *e.into_inner(), |s| *s)
    }

    /// Asks the lane to end and waits for it.
    pub fn stop(&mut self) {
        self.thread.stop();
    }
}

/// Starts a lane's thread.
///
/// # Errors
/// The process has no descriptor or thread left, or no certificate can be made.
#[allow(clippy::too_many_arguments)]
pub fn start(
    config: LaneConfig,
    number: NumberTrack,
    sockets: LaneSockets,
    post: Post<LaneMsg>,
    mailbox: Mailbox<LaneMsg>,
    tap: Post<TapMsg>,
    events: Post<CoreEvent>,
) -> io::Result<LaneHandle> {
    let name = format!("lane{}", config.lane);
    let lane = Lane::new(config, number, Instant::now()).map_err(io::Error::other)?;
    let stats = Arc::new(Mutex::new(LaneStats::default()));
    let mut thread = LaneThread {
        lane,
        udp: UdpBatch::new(sockets.udp)?,
        tcp: TcpFrames::new(sockets.tcp)?,
        mailbox,
        tap,
        events,
        counted: LaneStats::default(),
        stats: stats.clone(),
    };
    let thread = Thread::start(&name, post.clone(), LaneMsg::Stop, move || thread.run())?;
    Ok(LaneHandle {
        post,
        stats,
        thread,
    })
}

struct LaneThread {
    lane: Lane,
    udp: UdpBatch,
    tcp: TcpFrames,
    mailbox: Mailbox<LaneMsg>,
    tap: Post<TapMsg>,
    events: Post<CoreEvent>,
    counted: LaneStats,
    stats: Arc<Mutex<LaneStats>>,
}

/// Datagrams are read, and timers obeyed, at most once in this time: well below what a receiver's
/// estimate of the way to it can tell from the jitter of any network.
const READ_EVERY_NS: i64 = 2_000_000;
/// Batches read before the rest of the loop has its turn.
const BATCHES: usize = 4;

impl LaneThread {
    fn run(&mut self) {
        let mut poll = PollSet::default();
        let mut pace = Pace::new(READ_EVERY_NS);
        loop {
            poll.clear();
            let mailbox = poll.add(self.mailbox.as_raw_fd(), false);
            let now = now_ns();
            let rest = pace.rest(now);
            let udp = match rest {
                Some(_) => None,
                None => Some(poll.add(self.udp.as_raw_fd(), self.udp.is_pending())),
            };
            self.tcp.register(&mut poll);
            let until = rest.or_else(|| {
                let left = self
                    .lane
                    .deadline()?
                    .saturating_duration_since(Instant::now());
                Some(now + left.as_nanos() as i64)
            });
            if let Err(error) = poll.wait(now, until) {
                self.tell(CoreEvent::Log {
                    level: "error",
                    text: format!("waiting for the network: {error}"),
                });
            }
            let asked = poll.readable(mailbox);
            if udp.map_or(asked, |place| poll.readable(place)) {
                // Before a command that may end a session: what was sent before it comes before it.
                pace.stroke(now_ns());
                self.receive_udp();
            }
            let now = Instant::now();
            if asked {
                for letter in self.mailbox.drain() {
                    match letter {
                        LaneMsg::Command(command) => self.lane.handle_command(now, command),
                        LaneMsg::Stop => return,
                    }
                }
            }
            let Self { tcp, lane, .. } = self;
            tcp.receive(&poll, now, |source, frame| {
                lane.handle_datagram(now, Protocol::Tcp, source, frame);
            });
            let now = Instant::now();
            self.lane.handle_timeout(now);
            self.lane.flush(now);
            self.give_away(now);
        }
    }

    fn receive_udp(&mut self) {
        for _ in 0..BATCHES {
            let now = Instant::now();
            let Self {
                udp, lane, counted, ..
            } = self;
            let more = udp.receive(|source: SocketAddr, datagram| {
                counted.datagrams_in += 1;
                lane.handle_datagram(now, Protocol::Udp, source, datagram);
            });
            match more {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.tell(CoreEvent::Log {
                        level: "error",
                        text: format!("reading datagrams: {error}"),
                    });
                    return;
                }
            }
        }
    }

    fn give_away(&mut self, now: Instant) {
        let mut second_over = false;
        let (mut for_tap, mut for_server) = (Vec::new(), Vec::new());
        while let Some(output) = self.lane.poll_output() {
            match output {
                Output::Transmit(t) if t.protocol == Protocol::Udp => {
                    self.counted.datagrams_out += 1;
                    self.udp.queue(t.destination, t.contents);
                }
                Output::Transmit(t) => self.tcp.send(now, t.destination, &t.contents),
                Output::Tap(input) => for_tap.push(TapMsg::Media(input)),
                Output::Event(event) => {
                    second_over |= matches!(event, Event::Stats(_));
                    for_server.push(core_event(event));
                }
            }
        }
        if let Err(error) = self.udp.send() {
            self.tell(CoreEvent::Log {
                level: "error",
                text: format!("sending datagrams: {error}"),
            });
        }
        // Media first: what the server hears of it can be found.
        self.tap.send_all(for_tap);
        self.events.send_all(for_server);
        let (peers, tracks) = self.lane.population();
        if second_over || (peers, tracks) != (self.counted.peers, self.counted.tracks) {
            self.counted.peers = peers;
            self.counted.tracks = tracks;
            self.counted.dropped = self.udp.dropped;
            if let Ok(mut stats) = self.stats.lock() {
                *stats = self.counted;
            }
        }
    }

    fn tell(&self, event: CoreEvent) {
        self.events.send(event); // nobody listens only while the process ends
    }
}

/// The same news in the words of the binding.
fn core_event(event: Event) -> CoreEvent {
    match event {
        Event::Answer { ticket, peer, sdp } => CoreEvent::Answer {
            ticket,
            peer: peer.0,
            sdp,
        },
        Event::Refused {
            ticket,
            reason,
            message,
        } => CoreEvent::Refused {
            ticket,
            reason,
            message,
        },
        Event::Patched { ticket, fragment } => CoreEvent::Patched { ticket, fragment },
        Event::PeerUp(who) => CoreEvent::PeerUp {
            peer: who.peer.0,
            room: who.room,
            user: who.user,
            seat: who.seat.as_str(),
        },
        Event::PeerLost(who) => CoreEvent::PeerLost {
            peer: who.peer.0,
            room: who.room,
            user: who.user,
            seat: who.seat.as_str(),
        },
        Event::PeerClosed(who, reason) => CoreEvent::PeerClosed {
            peer: who.peer.0,
            room: who.room,
            user: who.user,
            seat: who.seat.as_str(),
            reason,
        },
        Event::TrackStart { info, at_ns } => CoreEvent::track_start(info, at_ns),
        Event::TrackStop { info, at_ns, cause } => CoreEvent::track_stop(info, at_ns, cause),
        Event::TrackSize {
            info,
            width,
            height,
            at_ns,
        } => CoreEvent::track_size(info, (width, height), at_ns),
        Event::Stats(all) => CoreEvent::Stats(
            all.into_iter()
                .map(|(track, s)| TrackStats {
                    track,
                    packets: s.packets,
                    bytes: s.bytes,
                    lost: s.lost,
                    jitter_ms: s.jitter_ms,
                })
                .collect(),
        ),
        Event::Log(level, text) => CoreEvent::Log { level, text },
    }
}
