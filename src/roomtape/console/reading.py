"""What an operator is shown of rooms and recordings: read-only queries over the tables.

Nothing sealed is read here. Times are Unix milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from roomtape.recording.notes import NO_TROUBLE
from roomtape.state import schema
from roomtape.state.database import Database

PAGE = 200

Row = Mapping[str, Any]


async def rooms(db: Database, sdk_app_id: int | None = None, *, closed: bool = False) -> list[Row]:
    """Open rooms (or all lives of rooms), newest first, with how many users are in."""
    room, stay = schema.rooms.c, schema.stays.c
    inside = (
        sa.select(sa.func.count())
        .where(stay.room_life == room.id, stay.left_ms.is_(None), stay.hidden.is_(sa.false()))
        .scalar_subquery()
    )
    query = sa.select(
        room.id, room.sdk_app_id, room.room_type, room.room_id, room.comm_id, room.created_ms,
        room.destroyed_ms, inside.label("users"),
    )  # fmt: skip
    if not closed:
        query = query.where(room.destroyed_ms.is_(None))
    if sdk_app_id is not None:
        query = query.where(room.sdk_app_id == sdk_app_id)
    return await _all(db, query.order_by(room.id.desc()).limit(PAGE))


async def room(db: Database, sdk_app_id: int, room_type: str, room_id: str) -> dict[str, Any] | None:
    """The latest life of a room: its users, what they sent, and who records it."""
    table = schema.rooms.c
    found = await _all(
        db,
        sa.select(schema.rooms)
        .where(table.sdk_app_id == sdk_app_id, table.room_type == room_type, table.room_id == room_id)
        .order_by(table.id.desc())
        .limit(1),
    )
    if not found:
        return None
    life = found[0]["id"]
    stay, track, task = schema.stays.c, schema.tracks.c, schema.tasks.c
    users = await _all(
        db,
        sa.select(
            stay.user_id, stay.role, stay.device_type, stay.client_ip, stay.seats, stay.robot,
            stay.entered_ms, stay.lost_ms, stay.left_ms,
        )
        .where(stay.room_life == life, stay.hidden.is_(sa.false()))
        .order_by(stay.id),
    )  # fmt: skip
    tracks = await _all(
        db,
        sa.select(track.user_id, track.kind, track.codec, track.started_ms, track.stopped_ms)
        .where(track.room_life == life)
        .order_by(track.id),
    )
    tasks = await _all(
        db,
        sa.select(task.task_id, task.kind, task.status, task.created_ms).where(
            task.sdk_app_id == sdk_app_id, task.room_type == room_type, task.room_id == room_id
        ),
    )
    return {**found[0], "users": users, "tracks": tracks, "tasks": tasks}


async def recordings(db: Database, sdk_app_id: int | None = None, status: str | None = None) -> list[Row]:
    """Recording tasks, newest first."""
    task, piece = schema.tasks.c, schema.pieces.c
    pieces = sa.select(sa.func.count()).where(piece.task_id == task.task_id).scalar_subquery()
    query = sa.select(
        task.task_id, task.sdk_app_id, task.room_type, task.room_id, task.status, task.created_ms,
        task.worker, task.epoch, pieces.label("pieces"), _last_error(),
    ).where(task.kind == "recording")  # fmt: skip
    if sdk_app_id is not None:
        query = query.where(task.sdk_app_id == sdk_app_id)
    if status is not None:
        query = query.where(task.status == status)
    return await _all(db, query.order_by(task.created_ms.desc()).limit(PAGE))


async def recording(db: Database, task_id: str) -> dict[str, Any] | None:
    """The whole life of one task: what it made, what was noted of it, where that went; no secret."""
    task, output, piece = schema.tasks.c, schema.outputs.c, schema.pieces.c
    file, upload, job, note = schema.files.c, schema.uploads.c, schema.final_jobs.c, schema.task_notes.c
    found = await _all(
        db,
        sa.select(
            task.task_id, task.sdk_app_id, task.room_type, task.room_id, task.robot_user_id, task.status,
            task.created_ms, task.started_ms, task.first_media_ms, task.stop_requested_ms, task.stop_cause,
            task.exited_ms, task.delivered_ms, task.gone_ms, task.worker, task.epoch, task.stretch,
            task.final_event, _last_error(), task.spec,
        ).where(task.task_id == task_id),
    )  # fmt: skip
    if not found:
        return None
    made = sa.and_(piece.task_id == output.task_id, piece.output_key == output.output_key)

    def total(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return sa.select(sa.func.coalesce(sa.func.sum(column), 0)).where(made).scalar_subquery()

    outputs = await _all(
        db,
        sa.select(
            output.user_id, output.media, output.type, output.track_start_ms, output.next_piece_no,
            output.width, output.height, output.playlist_name, output.playlist_state,
            total(piece.size).label("bytes"), total(piece.duration_us).label("duration_us"),
            sa.select(sa.func.count()).where(made, piece.discontinuity).scalar_subquery().label("holes"),
        ).where(output.task_id == task_id),
    )  # fmt: skip
    pieces = await _all(
        db,
        sa.select(
            piece.user_id, piece.media, piece.type, piece.piece_no, piece.name, piece.size, piece.start_ms,
            piece.duration_us, piece.discontinuity, piece.upload_state, piece.epoch,
        )
        .where(piece.task_id == task_id)
        .order_by(piece.output_key, piece.piece_no),
    )  # fmt: skip
    files = await _all(
        db,
        sa.select(
            file.user_id, file.media, file.track_type, file.name, file.size, file.start_ms, file.end_ms,
            file.upload_state,
        )
        .where(file.task_id == task_id)
        .order_by(file.id),
    )  # fmt: skip
    jobs = await _all(
        db,
        sa.select(job.user_id, job.media, job.kind, job.state, job.tries, job.error, job.done_ms)
        .where(job.task_id == task_id)
        .order_by(job.job),
    )
    uploads = await _all(
        db,
        sa.select(
            upload.object_key, upload.subject, upload.size, upload.state, upload.tries, upload.next_at_ms,
            upload.first_failed_ms, upload.last_error_code, upload.last_error, upload.proven_ms,
        )
        .where(upload.task_id == task_id)
        .order_by(upload.id),
    )  # fmt: skip
    notes = await _all(
        db,
        sa.select(note.at_ms, note.last_ms, note.kind, note.text, note.count, note.epoch)
        .where(note.task_id == task_id)
        .order_by(note.id),
    )
    return {
        **found[0],
        "outputs": outputs,
        "pieces": pieces,
        "files": files,
        "jobs": jobs,
        "uploads": uploads,
        "notes": notes,
        "callbacks": await _callbacks(db, task_id),
        "life": _life(found[0], notes),
    }


async def library(db: Database) -> list[Row]:
    """The media library in one row per state: files, bytes, and when the next one ends."""
    file = schema.library_files.c
    return await _all(
        db,
        sa.select(
            file.state, sa.func.count().label("files"), sa.func.sum(file.size).label("bytes"),
            sa.func.min(file.expires_at_ms).label("first_expires_at_ms"),
        )
        .group_by(file.state)
        .order_by(file.state),
    )  # fmt: skip


async def library_files(db: Database) -> list[Row]:
    """Files of the media library, newest first."""
    file = schema.library_files.c
    query = sa.select(
        file.file_id, file.sdk_app_id, file.task_id, file.name, file.user_id, file.kind, file.state,
        file.size, file.stored_ms, file.expires_at_ms, file.removed_ms, file.error,
    )  # fmt: skip
    return await _all(db, query.order_by(file.created_ms.desc(), file.file_id).limit(PAGE))


async def _callbacks(db: Database, task_id: str) -> list[Row]:
    """Its events in their order, each with where its delivery stands; "none" when nobody is told."""
    event, delivery = schema.events.c, schema.deliveries.c
    return await _all(
        db,
        sa.select(
            event.task_event_no, event.type, event.at_ms,
            sa.func.coalesce(delivery.state, "none").label("state"),
            sa.func.coalesce(delivery.tries, 0).label("tries"),
            delivery.last_status, delivery.last_error, delivery.done_ms, delivery.url,
        )
        .select_from(schema.events.outerjoin(schema.deliveries, delivery.event_id == event.id))
        .where(event.task_id == task_id)
        .order_by(event.id, delivery.id),
    )  # fmt: skip


def _last_error() -> sa.Label[str]:
    """Of a task's row: the youngest of its notes that is of some trouble."""
    note = schema.task_notes.c
    return (
        sa.select(note.kind + ": " + note.text)
        .where(note.task_id == schema.tasks.c.task_id, note.kind.not_in(NO_TROUBLE))
        .order_by(note.last_ms.desc(), note.id.desc())
        .limit(1)
        .scalar_subquery()
        .label("last_error")
    )


