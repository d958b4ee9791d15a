"""The media core on an asyncio loop: `roomtape._core.Core` is used here alone.

One eventfd wakes the loop for a batch of events. Answers go to the futures of those who asked; all other
events go to one callback, on the loop's thread, in the order they happened.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

from roomtape._core import Core

Event = tuple[object, ...]
Reason = Literal["bad_sdp", "no_codec", "nobody", "internal"]


@dataclass(slots=True, frozen=True)
class Answer:
    """An offer was accepted."""

    peer: int
    sdp: str


class OfferRefused(Exception):
    """An offer or a patch was refused; `message` is fit for the client."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message


class RawCore(Protocol):
    """What is used of `roomtape._core.Core`; see its stub for every call."""

    @property
    def webrtc_addrs(self) -> list[str]: ...
    @property
    def rtmp_port(self) -> int: ...
    def fileno(self) -> int: ...
    def poll(self) -> Sequence[Event]: ...
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
    ) -> None: ...
    def patch(self, ticket: int, peer: int, fragment: str) -> None: ...
    def remove_peer(self, peer: int) -> None: ...
    def block(self, room: str, user: str, audio: bool, video: bool) -> None: ...
    def dismiss(self, room: str) -> None: ...
    def rtmp_accept(self, conn: int, room: str, user: str, entered_ns: int) -> None: ...
    def rtmp_refuse(self, conn: int, description: str) -> None: ...
    def rtmp_close(self, conn: int) -> None: ...
    def forget_reader(self, name: str) -> None: ...
    def keyframe(self, track: int) -> None: ...
    def stats(self) -> dict[str, object]: ...
    def stop(self) -> None: ...


class MediaCore:
    """The core of a server. To be made and used on the thread of a running loop."""

    def __init__(self, raw: RawCore, on_event: Callable[[Event], None]) -> None:
        """Serve `raw`'s events: answers to those who asked, the rest to `on_event`."""
        self._raw = raw
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._tickets = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Event]] = {}
        self._closed = False
        self._loop.add_reader(raw.fileno(), self._drain)

    @classmethod
    def start(
        cls,
        on_event: Callable[[Event], None],
        *,
        boot_id: str,
        tap_path: Path,
        webrtc_host: str = "127.0.0.1",
        webrtc_port: int = 0,
        lanes: int = 1,
        advertise: Sequence[str] = (),
        rtmp_host: str = "127.0.0.1",
        rtmp_port: int = 0,
        log_max_track_mb: int = 64,
        log_max_mb: int = 1024,
        allow_bframes: bool = False,
        lost_after_ms: int = 5000,
        rtmp_connections_per_address: int = 256,
        rtmp_publish_within_ms: int = 10_000,
    ) -> MediaCore:
        """Bind the ports and start the threads; see `roomtape._core.Core`.

        Raises OSError: a port is taken, a name cannot be resolved, the tap's socket cannot be made.
        """
        raw = Core(
            boot_id=boot_id,
            webrtc_host=webrtc_host,
            webrtc_port=webrtc_port,
            lanes=lanes,
            advertise=list(advertise),
            rtmp_host=rtmp_host,
            rtmp_port=rtmp_port,
            tap_path=str(tap_path),
            log_max_track_mb=log_max_track_mb,
            log_max_mb=log_max_mb,
            allow_bframes=allow_bframes,
            lost_after_ms=lost_after_ms,
            rtmp_connections_per_address=rtmp_connections_per_address,
            rtmp_publish_within_ms=rtmp_publish_within_ms,
        )
        return cls(raw, on_event)

    @property
    def webrtc_addrs(self) -> list[str]:
        """The bound "host:port" of each lane."""
        return self._raw.webrtc_addrs

    @property
    def rtmp_port(self) -> int:
        """The bound RTMP port."""
        return self._raw.rtmp_port

    async def accept_offer(
        self,
        room: str,
        user: str,
        seat: str,
        sdp: str,
        *,
        kind: str,
        watch_user: str | None = None,
        watch_stream: str = "main",
        entered_ns: int = 0,
    ) -> Answer:
        """Let a WebRTC client in. Raises OfferRefused."""
        ticket, answered = self._ticket()
        self._raw.accept_offer(
            ticket,
            room,
            user,
            seat,
            sdp,
            kind=kind,
            watch_user=watch_user,
            watch_stream=watch_stream,
            entered_ns=entered_ns,
        )
        try:
            event = await answered
        except asyncio.CancelledError:
            # The client went while its offer was worked on. Not answered yet: `_resolve` sees to it.
            if answered.done() and not answered.cancelled() and answered.exception() is None:
                self._raw.remove_peer(cast(int, answered.result()[2]))
            raise
        return Answer(peer=cast(int, event[2]), sdp=cast(str, event[3]))

    async def patch(self, peer: int, fragment: str) -> str:
        """Candidates or an ICE restart; returns the fragment for the client or "". Raises OfferRefused."""
        ticket, answered = self._ticket()
        self._raw.patch(ticket, peer, fragment)
        return cast(str, (await answered)[2])

    def remove_peer(self, peer: int) -> None:
        """Close a peer; ("peer_closed", ...) follows."""
        self._raw.remove_peer(peer)

    def block(self, room: str, user: str, audio: bool, video: bool) -> None:
        """Take no sound or no pictures of this user from now on; both False lifts it."""
        self._raw.block(room, user, audio, video)

    def dismiss(self, room: str) -> None:
        """Close all peers and RTMP connections of the room."""
        self._raw.dismiss(room)

    def rtmp_accept(self, conn: int, room: str, user: str, entered_ns: int) -> None:
        """Let an RTMP connection publish as this user."""
        self._raw.rtmp_accept(conn, room, user, entered_ns)

    def rtmp_refuse(self, conn: int, description: str) -> None:
        """Refuse an RTMP connection and tell it why."""
        self._raw.rtmp_refuse(conn, description)

    def rtmp_close(self, conn: int) -> None:
        """Close an RTMP connection."""
        self._raw.rtmp_close(conn)

    def forget_reader(self, name: str) -> None:
        """Stop keeping frames for this durable reader."""
        self._raw.forget_reader(name)

    def keyframe(self, track: int) -> None:
        """Ask the publisher of this picture for a key frame."""
        self._raw.keyframe(track)

    def stats(self) -> dict[str, object]:
        """Counters of lanes and log; see the stub."""
        return self._raw.stats()

    async def close(self) -> None:
        """End the core's threads; whoever still waits for an answer gets OfferRefused("internal")."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._raw.fileno())
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(OfferRefused("internal", "the server is going down"))
        self._waiting.clear()
        await asyncio.to_thread(self._raw.stop)

    def _ticket(self) -> tuple[int, asyncio.Future[Event]]:
        if self._closed:
            raise OfferRefused("internal", "the server is going down")
        ticket = next(self._tickets)
        future: asyncio.Future[Event] = self._loop.create_future()
        self._waiting[ticket] = future
        return ticket, future

    def _drain(self) -> None:
        for event in self._raw.poll():
            if event[0] in ("answer", "patched", "refused"):
                self._resolve(event)
            else:
                self._on_event(event)

    def _resolve(self, event: Event) -> None:
        future = self._waiting.pop(cast(int, event[1]), None)
        if future is None or future.done():
            if event[0] == "answer":  # asked for by somebody who has gone
                self._raw.remove_peer(cast(int, event[2]))
            return
        if event[0] == "refused":
            future.set_exception(OfferRefused(cast(Reason, event[2]), cast(str, event[3])))
        else:
            future.set_result(event)
