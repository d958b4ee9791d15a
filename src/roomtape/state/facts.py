"""Facts of rooms: what monitoring and usage questions are answered from later.

Rows are added, and completed once when the life, stay or track ends; nothing is rewritten. They are
kept 15 days (answers reach back 14), metered spans 93. All functions work in the caller's transaction.

Source: pages DescribeRoomInfo, DescribeUserInfo, DescribeCallDetailInfo, DescribeTrtcUsage, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from roomtape.state.database import origin
from roomtape.state.schema import (
    minutes,
    quality_samples,
    rooms,
    stays,
    track_sizes,
    tracks,
    user_events,
    watches,
)
from roomtape.state.statement import Statement

DAY_MS = 24 * 3600 * 1000
KEEP_FACTS_MS = 15 * DAY_MS
KEEP_MINUTES_MS = 93 * DAY_MS


@dataclass(frozen=True, slots=True)
class RoomLife:
    """One life of a room, from its first entry to its closing."""

    id: int
    comm_id: str


def room_number(room_type: str, room_id: str) -> int:
    """The middle part of a CommId: the number of an integer room, FNV-1a 32 of a string room's name."""
    if room_type == "i":
        return int(room_id)
    value = 0x811C9DC5
    for byte in room_id.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def open_room(
    conn: sa.Connection,
    *,
    sdk_app_id: int,
    room_type: str,
    room_id: str,
    creator: str,
    at_ms: int,
    scene: int = 1,
    epoch: int = 0,
) -> RoomLife:
    """A room was created by `creator`. Raises IntegrityError when it is open already."""
    number = room_number(room_type, room_id)
    comm_id = f"{sdk_app_id}_{number}_{at_ms // 1000}"
    life = _insert(
        conn,
        rooms,
        sdk_app_id=sdk_app_id,
        room_type=room_type,
        room_id=room_id,
        room_number=number,
        comm_id=comm_id,
        scene=scene,
        creator_user_id=creator,
        created_ms=at_ms,
        epoch=epoch,
        **_from(conn),
    )
    return RoomLife(life, comm_id)


def close_room(conn: sa.Connection, life: int, *, at_ms: int, cause: str) -> None:
    """A room was closed: `cause` is emptied, dismissed or lost. The second time nothing happens."""
    conn.execute(
        rooms.update()
        .where(rooms.c.id == life, rooms.c.destroyed_ms.is_(None))
        .values(destroyed_ms=at_ms, end_cause=cause)
    )


def begin_stay(
    conn: sa.Connection, *, sdk_app_id: int, life: int, user_id: str, at_ms: int, **more: Any
) -> int:
    """A user entered; `more` are further columns of `stays`. Returns the stay's id."""
    return _insert(
        conn,
        stays,
        sdk_app_id=sdk_app_id,
        room_life=life,
        user_id=user_id,
        entered_ms=at_ms,
        **{**_from(conn), **more},
    )


def end_stay(conn: sa.Connection, stay: int, *, at_ms: int, reason: int) -> None:
    """A user left, with the Reason of callback 104. The second time nothing happens."""
    conn.execute(
        stays.update()
        .where(stays.c.id == stay, stays.c.left_ms.is_(None))
        .values(left_ms=at_ms, reason_out=reason, seats="")
    )


def begin_track(
    conn: sa.Connection,
    *,
    sdk_app_id: int,
    life: int,
    user_id: str,
    kind: str,
    codec: str,
    at_ms: int,
    **more: Any,
) -> int:
    """A track brought its first packet; `more` are further columns of `tracks`."""
    return _insert(
        conn,
        tracks,
        sdk_app_id=sdk_app_id,
        room_life=life,
        user_id=user_id,
        kind=kind,
        codec=codec,
        started_ms=at_ms,
        **{**_from(conn), **more},
    )


def end_track(conn: sa.Connection, track: int, *, at_ms: int, cause: str) -> None:
    """A track stopped. The second time nothing happens."""
    conn.execute(
        tracks.update()
        .where(tracks.c.id == track, tracks.c.stopped_ms.is_(None))
        .values(stopped_ms=at_ms, stop_cause=cause)
    )


def size_track(
    conn: sa.Connection, *, sdk_app_id: int, track: int, width: int, height: int, at_ms: int
) -> None:
    """A picture has this size from now on."""
    conn.execute(
        track_sizes.insert().values(
            sdk_app_id=sdk_app_id, track_id=track, width=width, height=height, at_ms=at_ms
        )
    )


