//! What happens because time passes.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use str0m::Input;

use roomtape_media::{StopCause, TapInput, TrackId};

use super::{Event, Lane};
use crate::peer::State;
use crate::sdp::Role;
use crate::PeerId;

/// Between two looks at silence and watermarks.
const TICK: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const SOONEST: Duration = Duration::from_millis(1);
/// A viewer may be silent this much longer than a publisher: without media to report on it only
/// proves its consent every five seconds or so (RFC 7675).
const VIEWER_EXTRA: Duration = Duration::from_secs(10);
/// A client that has its answer must have connected by then.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// A watermark lags by this: the reorder window of pictures, and some network.
const WATERMARK_LAG_NS: i64 = 300_000_000;

impl Lane {
    /// When `handle_timeout` is to be called at the latest; `None` if nothing lives here.
    pub fn deadline(&mut self) -> Option<Instant> {
        while let Some(Reverse((at, id))) = self.peer_timers.peek() {
            if self.peers.get(id).is_some_and(|p| p.queued == Some(*at)) {
                break;
            }
            self.peer_timers.pop(); // of a peer that is gone, or wanted earlier since
        }
        let peer = self.peer_timers.peek().map(|Reverse((at, _))| *at);
        let track = self.track_timers.peek().map(|Reverse((at, _))| *at);
        let tick = (!self.rooms.is_empty()).then_some(self.tick_at);
        [peer, track, tick, self.kept_until()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.give_on(now);
        self.peer_turns(now);
        while let Some(Reverse((at, id))) = self.track_timers.peek().copied() {
            if at > now {
                break;
            }
            self.track_timers.pop();
            self.track_turn(now, id);
        }
        if now >= self.tick_at && !self.rooms.is_empty() {
            self.tick_at = now + TICK;
            self.tick(now);
        }
    }

    /// Puts a peer into the queue for the time it asks for. One that asks for a time that has come
    /// waits a millisecond, so that it cannot keep the lane to itself.
    pub(super) fn schedule(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let at = peer.deadline.max(now + SOONEST);
        if peer.queued.is_none_or(|queued| at < queued) {
            peer.queued = Some(at);
            self.peer_timers.push(Reverse((at, id)));
        }
    }

    fn peer_turns(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.peer_timers.peek().copied() {
            if at > now {
                break;
            }
            self.peer_timers.pop();
            let Some(peer) = self.peers.get_mut(&id).filter(|p| p.queued == Some(at)) else {
                continue;
            };
            peer.queued = None;
            if peer.deadline <= now {
                self.drive(id, now, Input::Timeout(now));
            } else {
                self.schedule(now, id); // it has been driven since, and asked for a later time
            }
        }
    }

    fn track_turn(&mut self, now: Instant, id: TrackId) {
        if let Some(assembler) = self.tracks.get_mut(&id).and_then(|t| t.assembler.as_mut()) {
            assembler.turn(now);
            self.release_frames(now, id);
        }
        let due = |t: &crate::track::Track| t.keyframe.due(now).is_some_and(|at| at <= now);
        if self.tracks.get(&id).is_some_and(due) {
            self.ask_keyframe(now, id);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.look_for_silence(now);
        self.tell_watermarks(now);
        if now >= self.second_at {
            self.second_at = now + SECOND;
            self.renew_pictures(now);
            let stats: Vec<_> = self
                .tracks
                .iter_mut()
                .filter(|(_, t)| t.source.is_some())
                .map(|(id, t)| (*id, t.counters.second(t.rate)))
                .collect();
            if !stats.is_empty() {
                self.tell(Event::Stats(stats));
            }
        }
    }

    fn look_for_silence(&mut self, now: Instant) {
        let mut lost: Vec<PeerId> = Vec::new();
        let mut late: Vec<PeerId> = Vec::new();
        for (id, peer) in &self.peers {
            let patience = match peer.role {
                Role::Publish => self.config.lost_after,
                Role::Play => self.config.lost_after + VIEWER_EXTRA,
            };
            match peer.state {
                State::Up if now >= peer.last_heard + patience => lost.push(*id),
                State::Connecting if now >= peer.created + CONNECT_PATIENCE => late.push(*id),
                _ => {}
            }
        }
        for id in late {
            self.drop_peer(now, id, "never connected", StopCause::Closed);
        }
        for id in lost {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.state = State::Lost;
            }
            self.stop_tracks_of(now, id, StopCause::Lost);
            self.stop_showing(id);
            if let Some(who) = self.who(id) {
                self.tell(Event::PeerLost(who));
            }
        }
    }

    /// Asks for a key frame where the last one is old.
    fn renew_pictures(&mut self, now: Instant) {
        let stale = |t: &&crate::track::Track| t.cache.is_stale(now) && !t.keyframe.is_wanted();
        let old: Vec<TrackId> = self
            .tracks
            .values()
            .filter(stale)
            .map(|t| t.info.id)
            .collect();
        for id in old {
            self.want_keyframe(now, id);
        }
    }

    fn tell_watermarks(&mut self, now: Instant) {
        if self.demanded.is_empty() {
            return;
        }
        let source = self.watermark_source();
        let base = self.config.base;
        let mut marks = Vec::new();
        for room in &self.demanded {
            let Some(known) = self.rooms.get_mut(room) else {
                continue;
            };
            let own = known
                .tracks
                .iter()
                .filter_map(|t| self.tracks.get(t))
                .filter(|t| t.source.is_some());
            let mut any = false;
            let mut oldest = now;
            for track in own {
                any = true;
                let waiting = track.assembler.as_ref().and_then(|a| a.oldest());
                oldest = oldest.min(waiting.unwrap_or(now));
            }
            let t_ns = base.ns(oldest) - WATERMARK_LAG_NS;
            if any && t_ns > known.watermark_ns {
                known.watermark_ns = t_ns;
                marks.push(TapInput::Watermark {
                    room: room.clone(),
                    t_ns,
                    source,
                });
            }
        }
        for mark in marks {
            self.tap(mark);
        }
    }
}
