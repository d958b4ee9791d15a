//! All media threads of a server: lanes, tap, RTMP, and the mailbox of their news.

use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use roomtape_core::{ClockBase, Command, LaneConfig, NumberTrack, PeerId};
use roomtape_media::{TapDemand, TrackId};

use crate::clock::now_ns;
use crate::event::CoreEvent;
use crate::lane::{self, LaneHandle, LaneMsg, LaneStats};
use crate::lives::Lives;
use crate::mailbox::{Mailbox, Post};
use crate::net::{bind_lanes, candidate_addresses};
use crate::rtmp::{self, Inject, RtmpConfig, RtmpHandle, RtmpMsg};
use crate::tap::{self, TapConfig, TapHandle, TapMsg};

/// What the media threads need to know.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub boot_id: String,
    pub webrtc_host: String,
    /// 0: a free one.
    pub webrtc_port: u16,
    pub lanes: u16,
    /// Names or addresses to put into answers instead of the bound one.
    pub advertise: Vec<String>,
    pub rtmp_host: String,
    pub rtmp_port: u16,
    pub tap_path: PathBuf,
    pub log_max_track_bytes: usize,
    pub log_max_bytes: usize,
    pub allow_bframes: bool,
    /// RTMP connections of one address at the same time.
    pub rtmp_connections_per_address: usize,
    /// From an RTMP connection to its publish command.
    pub rtmp_publish_within: Duration,
    pub lost_after: Duration,
}

/// The running threads.
pub struct Engine {
    lanes: Vec<LaneHandle>,
    rtmp: RtmpHandle,
    tap: TapHandle,
    events: Mailbox<CoreEvent>,
    webrtc_addrs: Vec<SocketAddr>,
}

impl Engine {
    /// Binds the ports and starts the threads.
    ///
    /// # Errors
    /// A port is taken, a name cannot be resolved, or the system has no resources left.
    pub fn start(config: EngineConfig) -> io::Result<Engine> {
        let host = resolve(&config.webrtc_host)?;
        let addresses = candidate_addresses(host, &config.advertise)?;
        let sockets = bind_lanes(host, config.webrtc_port, config.lanes.max(1))?;
        let rtmp_listener = bind_rtmp(&config.rtmp_host, config.rtmp_port)?;
        let (events_post, events) = Mailbox::new()?;
        let mut boxes = Vec::new();
        for socket in sockets {
            let (post, mailbox) = Mailbox::<LaneMsg>::new()?;
            boxes.push((socket, post, mailbox));
        }
        let lane_posts: Vec<Post<LaneMsg>> = boxes.iter().map(|(_, p, _)| p.clone()).collect();
        // The RTMP thread starts behind the tap, whose demands it obeys: the post comes first.
        let (rtmp_post, rtmp_mailbox) = Mailbox::<RtmpMsg>::new()?;
        let tap = tap::start(
            TapConfig {
                path: config.tap_path.clone(),
                boot_id: config.boot_id.clone(),
                log_max_track_bytes: config.log_max_track_bytes,
                log_max_bytes: config.log_max_bytes,
            },
            demand_router(lane_posts.clone(), rtmp_post.clone()),
        )?;
        let next_track = Arc::new(AtomicU64::new(1));
        let lives = Arc::new(Lives::default());
        let base = ClockBase {
            instant: Instant::now(),
            mono_ns: now_ns(),
        };
        let mut lanes = Vec::new();
        let mut webrtc_addrs = Vec::new();
        for (n, (socket, post, mailbox)) in boxes.into_iter().enumerate() {
            let candidates: Vec<SocketAddr> = addresses
                .iter()
                .map(|ip| SocketAddr::new(*ip, socket.port))
                .collect();
            webrtc_addrs.push(SocketAddr::new(host, socket.port));
            let lane_config = LaneConfig {
                lane: n as u16,
                udp: candidates.clone(),
                tcp: candidates,
                base,
                lost_after: config.lost_after,
            };
            lanes.push(lane::start(
                lane_config,
                numberer(next_track.clone(), lives.clone()),
                socket,
                post,
                mailbox,
                tap.post.clone(),
                events_post.clone(),
            )?);
        }
        let rtmp = rtmp::start(
            RtmpConfig {
                listener: rtmp_listener,
                connections_per_address: config.rtmp_connections_per_address,
                publish_within: config.rtmp_publish_within,
                allow_bframes: config.allow_bframes,
                lost_after: config.lost_after,
                next_track,
                lives,
            },
            (rtmp_post, rtmp_mailbox),
            tap.post.clone(),
            events_post,
            inject_router(lane_posts),
        )?;
        Ok(Engine {
            lanes,
            rtmp,
            tap,
            events,
            webrtc_addrs,
        })
    }

    /// The bound address of each lane.
    pub fn webrtc_addrs(&self) -> &[SocketAddr] {
        &self.webrtc_addrs
    }

    pub fn rtmp_port(&self) -> u16 {
        self.rtmp.addr.port()
    }

    /// The news; readable when there are some.
    pub fn events(&self) -> &Mailbox<CoreEvent> {
        &self.events
    }

    /// Sends a command to the lane that has this room.
    pub fn to_room(&self, room: &str, command: Command) {
        let lane = lane_of(room, self.lanes.len());
        self.lanes[lane].post.send(LaneMsg::Command(command));
    }

