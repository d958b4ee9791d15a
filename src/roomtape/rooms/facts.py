"""What the rooms leave in SQL: lives of rooms, stays, tracks, and the events of groups 1 and 2.

Each function returns an entry for the ledger. Entries may run again after a rollback, so they write the
row ids they learn into the model each time.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from roomtape.events import outbox
from roomtape.rooms.model import TERMINAL_OTHER, Kind, Member, Out, Room, Session, Track
from roomtape.rooms.names import RoomName
from roomtape.state import facts as record
from roomtape.state.ledger import Entry
from roomtape.state.schema import rooms, stays

ROOM_GROUP, MEDIA_GROUP = 1, 2
CREATED, CLOSED, ENTERED, LEFT, ROLE_CHANGED = 101, 102, 103, 104, 105
STARTED: dict[Kind, int] = {"video": 201, "audio": 203, "aux": 205}
STOPPED: dict[Kind, int] = {"video": 202, "audio": 204, "aux": 206}


def event(name: RoomName, type_: int, at_ms: int, **fact: Any) -> Entry:
    """One event of the room into the outbox."""

    def entry(conn: sa.Connection) -> None:
        outbox.emit(
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
    def entry(conn: sa.Connection) -> None:
        life = record.open_room(
            conn,
            sdk_app_id=room.name.sdk_app_id,
            room_type=room.name.type,
            room_id=room.name.room_id,
            creator=room.creator,
            at_ms=room.created_ms,
            scene=int(room.scene),
        )
        room.life_id = life.id

    return entry


def room_emptied(room: Room, at_ms: int | None) -> Entry:
    """The room is empty since then, or (None) somebody is back."""

    def entry(conn: sa.Connection) -> None:
        conn.execute(sa.update(rooms).where(rooms.c.id == room.life_id).values(emptied_ms=at_ms))

    return entry


def room_closed(room: Room, at_ms: int, cause: str) -> Entry:
    def entry(conn: sa.Connection) -> None:
        record.close_room(conn, room.life_id, at_ms=at_ms, cause=cause)

    return entry


def stay_began(room: Room, member: Member, reason: int) -> Entry:
    seats = _seats(member)

    def entry(conn: sa.Connection) -> None:
        member.stay_id = record.begin_stay(
            conn,
            sdk_app_id=room.name.sdk_app_id,
            life=room.life_id,
            user_id=member.user_id,
            at_ms=member.entered_ms,
            role=int(member.role),
            terminal_type=TERMINAL_OTHER,
            user_type=int(member.user_type),
            device_type=member.device_type,
            client_ip=member.client_ip,
            seats=seats,
            entered_ns=member.entered_ns,
            reason_in=reason,
        )

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

    def entry(conn: sa.Connection) -> None:
        conn.execute(sa.update(stays).where(stays.c.id == member.stay_id).values(**values))

    return entry


def stay_ended(member: Member, at_ms: int, reason: Out) -> Entry:
    def entry(conn: sa.Connection) -> None:
        record.end_stay(conn, member.stay_id, at_ms=at_ms, reason=int(reason))

    return entry


def track_started(room: Room, member: Member, track: Track, at_ms: int, at_ns: int) -> Entry:
    def entry(conn: sa.Connection) -> None:
        track.row_id = record.begin_track(
            conn,
            sdk_app_id=room.name.sdk_app_id,
            life=room.life_id,
            user_id=track.user_id,
            kind=track.kind,
            codec=track.codec,
            at_ms=at_ms,
            stay_id=member.stay_id or None,
            core_track=track.number,
            started_ns=at_ns,
        )

    return entry


def track_stopped(track: Track, at_ms: int, cause: str) -> Entry:
    def entry(conn: sa.Connection) -> None:
        record.end_track(conn, track.row_id, at_ms=at_ms, cause=cause)

    return entry


def track_sized(room: Room, track: Track, at_ms: int, width: int, height: int) -> Entry:
    def entry(conn: sa.Connection) -> None:
        record.size_track(
            conn,
            sdk_app_id=room.name.sdk_app_id,
            track=track.row_id,
            width=width,
            height=height,
            at_ms=at_ms,
        )

    return entry


def watch_began(room: Room, member: Member, session: Session, at_ms: int) -> Entry:
    def entry(conn: sa.Connection) -> None:
        session.watch_id = record.begin_watch(
            conn,
            sdk_app_id=room.name.sdk_app_id,
            life=room.life_id,
            user_id=member.user_id,
            at_ms=at_ms,
            peer_id=session.watches,
            stream=session.stream,
            stay=member.stay_id or None,
        )

    return entry


def watch_ended(session: Session, at_ms: int) -> Entry:
    def entry(conn: sa.Connection) -> None:
        record.end_watch(conn, session.watch_id, at_ms=at_ms)

    return entry


def role_fact(member: Member) -> dict[str, Any]:
    return {"user_id": member.user_id, "role": int(member.role)}


def device_fact(member: Member) -> dict[str, Any]:
    return {"terminal_type": TERMINAL_OTHER, "user_type": int(member.user_type)}


def _seats(member: Member) -> str:
    return ",".join(sorted(set(member.seats) | member.waiting_seats))
