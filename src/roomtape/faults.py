"""Named places at which a test may kill the process that reaches them.

`ROOMTAPE_FAULT=point[:count[:stop]][,…]` names the points; a process that reaches one for the count-th
time (default 1) kills itself with SIGKILL, as a power cut would, or stops itself with SIGSTOP, so that all
others can be killed while it stands there. Nothing happens unless `ROOMTAPE_FAULT_DIR` is set as well: a
marker file in that directory makes each point fire once per data directory, however many processes are
started anew on it.

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


def _wanted() -> dict[str, tuple[int, signal.Signals]]:
    """Points asked for, with the count at which each fires and what the process then does to itself."""
    text = os.environ.get("ROOMTAPE_FAULT", "")
    wanted: dict[str, tuple[int, signal.Signals]] = {}
    for item in filter(None, text.split(",")):
        point, _, rest = item.partition(":")
        count, _, how = rest.partition(":")
        if point not in POINTS or how not in ("", "stop"):
            raise ValueError(f"unknown fault point {item!r}")
        wanted[point] = int(count or 1), signal.SIGSTOP if how else signal.SIGKILL
    return wanted


def reach(point: str) -> None:
    """Say that `point` is reached; returns at once unless a test asked for an end or a stop here."""
    directory = os.environ.get("ROOMTAPE_FAULT_DIR")
    if not directory:
        return
    fault = _wanted().get(point)
    if fault is None:
        return
    count, sign = fault
    _reached[point] = _reached.get(point, 0) + 1
    if _reached[point] != count:
        return
    try:
        marker = os.open(Path(directory) / f"fault-{point}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    os.close(marker)
    os.kill(os.getpid(), sign)
