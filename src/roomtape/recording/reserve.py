"""Room on the disk that is kept for closing pieces when nothing else is left.

A piece needs as much room as its part of the journal, which may go only after the piece is committed: a
full disk without a reserve could never free itself.
"""

from __future__ import annotations

import os
from pathlib import Path


class Reserve:
    """A file of `size` bytes that stands for free room; one per worker, in the spool's file system.

    `keep` takes the room (again), `give` gives it back so that a piece can be written in its place.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether the room is taken."""
        return self._fd is not None

    def keep(self) -> bool:
        """Take the room if it is not held; False if the disk has not that much."""
        if self._fd is not None:
            return True
        fd = os.open(self._path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, self._size)  # says ENOSPC now, not at the write
        except OSError:
            os.close(fd)
            self._path.unlink(missing_ok=True)
            return False
        self._fd = fd
        return True

    def give(self) -> bool:
        """Give the room back; False if it was not held."""
        if self._fd is None:
            return False
        self._path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = None
        return True
