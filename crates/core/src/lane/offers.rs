//! Offers and what changes a session later: trickled candidates, ICE restarts.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;
use str0m::change::SdpOffer;
use str0m::media::MediaKind;
use str0m::net::TcpType;
use str0m::{Candidate, Rtc, RtcConfig};

use roomtape_media::{Kind, StopCause};

use super::{Lane, PeerKind};
use crate::clock::PeerClock;
use crate::forward::Rebase;
use crate::peer::{Peer, Seat, Slot, State, Watch};
use crate::prelude::Prelude;
use crate::sdp::{fragment_of_answer, Fragment, Offer, OfferError, Role};
use crate::{limits, PeerId, PEER_BITS};

/// (reason, message) of a refusal.
pub type Refusal = (&'static str, String);

fn bad_sdp(message: impl ToString) -> Refusal {
    ("bad_sdp", message.to_string())
}

impl From<OfferError> for Refusal {
    fn from(error: OfferError) -> Refusal {
        match error {
            OfferError::Bad(message) => ("bad_sdp", message),
            OfferError::NoCodec(message) => ("no_codec", message),
        }
    }
}

/// Runs str0m's SDP code; a panic in it is the offer's end only.
fn guarded<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, Refusal> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(bad_sdp),
        Err(_) => Err(("internal", "the offer could not be worked on".to_owned())),
    }
}

impl Lane {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn accept_offer(
        &mut self,
        now: Instant,
        room: Arc<str>,
        user: Arc<str>,
        seat: Seat,
        kind: PeerKind,
        sdp: &str,
        entered_ns: i64,
    ) -> Result<(PeerId, String), Refusal> {
        let role = match kind {
            PeerKind::Publish => Role::Publish,
            PeerKind::Play { .. } => Role::Play,
        };
        let offer = Offer::parse(sdp, role)?;
        if let PeerKind::Play { user, .. } = &kind {
            if !self.somebody_publishes(&room, user.as_ref()) {
                return Err(("nobody", "nobody publishes in this room".to_owned()));
            }
        }
        let mut rtc = self.new_rtc(&offer, now)?;
        let answer = guarded(|| {
            let offer = SdpOffer::from_sdp_string(&offer.to_sdp()).map_err(|e| e.to_string())?;
            let answer = rtc
                .sdp_api()
                .accept_offer(offer)
                .map_err(|e| e.to_string())?;
            Ok(answer.to_sdp_string())
        })?;
        if role == Role::Publish {
            self.replace_publisher(now, &room, &user, seat);
        }
        let id = PeerId(u64::from(self.config.lane) << PEER_BITS | self.next_peer);
        self.next_peer += 1;
        let watch = match kind {
            PeerKind::Publish => Watch {
                user: None,
                aux: false,
                resolved: None,
            },
            PeerKind::Play { user, aux } => Watch {
                user,
                aux,
                resolved: None,
            },
        };
        let peer = Peer {
            kinds: kinds_of(&offer, seat),
            slots: slots_of(&mut rtc, &offer),
            rtc,
            room: room.clone(),
            user,
            seat,
            role,
            entered_ns,
            offer,
            state: State::Connecting,
            created: now,
            last_heard: now,
            deadline: now,
            queued: None,
            ufrags: Vec::new(),
            addresses: Vec::new(),
            incoming: FxHashMap::default(),
            clock: PeerClock::default(),
            watch,
            touched: false,
            begins: false,
            sabotaged: false,
        };
        self.peers.insert(id, peer);
        if role == Role::Publish {
            self.preludes.insert(id, Prelude::default());
        }
        self.rooms.entry(room).or_default().peers.push(id);
        self.learn_ufrag(id);
        self.schedule(now, id);
        self.touch(id);
        Ok((id, answer))
    }

    fn new_rtc(&self, offer: &Offer, now: Instant) -> Result<Rtc, Refusal> {
        let mut config = RtcConfig::new()
            .set_crypto_provider(self.crypto.clone())
            .set_dtls_cert(self.cert.clone())
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_send_buffer_video(limits::REPLAY_PACKETS);
        *config.codec_config() = offer.codec_config();
        let mut rtc = guarded(|| Ok(config.build(now)))?;
        for address in &self.config.udp {
            let candidate = Candidate::host(*address, "udp").map_err(bad_sdp)?;
            rtc.add_local_candidate(candidate);
        }
        for address in &self.config.tcp {
            let candidate = Candidate::builder()
                .tcp()
                .host(*address)
                .tcptype(TcpType::Passive)
                .build()
                .map_err(bad_sdp)?;
            rtc.add_local_candidate(candidate);
        }
        Ok(rtc)
    }

    fn learn_ufrag(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let ufrag = peer.rtc.direct_api().local_ice_credentials().ufrag;
        peer.ufrags.push(ufrag.clone());
        self.by_ufrag.insert(ufrag, id);
    }