    /// Sends a command to the lane that has this peer. False for a number no lane ever gave.
    pub fn to_peer(&self, peer: PeerId, command: Command) -> bool {
        match self.lanes.get(usize::from(peer.lane())) {
            Some(lane) => lane.post.send(LaneMsg::Command(command)),
            None => false,
        }
    }

    /// Asks every source for a key frame of this track; the one that has it obeys.
    pub fn keyframe(&self, track: u64) {
        for lane in &self.lanes {
            let demand = TapDemand::Keyframe {
                track: TrackId(track),
            };
            lane.post.send(LaneMsg::Command(Command::Demand(demand)));
        }
    }

    /// Media of a user that is not to be taken, from now on.
    pub fn block(&self, room: &str, user: &str, audio: bool, video: bool) {
        let command = Command::Block {
            room: room.into(),
            user: user.into(),
            audio,
            video,
        };
        self.to_room(room, command);
        self.rtmp.post.send(RtmpMsg::Block {
            room: room.into(),
            user: user.into(),
            audio,
            video,
        });
    }

    /// Closes all sessions of a room.
    pub fn dismiss(&self, room: &str) {
        self.to_room(room, Command::Dismiss(room.into()));
        self.rtmp.post.send(RtmpMsg::Dismiss { room: room.into() });
    }

    /// Lets an RTMP connection publish as this user of the room. One that has left meanwhile is
    /// answered with `CoreEvent::RtmpClosed`.
    pub fn rtmp_accept(&self, conn: u64, room: &str, user: &str, entered_ns: i64) {
        self.rtmp.post.send(RtmpMsg::Accept {
            conn,
            room: room.into(),
            user: user.into(),
            entered_ns,
        });
    }

    /// Refuses an RTMP connection; `description` is told to the client.
    pub fn rtmp_refuse(&self, conn: u64, description: String) {
        self.rtmp.post.send(RtmpMsg::Refuse { conn, description });
    }

    /// Closes an RTMP connection.
    pub fn rtmp_close(&self, conn: u64) {
        self.rtmp.post.send(RtmpMsg::Close { conn });
    }

    /// The log stops keeping frames for this durable reader.
    pub fn forget_reader(&self, name: &str) {
        self.tap.post.send(TapMsg::ForgetReader(name.to_owned()));
    }

    pub fn lane_stats(&self) -> Vec<LaneStats> {
        self.lanes.iter().map(LaneHandle::stats).collect()
    }

    pub fn log_stats(&self) -> roomtape_media::log::LogStats {
        self.tap.stats()
    }

    /// Ends all threads and closes all sockets.
    pub fn stop(&mut self) {
        for lane in &mut self.lanes {
            lane.stop();
        }
        self.rtmp.stop();
        self.tap.stop();
    }
}

fn resolve(host: &str) -> io::Result<IpAddr> {
    let addresses = (host, 0).to_socket_addrs();
    let found = addresses.map_err(|e| io::Error::new(e.kind(), format!("host {host:?}: {e}")))?;
    let mut all: Vec<IpAddr> = found.map(|a| a.ip()).collect();
    all.sort_by_key(IpAddr::is_ipv6); // "localhost" names both; clients are surer to reach IPv4
    all.into_iter().next().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("host {host:?} has no address"),
        )
    })
}

/// Rooms stay on their lane as long as the server runs.
fn lane_of(room: &str, lanes: usize) -> usize {
    let mut hasher = std::hash::DefaultHasher::new();
    room.hash(&mut hasher);
    (hasher.finish() % lanes.max(1) as u64) as usize
}

fn numberer(next: Arc<AtomicU64>, lives: Arc<Lives>) -> NumberTrack {
    Box::new(move |room, user, kind| {
        let id = TrackId(next.fetch_add(1, Ordering::Relaxed));
        (id, lives.next(room, user, kind))
    })
}

fn demand_router(lanes: Vec<Post<LaneMsg>>, rtmp: Post<RtmpMsg>) -> Box<dyn Fn(TapDemand) + Send> {
    Box::new(move |demand| match &demand {
        TapDemand::Room { room, .. } => {
            rtmp.send(RtmpMsg::Demand(demand.clone()));
            let lane = lane_of(room, lanes.len());
            lanes[lane].send(LaneMsg::Command(Command::Demand(demand)));
        }
        // RTMP has no words for asking a publisher for a key frame.
        TapDemand::Keyframe { .. } => {
            for lane in &lanes {
                lane.send(LaneMsg::Command(Command::Demand(demand.clone())));
            }
        }
    })
}

/// RTMP publishers' pictures go to the viewers of their room's lane.
fn inject_router(lanes: Vec<Post<LaneMsg>>) -> rtmp::InjectInto {
    Box::new(move |injects| {
        let mut letters: Vec<Vec<LaneMsg>> = lanes.iter().map(|_| Vec::new()).collect();
        for (room, inject) in injects {
            let command = match inject {
                Inject::Start(info) => Command::InjectStart(info),
                Inject::Frame(frame) => Command::InjectFrame(frame),
                Inject::Stop(track) => Command::InjectStop(track),
            };
            letters[lane_of(&room, lanes.len())].push(LaneMsg::Command(command));
        }
        for (lane, letters) in lanes.iter().zip(letters) {
            lane.send_all(letters);
        }
    })
}

fn bind_rtmp(host: &str, port: u16) -> io::Result<TcpListener> {
    let ip = resolve(host)?;
    TcpListener::bind((ip, port))
        .map_err(|e| io::Error::new(e.kind(), format!("RTMP port {port} of {ip}: {e}")))
}
