"""Rows of committed pieces and of the outputs they belong to."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from roomtape.control.messages import PieceReady
from roomtape.recording import events, names
from roomtape.recording.spec import KEEPS_HLS, CloudStorageSpec
from roomtape.recording.task import Task
from roomtape.recording.views import TrackType
from roomtape.state import facts
from roomtape.state.database import announce, origin
from roomtape.state.schema import outputs, pieces
from roomtape.state.statement import Statement
from roomtape.storage import uploads
from roomtape.storage.spool import Spool
from roomtape.storage.uploads import Upload

NEW_OUTPUT = "outputs"  # the topic announced when a task gets one more playlist

TRACK_TYPES: dict[str, TrackType] = {  # from file names to the wire
    "audio": "audio",
    "video": "video",
    "audiovideo": "audio_video",
}


_NEXT_OF_OUTPUT = Statement(
    sa.update(outputs).where(
        outputs.c.task_id == sa.bindparam("of_task"),
        outputs.c.output_key == sa.bindparam("of_output"),
        outputs.c.next_piece_no == sa.bindparam("of_piece"),
    ),
    *("next_piece_no", "ended", "ended_ms", "epoch"),
)
THIS_OUTPUT = sa.update(outputs).where(
    outputs.c.task_id == sa.bindparam("of_task"), outputs.c.output_key == sa.bindparam("of_output")
)
_OUTPUT_GOES_ON = Statement(THIS_OUTPUT, *("next_piece_no", "ended", "ended_ms", "epoch"))
_FIRST_OF_OUTPUT = Statement(
    sa.insert(outputs),
    *("task_id", "output_key", "sdk_app_id", "user_id", "media", "type", "track_start_ms", "track_start_ns"),
    *("width", "height", "channels", "sample_rate", "priming", "next_piece_no", "playlist_name"),
    *("announced_307", "node_id", "boot_id", "epoch"),
)
_KNOWN = Statement(
    sa.select(pieces.c.md5, pieces.c.proven_ms).where(
        pieces.c.task_id == sa.bindparam("of_task"),
        pieces.c.output_key == sa.bindparam("of_output"),
        pieces.c.piece_no == sa.bindparam("of_piece"),
    )
)
_NEW_PIECE = Statement(
    sa.insert(pieces),
    *("task_id", "output_key", "piece_no", "sdk_app_id", "upload_state", "user_id", "media", "type", "name"),
    *("size", "md5", "sha256", "start_ms", "start_ns", "end_ns", "duration_us", "discontinuity", "counters"),
    *("priming", "width", "height", "channels", "sample_rate", "committed_ms", "node_id", "boot_id", "epoch"),
)


def commit_piece(
    conn: sa.Connection, task: Task, piece: PieceReady, spool: Spool, now_ms: int
) -> Upload | None:
    """Write a piece once, with its output, its upload and event 307 of the output's first one.

    The same piece again (its worker did not get the answer and died) changes nothing, unless it was made
    anew with other bytes and the former ones are not stored yet: then the newer file is what counts.
    Returns what has to be uploaded.
    """
    known = None if _is_next(conn, task, piece) else _known(conn, task, piece, now_ms)
    node_id, boot_id = origin(conn)
    values = _columns(piece, now_ms, node_id=node_id, boot_id=boot_id)
    if known is None:
        _NEW_PIECE.count(
            conn,
            {
                "task_id": task.task_id,
                "output_key": piece.output,
                "piece_no": piece.piece_no,
                "sdk_app_id": task.sdk_app_id,
                "upload_state": "ready" if task.spec.output_format in KEEPS_HLS else "kept",
                **values,
            },
        )
        facts.meter_piece(
            conn,
            sdk_app_id=task.sdk_app_id,
            task_id=task.task_id,
            room_type=task.room.type,
            room_id=task.room.room_id,
            user_id=piece.user,
            mixed=False,
            width=piece.width,
            height=piece.height,
            start_ms=piece.start_ms,
            duration_us=piece.duration_us,
            size=piece.size,
        )
    elif known.md5 == piece.md5 or known.proven_ms is not None:
        return None
    else:
        conn.execute(sa.update(pieces).where(_this(task, piece)).values(**values))
    if task.spec.output_format in KEEPS_HLS:
        return uploads.enqueue(
            conn,
            sdk_app_id=task.sdk_app_id,
            task_id=task.task_id,
            subject="piece",
            name=piece.name,
            object_key=key_of(task, stored_name(task, piece)),
            path=spool.piece(task.task_id, piece.name),
            size=piece.size,
            md5=piece.md5,
            now_ms=now_ms,
            output_key=piece.output,
            piece_no=piece.piece_no,
            node_id=node_id,
            boot_id=boot_id,
            epoch=piece.epoch,
            fresh=known is None,
        )
    return None


def _this(task: Task, piece: PieceReady) -> sa.ColumnElement[bool]:
    return sa.and_(
        pieces.c.task_id == task.task_id,
        pieces.c.output_key == piece.output,
        pieces.c.piece_no == piece.piece_no,
    )


def _is_next(conn: sa.Connection, task: Task, piece: PieceReady) -> bool:
    """Whether it is the piece its output waits for, as nearly always; the output is then kept up."""
    counted = _NEXT_OF_OUTPUT.count(
        conn,
        {
            "of_task": task.task_id,
            "of_output": piece.output,
            "of_piece": piece.piece_no,
            "next_piece_no": piece.piece_no + 1,
            "ended": False,
            "ended_ms": None,
            "epoch": piece.epoch,
        },
    )
    return bool(counted)


def _known(conn: sa.Connection, task: Task, piece: PieceReady, now_ms: int) -> Any:
    """The piece's row if it has one; if not, its output is entered or kept up."""
    this = {"of_task": task.task_id, "of_output": piece.output, "of_piece": piece.piece_no}
    known = _KNOWN.first(conn, this)
    if known is None:
        _enter_output(conn, task, piece, now_ms)
    return known


