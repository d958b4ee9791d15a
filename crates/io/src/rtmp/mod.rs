//! The RTMP thread: connections and their publishers.

mod door;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use roomtape_media::{Kind, Source, StopCause, TapDemand, TapInput, TrackId};
use roomtape_rtmp::publisher::{Out, Publisher};
use roomtape_rtmp::session::{Event, Rules, Session};

pub use roomtape_rtmp::publisher::Inject;

/// Gives what viewers may be given to the lanes of the rooms whose keys stand before it.
pub type InjectInto = Box<dyn Fn(Vec<(Arc<str>, Inject)>) + Send>;

use crate::clock::now_ns;
use crate::event::{CoreEvent, TrackStats};
use crate::lives::Lives;
use crate::mailbox::{Mailbox, Post};
use crate::outbuf::OutBuffer;
use crate::poll::{Pace, PollSet};
use crate::tap::TapMsg;
use crate::thread::Thread;
use door::{Door, Verdict};

const MS: i64 = 1_000_000;
/// A client that lets our few answers pile up this far is not reading.
const MAX_OUTPUT: usize = 256 << 10;
/// Time between watermarks while somebody reads.
const WATERMARK_NS: i64 = 100 * MS;
/// Time between looks for silent publishers.
const TICK_NS: i64 = 250 * MS;
const STATS_NS: i64 = 1_000 * MS;
/// Publishers are read at most once in this time, all of them in one go.
const READ_EVERY_NS: i64 = 10 * MS;

/// What the RTMP thread needs to know.
#[derive(Debug)]
pub struct RtmpConfig {
    /// Bound already, so that a taken port is the caller's error.
    pub listener: TcpListener,
    /// Connections of one address (of IPv6: one network of 64 bits) at the same time.
    pub connections_per_address: usize,
    /// From the connection to the publish command; who is later is closed.
    pub publish_within: Duration,
    pub allow_bframes: bool,
    /// A publisher silent this long loses its tracks.
    pub lost_after: Duration,
    /// Numbers of all tracks of the server.
    pub next_track: Arc<AtomicU64>,
    pub lives: Arc<Lives>,
}

/// What is posted to the RTMP thread.
#[derive(Clone, Debug)]
pub enum RtmpMsg {
    /// Answers to `CoreEvent::RtmpPublish`.
    Accept {
        conn: u64,
        room: Arc<str>,
        user: Arc<str>,
        entered_ns: i64,
    },
    Refuse {
        conn: u64,
        description: String,
    },
    Close {
        conn: u64,
    },
    Block {
        room: Arc<str>,
        user: Arc<str>,
        audio: bool,
        video: bool,
    },
    Dismiss {
        room: Arc<str>,
    },
    Demand(TapDemand),
    Stop,
}

/// The running RTMP thread.
#[derive(Debug)]
pub struct RtmpHandle {
    pub post: Post<RtmpMsg>,
    pub addr: SocketAddr,
    thread: Thread<RtmpMsg>,
}

impl RtmpHandle {
    /// Ends the thread and closes all connections.
    pub fn stop(&mut self) {
        self.thread.stop();
    }
}

/// Starts the RTMP thread. `inject` is called on it with what viewers may be given; it must not block.
///
/// # Errors
/// The process has no descriptor or thread left.
pub fn start(
    config: RtmpConfig,
    (post, mailbox): (Post<RtmpMsg>, Mailbox<RtmpMsg>),
    tap: Post<TapMsg>,
    events: Post<CoreEvent>,
    inject: InjectInto,
) -> io::Result<RtmpHandle> {
    let door = Door::new(config.listener, config.connections_per_address)?;
    let addr = door.address()?;
    let mut thread = Rtmp {
        door,
        rules: Rules {
            allow_bframes: config.allow_bframes,
            publish_within_ns: config.publish_within.as_nanos() as i64,
        },
        lost_after: config.lost_after,
        next_track: config.next_track,
        lives: config.lives,
        mailbox,
        tap,
        events,
        inject,
        conns: BTreeMap::new(),
        next_conn: 1,
        for_tap: Vec::new(),
        for_lanes: Vec::new(),
        for_server: Vec::new(),
        demanded: HashSet::new(),
        marked: HashSet::new(),
    };
    let thread = Thread::start("rtmp", post.clone(), RtmpMsg::Stop, move || thread.run())?;
    Ok(RtmpHandle { post, addr, thread })
}

