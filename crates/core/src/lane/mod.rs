//! A lane: the peers, rooms and tracks of one thread.
//!
//! Drive it like str0m: `handle_datagram`, `handle_command` or `handle_timeout`, as many as wait;
//! then `flush`, then `poll_output` until it is empty, then sleep until `deadline`.

mod inject;
mod media;
mod offers;
mod receiving;
mod timers;
mod viewers;

pub use inject::Injected;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::net::Protocol;
use str0m::Input;

use roomtape_media::{
    Codec, Frame, Kind, Source, StopCause, TapDemand, TapInput, TrackId, TrackInfo,
};

use crate::clock::ClockBase;
use crate::peer::{Death, Peer, Seat, State};
use crate::prelude::Prelude;
use crate::track::{Track, TrackStats};
use crate::{stun, PeerId};

/// Gives a new track its number and the count of its lives (room, user, kind).
pub type NumberTrack = Box<dyn FnMut(&str, &str, Kind) -> (TrackId, u32) + Send>;

/// What a lane needs to know.
pub struct LaneConfig {
    /// Its number; part of its peers' numbers.
    pub lane: u16,
    /// Addresses of the UDP candidates of an answer.
    pub udp: Vec<SocketAddr>,
    /// Addresses of the passive TCP candidates (RFC 6544).
    pub tcp: Vec<SocketAddr>,
    pub base: ClockBase,
    /// Silence after which a peer's tracks stop.
    pub lost_after: Duration,
}

/// What a peer came for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerKind {
    Publish,
    Play {
        /// `None`: the first publisher of the room.
        user: Option<Arc<str>>,
        /// The second picture instead of the first.
        aux: bool,
    },
}

