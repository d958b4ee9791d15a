//! One client: a str0m session on a socket of its own.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::http::{delete, post_offer};
use crate::media::Loop;
use crate::mischief::Mischief;

const SOUND_EVERY: Duration = Duration::from_millis(20);
const RATES: [u32; 2] = [48_000, 90_000];
/// Packets kept to be sent again, and for how long: every request is answered, as a browser does.
const RESENDABLE: usize = 2048;
const RESENDABLE_FOR: Duration = Duration::from_secs(3);
const SENDER_REPORT: u8 = 200;

/// What a client saw.
#[derive(Default)]
pub struct Counts {
    pub sent_packets: u64,
    pub sent_pictures: u64,
    pub sent_sounds: u64,
    pub received_packets: u64,
    pub received_bytes: u64,
    pub lost_packets: u64,
    pub keyframe_requests: u64,
    /// From the offer to the connection, and to the first picture.
    pub connected_after: Option<Duration>,
    pub first_picture_after: Option<Duration>,
}

/// Where a client goes, and what it does there.
#[derive(Clone, Default)]
pub struct Trip {
    pub url: String,
    pub token: String,
    /// Address of a link in front of the server, to be used instead of the one in the answer.
    pub via: Option<SocketAddr>,
    /// With media it publishes, without it plays.
    pub media: Option<Loop>,
    pub mischief: Mischief,
    /// When its media began; `None`: with the connection.
    pub origin: Option<Instant>,
    /// RTP times begin here in addition to the mischief's.
    pub rtp_offset: u32,
}

pub struct Bot {
    rtc: Rtc,
    pub socket: UdpSocket,
    local: SocketAddr,
    audio: Mid,
    video: Mid,
    trip: Trip,
    location: Option<String>,
    offered: Instant,
    up_since: Option<Instant>,
    started: Option<Instant>,
    /// Next picture and sound of the media's own count.
    picture: u64,
    sound: u64,
    silent: bool,
    /// Which encoding of the pictures is on, and whether a key frame is asked for.
    encoding: usize,
    asked: bool,
    seq: [u64; 2],
    highest: std::collections::HashMap<Mid, (u64, u64)>,
    pub deadline: Instant,
    pub counts: Counts,
    pub dead: bool,
}

