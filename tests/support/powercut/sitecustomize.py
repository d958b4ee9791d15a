"""Loaded by every Python process of a stack under test: writes down what was forced to disk.

In the file TEST_SYNC_LOG: a line "F inode began_ns size" for each fsync or fdatasync of a file that succeeded, with
the size it had when the call began, and "D inode began_ns name:inode/..." with its names for each of a directory. What
a power cut would take is everything else: tests/support/power.py takes it. Only os.fsync and os.fdatasync are
seen; SQLite, which syncs by itself, is not.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import Any

_PATH = os.environ.get("TEST_SYNC_LOG")


def _noted(call: Callable[[Any], None], log: int) -> Callable[[Any], None]:
    def sync(fd: Any) -> None:
        number = fd if isinstance(fd, int) else fd.fileno()
        began_ns = time.monotonic_ns()
        before = os.fstat(number)
        if stat.S_ISDIR(before.st_mode):
            with os.scandir(number) as entries:
                names = "/".join(f"{entry.name}:{entry.inode()}" for entry in entries)
            line = f"D {before.st_ino} {began_ns} {names}\n"
        else:
            line = f"F {before.st_ino} {began_ns} {before.st_size}\n"
        call(fd)
        os.write(log, line.encode())

    return sync


if _PATH:  # opened before a worker gives up its right to
    _LOG = os.open(_PATH, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.fsync = _noted(os.fsync, _LOG)  # type: ignore[assignment]
    os.fdatasync = _noted(os.fdatasync, _LOG)  # type: ignore[assignment]
