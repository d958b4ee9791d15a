"""The shapes of a live room: who is in it, on which seats, sending what. Plain values, no behaviour of time.

Source: our seat rules, `docs/architecture.md`; codes: Event Callbacks > Room events, read 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from roomtape.rooms.names import RoomName

Seat = Literal["main", "aux", "play"]
Kind = Literal["audio", "video", "aux"]
SEATS: tuple[Seat, ...] = ("main", "aux", "play")
KINDS_OF_SEAT: dict[Seat, tuple[Kind, ...]] = {"main": ("audio", "video"), "aux": ("aux",), "play": ()}


class Scene(IntEnum):
    """What the first user said the room is for; sets its limits and how it ends."""

    VIDEO_CALL = 0
    LIVE = 1
    AUDIO_CALL = 2
    VOICE_CHAT = 3

    @property
    def lingers(self) -> bool:
        """Whether the room outlives its last viewer for a while."""
        return self in (Scene.LIVE, Scene.VOICE_CHAT)

    @property
    def max_users(self) -> int:
        return 100_000 if self.lingers else 300


MAX_PUBLISHERS = 50


class Role(IntEnum):
    ANCHOR = 20
    AUDIENCE = 21


class Out(IntEnum):
    """`Reason` of event 104."""

    LEFT = 1
    LOST = 2
    REMOVED = 3


class UserType(IntEnum):
    WEBRTC = 1
    NATIVE = 3


TERMINAL_OTHER = 100


@dataclass(slots=True, eq=False)
class Session:
    """One connection on one seat. `handle` is the core's number of the peer or RTMP connection."""

    seat: Seat
    via: Literal["whip", "whep", "rtmp"]
    handle: int
    resource: str = ""  # the last part of its URL, for WHIP and WHEP
    watches: str = ""  # whose streams a play session receives
    stream: str = "main"  # ... and which picture of theirs
    watch_id: int = 0  # row of `watches`, known when it is written
    lost: bool = False


@dataclass(slots=True, eq=False)
class Member:
    """One membership: it lasts while one seat is held, or until the lost ones have not come back."""

    user_id: str
    role: Role
    user_type: UserType
    device_type: str
    client_ip: str
    entered_ms: int
    entered_ns: int
    stay_id: int = 0  # row of `stays`, known when it is written
    seats: dict[Seat, Session] = field(default_factory=dict)
    waiting_seats: set[Seat] = field(default_factory=set)  # held before a restart, not back yet
    announced: set[Kind] = field(default_factory=set)  # 201, 203, 205 were sent and not taken back
    blocked_audio: bool = False
    blocked_video: bool = False

    @property
    def publishes(self) -> bool:
        return any(seat in self.seats or seat in self.waiting_seats for seat in ("main", "aux"))


@dataclass(slots=True, eq=False)
class Room:
    """One life of a room."""

    name: RoomName
    scene: Scene
    creator: str
    created_ms: int
    life_id: int = 0  # row of `rooms`, known when it is written
    members: dict[str, Member] = field(default_factory=dict)  # in order of entry

    @property
    def anchors(self) -> list[str]:
        return [user for user, member in self.members.items() if member.role is Role.ANCHOR]

    @property
    def sharer(self) -> str | None:
        """The user who holds the room's substream."""
        for user, member in self.members.items():
            if "aux" in member.seats or "aux" in member.waiting_seats:
                return user
        return None


@dataclass(slots=True, eq=False)
class Track:
    """One running track as the core announced it."""

    number: int
    room: Room | None
    user_id: str
    kind: Kind
    codec: str
    row_id: int = 0