struct Conn {
    socket: TcpStream,
    remote: SocketAddr,
    session: Session,
    out: OutBuffer,
    publisher: Option<Publisher>,
    /// Our side of the connection is shut: only the peer's end is waited for.
    shut: bool,
    gone: bool,
}

struct Rtmp {
    door: Door,
    rules: Rules,
    lost_after: Duration,
    next_track: Arc<AtomicU64>,
    lives: Arc<Lives>,
    mailbox: Mailbox<RtmpMsg>,
    tap: Post<TapMsg>,
    events: Post<CoreEvent>,
    inject: InjectInto,
    conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    /// What this turn of the thread has for others; goes when the turn is over, so that they wake once.
    for_tap: Vec<TapMsg>,
    for_lanes: Vec<(Arc<str>, Inject)>,
    for_server: Vec<CoreEvent>,
    /// Rooms that somebody reads.
    demanded: HashSet<Arc<str>>,
    /// Rooms in which we have said a watermark.
    marked: HashSet<Arc<str>>,
}

impl Rtmp {
    fn run(&mut self) {
        let mut polls = PollSet::default();
        let mut scratch = vec![0u8; 64 << 10];
        let (mut next_tick, mut next_mark, mut next_stats) = (0, 0, 0);
        let mut pace = Pace::new(READ_EVERY_NS);
        let mut order: Vec<u64> = Vec::new();
        loop {
            polls.clear();
            order.clear();
            polls.add(self.mailbox.as_raw_fd(), false);
            polls.add(self.door.as_raw_fd(), false);
            let rest = pace.rest(now_ns());
            for (id, conn) in &self.conns {
                if rest.is_none() || conn.publisher.is_none() || !conn.out.is_empty() {
                    order.push(*id);
                    polls.add(conn.socket.as_raw_fd(), !conn.out.is_empty());
                }
            }
            let deadlines = self.conns.values().filter_map(|c| c.session.deadline());
            let publishing = self.conns.values().any(|c| c.publisher.is_some());
            let timers = publishing.then(|| next_tick.min(next_stats));
            let marks = (publishing && !self.demanded.is_empty()).then_some(next_mark);
            let until = deadlines.chain(timers).chain(marks).chain(rest).min();
            if let Err(e) = polls.wait(now_ns(), until) {
                panic!("poll failed: {e}");
            }
            if polls.readable(0) {
                for letter in self.mailbox.drain() {
                    if matches!(letter, RtmpMsg::Stop) {
                        return self.give_away();
                    }
                    self.obey(letter);
                }
            }
            if (2..order.len() + 2).any(|place| polls.readable(place)) {
                pace.stroke(now_ns());
            }
            for (place, id) in order.iter().enumerate() {
                if polls.readable(place + 2) {
                    self.hear(*id, &mut scratch);
                }
                if polls.writable(place + 2) {
                    self.write(*id);
                }
            }
            if polls.readable(1) {
                self.accept();
            }
            let now = now_ns();
            self.deadlines(now);
            if now >= next_tick {
                next_tick = now + TICK_NS;
                self.tick(now);
            }
            if now >= next_mark {
                next_mark = now + WATERMARK_NS;
                self.watermarks(now);
            }
            if now >= next_stats {
                next_stats = now + STATS_NS;
                self.stats();
            }
            self.bury();
            self.give_away();
        }
    }

    /// Media first: what the server hears of it can be found.
    fn give_away(&mut self) {
        self.tap.send_all(self.for_tap.drain(..));
        if !self.for_lanes.is_empty() {
            (self.inject)(std::mem::take(&mut self.for_lanes));
        }
        self.events.send_all(self.for_server.drain(..));
    }