_STEPS = (
    ("created_ms", "created"),
    ("started_ms", "robot in the room"),
    ("first_media_ms", "first media"),
    ("stop_requested_ms", "stop ordered"),
    ("exited_ms", "recorder left"),
    ("delivered_ms", "last upload proven"),
    ("gone_ms", "gone"),
)


def _life(task: Row, notes: list[Row]) -> list[dict[str, Any]]:
    """What happened to the task, in the order of time."""
    steps = []
    for column, what in _STEPS:
        if task[column] is not None:
            more = task["stop_cause"] if column == "stop_requested_ms" else ""
            more = f"final event {task['final_event']}" if column == "delivered_ms" else more
            steps.append({"at_ms": task[column], "what": what, "more": more, "count": 1, "last_ms": None})
    noted = [
        {
            "at_ms": n["at_ms"],
            "what": n["kind"],
            "more": n["text"],
            "count": n["count"],
            "last_ms": n["last_ms"] if n["last_ms"] > n["at_ms"] else None,
        }
        for n in notes
    ]
    return sorted([*steps[:1], *noted, *steps[1:]], key=lambda step: step["at_ms"])


async def _all(db: Database, query: sa.Select[Any]) -> list[Row]:
    async with db.read() as conn:
        return [dict(row) for row in (await conn.execute(query)).mappings()]
