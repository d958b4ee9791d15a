"""From the media core's events to rooms: who connected, went silent, came back, left, sends what."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import structlog

from roomtape.rooms.model import Kind, Out, Session
from roomtape.rooms.names import RoomName
from roomtape.rooms.rtmp import RtmpDoor
from roomtape.rooms.service import Rooms, StopCause

log = structlog.get_logger("roomtape.core")

Event = tuple[object, ...]
SAID_GOODBYE = "closed"  # the client ended its connection itself; any other reason is a failure of it
ENDED_BY_SOMEBODY = {"closed", "ordered"}  # an RTMP push's ends by its client or by us; others are refusals
REPLACED = "replaced"  # a new session took the seat; the room learns of it when that one enters


class CoreEvents:
    """The one receiver of the core's events, on the event loop, in order."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._rtmp: RtmpDoor | None = None
        self._stats: list[Callable[[list[tuple[int, int, int, int, float]]], None]] = []

    def open_rtmp(self, door: RtmpDoor) -> None:
        self._rtmp = door

    def on_stats(self, listener: Callable[[list[tuple[int, int, int, int, float]]], None]) -> None:
        """Be told once a second of (track, packets, bytes, lost, jitter_ms) of every track."""
        self._stats.append(listener)

    def handle(self, event: Event) -> None:
        """Take one event; one that breaks is logged and does not stop the others."""
        try:
            self._handle(event)
        except Exception:
            log.exception("core_event_broke", event_name=event[0])

    def _handle(self, event: Event) -> None:
        match event:
            case ("peer_up", int(peer), *_):
                self._of_peer(peer, self._rooms.found)
            case ("peer_lost", int(peer), *_):
                self._of_peer(peer, self._rooms.lost)
            case ("peer_closed", int(peer), _, _, _, str(reason)):
                if reason == REPLACED:
                    self._of_peer(peer, self._rooms.replaced)
                else:
                    out = Out.LEFT if reason == SAID_GOODBYE else Out.LOST
                    self._of_peer(peer, lambda session: self._rooms.leave(session, out))
            case ("track_start", int(track), str(room), str(user), str(kind), str(codec), int(at_ns)):
                name = RoomName.of_key(room)
                self._rooms.track_started(track, name, user, cast(Kind, kind), codec, at_ns)
            case ("track_stop", int(track), _, _, _, int(at_ns), str(cause)):
                self._rooms.track_stopped(track, at_ns, cast(StopCause, cause))
            case ("track_size", int(track), _, _, _, int(width), int(height), int(at_ns)):
                self._rooms.track_sized(track, width, height, at_ns)
            case ("rtmp_publish", int(conn), str(app), str(key), str(address)) if self._rtmp is not None:
                self._rtmp.asked(conn, app, key, address)
            case ("rtmp_closed", int(conn), str(room), str(user), str(reason)) if self._rtmp is not None:
                if reason in ENDED_BY_SOMEBODY:
                    log.info("rtmp_closed", room=room, user=user, reason=reason)
                else:
                    log.warning("rtmp_refused", room=room, user=user, reason=reason)
                self._rtmp.closed(conn, Out.LOST if "silent" in reason else Out.LEFT)
            case ("stats", list(rows)):
                for listener in self._stats:
                    listener(rows)
            case ("log", str(level), str(text)):
                getattr(log, level if level in ("debug", "info", "warning", "error") else "info")(
                    "core", text=text
                )
            case _:
                log.warning("core_event_unknown", event_name=event[0])

    def _of_peer(self, peer: int, act: Callable[[Session], None]) -> None:
        held = self._rooms.session(peer, rtmp=False)
        if held is not None:
            act(held[2])