    /// A user's new session ends the one that has the same seat.
    fn replace_publisher(&mut self, now: Instant, room: &Arc<str>, user: &Arc<str>, seat: Seat) {
        let Some(known) = self.rooms.get(room) else {
            return;
        };
        let earlier: Vec<PeerId> = known
            .peers
            .iter()
            .copied()
            .filter(|p| {
                self.peers
                    .get(p)
                    .is_some_and(|p| p.role == Role::Publish && p.user == *user && p.seat == seat)
            })
            .collect();
        for id in earlier {
            self.close_peer(now, id, "replaced", StopCause::Replaced);
        }
    }

    fn somebody_publishes(&self, room: &Arc<str>, user: Option<&Arc<str>>) -> bool {
        let Some(known) = self.rooms.get(room) else {
            return false;
        };
        let is_wanted = |u: &Arc<str>| user.is_none_or(|wanted| wanted == u);
        let by_peer = known.peers.iter().filter_map(|p| self.peers.get(p));
        let by_track = known.tracks.iter().filter_map(|t| self.tracks.get(t));
        by_peer
            .filter(|p| p.role == Role::Publish)
            .any(|p| is_wanted(&p.user))
            || by_track.into_iter().any(|t| is_wanted(&t.info.user))
    }

    /// Candidates, or an ICE restart, for a session that stands.
    pub(super) fn patch(
        &mut self,
        now: Instant,
        id: PeerId,
        fragment: &str,
    ) -> Result<String, Refusal> {
        let fragment = Fragment::parse(fragment);
        let Some(peer) = self.peers.get_mut(&id) else {
            return Err(("nobody", "this session is gone".to_owned()));
        };
        let restart = match (&fragment.ufrag, &fragment.password) {
            (Some(ufrag), Some(password))
                if peer.offer.credentials() != Some((ufrag.as_str(), password.as_str())) =>
            {
                Some(peer.offer.with_credentials(ufrag, password))
            }
            _ => None,
        };
        let mut answer = String::new();
        if let Some(offer) = restart {
            let rtc = &mut peer.rtc;
            let sdp = guarded(|| {
                let offer =
                    SdpOffer::from_sdp_string(&offer.to_sdp()).map_err(|e| e.to_string())?;
                let answer = rtc
                    .sdp_api()
                    .accept_offer(offer)
                    .map_err(|e| e.to_string())?;
                Ok(answer.to_sdp_string())
            })?;
            for slot in &peer.slots {
                slot.withdraw(rtc);
            }
            peer.offer = offer;
            answer = fragment_of_answer(&sdp);
        }
        for line in &fragment.candidates {
            // Names of mDNS and kinds that are not known say nothing to an ICE-lite agent: it
            // learns the client's address from its checks.
            if let Ok(candidate) = Candidate::from_sdp_string(line) {
                peer.rtc.add_remote_candidate(candidate);
            }
        }
        if !answer.is_empty() {
            self.learn_ufrag(id);
        }
        let _ = now;
        self.touch(id);
        Ok(answer)
    }
}

/// What a publisher's m-lines carry: the first sound, the first picture. More are ignored, and so
/// is the sound of a second picture's session: a user has one sound.
fn kinds_of(offer: &Offer, seat: Seat) -> Vec<(str0m::media::Mid, Kind)> {
    if offer.role != Role::Publish {
        return Vec::new();
    }
    let mut kinds = Vec::new();
    let (mut sound, mut picture) = (false, false);
    for section in offer.sections.iter().filter(|s| s.usable) {
        let mid = section.mid.as_str().into();
        match section.kind {
            Some(MediaKind::Audio) if !sound && seat != Seat::Aux => {
                sound = true;
                kinds.push((mid, Kind::Audio));
            }
            Some(MediaKind::Video) if !picture => {
                picture = true;
                let kind = if seat == Seat::Aux {
                    Kind::Aux
                } else {
                    Kind::Video
                };
                kinds.push((mid, kind));
            }
            _ => {}
        }
    }
    kinds
}

/// A viewer's m-lines that can be sent on: the first of each kind.
fn slots_of(rtc: &mut Rtc, offer: &Offer) -> Vec<Slot> {
    if offer.role != Role::Play {
        return Vec::new();
    }
    let mut slots: Vec<Slot> = Vec::new();
    for section in offer.sections.iter().filter(|s| s.usable) {
        let mid = section.mid.as_str().into();
        let Some(media) = rtc.media(mid) else {
            continue;
        };
        let picture = media.kind() == MediaKind::Video;
        if media.disabled() || slots.iter().any(|s| s.picture == picture) {
            continue;
        }
        let stream = rtc
            .direct_api()
            .stream_tx_by_mid(mid, None)
            .map(|s| (s.ssrc(), s.rtx()));
        let slot = Slot {
            mid,
            picture,
            track: None,
            payload_type: None,
            rebase: Rebase::new(if picture { 90_000 } else { 48_000 }),
            unsent: stream,
        };
        slot.withdraw(rtc);
        slots.push(slot);
    }
    slots
}
