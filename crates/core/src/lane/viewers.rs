//! Packets out: which track a viewer's m-line shows, and the packets on their way there.

use std::sync::Arc;
use std::time::Instant;

use str0m::media::Pt;
use str0m::rtp::{ExtensionValues, RtpWrite};

use roomtape_media::{Codec, Kind, TrackId};

use super::{is_forwardable, Lane};
use crate::gop::SourcePacket;
use crate::peer::{Peer, State};
use crate::sdp::Role;
use crate::track::Track;
use crate::PeerId;

impl Lane {
    /// Brings every viewer of a room to the tracks it wants to see.
    pub(super) fn bind_viewers(&mut self, now: Instant, room: &Arc<str>) {
        let Some(known) = self.rooms.get(room) else {
            return;
        };
        let viewers: Vec<PeerId> = known
            .peers
            .iter()
            .copied()
            .filter(|p| {
                self.peers
                    .get(p)
                    .is_some_and(|p| p.role == Role::Play && p.state == State::Up)
            })
            .collect();
        for viewer in viewers {
            self.bind(now, viewer);
        }
    }

    fn bind(&mut self, now: Instant, viewer: PeerId) {
        let Some(peer) = self.peers.get(&viewer) else {
            return;
        };
        let user = peer
            .watch
            .user
            .clone()
            .or_else(|| self.first_publisher(peer));
        let aux = peer.watch.aux;
        let room = peer.room.clone();
        let wanted: Vec<Option<TrackId>> = peer
            .slots
            .iter()
            .map(|slot| {
                let kind = match (slot.picture, aux) {
                    (false, _) => Kind::Audio,
                    (true, false) => Kind::Video,
                    (true, true) => Kind::Aux,
                };
                self.track_of(&room, user.as_ref()?, kind)
            })
            .collect();
        if let Some(peer) = self.peers.get_mut(&viewer) {
            peer.watch.resolved = user;
        }
        for (slot, wanted) in wanted.into_iter().enumerate() {
            let current = self.peers.get(&viewer).and_then(|p| p.slots[slot].track);
            if current != wanted {
                if let Some(track) = current.and_then(|t| self.tracks.get_mut(&t)) {
                    track.viewers.retain(|v| *v != (viewer, slot));
                }
                self.unbind(viewer, slot);
                if let Some(track) = wanted {
                    self.show(now, viewer, slot, track);
                }
            }
        }
    }

    /// Stays with whom it showed while that user publishes; otherwise the one who entered first.
    fn first_publisher(&self, viewer: &Peer) -> Option<Arc<str>> {
        let room = self.rooms.get(&viewer.room)?;
        let tracks = || room.tracks.iter().filter_map(|t| self.tracks.get(t));
        if let Some(user) = &viewer.watch.resolved {
            if tracks().any(|t| t.info.user == *user) {
                return Some(user.clone());
            }
        }
        tracks()
            .min_by_key(|t| (t.info.entered_ns, t.info.id))
            .map(|t| t.info.user.clone())
    }

    fn track_of(&self, room: &Arc<str>, user: &Arc<str>, kind: Kind) -> Option<TrackId> {
        let fits = |t: &&Track| {
            t.info.user == *user && t.info.kind == kind && is_forwardable(t.info.codec)
        };
        let tracks = self.rooms.get(room)?.tracks.iter();
        tracks
            .filter_map(|t| self.tracks.get(t))
            .filter(fits)
            .map(|t| t.info.id)
            .next_back()
    }

    /// Sends this viewer nothing until it is heard again.
    pub(super) fn stop_showing(&mut self, viewer: PeerId) {
        let slots = self.peers.get(&viewer).map_or(0, |p| p.slots.len());
        for slot in 0..slots {
            let track = self.peers.get(&viewer).and_then(|p| p.slots[slot].track);
            if let Some(track) = track.and_then(|t| self.tracks.get_mut(&t)) {
                track.viewers.retain(|v| *v != (viewer, slot));
            }
            self.unbind(viewer, slot);
        }
    }

    /// The slot shows nothing until it is bound again.
    pub(super) fn unbind(&mut self, viewer: PeerId, slot: usize) {
        let slot = self
            .peers
            .get_mut(&viewer)
            .and_then(|p| p.slots.get_mut(slot));
        if let Some(slot) = slot {
            slot.track = None;
            slot.payload_type = None;
            slot.rebase.stop();
        }
    }

