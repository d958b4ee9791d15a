"""Automatic recording: an application that asked for it has every room recorded from its first upstream on.

One task per room at a time, beside whatever the API starts there. It ends as any task does, when all
anchors have been gone for MaxIdleTime, and a new upstream begins the next; but one that was stopped by hand
is not begun again in that life of the room.
Source: On-cloud Recording > automatic recording (647/45169), read 2026-11. Rooms made before the change are
left alone, as there.
"""

from __future__ import annotations

import asyncio
import secrets as random_source
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from roomtape.access.service import Access, AutoRecord
from roomtape.recording.errors import NoCapacity
from roomtape.recording.spec import CloudStorageSpec, RecordingSpec
from roomtape.recording.task import secrets_of, spec_from_row, spec_to_row
from roomtape.rooms.model import Room
from roomtape.rooms.names import RoomName
from roomtape.secret import Secret
from roomtape.state.database import DatabaseUnavailable
from roomtape.timers import Timers

log = structlog.get_logger(__name__)

RETRY_S = 10.0  # after a refusal for want of room, or while the database is away
Begin = Callable[[RecordingSpec, Room, int | None], Awaitable[str | None]]


class Automatic:
    """Begins the tasks that nobody asked for one by one."""

    def __init__(
        self, access: Access, timers: Timers, runs: Callable[[RoomName], bool], begin: Begin
    ) -> None:
        self._access = access
        self._timers = timers
        self._runs = runs
        self._begin = begin
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def upstream(self, room: Room, at_ns: int | None) -> None:
        """A track has begun in the room, at that instant of the core's clock; None: some time ago."""
        key = room.name.key
        if key in self._under_way or self._runs(room.name):
            return
        task = asyncio.create_task(self._consider(room, at_ns))
        self._under_way[key] = task
        task.add_done_callback(lambda _: self._under_way.pop(key, None))

    async def end(self) -> None:
        """Begin nothing more."""
        self._timers.close()
        for task in list(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _consider(self, room: Room, at_ns: int | None) -> None:
        try:
            app = await self._access.app(room.name.sdk_app_id)
            if app is None or app.blocked or not app.recording_enabled or app.auto_record is None:
                return
            if room.created_ms < app.auto_record.since_ms:
                return
            await self._begin(spec_for(app.auto_record, room.name), room, at_ns)
        except (NoCapacity, DatabaseUnavailable) as error:
            log.warning("automatic_recording_waits", room=room.name.key, reason=str(error))
            self._timers.set(room.name.key, RETRY_S, lambda: self._again(room))
        except Exception:
            log.exception("automatic_recording_broke", room=room.name.key)

    def _again(self, room: Room) -> None:
        if room.anchors:
            self.upstream(room, None)


def to_keep(spec: RecordingSpec) -> tuple[dict[str, Any], bytes]:
    """A checked request as the application's row has it: what may be shown, and what is sealed."""
    return spec_to_row(spec), secrets_of(spec)


def spec_for(kept: AutoRecord, room: RoomName) -> RecordingSpec:
    """The recording of one room, with a robot of its own that has no UserSig and that clients never see."""
    spec = spec_from_row(dict(kept.spec))
    storage = spec.storage
    if isinstance(storage, CloudStorageSpec):
        held = msgspec.json.decode(kept.secrets.reveal_bytes())
        storage = replace(
            storage, access_key=Secret(held["access_key"]), secret_key=Secret(held["secret_key"])
        )
    return replace(
        spec,
        sdk_app_id=room.sdk_app_id,
        room_type=room.type,
        room_id=room.room_id,
        robot=f"auto_{random_source.token_hex(8)}",
        storage=storage,
        automatic=True,
    )
