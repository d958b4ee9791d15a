//! Packets in: tracks begin, are kept, tapped and forwarded, and end.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

use str0m::media::KeyframeRequestKind;
use str0m::rtp::{RtpPacket, Ssrc};

use roomtape_media::{Codec, StopCause, TapInput, TrackId, TrackInfo};

use super::{Event, Lane};
use crate::assemble::{Assembler, REPORT_PATIENCE, SETTLE};
use crate::clock::PeerClock;
use crate::gop::SourcePacket;
use crate::hold::Hold;
use crate::peer::{Incoming, State};
use crate::track::Track;
use crate::PeerId;

impl Lane {
    /// Something str0m says of a peer.
    pub(super) fn handle_event(&mut self, id: PeerId, now: Instant, event: str0m::Event) {
        match event {
            str0m::Event::Connected => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.state = State::Up;
                    self.is_up(now, id);
                }
            }
            str0m::Event::RtpPacket(packet) => self.incoming_packet(id, now, packet),
            str0m::Event::SenderFeedback(feedback) => {
                let Some(peer) = self.peers.get(&id) else {
                    return;
                };
                let ssrc = feedback.sender_info.ssrc;
                let Some(track) = peer.incoming.get(&ssrc).and_then(|i| i.track) else {
                    return;
                };
                let rtp = feedback.sender_info.rtp_time.numer() as u32;
                self.sender_report(now, track, feedback.sender_info.ntp_time, rtp);
            }
            str0m::Event::KeyframeRequest(request) => {
                let slot = self
                    .peers
                    .get(&id)
                    .and_then(|p| p.slots.iter().find(|s| s.mid == request.mid));
                if let Some(track) = slot.and_then(|s| s.track) {
                    self.want_keyframe(now, track);
                }
            }
            _ => {}
        }
    }

    fn incoming_packet(&mut self, id: PeerId, now: Instant, packet: RtpPacket) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let ssrc = packet.header.ssrc;
        if let Some(hold) = peer.incoming.get_mut(&ssrc).and_then(|i| i.hold.as_mut()) {
            hold.came(*packet.seq_no, now);
        }
        if packet.payload.is_empty() {
            return; // padding
        }
        if !peer.incoming.contains_key(&ssrc) {
            let mid = match peer.rtc.direct_api().stream_rx(&ssrc) {
                Some(stream) => stream.mid(),
                None => return,
            };
            let Some(kind) = peer.kind_of(mid) else {
                return;
            };
            // A publisher that changes its stream begins a new life of the track.
            let before: Vec<Ssrc> = peer
                .incoming
                .iter()
                .filter(|(_, i)| i.kind == kind)
                .map(|(s, _)| *s)
                .collect();
            let payload_type = packet.header.payload_type;
            let codec = peer.rtc.codec_config();
            let params = codec.find(|p| p.pt() == payload_type);
            let resent = kind.is_picture() && params.is_some_and(|p| p.resend().is_some());
            let incoming = Incoming {
                kind,
                track: None,
                hold: resent.then(Hold::default),
            };
            peer.incoming.insert(ssrc, incoming);
            for old in before {
                let gone = self
                    .peers
                    .get_mut(&id)
                    .and_then(|p| p.incoming.remove(&old));
                if let Some(track) = gone.and_then(|i| i.track) {
                    self.stop_track(now, track, StopCause::Replaced);
                }
            }
        }
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let Some(incoming) = peer.incoming.get(&ssrc) else {
            return;
        };
        let (kind, room, user) = (incoming.kind, peer.room.clone(), peer.user.clone());
        let track = incoming.track;
        if self.is_blocked(&room, &user, kind) {
            return;
        }
        let track = match track {
            Some(track) => track,
            None => match self.start_track(id, now, &packet) {
                Some(track) => track,
                None => return,
            },
        };
        let seq = *packet.seq_no;
        let raw = packet.time.numer() as i64;
        let now_ns = self.config.base.ns(now);
        let Some(known) = self.tracks.get_mut(&track) else {
            return;
        };
        let jumps = known.rebase.jumps;
        let rtp = known.rebase.packet(seq, raw, now_ns);
        if known.rebase.jumps != jumps {
            if let Some(peer) = self.peers.get_mut(&id) {
                known.clock.led_on(&mut peer.clock, now_ns);
            }
            // As at the beginning, one late packet must not say when all that follow were captured.
            let until = now + SETTLE;
            if let Some(assembler) = known.assembler.as_mut() {
                assembler.hold(until);
            }
            self.track_timers.push(Reverse((until, track)));
        }
        let packet = SourcePacket {
            seq,
            rtp,
            marker: packet.header.marker,
            orientation: packet.header.ext_vals.video_orientation,
            payload: packet.payload,
            arrival: now,
        };
        self.take_packet(now, track, packet);
    }

    /// The first accepted packet of a stream begins a track.
    fn start_track(&mut self, id: PeerId, now: Instant, packet: &RtpPacket) -> Option<TrackId> {
        let peer = self.peers.get_mut(&id)?;
        let ssrc = packet.header.ssrc;
        let kind = peer.incoming.get(&ssrc)?.kind;
        let payload_type = packet.header.payload_type;
        let params = *peer.rtc.codec_config().find(|p| p.pt() == payload_type)?;
        let spec = params.spec();
        let codec = match spec.codec {
            str0m::format::Codec::H264 => Codec::H264,
            str0m::format::Codec::Vp8 => Codec::Vp8,
            str0m::format::Codec::Opus => Codec::Opus,
            _ => return None,
        };
        let now_ns = self.config.base.ns(now);
        let (track, life) = (self.number)(&peer.room, &peer.user, kind);
        let info = TrackInfo {
            id: track,
            room: peer.room.clone(),
            user: peer.user.clone(),
            kind,
            codec,
            time_base_den: if kind.is_picture() { 90_000 } else { 48_000 },
            sample_rate: if kind.is_picture() { 0 } else { 48_000 },
            channels: if kind.is_picture() { 0 } else { 2 },
            extradata: Vec::new(),
            entered_ns: peer.entered_ns,
            started_ns: now_ns,
            life,
            derived_from: None,
        };
        peer.incoming.get_mut(&ssrc)?.track = Some(track);
        let mut state = Track::new(info.clone(), Some((id, ssrc)), now);
        state.profile = spec.format.profile_level_id.unwrap_or_default();
        state.non_interleaved = spec.format.packetization_mode == Some(1);
        let raw = packet.time.numer() as i64;
        state.rebase.packet(*packet.seq_no, raw, now_ns);
        self.add_track(now, state);
        self.tap(TapInput::Start(info));
        if let Some(info) = packet.last_sender_info {
            self.sender_report(now, track, info.ntp_time, info.rtp_time.numer() as u32);
        }
        Some(track)
    }

    /// A track of any source begins to live.
    fn add_track(&mut self, now: Instant, mut track: Track) {
        let info = track.info.clone();
        let id = info.id;
        if track.source.is_some() && self.demanded.contains(&info.room) {
            track.assembler = Some(Assembler::new(id, info.kind, info.codec));
        }
        for wait in [SETTLE, REPORT_PATIENCE] {
            self.track_timers.push(Reverse((now + wait, id)));
        }
        self.tracks.insert(id, track);
        self.rooms
            .entry(info.room.clone())
            .or_default()
            .tracks
            .push(id);
        let at_ns = info.started_ns;
        let room = info.room.clone();
        self.tell(Event::TrackStart { info, at_ns });
        self.bind_viewers(now, &room);
    }

    /// Keeps, forwards and taps one packet of a live track.
    fn take_packet(&mut self, now: Instant, id: TrackId, packet: SourcePacket) {
        let now_ns = self.config.base.ns(now);
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let seen = track.glance(&packet.payload);
        if seen.too_large || seen.size.is_some() {
            track.refused = seen.too_large;
        }
        if track.refused {
            // Neither a viewer nor a recorder is to meet any of it, until an SPS that fits.
            track.cache.clear();
            return;
        }
        track.keep(&packet, seen.key, now_ns);
        if let Some((peer, _)) = track.source {
            let mut nobody = PeerClock::default();
            let clock = self
                .peers
                .get_mut(&peer)
                .map_or(&mut nobody, |p| &mut p.clock);
            track.clock.arrived(clock, packet.rtp, now_ns);
        }
        let captured = self.captured(now, id, packet.rtp);
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if let Some(size) = seen.size.filter(|s| track.size != Some(*s)) {
            track.size = Some(size);
            let info = track.info.clone();
            let (width, height) = size;
            self.tell(Event::TrackSize {
                info,
                width,
                height,
                at_ns: now_ns,
            });
            self.tap(TapInput::Size {
                track: id,
                width,
                height,
                at_ns: now_ns,
            });
        }
        self.forward(now, id, &packet, captured);
        if let Some(assembler) = self.tracks.get_mut(&id).and_then(|t| t.assembler.as_mut()) {
            assembler.push(packet, now);
            self.release_frames(now, id);
        }
        let lacks_start = |t: &Track| !t.cache.has_key() && !t.keyframe.is_wanted();
        if self.tracks.get(&id).is_some_and(lacks_start) {
            self.want_keyframe(now, id); // its first packets were lost, or it began without one
        }
    }

    /// When a track's RTP time `rtp` was captured: not later than now, or str0m would report an RTP time of 0.
    pub(super) fn captured(&mut self, now: Instant, id: TrackId, rtp: i64) -> Instant {
        let now_ns = self.config.base.ns(now);
        let Some(track) = self.tracks.get_mut(&id) else {
            return now;
        };
        let Some((peer, _)) = track.source else {
            return now;
        };
        let nobody = PeerClock::default();
        let clock = self.peers.get(&peer).map_or(&nobody, |p| &p.clock);
        let captured = track.clock.capture_ns(clock, rtp, now_ns);
        self.config.base.instant(captured).min(now)
    }

    fn sender_report(&mut self, now: Instant, id: TrackId, ntp: std::time::SystemTime, rtp: u32) {
        let now_ns = self.config.base.ns(now);
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let Some(peer) = track.source.and_then(|(p, _)| self.peers.get_mut(&p)) else {
            return;
        };
        let extended = track.rebase.report(rtp);
        let clock = &mut peer.clock;
        track.clock.sender_report(clock, ntp, extended, now_ns);
        self.release_frames(now, id);
    }

    /// Gives the tap what is whole and stamped.
    pub(super) fn release_frames(&mut self, now: Instant, id: TrackId) {
        let base = self.config.base;
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let Some(assembler) = track.assembler.as_mut() else {
            return;
        };
        let Some(peer) = track.source.and_then(|(p, _)| self.peers.get(&p)) else {
            return;
        };
        let age = now.saturating_duration_since(track.started);
        let round = assembler.release(&mut track.clock, &peer.clock, base, age, now);
        let deadline = assembler.deadline();
        let broken = round.broken && track.info.kind.is_picture();
        for frame in round.frames {
            self.output
                .push_back(super::Output::Tap(TapInput::Frame(frame)));
        }
        if let Some(deadline) = deadline {
            self.track_timers.push(Reverse((deadline, id)));
        }
        if broken {
            self.want_keyframe(now, id);
        }
    }

    /// Somebody reads a room, or nobody does any longer.
    pub(super) fn demand(&mut self, now: Instant, room: Arc<str>, on: bool) {
        let tracks = self
            .rooms
            .get(&room)
            .map(|r| r.tracks.clone())
            .unwrap_or_default();
        if !on {
            self.demanded.remove(&room);
            for id in tracks {
                if let Some(track) = self.tracks.get_mut(&id) {
                    track.assembler = None;
                }
            }
            return;
        }
        if !self.demanded.insert(room) {
            return;
        }
        for id in tracks {
            let Some(track) = self.tracks.get_mut(&id) else {
                continue;
            };
            if track.source.is_none() {
                continue; // the source of an injected track feeds the tap itself
            }
            let mut assembler = Assembler::new(id, track.info.kind, track.info.codec);
            for packet in track.cache.in_order() {
                let arrival = packet.arrival;
                assembler.push(packet, arrival);
            }
            assembler.turn(now);
            let startless = track.info.kind.is_picture() && !track.cache.has_key();
            track.assembler = Some(assembler);
            self.release_frames(now, id);
            if startless {
                self.want_keyframe(now, id);
            }
        }
    }

    /// A key frame of this track is wanted; asks at once unless it asked a moment ago.
    pub(super) fn want_keyframe(&mut self, now: Instant, id: TrackId) {
        if let Some(track) = self.tracks.get_mut(&id) {
            if track.info.kind.is_picture() {
                track.keyframe.want();
                self.ask_keyframe(now, id);
            }
        }
    }

    /// Sends the request that is due, and notes when the next one will be.
    pub(super) fn ask_keyframe(&mut self, now: Instant, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let Some((peer, ssrc)) = track.source else {
            return;
        };
        let ask = track.keyframe.take(now);
        if let Some(at) = track.keyframe.due(now) {
            self.track_timers.push(Reverse((at, id)));
        }
        if !ask {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&peer) {
            if let Some(stream) = peer.rtc.direct_api().stream_rx(&ssrc) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
        }
        self.touch(peer);
    }

    /// A track's life ends; frames that wait for others are given away first.
    pub(super) fn stop_track(&mut self, now: Instant, id: TrackId, cause: StopCause) {
        let far = now + crate::reorder::VIDEO_WINDOW;
        if let Some(assembler) = self.tracks.get_mut(&id).and_then(|t| t.assembler.as_mut()) {
            assembler.turn(far);
            assembler.hold(now);
            let base = self.config.base;
            let mut frames = Vec::new();
            if let Some(track) = self.tracks.get_mut(&id) {
                let nobody = PeerClock::default();
                let peer = track.source.and_then(|(p, _)| self.peers.get(&p));
                let clock = peer.map_or(&nobody, |p| &p.clock);
                if let Some(assembler) = track.assembler.as_mut() {
                    frames = assembler
                        .release(&mut track.clock, clock, base, REPORT_PATIENCE, now)
                        .frames;
                }
            }
            for frame in frames {
                self.tap(TapInput::Frame(frame));
            }
        }
        let Some(mut track) = self.tracks.remove(&id) else {
            return;
        };
        let at_ns = self.config.base.ns(now);
        let room = track.info.room.clone();
        if let Some((peer, ssrc)) = track.source {
            if let Some(incoming) = self
                .peers
                .get_mut(&peer)
                .and_then(|p| p.incoming.get_mut(&ssrc))
            {
                incoming.track = None;
            }
            if let Some(peer) = self.peers.get_mut(&peer) {
                track.clock.end(&mut peer.clock);
            }
            self.tap(TapInput::Stop {
                track: id,
                at_ns,
                cause,
            });
        }
        let last_of_lane = self.rooms.get_mut(&room).is_some_and(|r| {
            r.tracks.retain(|t| *t != id);
            r.tracks.is_empty()
        });
        if last_of_lane && self.demanded.contains(&room) {
            let source = self.watermark_source();
            self.tap(TapInput::Watermark {
                room: room.clone(),
                t_ns: i64::MAX,
                source,
            });
        }
        for (viewer, slot) in track.viewers {
            self.unbind(viewer, slot);
        }
        self.tell(Event::TrackStop {
            info: track.info,
            at_ns,
            cause,
        });
        self.bind_viewers(now, &room);
        self.forget_empty_room(&room);
    }
}