impl Bot {
    /// Offers and is answered.
    pub fn join(trip: Trip) -> Result<Bot, String> {
        let io = |e: std::io::Error| e.to_string();
        let now = Instant::now();
        let host = trip
            .url
            .trim_start_matches("http://")
            .split(['/', ':'])
            .next();
        // The address from which the server is reached: the one the answer can come back to.
        let probe = UdpSocket::bind("0.0.0.0:0").map_err(io)?;
        probe
            .connect((host.unwrap_or("127.0.0.1"), 9))
            .map_err(io)?;
        let socket = UdpSocket::bind((probe.local_addr().map_err(io)?.ip(), 0)).map_err(io)?;
        socket.set_nonblocking(true).map_err(io)?;
        let local = socket.local_addr().map_err(io)?;
        let vp8 = trip.media.as_ref().is_some_and(|m| m.vp8);
        let mut builder = Rtc::builder().set_rtp_mode(true);
        if vp8 {
            builder = builder.clear_codecs().enable_opus(true, false);
            builder = builder.enable_vp8(true);
        }
        let mut rtc = builder.build(now);
        let candidate = Candidate::host(local, "udp").map_err(|e| e.to_string())?;
        rtc.add_local_candidate(candidate);
        let direction = if trip.media.is_some() {
            Direction::SendOnly
        } else {
            Direction::RecvOnly
        };
        let mut change = rtc.sdp_api();
        let audio = change.add_media(MediaKind::Audio, direction, None, None, None);
        let video = change.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending) = change.apply().ok_or("nothing to offer")?;
        let answered = post_offer(&trip.url, &trip.token, &offer.to_sdp_string())?;
        let sdp = match trip.via {
            Some(link) => through(&answered.sdp, link),
            None => answered.sdp,
        };
        let answer = SdpAnswer::from_sdp_string(&sdp).map_err(|e| e.to_string())?;
        rtc.sdp_api()
            .accept_answer(pending, answer)
            .map_err(|e| e.to_string())?;
        if let Some(stream) = rtc.direct_api().stream_tx_by_mid(video, None) {
            stream.set_rtx_cache(RESENDABLE, RESENDABLE_FOR, None);
        }
        Ok(Bot {
            rtc,
            socket,
            local,
            audio,
            video,
            trip,
            location: answered.location,
            offered: now,
            up_since: None,
            started: None,
            picture: 0,
            sound: 0,
            silent: false,
            encoding: 0,
            asked: false,
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
        let (Some(started), Some(media)) = (self.started, self.trip.media.clone()) else {
            return;
        };
        if self.silent {
            return;
        }
        let mut wrote = false;
        while self.picture_at(started, media.fps) <= now && !media.pictures.is_empty() {
            let at = Duration::from_secs(self.picture) / media.fps;
            let turn = self.trip.mischief.switch_every.map_or(0, |every| {
                (at.as_nanos() / every.as_nanos().max(1)) as usize
            });
            let withholds = self.trip.mischief.withholds(at);
            if self.asked && !withholds {
                if let Some(encoding) = media.keyed(self.picture, self.encoding) {
                    (self.encoding, self.asked) = (encoding, false);
                }
            }
            let series = match turn % media.pictures.len() {
                0 => media.encoding(self.encoding),
                n => &media.pictures[n],
            };
            let picture = &series[(self.picture % series.len() as u64) as usize];
            self.picture += 1;
            let mischief = &self.trip.mischief;
            if mischief.is_paused(at) || (picture.key && withholds) {
                continue;
            }
            let last = picture.payloads.len();
            for (i, payload) in picture.payloads.iter().enumerate() {
                self.write(1, at, i + 1 == last, payload, now);
            }
            self.counts.sent_pictures += 1;
            wrote = true;
        }
        while self.sound_at(started) <= now && !media.sounds.is_empty() {
            let at = SOUND_EVERY * self.sound as u32;
            let index = (self.sound % media.sounds.len() as u64) as usize;
            self.sound += 1;
            if self.trip.mischief.is_paused(at) {
                continue;
            }
            self.write(0, at, false, &media.sounds[index], now);
            self.counts.sent_sounds += 1;
            wrote = true;
        }
        if wrote {
            self.deadline = now;
        }
    }

    fn picture_at(&self, started: Instant, fps: u32) -> Instant {
        started
            + self
                .trip
                .mischief
                .real(Duration::from_secs(self.picture) / fps)
    }

    fn sound_at(&self, started: Instant) -> Instant {
        started + self.trip.mischief.real(SOUND_EVERY * self.sound as u32)
    }

    fn is_withholding(&self, now: Instant) -> bool {
        self.started
            .is_some_and(|started| self.trip.mischief.withholds(now - started))
    }

    /// Connected: the media begin, or go on where they would be by now, with the next key frame.
    fn begin(&mut self, now: Instant) {
        self.up_since = Some(now);
        let origin = *self.trip.origin.get_or_insert(now);
        self.started = Some(origin);
        let Some(media) = &self.trip.media else {
            return;
        };
        let passed = now - origin;
        self.sound = passed.as_millis().div_ceil(SOUND_EVERY.as_millis()) as u64;
        self.picture = (passed.as_nanos() * u128::from(media.fps)).div_ceil(1_000_000_000) as u64;
        if let Some(series) = media.pictures.first() {
            let count = series.len() as u64;
            let is_key = |n: &u64| series[(n % count) as usize].key;
            let key = (self.picture..self.picture + count).find(is_key);
            self.picture = key.unwrap_or(self.picture);
        }
    }

    /// One packet of sound (0) or picture (1) of media time `at`.
    fn write(
        &mut self,
        which: usize,
        at: Duration,
        marker: bool,
        payload: &std::sync::Arc<[u8]>,
        now: Instant,
    ) {
        let mid = [self.audio, self.video][which];
        let mischief = &self.trip.mischief;
        let time = mischief
            .rtp(which, RATES[which], at)
            .wrapping_add(self.trip.rtp_offset);
        // str0m reckons a report's RTP time from what was written when. What is sent late on a busy machine was
        // captured in time: a client reports when that was, not when it came round to sending.
        let started = self.started.unwrap_or(now);
        let captured = started + mischief.real(at);
        let error = mischief.report_error_s[which];
        let off = Duration::from_secs_f64(error.abs());
        let wallclock = if error > 0.0 {
            captured.checked_sub(off)
        } else {
            captured.checked_add(off)
        };
        let Some(payload_type) = self
            .rtc
            .media(mid)
            .and_then(|m| m.remote_pts().first().copied())
        else {
            return;
        };
        let seq = &mut self.seq[which];
        *seq += 1;
        let wallclock = wallclock.unwrap_or(captured);
        let packet = RtpWrite::new(
            payload_type,
            (*seq).into(),
            time,
            wallclock,
            payload.clone(),
        )
        .marker(marker)
        .nackable(which == 1);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.write_rtp(packet);
            self.counts.sent_packets += 1;
        }
    }

