//! A seeded network between one lane and str0m clients, on a clock of its own: seconds of media pass
//! in milliseconds, and the same seed loses the same packets.
#![allow(dead_code)] // each test file uses its part

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use roomtape_core::{
    ClockBase, Command, Event, Lane, LaneConfig, Output, PeerId, PeerKind, Protocol, Seat, Transmit,
};
use roomtape_media::{flags, Frame, Kind, TapDemand, TapInput, TrackId, TrackInfo};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::Receive;
use str0m::rtp::rtcp::SenderInfo;
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Input, Rtc};

pub const ROOM: &str = "1400000001/s/room";
pub const MS: Duration = Duration::from_millis(1);
const SERVER: &str = "10.0.0.1:8443";
const DELAY: Duration = Duration::from_millis(10);
/// Monotonic time at which every test begins.
pub const START_NS: i64 = 1_000_000_000_000;

/// 640x360, Constrained Baseline, made by libx264.
pub const SPS: [u8; 24] = [
    0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x61, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
    0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
];
pub const PPS: [u8; 4] = [0x68, 0xcb, 0x83, 0xcb];

/// Knuth's linear congruential generator: enough to lose packets by.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A str0m client.
pub struct Client {
    pub rtc: Rtc,
    pub address: SocketAddr,
    pub peer: Option<PeerId>,
    pub answer: String,
    pub connected: bool,
    /// It neither sends nor hears.
    pub unplugged: bool,
    pub received: HashMap<Mid, Vec<RtpPacket>>,
    pub keyframe_requests: Vec<Instant>,
    /// The server's sender reports.
    pub reports: Vec<(Mid, SenderInfo)>,
    pub closed: bool,
    pub video: Option<Mid>,
    pub audio: Option<Mid>,
    pending: Option<SdpPendingOffer>,
    timeout: Instant,
    seq: [u64; 2],
    frames: [u64; 2],
    /// Pictures since the last IDR.
    pub since_key: u64,
    /// Pictures are sent this long after they were taken: sound is not.
    pub picture_age: Duration,
    /// The next packet of a picture is lost for good: it is not sent again either.
    pub loses_next: bool,
    /// RTP time of (sound, picture) is so much later.
    pub time_offset: [u32; 2],
}

