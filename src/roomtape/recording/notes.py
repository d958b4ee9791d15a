"""What an operator may read of a task's life later: who held it, what was lost, what went wrong.

A note that says the same again is counted, not written again, and a task keeps so many different ones.
"""

from __future__ import annotations

import sqlalchemy as sa

from roomtape.recording.task import Task
from roomtape.state.schema import task_notes

MOST = 200  # different notes of one task; what comes later is counted in one
MOST_CHARS = 500
REST = "(and more)"

ASSIGNED, WORKER_DIED, PAUSED, RESUMED = "assigned", "worker_died", "paused", "resumed"
STORE_FAILED, STORE_BACK, GIVEN_UP = "store_failed", "store_back", "given_up"
NO_TROUBLE = (ASSIGNED, RESUMED, STORE_BACK, "disk_ok")  # kinds that are good news


def keep(conn: sa.Connection, task: Task, kind: str, text: str, now_ms: int, count: int = 1) -> None:
    """Write a note in the caller's transaction."""
    text = text[:MOST_CHARS]
    mine = task_notes.c.task_id == task.task_id
    if _count_again(conn, sa.and_(mine, task_notes.c.kind == kind, task_notes.c.text == text), now_ms, count):
        return
    if (conn.scalar(sa.select(sa.func.count()).select_from(task_notes).where(mine)) or 0) >= MOST:
        text = REST
        rest = sa.and_(mine, task_notes.c.kind == kind, task_notes.c.text == text)
        if _count_again(conn, rest, now_ms, count):
            return
    conn.execute(
        sa.insert(task_notes).values(
            sdk_app_id=task.sdk_app_id,
            task_id=task.task_id,
            epoch=task.epoch,
            kind=kind,
            text=text,
            count=count,
            at_ms=now_ms,
            last_ms=now_ms,
        )
    )


def _count_again(conn: sa.Connection, where: sa.ColumnElement[bool], now_ms: int, count: int) -> bool:
    changed = conn.execute(
        sa.update(task_notes).where(where).values(count=task_notes.c.count + count, last_ms=now_ms)
    )
    return bool(changed.rowcount)
