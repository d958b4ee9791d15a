"""Names of rooms and users: their rules and the key under which the media core knows a room.

Source: SDK reference > TRTCParams (roomId, strRoomId, userId), read 2026-11.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

RoomType = Literal["s", "i"]

_STRING_ROOM = re.compile(r"[a-zA-Z0-9 !#$%&()+\-:;<=.>?@\[\]^_{}|~,]{1,64}")
_USER = re.compile(r"[A-Za-z0-9_\-.@#:+=]{1,64}")
MAX_INTEGER_ROOM = 4_294_967_295


@dataclass(frozen=True, slots=True)
class RoomName:
    """One room: string rooms and integer rooms are two namespaces, "123" is not 123."""

    sdk_app_id: int
    type: RoomType
    room_id: str

    @property
    def key(self) -> str:
        """The core's and the worker's word for this room."""
        return f"{self.sdk_app_id}/{self.type}/{self.room_id}"

    @property
    def twin(self) -> RoomName:
        """The room of the other type that is written the same way."""
        return RoomName(self.sdk_app_id, "i" if self.type == "s" else "s", self.room_id)

    @classmethod
    def of_key(cls, key: str) -> RoomName:
        """The inverse of `key`; raises ValueError for anything else."""
        app, kind, room_id = key.split("/", 2)
        if kind not in ("s", "i"):
            raise ValueError(f"not a room key: {key!r}")
        return cls(int(app), "s" if kind == "s" else "i", room_id)


def is_room_id(type_: RoomType, room_id: str) -> bool:
    """Whether a room of that type may be written so."""
    if type_ == "s":
        return _STRING_ROOM.fullmatch(room_id) is not None
    return room_id.isascii() and room_id.isdigit() and room_id[0] != "0" and int(room_id) <= MAX_INTEGER_ROOM


def is_user_id(user_id: str) -> bool:
    """Whether a user may be called so."""
    return _USER.fullmatch(user_id) is not None
