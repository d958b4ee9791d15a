//! The tap thread: frame logs of all rooms, and the Unix socket their readers come to.
//!
//! It never makes a source wait: sources post, and what a reader does not take fills that
//! reader's own buffer up to a bound and then stays in the log.

pub mod wire;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use roomtape_media::log::{Limits, LogStats, Logs, OpenSpec, ReadError, ReaderKey};
use roomtape_media::{TapDemand, TapInput};

use crate::clock::now_ns;
use crate::mailbox::{Mailbox, Post};
use crate::outbuf::OutBuffer;
use crate::poll::{Pace, PollSet};
use crate::thread::Thread;
use wire::{Cutter, Inbound, Mode, Open};

/// Above this a connection is given no more frames until it has taken some.
const BUFFER_BYTES: usize = 16 << 20;
/// News alone have filled the buffer this far: nobody reads at the other end.
const BUFFER_LIMIT: usize = 64 << 20;
/// Connections at the same time; there is one per worker.
const MAX_CLIENTS: usize = 256;
const TICK_NS: i64 = 1_000_000_000;
/// What the sources post is taken in at most once in this time, or in a twentieth of the time between the
/// batches of the reader that wants them soonest, if that is longer: whoever is due is given all there is.
const GATHER_NS: i64 = 10_000_000;
const GATHER_MOST_NS: i64 = 50_000_000;
const GATHERS_PER_BATCH: i64 = 20;

/// What the tap needs to know.
#[derive(Clone, Debug)]
pub struct TapConfig {
    /// Where the socket is put; an old one there is replaced.
    pub path: PathBuf,
    pub boot_id: String,
    pub log_max_track_bytes: usize,
    pub log_max_bytes: usize,
}

/// What is posted to the tap thread.
#[derive(Debug)]
pub enum TapMsg {
    Media(TapInput),
    /// The log stops keeping frames for this durable reader.
    ForgetReader(String),
    Stop,
}

/// The running tap thread.
#[derive(Debug)]
pub struct TapHandle {
    pub post: Post<TapMsg>,
    stats: Arc<Mutex<LogStats>>,
    thread: Thread<TapMsg>,
}

impl TapHandle {
    pub fn stats(&self) -> LogStats {
        self.stats.lock().map_or_else(|e| *e.into_inner(), |s| *s)
    }

    /// Ends the thread and removes the socket.
    pub fn stop(&mut self) {
        self.thread.stop();
    }
}

