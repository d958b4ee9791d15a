"""Named places at which a test may kill the process that reaches them.

`ROOMTAPE_FAULT=point[:count][,point[:count]]` names the points; a process that reaches one for the
count-th time (default 1) kills itself with SIGKILL, as a power cut would. Nothing happens unless
`ROOMTAPE_FAULT_DIR` is set as well: a marker file in that directory makes each point fire once per data
directory, however many processes are started anew on it.

Points: after-journal-write, before-ack, mid-mux, before-rename, after-rename, before-commit, after-commit,
mid-upload, before-delete, mid-finalise, mid-decode.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

POINTS = frozenset(
    {
        "after-journal-write",
        "before-ack",
        "mid-mux",
        "before-rename",
        "after-rename",
        "before-commit",
        "after-commit",
        "mid-upload",
        "before-delete",
        "mid-finalise",
        "mid-decode",
    }
)

_reached: dict[str, int] = {}


def _wanted() -> dict[str, int]:
    """Points asked for, with the count at which each fires."""
    text = os.environ.get("ROOMTAPE_FAULT", "")
    wanted: dict[str, int] = {}
    for item in filter(None, text.split(",")):
        point, _, count = item.partition(":")
        if point not in POINTS:
            raise ValueError(f"unknown fault point {point!r}")
        wanted[point] = int(count or 1)
    return wanted


def reach(point: str) -> None:
    """Say that `point` is reached; returns at once unless a test asked for the process's death here."""
    directory = os.environ.get("ROOMTAPE_FAULT_DIR")
    if not directory:
        return
    count = _wanted().get(point)
    if count is None:
        return
    _reached[point] = _reached.get(point, 0) + 1
    if _reached[point] != count:
        return
    try:
        marker = os.open(Path(directory) / f"fault-{point}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    os.close(marker)
    os.kill(os.getpid(), signal.SIGKILL)
