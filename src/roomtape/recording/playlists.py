"""The playlists of a task as Describe shows them, read once and kept until a task gets another one.

What a Describe shows of an output (user, name, kind, begin) is written once, with the output's first piece;
so every answer between two such commits is the same, and polling costs no database.
"""

from __future__ import annotations

import sqlalchemy as sa

from roomtape.recording.pieces_table import NEW_OUTPUT, TRACK_TYPES
from roomtape.recording.views import FileView
from roomtape.state.database import Database
from roomtape.state.schema import outputs

_MAX_TASKS = 10_000


class Playlists:
    """A cache that the announcing commits empty."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._held: dict[str, tuple[FileView, ...]] = {}
        self._changes = 0
        db.on_commit(NEW_OUTPUT, self._forget)

    def held(self, task_id: str) -> tuple[FileView, ...] | None:
        """The task's playlists, oldest first, if they were read since the last one came."""
        return self._held.get(task_id)

    async def of(self, task_id: str) -> tuple[FileView, ...]:
        """The task's playlists, oldest first. Raises DatabaseUnavailable."""
        held = self._held.get(task_id)
        if held is not None:
            return held
        changes = self._changes
        found = await self._db.ask(lambda conn: read_playlists(conn, task_id))
        if changes == self._changes:  # else read while one came: right for this caller, not for later ones
            if len(self._held) >= _MAX_TASKS:
                self._held.clear()
            self._held[task_id] = found
        return found

    def _forget(self) -> None:
        self._held.clear()
        self._changes += 1


def read_playlists(conn: sa.Connection, task_id: str) -> tuple[FileView, ...]:
    """The task's playlists as they are in the database."""
    rows = conn.execute(
        sa.select(outputs)
        .where(outputs.c.task_id == task_id)
        .order_by(outputs.c.track_start_ms, outputs.c.output_key)
    )
    return tuple(
        FileView(
            user_id=row.user_id,
            file_name=row.playlist_name,
            track_type=TRACK_TYPES[row.type],
            begin_ms=row.track_start_ms,
        )
        for row in rows
    )
