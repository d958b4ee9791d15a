"""What the rooms leave in SQL: lives of rooms, stays, tracks, and the events of groups 1 and 2.

Each function returns an entry for the ledger. Entries may run again after a rollback, so they write the
row ids they learn into the model each time.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from roomtape.events import outbox
from roomtape.rooms.model import TERMINAL_OTHER, Kind, Member, Out, Room, Track
from roomtape.rooms.names import RoomName
from roomtape.state.database import origin
from roomtape.state.ledger import Entry
from roomtape.state.schema import rooms, stays, track_sizes, tracks

ROOM_GROUP, MEDIA_GROUP = 1, 2
CREATED, CLOSED, ENTERED, LEFT, ROLE_CHANGED = 101, 102, 103, 104, 105
STARTED: dict[Kind, int] = {"video": 201, "audio": 203, "aux": 205}
STOPPED: dict[Kind, int] = {"video": 202, "audio": 204, "aux": 206}


def fnv1a_32(text: str) -> int:
    """The number a string room is known by where only numbers fit.

    Source: FNV-1a, 32 bits, http://www.isthe.com/chongo/tech/comp/fnv/ (offset basis and prime).
    """
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def room_number(name: RoomName) -> int:
    return int(name.room_id) if name.type == "i" else fnv1a_32(name.room_id)


def event(name: RoomName, type_: int, at_ms: int, **fact: Any) -> Entry:
    """One event of the room into the outbox."""

    async def entry(conn: AsyncConnection) -> None:
        await outbox.emit(
            conn,
            sdk_app_id=name.sdk_app_id,
            group=ROOM_GROUP if type_ < 200 else MEDIA_GROUP,
            type=type_,
            queue=outbox.room_queue(name.sdk_app_id, name.type, name.room_id),
            fact={"room_type": name.type, "room_id": name.room_id, **fact},
            at_ms=at_ms,
        )

    return entry


def room_opened(room: Room) -> Entry:
    number = room_number(room.name)

    async def entry(conn: AsyncConnection) -> None:
        node_id, boot_id = origin(conn)
        row_id = await conn.scalar(
            sa.insert(rooms)
            .values(
                sdk_app_id=room.name.sdk_app_id,
                room_type=room.name.type,
                room_id=room.name.room_id,
                comm_id=f"{room.name.sdk_app_id}_{number}_{room.created_ms // 1000}",
                room_number=number,
                scene=int(room.scene),
                creator_user_id=room.creator,
                created_ms=room.created_ms,
                node_id=node_id,
                boot_id=boot_id,
            )
            .returning(rooms.c.id)
        )
        assert row_id is not None
        room.life_id = row_id

    return entry


def room_emptied(room: Room, at_ms: int | None) -> Entry:
    """The room is empty since then, or (None) somebody is back."""

    async def entry(conn: AsyncConnection) -> None:
        await conn.execute(sa.update(rooms).where(rooms.c.id == room.life_id).values(emptied_ms=at_ms))

    return entry


def room_closed(room: Room, at_ms: int, cause: str) -> Entry:
    async def entry(conn: AsyncConnection) -> None:
        await conn.execute(
            sa.update(rooms).where(rooms.c.id == room.life_id).values(destroyed_ms=at_ms, end_cause=cause)
        )

    return entry


def stay_began(room: Room, member: Member, reason: int) -> Entry:
    async def entry(conn: AsyncConnection) -> None:
        node_id, boot_id = origin(conn)
        row_id = await conn.scalar(
            sa.insert(stays)
            .values(
                sdk_app_id=room.name.sdk_app_id,
                room_life=room.life_id,
                user_id=member.user_id,
                role=int(member.role),
                terminal_type=TERMINAL_OTHER,
                user_type=int(member.user_type),
                device_type=member.device_type,
                client_ip=member.client_ip,
                seats=_seats(member),
                entered_ms=member.entered_ms,
                entered_ns=member.entered_ns,
                reason_in=reason,
                node_id=node_id,
                boot_id=boot_id,
            )
            .returning(stays.c.id)
        )
        assert row_id is not None
        member.stay_id = row_id

    return entry


def stay_changed(member: Member, *, lost_ms: int | None = None) -> Entry:
    """Seats, role, blocks and loss as they are now."""
    values = {
        "seats": _seats(member),
        "role": int(member.role),
        "blocked_audio": member.blocked_audio,
        "blocked_video": member.blocked_video,
        "lost_ms": lost_ms,
    }

    async def entry(conn: AsyncConnection) -> None:
        await conn.execute(sa.update(stays).where(stays.c.id == member.stay_id).values(**values))

    return entry


def stay_ended(member: Member, at_ms: int, reason: Out) -> Entry:
    async def entry(conn: AsyncConnection) -> None:
        await conn.execute(
            sa.update(stays)
            .where(stays.c.id == member.stay_id)
            .values(left_ms=at_ms, reason_out=int(reason), seats="")
        )

    return entry


def track_started(room: Room, member: Member, track: Track, at_ms: int, at_ns: int) -> Entry:
    async def entry(conn: AsyncConnection) -> None:
        node_id, boot_id = origin(conn)
        row_id = await conn.scalar(
            sa.insert(tracks)
            .values(
                sdk_app_id=room.name.sdk_app_id,
                room_life=room.life_id,
                stay_id=member.stay_id or None,
                user_id=track.user_id,
                kind=track.kind,
                codec=track.codec,
                core_track=track.number,
                started_ms=at_ms,
                started_ns=at_ns,
                node_id=node_id,
                boot_id=boot_id,
            )
            .returning(tracks.c.id)
        )
        assert row_id is not None
        track.row_id = row_id

    return entry


def track_stopped(track: Track, at_ms: int, cause: str) -> Entry:
    async def entry(conn: AsyncConnection) -> None:
        await conn.execute(
            sa.update(tracks).where(tracks.c.id == track.row_id).values(stopped_ms=at_ms, stop_cause=cause)
        )

    return entry


def track_sized(room: Room, track: Track, at_ms: int, width: int, height: int) -> Entry:
    async def entry(conn: AsyncConnection) -> None:
        await conn.execute(
            sa.insert(track_sizes).values(
                sdk_app_id=room.name.sdk_app_id,
                track_id=track.row_id,
                at_ms=at_ms,
                width=width,
                height=height,
            )
        )

    return entry


def role_fact(member: Member) -> dict[str, Any]:
    return {"user_id": member.user_id, "role": int(member.role)}


def device_fact(member: Member) -> dict[str, Any]:
    return {"terminal_type": TERMINAL_OTHER, "user_type": int(member.user_type)}


def _seats(member: Member) -> str:
    return ",".join(sorted(set(member.seats) | member.waiting_seats))
