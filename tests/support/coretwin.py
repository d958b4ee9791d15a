"""A full twin of the media core's surface: no media, the same calls, the same events, the same wake-up.

Offers are answered at once; a test plays the network with `connect`, `go_silent`, `publish`, `unpublish`,
`push` and `hang_up`, each of which raises the events the real core would.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from dataclasses import dataclass, field

from roomtape.clock import Clock
from roomtape.media.core import RawCore

Event = tuple[object, ...]


@dataclass(slots=True)
class TwinPeer:
    number: int
    room: str
    user: str
    seat: str
    kind: str
    watch_user: str | None
    watch_stream: str
    entered_ns: int


@dataclass(slots=True)
class TwinTrack:
    number: int
    room: str
    user: str
    kind: str


@dataclass
class CoreTwin:
    """See `roomtape._core.Core`."""

    clock: Clock
    webrtc_addrs: list[str] = field(default_factory=lambda: ["127.0.0.1:8443"])
    rtmp_port: int = 1935
    peers: dict[int, TwinPeer] = field(default_factory=dict)
    pushes: dict[int, tuple[str, str] | None] = field(default_factory=dict)
    tracks: dict[int, TwinTrack] = field(default_factory=dict)
    refused: list[tuple[int, str]] = field(default_factory=list)
    blocked: dict[tuple[str, str], tuple[bool, bool]] = field(default_factory=dict)
    keyframes: list[int] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    patches: list[tuple[int, str]] = field(default_factory=list)
    refuse_offers: tuple[str, str] | None = None
    stopped: bool = False

    def __post_init__(self) -> None:
        self._events: deque[Event] = deque()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._numbers = 100

    # --- what the server calls ----------------------------------------------------------------------

    def fileno(self) -> int:
        return self._fd

    def poll(self) -> list[Event]:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        events = list(self._events)
        self._events.clear()
        return events

    def accept_offer(
        self,
        ticket: int,
        room: str,
        user: str,
        seat: str,
        sdp: str,
        *,
        kind: str,
        watch_user: str | None = None,
        watch_stream: str = "main",
        entered_ns: int = 0,
    ) -> None:
        if self.refuse_offers is not None:
            self._raise("refused", ticket, *self.refuse_offers)
        elif not sdp.startswith("v=0"):
            self._raise("refused", ticket, "bad_sdp", "the offer is no SDP")
        else:
            number = self._next()
            self.peers[number] = TwinPeer(
                number, room, user, seat, kind, watch_user, watch_stream, entered_ns
            )
            self._raise("answer", ticket, number, f"v=0\r\na=ice-ufrag:peer{number}\r\n")

    def patch(self, ticket: int, peer: int, fragment: str) -> None:
        if peer not in self.peers:
            self._raise("refused", ticket, "nobody", "there is no such peer")
            return
        self.patches.append((peer, fragment))
        self._raise("patched", ticket, "a=ice-ufrag:new\r\n" if "ice-ufrag" in fragment else "")

    def remove_peer(self, peer: int) -> None:
        gone = self.peers.pop(peer, None)
        if gone is None:
            return
        if gone.kind == "publish":
            self._stop_tracks(gone.room, gone.user, gone.seat, "closed")
        self._raise("peer_closed", peer, gone.room, gone.user, gone.seat, "removed")

    def block(self, room: str, user: str, audio: bool, video: bool) -> None:
        self.blocked[(room, user)] = (audio, video)
        for track in list(self.tracks.values()):
            cut = audio if track.kind == "audio" else video
            if (track.room, track.user) == (room, user) and cut:
                self._stop(track, "blocked")

    def dismiss(self, room: str) -> None:
        for peer in [p for p in self.peers.values() if p.room == room]:
            self._stop_tracks(peer.room, peer.user, peer.seat, "dismissed")
            del self.peers[peer.number]
            self._raise("peer_closed", peer.number, peer.room, peer.user, peer.seat, "dismissed")
        for conn, held in list(self.pushes.items()):
            if held is not None and held[0] == room:
                self._close_push(conn, "dismissed")

    def rtmp_accept(self, conn: int, room: str, user: str, entered_ns: int) -> None:
        if conn in self.pushes:
            self.pushes[conn] = (room, user)

    def rtmp_refuse(self, conn: int, description: str) -> None:
        self.refused.append((conn, description))
        self.pushes.pop(conn, None)

    def rtmp_close(self, conn: int) -> None:
        if conn in self.pushes:
            self._close_push(conn, "closed")

    def forget_reader(self, name: str) -> None:
        self.forgotten.append(name)

    def keyframe(self, track: int) -> None:
        self.keyframes.append(track)

    def stats(self) -> dict[str, object]:
        return {"peers": len(self.peers), "tracks": len(self.tracks)}

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            os.close(self._fd)

    # --- what a test plays --------------------------------------------------------------------------

    def connect(self, peer: int) -> None:
        """Media can flow."""
        at = self.peers[peer]
        self._raise("peer_up", peer, at.room, at.user, at.seat)

    def go_silent(self, peer: int) -> None:
        """ICE has been silent for five seconds."""
        at = self.peers[peer]
        self._stop_tracks(at.room, at.user, at.seat, "lost")
        self._raise("peer_lost", peer, at.room, at.user, at.seat)

    def hang_up(self, peer: int, reason: str = "dtls") -> None:
        """The client closed the connection without a word."""
        at = self.peers.pop(peer)
        self._stop_tracks(at.room, at.user, at.seat, "closed")
        self._raise("peer_closed", peer, at.room, at.user, at.seat, reason)

    def publish(self, room: str, user: str, kind: str, codec: str) -> int:
        """The first packet of a track has come."""
        number = self._next()
        self.tracks[number] = TwinTrack(number, room, user, kind)
        self._raise("track_start", number, room, user, kind, codec, self.clock.monotonic_ns())
        return number

    def resize(self, track: int, width: int, height: int) -> None:
        at = self.tracks[track]
        now = self.clock.monotonic_ns()
        self._raise("track_size", track, at.room, at.user, at.kind, width, height, now)

    def push(self, stream_key: str, app: str = "push", address: str = "192.0.2.7") -> int:
        """An RTMP client wants to publish; answered by `rtmp_accept` or `rtmp_refuse`."""
        conn = self._next()
        self.pushes[conn] = None
        self._raise("rtmp_publish", conn, app, stream_key, address)
        return conn

    def end_push(self, conn: int) -> None:
        """The RTMP client closed its connection."""
        self._close_push(conn, "closed")

    # --- within -------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _raise(self, *event: object) -> None:
        self._events.append(event)
        os.eventfd_write(self._fd, 1)

    def _close_push(self, conn: int, reason: str) -> None:
        held = self.pushes.pop(conn)
        if held is not None:
            self._stop_tracks(*held, "main", "closed" if reason == "closed" else "dismissed")
            self._raise("rtmp_closed", conn, *held, reason)

    def _stop_tracks(self, room: str, user: str, seat: str, cause: str) -> None:
        kinds = ("aux",) if seat == "aux" else ("audio", "video")
        for track in list(self.tracks.values()):
            if (track.room, track.user) == (room, user) and track.kind in kinds:
                self._stop(track, cause)

    def _stop(self, track: TwinTrack, cause: str) -> None:
        del self.tracks[track.number]
        self._raise(
            "track_stop", track.number, track.room, track.user, track.kind, self.clock.monotonic_ns(), cause
        )


def _is_a_core(twin: CoreTwin) -> RawCore:
    """For mypy, which compares the twin's calls with those the product makes; the real core is compared there."""
    return twin