pub struct World {
    pub lane: Lane,
    pub now: Instant,
    pub begin: Instant,
    pub clients: Vec<Client>,
    pub events: Vec<Event>,
    pub frames: Vec<Frame>,
    pub taps: Vec<TapInput>,
    /// Percent of the datagrams towards the server that are lost.
    pub loss_in: u64,
    /// Of every datagram.
    pub delay: Duration,
    pub random: Random,
    wire: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
    ticket: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let begin = Instant::now();
        let mut next = 0;
        let number = Box::new(move |_: &str, _: &str, _| {
            next += 1;
            (TrackId(next), next as u32)
        });
        let config = LaneConfig {
            lane: 0,
            udp: vec![SERVER.parse().unwrap()],
            tcp: vec![SERVER.parse().unwrap()],
            base: ClockBase {
                instant: begin,
                mono_ns: START_NS,
            },
            lost_after: Duration::from_secs(5),
        };
        World {
            lane: Lane::new(config, number, begin).unwrap(),
            now: begin,
            begin,
            clients: Vec::new(),
            events: Vec::new(),
            frames: Vec::new(),
            taps: Vec::new(),
            loss_in: 0,
            delay: DELAY,
            random: Random::new(seed),
            wire: BTreeMap::new(),
            sent: 0,
            ticket: 0,
        }
    }

    /// A client that offers and is answered; it connects as time passes. `Err`: the refusal.
    pub fn join(
        &mut self,
        user: &str,
        seat: Seat,
        kind: PeerKind,
    ) -> Result<usize, (&'static str, String)> {
        let n = self.clients.len();
        let address: SocketAddr = format!("10.0.1.{}:5000", n + 1).parse().unwrap();
        let mut rtc = Rtc::builder().set_rtp_mode(true).build(self.now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        let direction = match kind {
            PeerKind::Publish => Direction::SendOnly,
            PeerKind::Play { .. } => Direction::RecvOnly,
        };
        let mut change = rtc.sdp_api();
        let audio = change.add_media(MediaKind::Audio, direction, None, None, None);
        let video = change.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending) = change.apply().unwrap();
        self.clients.push(Client {
            rtc,
            address,
            peer: None,
            answer: String::new(),
            connected: false,
            unplugged: false,
            received: HashMap::new(),
            keyframe_requests: Vec::new(),
            reports: Vec::new(),
            closed: false,
            video: Some(video),
            audio: Some(audio),
            pending: Some(pending),
            timeout: self.now,
            seq: [7000, 300],
            frames: [0, 0],
            since_key: 0,
            picture_age: Duration::ZERO,
            loses_next: false,
            time_offset: [0, 0],
        });
        self.ticket += 1;
        let ticket = self.ticket;
        self.command(Command::Offer {
            ticket,
            room: ROOM.into(),
            user: user.into(),
            seat,
            kind,
            sdp: offer.to_sdp_string(),
            entered_ns: self.now_ns(),
        });
        let outcome = self.events.iter().find_map(|e| match e {
            Event::Answer {
                ticket: t,
                peer,
                sdp,
            } if *t == ticket => Some(Ok((*peer, sdp.clone()))),
            Event::Refused {
                ticket: t,
                reason,
                message,
            } if *t == ticket => Some(Err((*reason, message.clone()))),
            _ => None,
        });
        let (peer, sdp) = outcome
            .expect("every offer is answered at once")
            .inspect_err(|_| {
                self.clients.pop();
            })?;
        let client = &mut self.clients[n];
        client.peer = Some(peer);
        client.answer = sdp.clone();
        let answer = SdpAnswer::from_sdp_string(&sdp).unwrap();
        let pending = client.pending.take().unwrap();
        client.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        self.pump(n);
        Ok(n)
    }

    pub fn publish(&mut self, user: &str) -> usize {
        self.join(user, Seat::Main, PeerKind::Publish).unwrap()
    }

    pub fn play(&mut self) -> usize {
        let kind = PeerKind::Play {
            user: None,
            aux: false,
        };
        self.join("viewer", Seat::Play, kind).unwrap()
    }

    pub fn demand(&mut self, on: bool) {
        self.command(Command::Demand(TapDemand::Room {
            room: ROOM.into(),
            on,
        }));
    }

    pub fn command(&mut self, command: Command) {
        self.lane.handle_command(self.now, command);
        self.lane.flush(self.now);
        self.collect();
    }

    /// The client's next picture (an IDR if `key`), of `packets` packets.
    pub fn picture(&mut self, n: usize, key: bool, packets: usize) {
        self.picture_of(n, key.then_some(&SPS), packets);
    }

    /// A key frame under that SPS.
    pub fn picture_with(&mut self, n: usize, sps: &[u8]) {
        self.picture_of(n, Some(sps), 1);
    }

    fn picture_of(&mut self, n: usize, sps: Option<&[u8]>, packets: usize) {
        let key = sps.is_some();
        let client = &mut self.clients[n];
        let at = self.now - client.picture_age;
        let number = client.frames[0];
        client.frames[0] += 1;
        let time = ((number * 3000) as u32).wrapping_add(client.time_offset[1]);
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        if let Some(sps) = sps {
            let mut stap = vec![0x78, 0, sps.len() as u8];
            stap.extend_from_slice(sps);
            stap.extend_from_slice(&[0, PPS.len() as u8]);
            stap.extend_from_slice(&PPS);
            payloads.push(stap);
        }
        let nal = if key { 0x65u8 } else { 0x41 };
        client.since_key = if key { 0 } else { client.since_key + 1 };
        let [slice, slice2] = slice_head(client.since_key);
        for part in 0..packets {
            let mut flags = nal & 0x1f;
            flags |= if part == 0 { 0x80 } else { 0 };
            flags |= if part + 1 == packets { 0x40 } else { 0 };
            let mut payload = vec![(nal & 0xe0) | 28, flags, slice, slice2];
            payload.push(part as u8 + 1);
            payload.extend_from_slice(&number.to_be_bytes());
            payload.resize(600, 0x55);
            payloads.push(payload);
        }
        if packets == 1 {
            let mut whole = vec![nal, slice, slice2];
            whole.extend_from_slice(&number.to_be_bytes());
            *payloads.last_mut().unwrap() = whole;
        }
        let last = payloads.len();
        let mid = client.video.unwrap();
        for (i, payload) in payloads.into_iter().enumerate() {
            client.write(mid, true, time, i + 1 == last, payload, at);
        }
        self.pump(n);
    }

    /// The client's next 20 ms of sound; the payload carries its number.
    pub fn sound(&mut self, n: usize) {
        let at = self.now;
        let client = &mut self.clients[n];
        let number = client.frames[1];
        client.frames[1] += 1;
        let mid = client.audio.unwrap();
        let time = ((number * 960) as u32).wrapping_add(client.time_offset[0]);
        client.write(mid, false, time, false, number.to_be_bytes().to_vec(), at);
        self.pump(n);
    }

    /// Publishes for a while: 30 pictures (of 3 packets; one IDR per `gop`) and 50 sounds a second.
    pub fn stream(&mut self, n: usize, seconds: u64, gop: u64) {
        for tick in 0..seconds * 300 {
            // 300 ticks a second: a picture each 10, a sound each 6.
            if tick % 10 == 0 {
                let key = self.clients[n].frames[0].is_multiple_of(gop);
                self.picture(n, key, 3);
            }
            if tick % 6 == 0 {
                self.sound(n);
            }
            self.run(Duration::from_micros(3333));
        }
    }

    /// Publishes without a key frame, for some of the ticks of `stream`.
    pub fn keep_on(&mut self, n: usize, ticks: Range<u32>) {
        for tick in ticks {
            if tick % 10 == 0 {
                self.picture(n, false, 3);
            }
            if tick % 6 == 0 {
                self.sound(n);
            }
            self.run(Duration::from_micros(3333));
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let mut next = end;
            if let Some(((at, _), _)) = self.wire.iter().next() {
                next = next.min(*at);
            }
            if let Some(at) = self.lane.deadline() {
                next = next.min(at);
            }
            for client in self.clients.iter().filter(|c| !c.closed) {
                next = next.min(client.timeout);
            }
            // A deadline in the past must not stop the clock.
            self.now = next
                .max(self.now + Duration::from_micros(100))
                .min(end.max(self.now));
            self.deliver();
            self.lane.handle_timeout(self.now);
            self.lane.flush(self.now);
            self.collect();
            for n in 0..self.clients.len() {
                if !self.clients[n].closed && self.clients[n].timeout <= self.now {
                    self.pump(n);
                }
            }
            if self.now >= end {
                return;
            }
        }
    }

    /// Lets time pass until `holds`, at most ten seconds.
    pub fn until(&mut self, holds: impl Fn(&World) -> bool) {
        for _ in 0..1000 {
            if holds(self) {
                return;
            }
            self.run(10 * MS);
        }
        panic!("ten seconds passed; events: {:#?}", self.events);
    }

    /// Waits until a client is connected.
    pub fn connect(&mut self, n: usize) {
        self.until(|w| w.clients[n].connected);
        self.run(50 * MS);
    }

    /// A datagram from an address of its own choice.
    pub fn inject(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.lane
            .handle_datagram(self.now, Protocol::Udp, from, bytes);
        self.lane.flush(self.now);
        self.collect();
    }

    pub fn now_ns(&self) -> i64 {
        START_NS + (self.now - self.begin).as_nanos() as i64
    }

    /// Tracks that started, in order.
    pub fn started(&self) -> Vec<TrackInfo> {
        let info = |e: &Event| match e {
            Event::TrackStart { info, .. } => Some(info.clone()),
            _ => None,
        };
        self.events.iter().filter_map(info).collect()
    }

    /// The first track of that kind that began.
    pub fn track(&self, kind: Kind) -> TrackId {
        let started = self.started();
        started.iter().find(|t| t.kind == kind).unwrap().id
    }

    pub fn frames_of(&self, track: TrackId) -> Vec<&Frame> {
        self.frames.iter().filter(|f| f.track == track).collect()
    }

    fn deliver(&mut self) {
        while let Some((&(at, n), _)) = self.wire.iter().next() {
            if at > self.now {
                return;
            }
            let (from, to, bytes) = self.wire.remove(&(at, n)).unwrap();
            if to == SERVER.parse().unwrap() {
                self.lane
                    .handle_datagram(self.now, Protocol::Udp, from, &bytes);
                continue;
            }
            let Some(n) = self.clients.iter().position(|c| c.address == to) else {
                continue;
            };
            let client = &mut self.clients[n];
            if client.unplugged || client.closed {
                continue;
            }
            let Ok(contents) = bytes.as_slice().try_into() else {
                continue;
            };
            let receive = Receive {
                proto: Protocol::Udp,
                source: from,
                destination: to,
                contents,
            };
            let _ = client.rtc.handle_input(Input::Receive(self.now, receive));
            self.pump(n);
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.sent += 1;
        self.wire
            .insert((self.now + self.delay, self.sent), (from, to, bytes));
    }

    /// Drives a client until it has nothing to say.
    fn pump(&mut self, n: usize) {
        let now = self.now;
        if self.clients[n]
            .rtc
            .handle_input(Input::Timeout(now))
            .is_err()
        {
            self.clients[n].closed = true;
        }
        loop {
            let client = &mut self.clients[n];
            if client.closed {
                return;
            }
            match client.rtc.poll_output() {
                Ok(str0m::Output::Timeout(at)) => {
                    client.timeout = at;
                    if !client.rtc.is_alive() {
                        client.closed = true;
                    }
                    return;
                }
                Ok(str0m::Output::Transmit(t)) => {
                    let from = client.address;
                    let lost = client.unplugged
                        || (client.connected && self.random.below(100) < self.loss_in);
                    if !lost {
                        self.send(from, t.destination, t.contents.to_vec());
                    }
                }
                Ok(str0m::Output::Event(event)) => client.take(event, now),
                Err(_) => client.closed = true,
            }
        }
    }

    fn collect(&mut self) {
        while let Some(output) = self.lane.poll_output() {
            match output {
                Output::Transmit(Transmit {
                    destination,
                    contents,
                    ..
                }) => self.send(SERVER.parse().unwrap(), destination, contents),
                Output::Event(event) => self.events.push(event),
                Output::Tap(TapInput::Frame(frame)) => self.frames.push(frame),
                Output::Tap(input) => self.taps.push(input),
            }
        }
    }
}

