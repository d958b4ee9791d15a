//! One client: a str0m session on a socket of its own.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::http::post_offer;
use crate::media::Loop;

const SOUND_EVERY: Duration = Duration::from_millis(20);

/// What a client saw.
#[derive(Default)]
pub struct Counts {
    pub sent_packets: u64,
    pub received_packets: u64,
    pub received_bytes: u64,
    pub lost_packets: u64,
    pub keyframe_requests: u64,
    /// From the offer to the connection, and to the first picture.
    pub connected_after: Option<Duration>,
    pub first_picture_after: Option<Duration>,
}

pub struct Bot {
    rtc: Rtc,
    pub socket: UdpSocket,
    local: SocketAddr,
    audio: Mid,
    video: Mid,
    media: Option<Loop>,
    offered: Instant,
    started: Option<Instant>,
    picture: u64,
    sound: u64,
    seq: [u64; 2],
    highest: std::collections::HashMap<Mid, (u64, u64)>,
    pub deadline: Instant,
    pub counts: Counts,
    pub dead: bool,
}

impl Bot {
    /// Offers and is answered. With media it publishes, without it plays.
    pub fn join(url: &str, token: &str, media: Option<Loop>) -> Result<Bot, String> {
        let io = |e: std::io::Error| e.to_string();
        let now = Instant::now();
        let host = url.trim_start_matches("http://").split(['/', ':']).next();
        // The address from which the server is reached: the one the answer can come back to.
        let probe = UdpSocket::bind("0.0.0.0:0").map_err(io)?;
        probe
            .connect((host.unwrap_or("127.0.0.1"), 9))
            .map_err(io)?;
        let socket = UdpSocket::bind((probe.local_addr().map_err(io)?.ip(), 0)).map_err(io)?;
        socket.set_nonblocking(true).map_err(io)?;
        let local = socket.local_addr().map_err(io)?;
        let mut rtc = Rtc::builder().set_rtp_mode(true).build(now);
        let candidate = Candidate::host(local, "udp").map_err(|e| e.to_string())?;
        rtc.add_local_candidate(candidate);
        let direction = if media.is_some() {
            Direction::SendOnly
        } else {
            Direction::RecvOnly
        };
        let mut change = rtc.sdp_api();
        let audio = change.add_media(MediaKind::Audio, direction, None, None, None);
        let video = change.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending) = change.apply().ok_or("nothing to offer")?;
        let answer = post_offer(url, token, &offer.to_sdp_string())?;
        let answer = SdpAnswer::from_sdp_string(&answer).map_err(|e| e.to_string())?;
        rtc.sdp_api()
            .accept_answer(pending, answer)
            .map_err(|e| e.to_string())?;
        Ok(Bot {
            rtc,
            socket,
            local,
            audio,
            video,
            media,
            offered: now,
            started: None,
            picture: 0,
            sound: 0,
            seq: [0, 0],
            highest: std::collections::HashMap::new(),
            deadline: now,
            counts: Counts::default(),
            dead: false,
        })
    }

    /// Reads what came, sends what is due.
    pub fn turn(&mut self, now: Instant) {
        let mut buffer = [0; 2048];
        while let Ok((size, source)) = self.socket.recv_from(&mut buffer) {
            if let Ok(contents) = buffer[..size].try_into() {
                let receive = Receive {
                    proto: Protocol::Udp,
                    source,
                    destination: self.local,
                    contents,
                };
                self.dead |= self.rtc.handle_input(Input::Receive(now, receive)).is_err();
                self.drain(now);
            }
        }
        self.publish(now);
        if !self.dead && now >= self.deadline {
            self.dead |= self.rtc.handle_input(Input::Timeout(now)).is_err();
            self.drain(now);
        }
    }

    fn publish(&mut self, now: Instant) {
        let (Some(started), Some(media)) = (self.started, self.media.clone()) else {
            return;
        };
        let picture_every = Duration::from_secs(1) / media.fps;
        let mut wrote = false;
        while started + picture_every * self.picture as u32 <= now && !media.pictures.is_empty() {
            let index = (self.picture % media.pictures.len() as u64) as usize;
            let time = (self.picture * 90_000 / u64::from(media.fps)) as u32;
            let payloads = &media.pictures[index];
            for (i, payload) in payloads.iter().enumerate() {
                self.write(
                    self.video,
                    true,
                    time,
                    i + 1 == payloads.len(),
                    payload,
                    now,
                );
            }
            self.picture += 1;
            wrote = true;
        }
        while started + SOUND_EVERY * self.sound as u32 <= now && !media.sounds.is_empty() {
            let index = (self.sound % media.sounds.len() as u64) as usize;
            let time = (self.sound * 960) as u32;
            self.write(self.audio, false, time, false, &media.sounds[index], now);
            self.sound += 1;
            wrote = true;
        }
        if wrote {
            self.deadline = now;
        }
    }

    fn write(
        &mut self,
        mid: Mid,
        video: bool,
        time: u32,
        marker: bool,
        p: &std::sync::Arc<[u8]>,
        at: Instant,
    ) {
        let Some(payload_type) = self
            .rtc
            .media(mid)
            .and_then(|m| m.remote_pts().first().copied())
        else {
            return;
        };
        let seq = &mut self.seq[usize::from(!video)];
        *seq += 1;
        let packet = RtpWrite::new(payload_type, (*seq).into(), time, at, p.clone())
            .marker(marker)
            .nackable(video);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.write_rtp(packet);
            self.counts.sent_packets += 1;
        }
    }

    /// When something is due at the latest.
    pub fn next(&self) -> Instant {
        let (Some(started), Some(media)) = (self.started, &self.media) else {
            return self.deadline;
        };
        let picture = started + Duration::from_secs(1) / media.fps * self.picture as u32;
        self.deadline
            .min(picture)
            .min(started + SOUND_EVERY * self.sound as u32)
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = at.max(now + Duration::from_millis(1));
                    self.dead |= !self.rtc.is_alive();
                    return;
                }
                Ok(Output::Transmit(t)) => {
                    // A full socket buffer loses it, as the network would.
                    let _ = self.socket.send_to(&t.contents, t.destination);
                }
                Ok(Output::Event(event)) => self.take(event, now),
                Err(_) => {
                    self.dead = true;
                    return;
                }
            }
        }
    }

    fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => {
                self.counts.connected_after = Some(now - self.offered);
                self.started = Some(now);
            }
            Event::KeyframeRequest(_) => self.counts.keyframe_requests += 1,
            Event::RtpPacket(packet) => {
                self.counts.received_packets += 1;
                self.counts.received_bytes += packet.payload.len() as u64;
                let ssrc = packet.header.ssrc;
                let Some(mid) = self.rtc.direct_api().stream_rx(&ssrc).map(|s| s.mid()) else {
                    return;
                };
                let seq = *packet.seq_no;
                let (highest, received) = self.highest.entry(mid).or_insert((seq - 1, 0));
                *highest = (*highest).max(seq);
                *received += 1;
                if mid == self.video && packet.header.marker {
                    let after = now - self.offered;
                    self.counts.first_picture_after.get_or_insert(after);
                }
            }
            _ => {}
        }
    }

    /// Packets the numbers say were sent and that never came (each stream begins at 1).
    pub fn count_losses(&mut self) {
        let lost = self
            .highest
            .values()
            .map(|(highest, n)| highest.saturating_sub(*n))
            .sum();
        self.counts.lost_packets = lost;
    }
}
