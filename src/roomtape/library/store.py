"""Where the library's bytes lie: a directory, one folder per task, objects by their names."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from roomtape.storage.spool import fitting
from roomtape.storage.stores import LocalStore


class LibraryStore(LocalStore):
    """The object store of the library; keys are `<task ID>/<name>`, and a name may be of any length."""

    __slots__ = ()

    def _path(self, key: str) -> Path:
        folder, _, name = key.rpartition("/")
        return LocalStore._path(self, f"{folder}/{fitting(name)}" if folder else key)

    def path(self, key: str) -> Path:
        """Where the object of that key lies. Raises StoreError when it is no key."""
        return self._path(key)

    def playlist_of(self, key: str) -> list[str]:
        """The lines of a stored playlist; none when it is not there."""
        path = self._path(key)
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

    def drop_folder(self, task_id: str) -> None:
        """Remove a task's folder if nothing is left in it."""
        folder = self._path(task_id)
        with suppress(FileNotFoundError):
            if not any(folder.iterdir()):
                folder.rmdir()


def segments(lines: list[str]) -> list[str]:
    """The names a playlist lists."""
    return [line for line in lines if line and not line.startswith("#")]
