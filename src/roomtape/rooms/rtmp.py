"""The RTMP door: who pushes into which room, read from the stream key.

    rtmp://host/push/<room>?sdkappid=..&userid=..&usersig=..
    OBS: server rtmp://host/push/, stream key <room>?sdkappid=..&userid=..&usersig=..

The key holds a UserSig: it is never logged and never part of an error.
Source: Push Media Stream into TRTC, read 2026-11.
"""

from __future__ import annotations

import asyncio
import re
from typing import Protocol
from urllib.parse import unquote

import structlog

from roomtape.access.errors import BadUserSig, TicketRefused, UnknownApp
from roomtape.errors import DomainError
from roomtape.rooms.entry import PUBLISH, BadName, Entrant, Guard, check
from roomtape.rooms.model import Out, Session, UserType
from roomtape.rooms.names import RoomName, is_room_id
from roomtape.rooms.service import Rooms
from roomtape.secret import Secret

log = structlog.get_logger(__name__)

APP_NAME = "push"
_STRING_ROOM = re.compile(r"[0-9A-Za-z_]{1,64}")


class BadStreamKey(DomainError):
    """The address of a push is not one of a room."""


class Core(Protocol):
    """The part of the media core this door uses."""

    def rtmp_accept(self, conn: int, room: str, user: str, entered_ns: int) -> None: ...

    def rtmp_refuse(self, conn: int, description: str) -> None: ...


def parse(app: str, stream_key: str) -> Entrant:
    """Read the connection's application name and stream key. Raises BadStreamKey."""
    app_name, _, app_query = app.partition("?")
    room_id, _, query = stream_key.partition("?")
    if app_name.strip("/") != APP_NAME:
        raise BadStreamKey(f"the address is rtmp://host/{APP_NAME}/<room>?sdkappid=..&userid=..&usersig=..")
    fields = _fields(app_query) | _fields(query)
    missing = [name for name in ("sdkappid", "userid", "usersig") if not fields.get(name)]
    if missing:
        raise BadStreamKey(f"{', '.join(missing)} missing in the stream key")
    if not (fields["sdkappid"].isascii() and fields["sdkappid"].isdigit()):
        raise BadStreamKey("sdkappid is not a number")
    by_number = fields.get("use_number_room_id") == "1"
    if by_number and not is_room_id("i", room_id):
        raise BadStreamKey("with use_number_room_id=1 the room is a number from 1 to 4294967295")
    if not by_number and _STRING_ROOM.fullmatch(room_id) is None:
        raise BadStreamKey("the room has 1 to 64 characters of 0-9, A-Z, a-z and _")
    ticket = fields.get("private_map_key")
    return Entrant(
        name=RoomName(int(fields["sdkappid"][:18]), "i" if by_number else "s", room_id),
        user_id=fields["userid"],
        user_sig=Secret(fields["usersig"]),
        ticket=Secret(ticket) if ticket else None,
        needs=PUBLISH,
    )


def _fields(query: str) -> dict[str, str]:
    """Members of a query; the first of a repeated one counts, `+` stays a plus."""
    fields: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        fields.setdefault(name, unquote(value))
    return fields


class RtmpDoor:
    """Answers every push the core asks about."""

    def __init__(self, guard: Guard, rooms: Rooms, core: Core) -> None:
        self._guard = guard
        self._rooms = rooms
        self._core = core
        self._asking: dict[int, asyncio.Task[None]] = {}

    def asked(self, conn: int, app: str, stream_key: str, address: str) -> None:
        """A client wants to publish; answered by accept or refuse within the core's five seconds."""
        task = asyncio.create_task(self._answer(conn, app, stream_key, address))
        self._asking[conn] = task
        task.add_done_callback(lambda _: self._asking.pop(conn, None))

    def closed(self, conn: int, reason: Out = Out.LEFT) -> None:
        """A connection has ended, accepted or not."""
        asking = self._asking.get(conn)
        if asking is not None:
            asking.cancel()
        held = self._rooms.session(conn, rtmp=True)
        if held is not None:
            self._rooms.leave(held[2], reason)

    async def settled(self) -> None:
        """Return when every push asked about so far has its answer."""
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _answer(self, conn: int, app: str, stream_key: str, address: str) -> None:
        try:
            who = parse(app, stream_key)
            await check(self._guard, who)
            member = self._rooms.enter(
                who.name,
                who.user_id,
                Session("main", "rtmp", conn),
                user_type=UserType.NATIVE,
                device_type="RTMP",
                client_ip=address.rpartition(":")[0] or address,
            )
        except DomainError as error:
            description = _describe(error)
            log.info("rtmp_refused", reason=description, address=address)
            self._core.rtmp_refuse(conn, description)
        except Exception:
            log.exception("rtmp_door_broke")
            self._core.rtmp_refuse(conn, "the server failed; try again")
        else:
            self._core.rtmp_accept(conn, who.name.key, who.user_id, member.entered_ns)


def _describe(error: DomainError) -> str:
    """What the publisher's program shows, short and saying what to do."""
    match error:
        case BadUserSig():
            return f"UserSig refused: {error.reason}"
        case TicketRefused():
            return f"private_map_key refused: {error.reason}"
        case UnknownApp():
            return f"no such application: sdkappid={error.sdk_app_id}"
        case BadName():
            return str(error)
        case _:
            return str(error)