/// What the server and the other threads ask of a lane.
#[derive(Debug)]
pub enum Command {
    Offer {
        ticket: u64,
        room: Arc<str>,
        user: Arc<str>,
        seat: Seat,
        kind: PeerKind,
        sdp: String,
        entered_ns: i64,
    },
    Patch {
        ticket: u64,
        peer: PeerId,
        fragment: String,
    },
    RemovePeer(PeerId),
    Block {
        room: Arc<str>,
        user: Arc<str>,
        audio: bool,
        video: bool,
    },
    Dismiss(Arc<str>),
    Demand(TapDemand),
    InjectStart(TrackInfo),
    InjectFrame(Frame),
    InjectStop(TrackId),
    /// For tests of isolation: the peer panics at its next turn.
    Sabotage(PeerId),
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Answer {
        ticket: u64,
        peer: PeerId,
        sdp: String,
    },
    /// `reason`: bad_sdp, no_codec, nobody or internal.
    Refused {
        ticket: u64,
        reason: &'static str,
        message: String,
    },
    Patched {
        ticket: u64,
        fragment: String,
    },
    PeerUp(Who),
    PeerLost(Who),
    PeerClosed(Who, String),
    TrackStart {
        info: TrackInfo,
        at_ns: i64,
    },
    TrackStop {
        info: TrackInfo,
        at_ns: i64,
        cause: StopCause,
    },
    TrackSize {
        info: TrackInfo,
        width: u32,
        height: u32,
        at_ns: i64,
    },
    /// Once a second.
    Stats(Vec<(TrackId, TrackStats)>),
    Log(&'static str, String),
}

/// A peer, by all its names.
#[derive(Clone, Debug, PartialEq)]
pub struct Who {
    pub peer: PeerId,
    pub room: Arc<str>,
    pub user: Arc<str>,
    pub seat: Seat,
}

/// A datagram to be sent (over TCP: one frame of RFC 4571).
#[derive(Debug)]
pub struct Transmit {
    pub protocol: Protocol,
    pub destination: SocketAddr,
    pub contents: Vec<u8>,
}

/// What a lane has to say.
#[derive(Debug)]
pub enum Output {
    Transmit(Transmit),
    Event(Event),
    Tap(TapInput),
}

/// What is known of a room.
#[derive(Default)]
struct Room {
    peers: Vec<PeerId>,
    tracks: Vec<TrackId>,
    watermark_ns: i64,
}

/// See the module.
pub struct Lane {
    config: LaneConfig,
    number: NumberTrack,
    crypto: Arc<CryptoProvider>,
    cert: DtlsCert,
    next_peer: u64,
    peers: FxHashMap<PeerId, Peer>,
    by_address: FxHashMap<(Protocol, SocketAddr), PeerId>,
    by_ufrag: FxHashMap<String, PeerId>,
    rooms: FxHashMap<Arc<str>, Room>,
    tracks: FxHashMap<TrackId, Track>,
    demanded: FxHashSet<Arc<str>>,
    blocks: FxHashMap<(Arc<str>, Arc<str>), (bool, bool)>,
    touched: Vec<PeerId>,
    output: VecDeque<Output>,
    peer_timers: BinaryHeap<Reverse<(Instant, PeerId)>>,
    track_timers: BinaryHeap<Reverse<(Instant, TrackId)>>,
    tick_at: Instant,
    second_at: Instant,
    transmits: Vec<str0m::net::Transmit>,
    events: Vec<str0m::Event>,
    /// Of publishers whose first packets have not come yet, or wait.
    preludes: FxHashMap<PeerId, Prelude>,
    /// Of whom packets wait behind a hole.
    holding: FxHashSet<PeerId>,
}

impl Lane {
    /// A lane without peers. Makes its DTLS certificate, which all its peers share.
    ///
    /// Fails if the system gives no randomness.
    pub fn new(config: LaneConfig, number: NumberTrack, now: Instant) -> Result<Lane, String> {
        let crypto = crate::crypto_provider();
        let cert = crypto
            .dtls_provider
            .generate_certificate()
            .ok_or("no DTLS certificate could be made")?;
        Ok(Lane {
            config,
            number,
            crypto: Arc::new(crypto),
            cert,
            next_peer: 1,
            peers: FxHashMap::default(),
            by_address: FxHashMap::default(),
            by_ufrag: FxHashMap::default(),
            rooms: FxHashMap::default(),
            tracks: FxHashMap::default(),
            demanded: FxHashSet::default(),
            blocks: FxHashMap::default(),
            touched: Vec::new(),
            output: VecDeque::new(),
            peer_timers: BinaryHeap::new(),
            track_timers: BinaryHeap::new(),
            tick_at: now,
            second_at: now,
            transmits: Vec::new(),
            events: Vec::new(),
            preludes: FxHashMap::default(),
            holding: FxHashSet::default(),
        })
    }

