"""PrivateMapKey: a UserSig-shaped ticket whose binary block says what a user may do in one room.

Pure functions. Layout of the block (big-endian): version u8 (0 numeric room, 1 string room), length u16
and bytes of the UserId, SdkAppId u32, room u32 (0 in version 1), expiry u32 (absolute Unix s), rights
u32, account type u32; version 1 adds length u16 and bytes of the room's name.
Source: Enabling Advanced Permission Control, and the official libraries tls-sig-api-v2, read 2026-11.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Literal

from roomtape.access import usersig
from roomtape.access.errors import BadUserSig, TicketRefused

RoomType = Literal["s", "i"]


class Right(IntFlag):
    """The rights a ticket may grant; bits above the eighth mean nothing."""

    CREATE = 1
    ENTER = 2
    SEND_AUDIO = 4
    RECEIVE_AUDIO = 8
    SEND_VIDEO = 16
    RECEIVE_VIDEO = 32
    SEND_SUBSTREAM = 64
    RECEIVE_SUBSTREAM = 128


ALL_RIGHTS = Right(255)

BAD_TICKET = -100006
# What a client is told when a right is missing; sound and received substreams have no number of their own.
MISSING_RIGHT: dict[Right, tuple[int, str]] = {
    Right.CREATE: (-102010, "it does not permit to create the room"),
    Right.ENTER: (-102011, "it does not permit to enter the room"),
    Right.SEND_AUDIO: (-102013, "it does not permit to send audio"),
    Right.SEND_VIDEO: (-102013, "it does not permit to send video"),
    Right.SEND_SUBSTREAM: (-102015, "it does not permit to share a screen"),
    Right.RECEIVE_VIDEO: (-102019, "it does not permit to receive video"),
    Right.RECEIVE_AUDIO: (-102019, "it does not permit to receive audio"),
    Right.RECEIVE_SUBSTREAM: (-102019, "it does not permit to receive a shared screen"),
}


@dataclass(frozen=True, slots=True)
class Block:
    """The permission block of a ticket. `room` is decimal text for a numeric room."""

    user: str
    sdk_app_id: int
    room_type: RoomType
    room: str
    expires_at_s: int
    rights: Right


def issue(
    key: str,
    sdk_app_id: int,
    user: str,
    room_type: RoomType,
    room: str,
    *,
    time_s: int,
    expire_s: int,
    rights: int = ALL_RIGHTS,
) -> str:
    """A ticket for one user in one room."""
    block = pack(Block(user, sdk_app_id, room_type, room, time_s + expire_s, Right(rights & 0xFFFFFFFF)))
    return usersig.issue(key, sdk_app_id, user, time_s=time_s, expire_s=expire_s, userbuf=block)


def verify(
    ticket: str,
    keys: Sequence[str],
    sdk_app_id: int,
    user: str,
    room_type: RoomType,
    room: str,
    *,
    now_s: int,
) -> Right:
    """The rights the ticket grants this user in this room. Raises TicketRefused (-100006)."""
    try:
        content = usersig.verify(ticket, keys, sdk_app_id, user, now_s=now_s, userbuf=True)
        block = unpack(base64.b64decode((content.userbuf or "").encode(), validate=True))
    except BadUserSig as error:
        raise TicketRefused(BAD_TICKET, error.reason) from None
    except (ValueError, binascii.Error):
        raise TicketRefused(BAD_TICKET, "its permission block does not read") from None
    if (block.user, block.sdk_app_id) != (user, sdk_app_id):
        raise TicketRefused(BAD_TICKET, "its permission block is for another user")
    if (block.room_type, block.room) != (room_type, room):
        raise TicketRefused(BAD_TICKET, "it is for another room")
    if now_s > block.expires_at_s:
        raise TicketRefused(BAD_TICKET, "it has expired")
    return block.rights & ALL_RIGHTS


def require(rights: Right, needed: Right) -> None:
    """Raise TicketRefused for the first of the needed rights that was not granted."""
    for right in Right:
        if right in needed and right not in rights:
            raise TicketRefused(*MISSING_RIGHT[right])


def pack(block: Block) -> bytes:
    """The bytes of a block. Raises ValueError for a numeric room that is not one."""
    user = block.user.encode()
    string_room = block.room_type == "s"
    number = 0 if string_room else int(block.room)
    if not 0 <= number <= 0xFFFFFFFF:
        raise ValueError("a numeric room is 1 to 4294967295")
    head = struct.pack(">BH", 1 if string_room else 0, len(user)) + user
    tail = struct.pack(">IIIII", block.sdk_app_id, number, block.expires_at_s, block.rights, 0)
    if not string_room:
        return head + tail
    name = block.room.encode()
    return head + tail + struct.pack(">H", len(name)) + name


def unpack(data: bytes) -> Block:
    """Read a block of exactly these bytes. Raises ValueError."""
    try:
        version, length = struct.unpack_from(">BH", data)
        user, at = data[3 : 3 + length], 3 + length
        app, number, expires, rights, _ = struct.unpack_from(">IIIII", data, at)
        at += 20
        if version == 0:
            name = str(number)
        elif version == 1:
            (length,) = struct.unpack_from(">H", data, at)
            name = data[at + 2 : at + 2 + length].decode()
            at += 2 + length
        else:
            raise ValueError("no such version")
    except struct.error as error:
        raise ValueError("too short") from error
    if at != len(data) or (version == 1 and number) or (version == 0 and not number):
        raise ValueError("length or room do not fit")
    return Block(user.decode(), app, "s" if version else "i", name, expires, Right(rights))