    /// When something is due at the latest.
    pub fn next(&self) -> Instant {
        let (Some(started), Some(media), false) = (self.started, &self.trip.media, self.silent)
        else {
            return self.deadline;
        };
        let picture = self.picture_at(started, media.fps);
        self.deadline.min(picture).min(self.sound_at(started))
    }

    /// Sends no more media, but answers.
    pub fn fall_silent(&mut self) {
        self.silent = true;
    }

    /// How long it has been connected.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.up_since.map(|since| now - since)
    }

    /// The next life of this client; its media go on, its RTP times do not.
    pub fn next_trip(&self) -> Trip {
        let mut trip = self.trip.clone();
        trip.rtp_offset = trip
            .rtp_offset
            .wrapping_mul(747_796_405)
            .wrapping_add(2_891_336_453);
        trip
    }

    /// Ends its session as a client does.
    pub fn leave(&self) -> Result<(), String> {
        self.location
            .as_ref()
            .map_or(Ok(()), |l| delete(&self.trip.url, l, &self.trip.token))
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
                    let reports = self.trip.mischief.reports_after;
                    let early = !reports.is_zero() && self.age(now).is_none_or(|age| age < reports);
                    if early && t.contents.get(1) == Some(&SENDER_REPORT) {
                        continue; // the first header of a compound is readable also encrypted
                    }
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
                self.begin(now);
            }
            Event::KeyframeRequest(_) => {
                self.counts.keyframe_requests += 1;
                self.asked = !self.is_withholding(now);
            }
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

/// An answer whose candidates are all the link's.
fn through(sdp: &str, link: SocketAddr) -> String {
    let mut out = String::new();
    for line in sdp.lines() {
        let mut words: Vec<&str> = line.split(' ').collect();
        let (ip, port) = (link.ip().to_string(), link.port().to_string());
        if line.starts_with("a=candidate:") && words.len() > 5 {
            if !words[2].eq_ignore_ascii_case("udp") {
                continue;
            }
            (words[4], words[5]) = (&ip, &port);
        }
        out += &words.join(" ");
        out += "\r\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_led_through_the_link() {
        let sdp = "v=0\r\na=candidate:1 1 udp 21 10.0.0.1 8443 typ host\r\n\
                   a=candidate:2 1 tcp 20 10.0.0.1 8443 typ host tcptype passive\r\n";
        let link = "127.0.0.1:9".parse().unwrap();
        assert_eq!(
            through(sdp, link),
            "v=0\r\na=candidate:1 1 udp 21 127.0.0.1 9 typ host\r\n"
        );
    }
}