    /// Begins to send a track to a viewer: pictures from the cached key frame on.
    fn show(&mut self, now: Instant, viewer: PeerId, index: usize, id: TrackId) {
        self.catch_up(now, id);
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&viewer) else {
            return;
        };
        let payload_type = match_payload_type(peer, index, track);
        let slot = &mut peer.slots[index];
        slot.track = Some(id);
        slot.payload_type = payload_type;
        if payload_type.is_none() {
            let text = format!(
                "viewer {} of room {} negotiated nothing that fits {} (profile {:06x}) of {}",
                viewer.0,
                track.info.room,
                track.info.codec.as_str(),
                track.profile,
                track.info.user,
            );
            self.log("warning", text);
            return;
        }
        track.viewers.push((viewer, index));
        if !track.info.kind.is_picture() {
            return; // sound begins with its next packet
        }
        if track.cache.is_replayable() {
            self.replay(now, viewer, index, id);
        } else {
            self.want_keyframe(now, id);
        }
    }

    /// Sends the cached pictures of a track, their times close together.
    fn replay(&mut self, now: Instant, viewer: PeerId, index: usize, id: TrackId) {
        let Some(packets) = self.tracks.get(&id).map(|t| t.cache.in_order()) else {
            return;
        };
        let (Some(first), Some(newest)) = (packets.first(), packets.last()) else {
            return;
        };
        let mut times: Vec<i64> = packets.iter().map(|p| p.rtp).collect();
        times.sort_unstable();
        times.dedup();
        // Of the newest one, which is the one that is reported of.
        let captured = self.captured(now, id, newest.rtp);
        if let Some(peer) = self.peers.get_mut(&viewer) {
            let slot = &mut peer.slots[index];
            slot.rebase.switch(first.seq, &times, newest.rtp, now);
            for packet in &packets {
                write(peer, index, packet, now, captured);
            }
        }
        self.touch(viewer);
    }

    /// Sends one packet to everybody who watches its track.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        id: TrackId,
        packet: &SourcePacket,
        captured: Instant,
    ) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let picture = track.info.kind.is_picture();
        let can_start = track.cache.is_replayable();
        for n in 0..track.viewers.len() {
            let Some(&(viewer, index)) = self.tracks.get(&id).and_then(|t| t.viewers.get(n)) else {
                return;
            };
            let Some(peer) = self.peers.get_mut(&viewer) else {
                continue;
            };
            let slot = &mut peer.slots[index];
            if !slot.rebase.is_started() {
                if picture {
                    if can_start {
                        self.replay(now, viewer, index, id); // this packet is in the cache by now
                    }
                    continue;
                }
                slot.rebase.switch(packet.seq, &[], packet.rtp, now);
            }
            write(peer, index, packet, now, captured);
            self.touch(viewer);
        }
    }
}

/// Queues a packet with a viewer; it leaves when the viewer is driven next.
fn write(peer: &mut Peer, index: usize, packet: &SourcePacket, now: Instant, captured: Instant) {
    let slot = &mut peer.slots[index];
    let Some(payload_type) = slot.payload_type else {
        return;
    };
    let Some(rebased) = slot.rebase.rebase(packet, now) else {
        return;
    };
    let picture = slot.picture;
    let mid = slot.mid;
    let unsent = slot.unsent.take();
    peer.begins |= unsent.is_some();
    let mut api = peer.rtc.direct_api();
    if let Some((ssrc, rtx)) = unsent {
        api.declare_stream_tx(ssrc, rtx, mid, None);
    }
    let Some(stream) = api.stream_tx_by_mid(mid, None) else {
        return;
    };
    let extensions = ExtensionValues {
        video_orientation: packet.orientation,
        ..ExtensionValues::default()
    };
    stream.write_rtp(
        RtpWrite::new(
            payload_type,
            rebased.seq.into(),
            rebased.rtp,
            captured,
            packet.payload.clone(),
        )
        .marker(packet.marker)
        .ext_vals(extensions)
        .nackable(picture),
    );
}

/// The viewer's payload type for a track: one it named itself; for H.264 the same profile if it
/// can be, else the same packetization mode (decoders read more than they name).
fn match_payload_type(peer: &Peer, index: usize, track: &Track) -> Option<Pt> {
    let media = peer.rtc.media(peer.slots[index].mid)?;
    let named = || {
        peer.rtc
            .codec_config()
            .params()
            .iter()
            .filter(|p| media.remote_pts().contains(&p.pt()))
    };
    let codec = match track.info.codec {
        Codec::H264 => str0m::format::Codec::H264,
        Codec::Vp8 => str0m::format::Codec::Vp8,
        Codec::Opus => str0m::format::Codec::Opus,
        Codec::Aac => return None,
    };
    let fits = |p: &&str0m::format::PayloadParams| {
        let mode = p.spec().format.packetization_mode == Some(1);
        // A source in single NAL unit mode can be read in either mode.
        p.spec().codec == codec
            && (codec != str0m::format::Codec::H264 || mode || !track.non_interleaved)
    };
    let same_profile = |p: &&str0m::format::PayloadParams| {
        codec != str0m::format::Codec::H264
            || p.spec().format.profile_level_id.unwrap_or_default() >> 8 == track.profile >> 8
    };
    named()
        .filter(fits)
        .find(same_profile)
        .or_else(|| named().find(fits))
        .map(|p| p.pt())
}
