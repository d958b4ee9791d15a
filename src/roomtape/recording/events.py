"""The events of one recording (group 3), as facts for the outbox."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from roomtape.events import outbox
from roomtape.recording.task import Task
from roomtape.state.schema import events

GROUP = 3
STARTED, LEFT, UPLOAD_STARTED, PLAYLIST_STORED, HLS_ENDED = 301, 302, 303, 304, 305
FIRST_PIECE, UPLOAD_FAILED, FILES_ENDED, LIBRARY_FILE, LIBRARY_ENDED = 307, 308, 310, 311, 312

DONE, HELD_BACK, LATE_OR_ABNORMAL = 0, 1, 2  # Status of 305 and 310; 2 of 311: failed
ABNORMAL = 1  # Status of 312


def emit(conn: sa.Connection, task: Task, type_: int, at_ms: int, **payload: Any) -> None:
    """Record an event of the task in the caller's transaction."""
    outbox.emit(
        conn,
        sdk_app_id=task.sdk_app_id,
        group=GROUP,
        type=type_,
        queue=outbox.task_queue(task.task_id),
        fact={
            "room_type": task.room.type,
            "room_id": task.room.room_id,
            "user_id": task.spec.robot,
            "task_id": task.task_id,
            "payload": payload,
        },
        at_ms=at_ms,
        epoch=task.epoch,
    )


def statuses(conn: sa.Connection, task: Task, type_: int) -> set[int]:
    """The `status` values with which this event was already sent for the task."""
    facts = conn.scalars(
        sa.select(events.c.fact).where(events.c.task_id == task.task_id, events.c.type == type_)
    )
    return {fact["payload"]["status"] for fact in facts}