impl Client {
    fn write(&mut self, mid: Mid, video: bool, time: u32, marker: bool, p: Vec<u8>, at: Instant) {
        let media = self.rtc.media(mid).unwrap();
        let payload_type = media.remote_pts()[0];
        let seq = &mut self.seq[usize::from(!video)];
        *seq += 1;
        if video && std::mem::take(&mut self.loses_next) {
            return;
        }
        let write = RtpWrite::new(payload_type, (*seq).into(), time, at, p)
            .marker(marker)
            .nackable(video);
        let mut api = self.rtc.direct_api();
        api.stream_tx_by_mid(mid, None).unwrap().write_rtp(write);
    }

    fn take(&mut self, event: str0m::Event, now: Instant) {
        match event {
            str0m::Event::Connected => self.connected = true,
            str0m::Event::RtpPacket(packet) => {
                let ssrc = packet.header.ssrc;
                let mid = self.rtc.direct_api().stream_rx(&ssrc).map(|s| s.mid());
                if let Some(mid) = mid {
                    self.received.entry(mid).or_default().push(packet);
                }
            }
            str0m::Event::SenderFeedback(report) => {
                self.reports.push((report.mid, report.sender_info));
            }
            str0m::Event::KeyframeRequest(request) => {
                assert_eq!(request.kind, KeyframeRequestKind::Pli);
                self.keyframe_requests.push(now);
            }
            str0m::Event::Closed => self.closed = true,
            _ => {}
        }
    }

    /// Packets of the picture, as received.
    pub fn pictures(&self) -> &[RtpPacket] {
        let mid = self.video.unwrap();
        self.received.get(&mid).map_or(&[], Vec::as_slice)
    }

    pub fn sounds(&self) -> &[RtpPacket] {
        let mid = self.audio.unwrap();
        self.received.get(&mid).map_or(&[], Vec::as_slice)
    }
}

/// The first bits of a slice under `SPS`: of the first macroblock, a picture's `frame_num`.
fn slice_head(number: u64) -> [u8; 2] {
    // ue(0), ue(5), ue(0): 1 00110 1, then four bits.
    let bits = (0b100_1101 << 4) | (number % 16) as u16;
    (bits << 5).to_be_bytes()
}

/// True for a frame a decoder may start from.
pub fn is_key(frame: &Frame) -> bool {
    frame.flags & flags::KEY != 0
}

pub fn has_gap(frame: &Frame) -> bool {
    frame.flags & flags::GAP != 0
}