    /// Something is asked of the lane.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Offer {
                ticket,
                room,
                user,
                seat,
                kind,
                sdp,
                entered_ns,
            } => {
                let event = match self.accept_offer(now, room, user, seat, kind, &sdp, entered_ns) {
                    Ok((peer, sdp)) => Event::Answer { ticket, peer, sdp },
                    Err((reason, message)) => Event::Refused {
                        ticket,
                        reason,
                        message,
                    },
                };
                self.tell(event);
            }
            Command::Patch {
                ticket,
                peer,
                fragment,
            } => {
                let event = match self.patch(now, peer, &fragment) {
                    Ok(fragment) => Event::Patched { ticket, fragment },
                    Err((reason, message)) => Event::Refused {
                        ticket,
                        reason,
                        message,
                    },
                };
                self.tell(event);
            }
            Command::RemovePeer(id) => self.close_peer(now, id, "removed", StopCause::Closed),
            Command::Block {
                room,
                user,
                audio,
                video,
            } => self.block(now, room, user, audio, video),
            Command::Dismiss(room) => self.dismiss(now, &room),
            Command::Demand(TapDemand::Room { room, on }) => self.demand(now, room, on),
            Command::Demand(TapDemand::Keyframe { track }) => self.want_keyframe(now, track),
            Command::InjectStart(info) => self.inject_start(now, info),
            Command::InjectFrame(frame) => self.inject_frame(now, frame),
            Command::InjectStop(track) => self.inject_stop(now, track),
            Command::Sabotage(id) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.sabotaged = true;
                }
            }
        }
    }

    /// Drives every peer that something was written to. To be called after each batch of inputs.
    pub fn flush(&mut self, now: Instant) {
        while let Some(id) = self.touched.pop() {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.touched = false;
                self.drive(id, now, Input::Timeout(now));
            }
        }
    }

    /// The next thing the lane has to say.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// (peers, tracks) that live.
    pub fn population(&self) -> (usize, usize) {
        (self.peers.len(), self.tracks.len())
    }

    fn tell(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }

    fn tap(&mut self, input: TapInput) {
        self.output.push_back(Output::Tap(input));
    }

    fn log(&mut self, level: &'static str, text: String) {
        self.tell(Event::Log(level, text));
    }

    fn who(&self, id: PeerId) -> Option<Who> {
        let peer = self.peers.get(&id)?;
        Some(Who {
            peer: id,
            room: peer.room.clone(),
            user: peer.user.clone(),
            seat: peer.seat,
        })
    }

    /// Gives a peer one input and deals with all that follows from it.
    fn drive(&mut self, id: PeerId, now: Instant, input: Input<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let received = matches!(input, Input::Receive(..));
        let mut transmits = std::mem::take(&mut self.transmits);
        let mut events = std::mem::take(&mut self.events);
        let end = peer.drive(input, &mut transmits, &mut events);
        let mut heard = received && events.iter().any(is_proof);
        self.schedule(now, id);
        for t in transmits.drain(..) {
            let contents: Vec<u8> = t.contents.into();
            if stun::is_binding_success(&contents) {
                // Only now is it known that the request carried the right password.
                heard |= received;
                self.learn_address(id, t.proto, t.destination);
            }
            self.output.push_back(Output::Transmit(Transmit {
                protocol: t.proto,
                destination: t.destination,
                contents,
            }));
        }
        self.transmits = transmits;
        if heard {
            self.heard(id, now);
        }
        for event in events.drain(..) {
            self.handle_event(id, now, event);
        }
        self.events = events;
        match end {
            Ok(()) => {}
            Err(Death::Panic) => {
                self.log(
                    "error",
                    format!(
                        "peer {} broke an assumption of the library and was closed",
                        id.0
                    ),
                );
                self.drop_peer(now, id, "internal", StopCause::Closed);
            }
            Err(Death::Error(text)) => self.drop_peer(now, id, &text, StopCause::Closed),
        }
        if self.peers.get(&id).is_some_and(|p| !p.rtc.is_alive()) {
            self.drop_peer(now, id, "closed", StopCause::Closed);
        }
    }

    fn learn_address(&mut self, id: PeerId, protocol: Protocol, address: SocketAddr) {
        const ADDRESSES_PER_PEER: usize = 16;
        let key = (protocol, address);
        match self.by_address.insert(key, id) {
            Some(before) if before == id => return,
            Some(before) => {
                if let Some(other) = self.peers.get_mut(&before) {
                    other.addresses.retain(|a| *a != key);
                }
            }
            None => {}
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.addresses.push(key);
            if peer.addresses.len() > ADDRESSES_PER_PEER {
                let oldest = peer.addresses.remove(0);
                self.by_address.remove(&oldest);
            }
        }
    }

    /// Something authentic came from the peer.
    fn heard(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.last_heard = now;
        if peer.state == State::Lost {
            peer.state = State::Up;
            self.is_up(now, id);
        }
    }

    /// Media can flow, for the first time or again.
    fn is_up(&mut self, now: Instant, id: PeerId) {
        if let Some(who) = self.who(id) {
            let room = who.room.clone();
            self.tell(Event::PeerUp(who));
            self.bind_viewers(now, &room);
        }
    }

    fn touch(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            if !std::mem::replace(&mut peer.touched, true) {
                self.touched.push(id);
            }
        }
    }

    /// Says goodbye (RTCP BYE, DTLS close_notify), then forgets the peer.
    fn close_peer(&mut self, now: Instant, id: PeerId, reason: &str, cause: StopCause) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let mut transmits = Vec::new();
        let mut ignored = Vec::new();
        if peer.rtc.close().is_ok() {
            let _ = peer.drive(Input::Timeout(now), &mut transmits, &mut ignored);
        }
        for t in transmits {
            self.output.push_back(Output::Transmit(Transmit {
                protocol: t.proto,
                destination: t.destination,
                contents: t.contents.into(),
            }));
        }
        self.drop_peer(now, id, reason, cause);
    }

    /// Forgets a peer; its tracks stop.
    fn drop_peer(&mut self, now: Instant, id: PeerId, reason: &str, cause: StopCause) {
        let Some(who) = self.who(id) else {
            return;
        };
        self.stop_tracks_of(now, id, cause);
        self.preludes.remove(&id);
        self.holding.remove(&id);
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        for address in &peer.addresses {
            self.by_address.remove(address);
        }
        for ufrag in &peer.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        for slot in &peer.slots {
            if let Some(track) = slot.track.and_then(|t| self.tracks.get_mut(&t)) {
                track.viewers.retain(|(viewer, _)| *viewer != id);
            }
        }
        if let Some(room) = self.rooms.get_mut(&peer.room) {
            room.peers.retain(|p| *p != id);
        }
        self.forget_empty_room(&peer.room);
        self.tell(Event::PeerClosed(who, reason.to_owned()));
    }

    fn forget_empty_room(&mut self, room: &Arc<str>) {
        let empty = |r: &Room| r.peers.is_empty() && r.tracks.is_empty();
        if self.rooms.get(room).is_some_and(empty) {
            self.rooms.remove(room);
        }
    }

    fn stop_tracks_of(&mut self, now: Instant, id: PeerId, cause: StopCause) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let tracks: Vec<TrackId> = peer.incoming.values().filter_map(|i| i.track).collect();
        for track in tracks {
            self.stop_track(now, track, cause);
        }
    }

    fn dismiss(&mut self, now: Instant, room: &Arc<str>) {
        let peers = self
            .rooms
            .get(room)
            .map(|r| r.peers.clone())
            .unwrap_or_default();
        for id in peers {
            self.close_peer(now, id, "dismissed", StopCause::Dismissed);
        }
        self.blocks.retain(|(r, _), _| r != room);
        self.tap(TapInput::RoomClosed { room: room.clone() });
    }

    fn block(&mut self, now: Instant, room: Arc<str>, user: Arc<str>, audio: bool, video: bool) {
        if audio || video {
            self.blocks
                .insert((room.clone(), user.clone()), (audio, video));
        } else {
            self.blocks.remove(&(room.clone(), user.clone()));
        }
        let Some(known) = self.rooms.get(&room) else {
            return;
        };
        let stopped: Vec<TrackId> = known
            .tracks
            .iter()
            .copied()
            .filter(|t| {
                self.tracks.get(t).is_some_and(|t| {
                    let blocked = if t.info.kind.is_picture() {
                        video
                    } else {
                        audio
                    };
                    // The source of an injected track stops it itself.
                    blocked && t.source.is_some() && t.info.user == user
                })
            })
            .collect();
        for track in stopped {
            self.stop_track(now, track, StopCause::Blocked);
        }
    }

    fn is_blocked(&self, room: &Arc<str>, user: &Arc<str>, kind: Kind) -> bool {
        !self.blocks.is_empty()
            && self
                .blocks
                .get(&(room.clone(), user.clone()))
                .is_some_and(|(audio, video)| if kind.is_picture() { *video } else { *audio })
    }

    fn watermark_source(&self) -> Source {
        Source::Lane(self.config.lane)
    }
}

/// What only the peer itself can bring about: it holds the keys of the session. Anybody can send
/// datagrams from its address.
fn is_proof(event: &str0m::Event) -> bool {
    matches!(
        event,
        str0m::Event::Connected
            | str0m::Event::RtpPacket(_)
            | str0m::Event::SenderFeedback(_)
            | str0m::Event::KeyframeRequest(_)
            | str0m::Event::ChannelData(_)
    )
}

/// True for a codec that a WebRTC viewer can be sent.
fn is_forwardable(codec: Codec) -> bool {
    !matches!(codec, Codec::Aac)
}