/// Starts the tap thread. `demand` is called on it with what is asked of the sources; it must not block.
///
/// # Errors
/// The socket cannot be made, or the process has no descriptor or thread left.
pub fn start(config: TapConfig, demand: Box<dyn Fn(TapDemand) + Send>) -> io::Result<TapHandle> {
    match std::fs::remove_file(&config.path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&config.path)?;
    std::fs::set_permissions(&config.path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    let (post, mailbox) = Mailbox::new()?;
    let stats = Arc::new(Mutex::new(LogStats::default()));
    let mut tap = Tap {
        logs: Logs::new(Limits {
            max_track_bytes: config.log_max_track_bytes,
            max_bytes: config.log_max_bytes,
        }),
        config,
        listener,
        mailbox,
        demand,
        clients: BTreeMap::new(),
        places: HashMap::new(),
        next_client: 1,
        next_reader: 1,
        stats: stats.clone(),
    };
    let thread = Thread::start("tap", post.clone(), TapMsg::Stop, move || tap.run())?;
    Ok(TapHandle {
        post,
        stats,
        thread,
    })
}

struct Client {
    socket: UnixStream,
    cutter: Cutter,
    out: OutBuffer,
    /// Its readers by the numbers it gave them.
    readers: HashMap<u32, ReaderKey>,
    /// Readers that wait for room in `out`.
    held: Vec<ReaderKey>,
    gone: bool,
}

struct Tap {
    config: TapConfig,
    listener: UnixListener,
    mailbox: Mailbox<TapMsg>,
    demand: Box<dyn Fn(TapDemand) + Send>,
    logs: Logs,
    clients: BTreeMap<u64, Client>,
    /// Whose reader it is: client and number.
    places: HashMap<ReaderKey, (u64, u32)>,
    next_client: u64,
    next_reader: u64,
    stats: Arc<Mutex<LogStats>>,
}

impl Tap {
    fn run(&mut self) {
        let mut polls = PollSet::default();
        let mut next_tick = now_ns() + TICK_NS;
        let mut scratch = vec![0u8; 64 << 10];
        let mut order: Vec<u64> = Vec::new();
        let mut pace = Pace::new(GATHER_NS);
        loop {
            polls.clear();
            order.clear();
            polls.add(self.listener.as_raw_fd(), false);
            for (id, client) in &self.clients {
                order.push(*id);
                polls.add(client.socket.as_raw_fd(), !client.out.is_empty());
            }
            let now = now_ns();
            let rest = pace.rest(now);
            let mailbox = match rest {
                Some(_) => None,
                None => Some(polls.add(self.mailbox.as_raw_fd(), false)),
            };
            let until = [self.logs.next_due(), rest].into_iter().flatten().min();
            let until = until.map_or(next_tick, |at| at.min(next_tick));
            if let Err(e) = polls.wait(now, Some(until)) {
                panic!("poll failed: {e}");
            }
            let now = now_ns();
            let due = self.logs.next_due().is_some_and(|at| at <= now);
            if due || mailbox.is_some_and(|place| polls.readable(place)) {
                let letters = self.mailbox.drain();
                if !letters.is_empty() {
                    pace.stroke(now);
                }
                for letter in letters {
                    match letter {
                        TapMsg::Media(input) => self.logs.input(now, input),
                        TapMsg::ForgetReader(name) => self.logs.forget(now, &name),
                        TapMsg::Stop => return,
                    }
                }
            }
            let mut heard = false;
            for (place, id) in order.iter().enumerate() {
                if polls.readable(place + 1) {
                    self.hear(*id, &mut scratch);
                    heard = true;
                }
                if polls.writable(place + 1) {
                    self.write(*id);
                }
            }
            if polls.readable(0) {
                self.accept();
            }
            let now = now_ns();
            if heard || now >= next_tick {
                pace.set(self.gather_ns(now));
            }
            if now >= next_tick {
                self.logs.tick(now);
                next_tick = now + TICK_NS;
            }
            self.logs.demands().into_iter().for_each(&self.demand);
            self.serve(now);
            self.logs.demands().into_iter().for_each(&self.demand);
            self.bury();
            if let Ok(mut stats) = self.stats.lock() {
                *stats = self.logs.stats();
            }
        }
    }

    /// How long what the sources post may wait: so that no reader notices it.
    fn gather_ns(&self, now: i64) -> i64 {
        let flush_ns = self.logs.shortest_flush_ns(now).unwrap_or(0);
        (flush_ns / GATHERS_PER_BATCH).clamp(GATHER_NS, GATHER_MOST_NS)
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            if self.clients.len() >= MAX_CLIENTS || socket.set_nonblocking(true).is_err() {
                continue;
            }
            let mut client = Client {
                socket,
                cutter: Cutter::default(),
                out: OutBuffer::default(),
                readers: HashMap::new(),
                held: Vec::new(),
                gone: false,
            };
            wire::hello(&mut client.out, &self.config.boot_id, now_ns());
            let id = self.next_client;
            self.next_client += 1;
            self.clients.insert(id, client);
            self.write(id);
        }
    }

    /// Reads what a client has to say; a little per turn, so that none keeps the others waiting.
    fn hear(&mut self, id: u64, scratch: &mut [u8]) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        match client.socket.read(scratch) {
            Ok(0) => {
                client.gone = true;
                return;
            }
            Ok(n) => client.cutter.push(&scratch[..n]),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return
            }
            Err(_) => {
                client.gone = true;
                return;
            }
        }
        loop {
            let Some(client) = self.clients.get_mut(&id) else {
                return;
            };
            let message = match client.cutter.next_message() {
                Ok(None) => return,
                Ok(Some((kind, body))) => wire::parse(kind, body),
                Err(e) => {
                    wire::error(&mut client.out, 0, &e.to_string());
                    let _ = client.out.write_to(client.socket.as_raw_fd());
                    client.gone = true;
                    return;
                }
            };
            match message {
                Ok(message) => self.obey(id, message),
                Err(e) => wire::error(&mut client.out, 0, &e.to_string()),
            }
        }
    }

    fn obey(&mut self, id: u64, message: Inbound) {
        let now = now_ns();
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let number = match &message {
            Inbound::Open(open) => return self.open(id, open.clone()),
            Inbound::Read { reader, .. }
            | Inbound::Ack { reader, .. }
            | Inbound::Unread { reader, .. }
            | Inbound::Close { reader }
            | Inbound::Keyframe { reader, .. }
            | Inbound::Flush { reader } => *reader,
        };
        let Some(key) = client.readers.get(&number).copied() else {
            return wire::error(&mut client.out, number, "no such reader");
        };
        match message {
            Inbound::Open(_) => {}
            Inbound::Read {
                track,
                from_seq,
                preroll_ms,
                ..
            } => {
                let preroll_ns = i64::from(preroll_ms.min(10_000)) * 1_000_000;
                match self.logs.read(now, key, track, from_seq, preroll_ns) {
                    Ok(()) => {}
                    Err(ReadError::NoTrack) => {
                        wire::no_track(&mut client.out, number, track);
                    }
                    Err(ReadError::NoReader) => {
                        wire::error(&mut client.out, number, "no such reader")
                    }
                }
            }
            Inbound::Ack { acks, .. } => self.logs.ack(now, key, &acks),
            Inbound::Unread { track, .. } => self.logs.unread(now, key, track),
            Inbound::Close { .. } => {
                client.readers.remove(&number);
                client.held.retain(|held| *held != key);
                self.places.remove(&key);
                self.logs.close(now, key);
            }
            Inbound::Keyframe { track, .. } => self.logs.keyframe(key, track),
            Inbound::Flush { .. } => self.logs.flush(key),
        }
    }

    fn open(&mut self, id: u64, open: Open) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.readers.contains_key(&open.reader) {
            return wire::error(&mut client.out, open.reader, "this reader is open already");
        }
        let key = ReaderKey(self.next_reader);
        self.next_reader += 1;
        client.readers.insert(open.reader, key);
        self.places.insert(key, (id, open.reader));
        let spec = OpenSpec {
            name: open.name.as_str().into(),
            room: open.room.as_str().into(),
            durable: open.mode == Mode::Durable,
            flush_ns: i64::from(open.flush_ms.clamp(5, 60_000)) * 1_000_000,
            credit: open.credit as usize,
        };
        let (tracks, displaced) = self.logs.open(now_ns(), key, spec);
        wire::opened(&mut client.out, open.reader, &open.room, &tracks);
        if let Some((other, number)) = displaced.and_then(|old| self.places.remove(&old)) {
            if let Some(other) = self.clients.get_mut(&other) {
                if let Some(old) = other.readers.remove(&number) {
                    other.held.retain(|held| *held != old);
                }
                wire::error(
                    &mut other.out,
                    number,
                    "taken over by another reader of this name",
                );
            }
        }
    }

    /// Gives every reader that is due what there is for it.
    fn serve(&mut self, now: i64) {
        let mut touched: Vec<u64> = Vec::new();
        for key in self.logs.due(now) {
            let Some((id, number)) = self.places.get(&key).copied() else {
                self.logs.hold(key);
                continue;
            };
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            let Some(room) = BUFFER_BYTES
                .checked_sub(client.out.len())
                .filter(|r| *r > 0)
            else {
                self.logs.hold(key);
                client.held.push(key);
                continue;
            };
            for delivery in self.logs.collect(now, key, room) {
                wire::delivery(&mut client.out, number, &delivery);
            }
            touched.push(id);
        }
        touched.dedup();
        // Answers to what was just heard are on their way, too.
        touched.extend(
            self.clients
                .iter()
                .filter(|(_, c)| !c.out.is_empty())
                .map(|(id, _)| *id),
        );
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().for_each(|id| self.write(id));
    }

    fn write(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.out.write_to(client.socket.as_raw_fd()).is_err()
            || client.out.len() > BUFFER_LIMIT
        {
            client.gone = true;
        }
        if client.out.len() <= BUFFER_BYTES / 2 {
            for key in std::mem::take(&mut client.held) {
                self.logs.wake(key);
            }
        }
    }

    /// Forgets clients that are gone; their durable readers may come back on another connection.
    fn bury(&mut self) {
        let now = now_ns();
        let gone: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, c)| c.gone)
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            let Some(client) = self.clients.remove(&id) else {
                continue;
            };
            for key in client.readers.into_values() {
                self.places.remove(&key);
                self.logs.detach(now, key);
            }
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Only ours: a successor may have put its own socket there, but never while we run.
        let _ = std::fs::remove_file(&self.config.path);
    }
}