    // ---- the server's word -------------------------------------------------------------------

    fn obey(&mut self, letter: RtmpMsg) {
        let now = now_ns();
        match letter {
            RtmpMsg::Accept {
                conn,
                room,
                user,
                entered_ns,
            } => self.accepted(now, conn, room, user, entered_ns),
            RtmpMsg::Refuse { conn, description } => {
                if let Some(c) = self.conns.get_mut(&conn) {
                    c.session.refuse(now, &description);
                    self.pump(now, conn);
                }
            }
            RtmpMsg::Close { conn } => self.close(now, conn, StopCause::Closed),
            RtmpMsg::Block {
                room,
                user,
                audio,
                video,
            } => {
                for id in self.of_room(&room) {
                    let publisher = self.conns.get_mut(&id).and_then(|c| c.publisher.as_mut());
                    if let Some(p) = publisher.filter(|p| *p.user() == user) {
                        p.block(audio, video);
                        self.pass_on(id);
                    }
                }
            }
            RtmpMsg::Dismiss { room } => {
                for id in self.of_room(&room) {
                    self.close(now, id, StopCause::Dismissed);
                }
            }
            RtmpMsg::Demand(TapDemand::Room { room, on }) => self.demand(now, room, on),
            // RTMP has no words for asking a publisher for a key frame.
            RtmpMsg::Demand(TapDemand::Keyframe { .. }) => {}
            RtmpMsg::Stop => {}
        }
    }