def note_user_event(
    conn: sa.Connection,
    *,
    sdk_app_id: int,
    life: int,
    user_id: str,
    event_id: int,
    at_ms: int,
    peer_id: str | None = None,
    type: int = 0,
    params: tuple[int, int] = (-1, -1),
) -> None:
    """Something of the vendor's event table happened to a user (by default of its own doing)."""
    conn.execute(
        user_events.insert().values(
            sdk_app_id=sdk_app_id,
            room_life=life,
            user_id=user_id,
            peer_id=user_id if peer_id is None else peer_id,
            type=type,
            event_id=event_id,
            param_one=params[0],
            param_two=params[1],
            at_ms=at_ms,
        )
    )


def begin_watch(
    conn: sa.Connection,
    *,
    sdk_app_id: int,
    life: int,
    user_id: str,
    at_ms: int,
    peer_id: str = "",
    stream: str = "main",
    stay: int | None = None,
) -> int:
    """A viewer receives the streams of `peer_id` (empty: everybody's) from now on."""
    return _insert(
        conn,
        watches,
        sdk_app_id=sdk_app_id,
        room_life=life,
        stay_id=stay,
        user_id=user_id,
        peer_id=peer_id,
        stream=stream,
        began_ms=at_ms,
        **_from(conn),
    )


def end_watch(conn: sa.Connection, watch: int, *, at_ms: int) -> None:
    """... until now. The second time nothing happens."""
    conn.execute(
        watches.update().where(watches.c.id == watch, watches.c.ended_ms.is_(None)).values(ended_ms=at_ms)
    )


def add_quality(conn: sa.Connection, samples: Sequence[dict[str, Any]]) -> None:
    """Add samples of 5 seconds, one row of `quality_samples` each."""
    if samples:
        conn.execute(quality_samples.insert(), list(samples))


def add_minutes(conn: sa.Connection, spans: Sequence[dict[str, Any]]) -> None:
    """Add metered spans, one row of `minutes` each."""
    if spans:
        conn.execute(minutes.insert(), list(spans))


_RECORDED = Statement(
    sa.insert(minutes),
    *("sdk_app_id", "kind", "size_class", "codec", "room_type", "room_id", "user_id", "task_id"),
    *("pixels", "from_ms", "to_ms", "duration_us", "bytes"),
)


def meter_piece(
    conn: sa.Connection,
    *,
    sdk_app_id: int,
    task_id: str,
    room_type: str,
    room_id: str,
    user_id: str,
    mixed: bool,
    width: int,
    height: int,
    start_ms: int,
    duration_us: int,
    size: int,
) -> None:
    """Recorded output of one committed piece, by its class; width 0 means sound alone."""
    pixels = width * height
    span = {
        "sdk_app_id": sdk_app_id,
        "kind": "record_multi" if mixed else "record_single",
        "size_class": size_class(pixels),
        "codec": "h264" if pixels else "",
        "room_type": room_type,
        "room_id": room_id,
        "user_id": user_id,
        "task_id": task_id,
        "pixels": pixels,
        "from_ms": start_ms,
        "to_ms": start_ms + duration_us // 1000,
        "duration_us": duration_us,
        "bytes": size,
    }
    _RECORDED.count(conn, span)


def size_class(pixels: int) -> str:
    """The usage class of so many pixels; 0 is sound. Source: page 647/42734, read 2026-11."""
    if pixels == 0:
        return "Audio"
    for limit, name in ((921_600, "HD"), (2_073_600, "FullHD"), (3_686_400, "2K")):
        if pixels <= limit:
            return name
    return "4K"


def prune(conn: sa.Connection, now_ms: int) -> None:
    """Delete the facts that are too old to be asked for. A room that is still open keeps its own."""
    old = sa.select(rooms.c.id).where(rooms.c.destroyed_ms < now_ms - KEEP_FACTS_MS)
    old_tracks = sa.select(tracks.c.id).where(tracks.c.room_life.in_(old))
    conn.execute(track_sizes.delete().where(track_sizes.c.track_id.in_(old_tracks)))
    for table in (quality_samples, user_events, watches, tracks, stays):
        conn.execute(table.delete().where(table.c.room_life.in_(old)))
    conn.execute(rooms.delete().where(rooms.c.destroyed_ms < now_ms - KEEP_FACTS_MS))
    for table in (quality_samples, user_events):
        conn.execute(table.delete().where(table.c.at_ms < now_ms - KEEP_FACTS_MS))
    conn.execute(minutes.delete().where(minutes.c.to_ms < now_ms - KEEP_MINUTES_MS))


def _insert(conn: sa.Connection, table: sa.Table, **values: Any) -> int:
    row = conn.scalar(table.insert().values(**values).returning(table.c.id))
    assert isinstance(row, int)  # RETURNING of an integer key
    return row


def _from(conn: sa.Connection) -> dict[str, str]:
    node_id, boot_id = origin(conn)
    return {"node_id": node_id, "boot_id": boot_id}
