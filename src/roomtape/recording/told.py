"""What is told of a task whose files go to the media library: event 311 per file, whatever became of it.

Decided from rows after the stop, so that a restart decides the same: what was told of a file is its state
in the library.
Source: Event Callbacks > Cloud recording > VOD_COMMIT, VOD_STOP (647/54914), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from roomtape.library import service as library
from roomtape.library.service import Library, Media, Wishes
from roomtape.recording import events
from roomtape.recording.finalising import base_name
from roomtape.recording.pieces_table import TRACK_TYPES, revision_of
from roomtape.recording.spec import KEEPS_HLS, VodSpec
from roomtape.recording.task import Task
from roomtape.state.schema import files, final_jobs, outputs, pieces, uploads

NOT_MADE = "The file could not be made from the recording; the recording itself is kept."


@dataclass(frozen=True, slots=True)
class _Fate:
    """A file of the task, and what has become of it: waiting, held, stored or failed."""

    media: Media
    state: str
    error: str = ""


class LibraryTold:
    """Enters files into the library as they become whole, and tells of each once per state."""

    def __init__(self, shelf: Library) -> None:
        self._library = shelf

    def look(self, conn: sa.Connection, task: Task, vod: VodSpec, now_ms: int) -> bool | None:
        """Tell what is new; returns whether some file failed once nothing more can come, else None."""
        waiting = conn.scalar(
            sa.select(sa.func.count())
            .select_from(final_jobs)
            .where(final_jobs.c.task_id == task.task_id, final_jobs.c.state.not_in(("done", "failed")))
        )
        over, failed = not waiting, False
        for fate in self._fates(conn, task, vod):
            failed = failed or fate.state == library.FAILED
            over = over and fate.state in (library.STORED, library.FAILED)
            told = self._library.state_of(conn, task.task_id, fate.media.name)
            if fate.state != "waiting" and told in ("", library.HELD) and told != fate.state:
                self._tell(conn, task, fate, now_ms)
        return failed if over else None

    def _tell(self, conn: sa.Connection, task: Task, fate: _Fate, now_ms: int) -> None:
        media = fate.media
        vod: dict[str, Any] = {
            "user_id": media.user_id,
            "track_type": media.track_type,
            "cache_file": media.name,
        }
        if fate.state == library.STORED:
            made = self._library.enter(conn, media)
            vod |= {
                "media_id": media.media,
                "file_id": made.file_id,
                "video_url": made.url,
                "start_ms": media.start_ms,
                "end_ms": media.end_ms,
            }
            events.emit(conn, task, events.LIBRARY_FILE, now_ms, status=events.DONE, errmsg="", vod=vod)
            return
        failed = fate.state == library.FAILED
        self._library.note(conn, media, failed=failed, error=fate.error)
        status = events.LATE_OR_ABNORMAL if failed else events.HELD_BACK
        events.emit(conn, task, events.LIBRARY_FILE, now_ms, status=status, errmsg=fate.error, vod=vod)

    def _fates(self, conn: sa.Connection, task: Task, vod: VodSpec) -> Iterator[_Fate]:
        """Every file the task brings: its HLS, then what was made of them."""
        if task.spec.output_format in KEEPS_HLS:
            rows = conn.execute(
                sa.select(outputs)
                .where(outputs.c.task_id == task.task_id)
                .order_by(outputs.c.track_start_ms, outputs.c.output_key)
            )
            for row in rows.all():
                yield self._of_output(conn, task, vod, row)
        rows = conn.execute(sa.select(files).where(files.c.task_id == task.task_id).order_by(files.c.id))
        for row in rows.all():
            yield self._of_file(conn, task, vod, row)
        rows = conn.execute(
            sa.select(final_jobs)
            .where(final_jobs.c.task_id == task.task_id, final_jobs.c.state == "failed")
            .order_by(final_jobs.c.job)
        )
        for row in rows.all():
            media = _media(
                task,
                vod,
                kind=row.kind,
                name=f"{base_name(task, row.user_id, row.media)}.{row.kind}",
                user_id=row.user_id,
                media=row.media,
                track_type="audio_video" if row.kind == "mp4" else "audio",
            )
            yield _Fate(media, library.FAILED, NOT_MADE)

    def _of_output(self, conn: sa.Connection, task: Task, vod: VodSpec, row: sa.Row[Any]) -> _Fate:
        mine = sa.and_(pieces.c.task_id == task.task_id, pieces.c.output_key == row.output_key)
        size = conn.scalar(sa.select(sa.func.sum(pieces.c.size)).where(mine))
        last = (
            conn.execute(
                sa.select(pieces.c.start_ms, pieces.c.duration_us)
                .where(mine)
                .order_by(pieces.c.piece_no.desc())
                .limit(1)
            )
        ).one_or_none()
        media = _media(
            task,
            vod,
            kind=library.HLS,
            name=row.playlist_name,
            user_id=row.user_id,
            media=row.media,
            track_type=TRACK_TYPES[row.type],
            size=int(size or 0),
            start_ms=row.track_start_ms,
            end_ms=last.start_ms + last.duration_us // 1000 if last is not None else row.track_start_ms,
        )
        if row.playlist_proven == revision_of(row.next_piece_no, final=True):
            return _Fate(media, library.STORED)
        state, error = _of_uploads(conn, task, uploads.c.output_key == row.output_key)
        return _Fate(media, state, error)

    def _of_file(self, conn: sa.Connection, task: Task, vod: VodSpec, row: sa.Row[Any]) -> _Fate:
        media = _media(
            task,
            vod,
            kind=row.kind,
            name=row.name,
            user_id=row.user_id,
            media=row.media,
            track_type=row.track_type,
            size=row.size,
            start_ms=row.start_ms,
            end_ms=row.end_ms,
        )
        if row.upload_state == "proven":
            return _Fate(media, library.STORED)
        state, error = _of_uploads(
            conn, task, sa.and_(uploads.c.subject == "file", uploads.c.name == row.name)
        )
        return _Fate(media, state, error)


def _of_uploads(conn: sa.Connection, task: Task, mine: sa.ColumnElement[bool]) -> tuple[str, str]:
    """What keeps objects from being stored: failed for good, held by their storage, or just under way."""
    rows = conn.execute(
        sa.select(uploads.c.state, uploads.c.announced_308, uploads.c.last_error).where(
            uploads.c.task_id == task.task_id, mine, uploads.c.state != "proven"
        )
    )
    rest = rows.all()
    if given_up := [row for row in rest if row.state == "given_up"]:
        return library.FAILED, given_up[0].last_error
    if rest and all(row.announced_308 for row in rest):
        return library.HELD, rest[0].last_error
    return "waiting", ""


def _media(task: Task, vod: VodSpec, **more: Any) -> Media:
    return Media(
        sdk_app_id=task.sdk_app_id,
        task_id=task.task_id,
        expire_s=vod.expire_s,
        wishes=Wishes(
            procedure=vod.procedure,
            storage_region=vod.storage_region,
            class_id=vod.class_id,
            sub_app_id=vod.sub_app_id,
            session_context=vod.session_context,
            source_context=vod.source_context,
        ),
        **more,
    )