    fn accepted(&mut self, now: i64, id: u64, room: Arc<str>, user: Arc<str>, entered_ns: i64) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.session.accept();
            if conn.session.is_publishing() && conn.publisher.is_none() {
                let lost = self.lost_after.as_nanos() as i64;
                let read = self.demanded.contains(&room);
                conn.publisher = Some(Publisher::new(now, room, user, entered_ns, lost, read));
                self.pump(now, id);
                return;
            }
        }
        // It went away while the server thought about it.
        let reason = "closed".to_owned();
        self.for_server.push(CoreEvent::RtmpClosed {
            conn: id,
            room,
            user,
            reason,
        });
    }

    fn close(&mut self, now: i64, id: u64, cause: StopCause) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if let Some(publisher) = &mut conn.publisher {
            publisher.stop(cause);
        }
        conn.session.close(now);
        self.pass_on(id);
        self.pump(now, id);
    }

    fn demand(&mut self, now: i64, room: Arc<str>, on: bool) {
        for id in self.of_room(&room) {
            if let Some(p) = self.conns.get_mut(&id).and_then(|c| c.publisher.as_mut()) {
                p.demand(on);
                self.pass_on(id);
            }
        }
        if on {
            self.demanded.insert(room);
            self.watermarks(now);
        } else {
            self.demanded.remove(&room);
            self.marked.remove(&room);
        }
    }

    fn of_room(&self, room: &str) -> Vec<u64> {
        let here = |c: &Conn| c.publisher.as_ref().is_some_and(|p| &**p.room() == room);
        self.conns
            .iter()
            .filter(|(_, c)| here(c))
            .map(|(id, _)| *id)
            .collect()
    }

    // ---- connections -------------------------------------------------------------------------

    fn accept(&mut self) {
        loop {
            let (socket, remote) = match self.door.knock() {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(e) => {
                    // Without descriptors the listener stays readable; do not spin on it.
                    self.log("warning", format!("rtmp: cannot accept: {e}"));
                    std::thread::sleep(Duration::from_millis(10));
                    return;
                }
            };
            let is_stranger = |c: &&Conn| c.publisher.is_none();
            let strangers = self.conns.values().filter(is_stranger).count();
            let now = now_ns();
            let mut session = Session::new(now, self.rules);
            match self.door.judge(remote.ip(), self.conns.len(), strangers) {
                Verdict::Welcome => {}
                Verdict::Refused => {
                    let most = self.door.connections_per_address();
                    session.turn_away(format!(
                        "Too many connections from this address: at most {most}"
                    ));
                    self.complain(
                        now,
                        remote,
                        "more than rtmp.connections_per_address of this address",
                    );
                }
                Verdict::Closed(why) => {
                    self.complain(now, remote, why);
                    continue;
                }
            }
            self.door.entered(remote.ip());
            let conn = Conn {
                socket,
                remote,
                session,
                out: OutBuffer::default(),
                publisher: None,
                shut: false,
                gone: false,
            };
            self.conns.insert(self.next_conn, conn);
            self.next_conn += 1;
        }
    }

    fn complain(&mut self, now: i64, remote: SocketAddr, why: &str) {
        if self.door.may_complain(now) {
            self.log("warning", format!("rtmp: turned {remote} away: {why}"));
        }
    }

    fn hear(&mut self, id: u64, scratch: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let n = match conn.socket.read(scratch) {
            Ok(0) => {
                conn.gone = true;
                return;
            }
            Ok(n) => n,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return
            }
            Err(_) => {
                conn.gone = true;
                return;
            }
        };
        let now = now_ns();
        let session = std::panic::AssertUnwindSafe(|| conn.session.input(now, &scratch[..n]));
        if std::panic::catch_unwind(session).is_err() {
            // A mistake of ours that one peer can reach must not end the others.
            conn.gone = true;
            let remote = conn.remote;
            self.log(
                "error",
                format!("rtmp: closed {remote} after an internal error"),
            );
            return;
        }
        self.pump(now, id);
    }

    /// Passes on what a session has for the server and for its peer.
    fn pump(&mut self, now: i64, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        while let Some(event) = conn.session.poll_event() {
            match event {
                Event::Publish { app, key } => {
                    self.for_server.push(CoreEvent::RtmpPublish {
                        conn: id,
                        app,
                        key,
                        remote: conn.remote.to_string(),
                    });
                }
                Event::Media(media) => {
                    let (next, lives) = (&self.next_track, &self.lives);
                    let number = |room: &str, user: &str, kind: Kind| {
                        let id = TrackId(next.fetch_add(1, Ordering::Relaxed));
                        (id, lives.next(room, user, kind))
                    };
                    if let Some(publisher) = &mut conn.publisher {
                        publisher.media(now, media, &number);
                    }
                }
                Event::Closed { reason } => {
                    if let Some(mut publisher) = conn.publisher.take() {
                        publisher.stop(StopCause::Closed);
                        let (room, user) = (publisher.room().clone(), publisher.user().clone());
                        conn.publisher = Some(publisher);
                        self.pass_on(id);
                        self.farewell(id, room, user, reason);
                    }
                    break;
                }
            }
        }
        self.pass_on(id);
        self.write(id);
    }

    /// The publisher is no more; its connection may linger so that the peer reads why.
    fn farewell(&mut self, id: u64, room: Arc<str>, user: Arc<str>, reason: String) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.publisher = None;
        }
        self.for_server.push(CoreEvent::RtmpClosed {
            conn: id,
            room: room.clone(),
            user,
            reason,
        });
        self.unmark(&room);
    }

    fn pass_on(&mut self, id: u64) {
        let Some(publisher) = self.conns.get_mut(&id).and_then(|c| c.publisher.as_mut()) else {
            return;
        };
        for out in publisher.take() {
            match out {
                Out::Tap(input) => self.for_tap.push(TapMsg::Media(input)),
                Out::Inject(inject) => self.for_lanes.push((publisher.room().clone(), inject)),
                Out::Start(info) => {
                    let at_ns = info.started_ns;
                    self.for_server.push(CoreEvent::track_start(info, at_ns));
                }
                Out::Stop { info, at_ns, cause } => {
                    self.for_server
                        .push(CoreEvent::track_stop(info, at_ns, cause));
                }
                Out::Size {
                    info,
                    width,
                    height,
                    at_ns,
                } => {
                    self.for_server
                        .push(CoreEvent::track_size(info, (width, height), at_ns));
                }
            }
        }
    }

    fn write(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let bytes = conn.session.take_output();
        if !bytes.is_empty() {
            conn.out.append(|out| out.extend_from_slice(&bytes));
        }
        let failed = conn.out.write_to(conn.socket.as_raw_fd()).is_err();
        if failed || conn.out.len() > MAX_OUTPUT {
            conn.gone = true;
        } else if conn.session.closing().is_some() && conn.out.is_empty() && !conn.shut {
            // Closing with unread bytes would reset the connection and take our last words along:
            // shut our side, read on until the peer's end or the deadline.
            conn.shut = true;
            conn.gone = conn.socket.shutdown(Shutdown::Write).is_err();
        }
    }

    // ---- time --------------------------------------------------------------------------------

    fn deadlines(&mut self, now: i64) {
        let late: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, c)| c.session.deadline().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            if conn.session.closing().is_some_and(|at| at <= now) {
                conn.gone = true;
                continue;
            }
            conn.session.tick(now);
            self.pump(now, id);
        }
    }

    fn tick(&mut self, now: i64) {
        let ids: Vec<u64> = self.conns.keys().copied().collect();
        for id in ids {
            if let Some(p) = self.conns.get_mut(&id).and_then(|c| c.publisher.as_mut()) {
                p.tick(now);
                self.pass_on(id);
            }
        }
    }

    /// Tells the tap, for each room that is read, the time before which nothing of ours follows.
    fn watermarks(&mut self, now: i64) {
        let mut marks: BTreeMap<Arc<str>, i64> = BTreeMap::new();
        for publisher in self.conns.values().filter_map(|c| c.publisher.as_ref()) {
            if !self.demanded.contains(publisher.room()) {
                continue;
            }
            if let Some(mark) = publisher.watermark(now) {
                let least = marks.entry(publisher.room().clone()).or_insert(mark);
                *least = mark.min(*least);
            }
        }
        let silent: Vec<_> = self
            .marked
            .iter()
            .filter(|r| !marks.contains_key(*r))
            .cloned()
            .collect();
        silent.iter().for_each(|room| self.unmark(room));
        for (room, t_ns) in marks {
            self.marked.insert(room.clone());
            let source = Source::Rtmp;
            self.for_tap
                .push(TapMsg::Media(TapInput::Watermark { room, t_ns, source }));
        }
    }

    /// We have no track in this room any longer: its watermark does not wait for us.
    fn unmark(&mut self, room: &Arc<str>) {
        let others = self.conns.values().filter_map(|c| c.publisher.as_ref());
        let now = now_ns();
        if others
            .into_iter()
            .any(|p| p.room() == room && p.watermark(now).is_some())
        {
            return;
        }
        if self.marked.remove(room) {
            self.for_tap.push(TapMsg::Media(TapInput::Watermark {
                room: room.clone(),
                t_ns: i64::MAX,
                source: Source::Rtmp,
            }));
        }
    }

    fn stats(&mut self) {
        let publishers = self.conns.values().filter_map(|c| c.publisher.as_ref());
        let stats: Vec<_> = publishers
            .flat_map(Publisher::totals)
            .map(|t| TrackStats {
                track: t.track,
                packets: t.frames,
                bytes: t.bytes,
                lost: 0,
                jitter_ms: 0.0,
            })
            .collect();
        if !stats.is_empty() {
            self.for_server.push(CoreEvent::Stats(stats));
        }
    }

    fn bury(&mut self) {
        let gone: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, c)| c.gone)
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            // What it sent last was taken in before; now its tracks end.
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            if let Some(publisher) = &mut conn.publisher {
                publisher.stop(StopCause::Closed);
                let (room, user) = (publisher.room().clone(), publisher.user().clone());
                self.pass_on(id);
                self.farewell(id, room, user, "closed".into());
            }
            if let Some(conn) = self.conns.remove(&id) {
                self.door.left(conn.remote.ip());
            }
        }
    }

    fn log(&mut self, level: &'static str, text: String) {
        self.for_server.push(CoreEvent::Log { level, text });
    }
}