def end_output(conn: sa.Connection, task: Task, output: str, now_ms: int) -> None:
    """Nothing more comes for now: the playlist gets its end. A later piece opens it again."""
    conn.execute(
        sa.update(outputs)
        .where(outputs.c.task_id == task.task_id, outputs.c.output_key == output)
        .values(ended=True, ended_ms=now_ms)
    )


def stored_name(task: Task, piece: PieceReady | sa.Row[Any]) -> str:
    """A piece's name at its destination: that of the spool, but in the library's spelling there."""
    if task.vod is None:
        return str(piece.name)
    user = piece.user if isinstance(piece, PieceReady) else piece.user_id
    return names.defined_base(
        task.vod.user_define_record_id,
        names.piece_name(
            task.sdk_app_id,
            task.room_in_names,
            user,
            piece.media,
            piece.type,
            piece.start_ms,
            prefix=names.moved_prefix(task.moves),
            vod=True,
        ),
    )


def revision_of(named: int, final: bool) -> int:
    """A playlist's version: how many segments it names, and whether it has its end. Only grows."""
    return 2 * named + (1 if final else 0)


def key_of(task: Task, name: str) -> str:
    """Where a file of the task stands in its bucket."""
    storage = task.spec.storage
    prefix = storage.prefix if isinstance(storage, CloudStorageSpec) else ()
    return names.object_key(prefix, task.task_id, name)


def _enter_output(conn: sa.Connection, task: Task, piece: PieceReady, now_ms: int) -> None:
    """The output's row, made by its first piece, kept up by the others."""
    of_output = {"of_task": task.task_id, "of_output": piece.output}
    goes_on = {"next_piece_no": piece.piece_no + 1, "ended": False, "ended_ms": None, "epoch": piece.epoch}
    if _OUTPUT_GOES_ON.count(conn, {**of_output, **goes_on}):
        return
    node_id, boot_id = origin(conn)
    playlist = names.playlist_name(
        task.sdk_app_id,
        task.room_in_names,
        piece.user,
        piece.media,
        piece.type,
        prefix=names.moved_prefix(task.moves),
        vod=task.vod is not None,
    )
    if task.vod is not None:
        playlist = names.defined_base(task.vod.user_define_record_id, playlist)
    _FIRST_OF_OUTPUT.count(
        conn,
        {
            "task_id": task.task_id,
            "output_key": piece.output,
            "sdk_app_id": task.sdk_app_id,
            "user_id": piece.user,
            "media": piece.media,
            "type": piece.type,
            "track_start_ms": piece.start_ms,
            "track_start_ns": piece.start_ns,
            "width": piece.width,
            "height": piece.height,
            "channels": piece.channels,
            "sample_rate": piece.sample_rate,
            "priming": piece.priming or None,
            "next_piece_no": piece.piece_no + 1,
            "playlist_name": playlist,
            "announced_307": task.vod is None,
            "node_id": node_id,
            "boot_id": boot_id,
            "epoch": piece.epoch,
        },
    )
    announce(conn, NEW_OUTPUT)
    if task.vod is not None:
        return  # the library tells of whole files only
    events.emit(
        conn,
        task,
        events.FIRST_PIECE,
        now_ms,
        file_name=playlist,
        user_id=piece.user,
        track_type=TRACK_TYPES[piece.type],
        begin_ms=piece.start_ms,
    )


def _columns(piece: PieceReady, now_ms: int, *, node_id: str, boot_id: str) -> dict[str, Any]:
    return {
        "user_id": piece.user,
        "media": piece.media,
        "type": piece.type,
        "name": piece.name,
        "size": piece.size,
        "md5": piece.md5,
        "sha256": piece.sha256,
        "start_ms": piece.start_ms,
        "start_ns": piece.start_ns,
        "end_ns": piece.end_ns,
        "duration_us": piece.duration_us,
        "discontinuity": piece.discontinuity,
        "counters": {str(pid): counter for pid, counter in piece.counters.items()},
        "priming": piece.priming or None,
        "width": piece.width,
        "height": piece.height,
        "channels": piece.channels,
        "sample_rate": piece.sample_rate,
        "committed_ms": now_ms,
        "node_id": node_id,
        "boot_id": boot_id,
        "epoch": piece.epoch,
    }
