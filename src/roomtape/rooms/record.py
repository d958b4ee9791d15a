"""Read the rooms of a former server process back from SQL."""

from __future__ import annotations

import sqlalchemy as sa

from roomtape.clock import Clock
from roomtape.rooms.facts import STARTED
from roomtape.rooms.model import SEATS, Member, Role, Room, Scene, UserType
from roomtape.rooms.names import RoomName
from roomtape.rooms.service import Rooms
from roomtape.state.database import Database
from roomtape.state.schema import rooms, stays, tracks, watches


async def take_back(db: Database, service: Rooms, clock: Clock, node_id: str) -> int:
    """Hand the open rooms of this node to the service; returns how many there were.

    Tracks the former process left running are closed: their media went with it.
    """
    now_ms, now_ns = clock.now_ms(), clock.monotonic_ns()
    async with db.write() as conn:
        open_rooms = (
            await conn.execute(
                sa.select(rooms)
                .where(rooms.c.destroyed_ms.is_(None), rooms.c.node_id == node_id)
                .order_by(rooms.c.id)
            )
        ).all()
        by_life: dict[int, Room] = {}
        emptied: dict[str, int] = {}
        for row in open_rooms:
            name = RoomName(row.sdk_app_id, "s" if row.room_type == "s" else "i", row.room_id)
            room = Room(name, Scene(row.scene), row.creator_user_id, row.created_ms, life_id=row.id)
            by_life[row.id] = room
            if row.emptied_ms is not None:
                emptied[name.key] = row.emptied_ms
        if not by_life:
            return 0
        running = sa.and_(tracks.c.room_life.in_(by_life), tracks.c.stopped_ms.is_(None))
        announced: dict[int, set[str]] = {}
        for track in await conn.execute(sa.select(tracks.c.stay_id, tracks.c.kind).where(running)):
            announced.setdefault(track.stay_id, set()).add(track.kind)
        await conn.execute(sa.update(tracks).where(running).values(stopped_ms=now_ms, stop_cause="lost"))
        watching = sa.and_(watches.c.room_life.in_(by_life), watches.c.ended_ms.is_(None))
        await conn.execute(sa.update(watches).where(watching).values(ended_ms=now_ms))
        present = sa.and_(stays.c.room_life.in_(by_life), stays.c.left_ms.is_(None), ~stays.c.hidden)
        for stay in await conn.execute(sa.select(stays).where(present).order_by(stays.c.id)):
            entered_ns = stay.entered_ns
            if not 0 < entered_ns <= now_ns:  # of another boot of the machine
                entered_ns = now_ns - (now_ms - stay.entered_ms) * 1_000_000
            by_life[stay.room_life].members[stay.user_id] = Member(
                user_id=stay.user_id,
                role=Role(stay.role),
                user_type=UserType(stay.user_type),
                device_type=stay.device_type,
                client_ip=stay.client_ip,
                entered_ms=stay.entered_ms,
                entered_ns=entered_ns,
                stay_id=stay.id,
                waiting_seats={seat for seat in SEATS if seat in stay.seats.split(",")},
                announced={kind for kind in STARTED if kind in announced.get(stay.id, ())},
                blocked_audio=stay.blocked_audio,
                blocked_video=stay.blocked_video,
            )
    service.restore(by_life.values(), emptied)
    return len(by_life)
