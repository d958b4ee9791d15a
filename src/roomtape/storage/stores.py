"""Where recordings end up: one interface for every kind of object store, and the local directory.

A store proves what it took: `put` returns only when the object is there with the size and MD5 that were
asked for. Only then may the spool lose its copy.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar, Protocol

from roomtape.errors import DomainError, Fault

CHUNK_BYTES = 1 << 20
GB = 1_000_000_000


class StoreError(DomainError):
    """The destination did not take an object. `code` and text are what the owner is told (event 308)."""

    fault: ClassVar[Fault] = "destination"

    def __init__(self, code: str, message: str, *, tell_at_once: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.tell_at_once = tell_at_once  # refusals (401, 403, 404) are told with the first failure


@dataclass(frozen=True, slots=True)
class Proof:
    """What the destination holds, and how that is known: etag, parts, or read-back."""

    size: int
    md5: str
    method: str


class ObjectStore(Protocol):
    """One bucket. Keys are relative, with `/` between their parts."""

    async def put(self, key: str, path: Path, *, size: int, md5: str, content_type: str) -> Proof:
        """Store a file under a key, replacing what was there; raises StoreError unless it is proven."""
        ...

    async def exists(self, key: str) -> bool:
        """Whether there is an object of that key; raises StoreError when that cannot be told."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...


@dataclass(slots=True)
class LocalStore:
    """A bucket that is a directory of this server; the object key is the path under it.

    `max_bytes` is the room it may fill, 0 for no limit: a full one refuses like a full bucket does.
    """

    root: Path
    max_bytes: int = 0
    _used: int | None = None  # measured once, then kept up to date
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def put(self, key: str, path: Path, *, size: int, md5: str, content_type: str) -> Proof:
        target = self._path(key)
        try:
            if self.max_bytes:
                async with self._lock:
                    await asyncio.to_thread(self._reserve, target, size)
            try:
                proof = await asyncio.to_thread(_store, path, target)
            except BaseException:
                self._used = None  # measure again before the next object
                raise
        except OSError as error:
            raise _refusal(error) from error
        if (proof.size, proof.md5) != (size, md5):
            raise StoreError("BadDigest", "The object read back is not the one that was written.")
        return proof

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._path(key).is_file)

    async def delete(self, key: str) -> None:
        target = self._path(key)

        def remove() -> None:
            size = _size(target)
            target.unlink(missing_ok=True)
            if self._used is not None:
                self._used -= size

        async with self._lock:
            await asyncio.to_thread(remove)

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or any(part in ("..", ".") for part in parts):
            raise StoreError("InvalidArgument", "The object key is not a relative path.")
        return self.root.joinpath(*parts)

    def _reserve(self, target: Path, size: int) -> None:
        if self._used is None:
            self._used = sum(_size(file) for file in _files(self.root))
        growth = size - _size(target)
        if self._used + growth > self.max_bytes:
            raise StoreError("QuotaExceeded", "The bucket is full.")
        self._used += growth


@dataclass(frozen=True, slots=True)
class LocalBucket:
    """A directory declared as a bucket; `apps` empty: every application may use it."""

    store: LocalStore
    apps: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class LocalBuckets:
    """The buckets that are directories of this server, by name."""

    by_name: dict[str, LocalBucket]

    def find(self, bucket: str, sdk_app_id: int) -> LocalStore | None:
        """The directory, or None when the name means a bucket elsewhere for this application."""
        local = self.by_name.get(bucket)
        if local is None or (local.apps and sdk_app_id not in local.apps):
            return None
        return local.store


def _store(source: Path, target: Path) -> Proof:
    """Put the file beside the target, force it to disk, rename, force the directories, read back.

    On the file system of the spool that is one more name for the same file: nothing is copied, and
    the object stays when the spool gives up its name. Spool files are never written again.
    """
    created = _make_directories(target.parent)
    temporary = target.with_name(f".tmp-{target.name}")
    temporary.unlink(missing_ok=True)
    try:
        if not _link(source, temporary):
            shutil.copyfile(source, temporary)
        temporary.chmod(_MODE)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)  # also there when both names were the same file already
    for directory in (target.parent, *created):
        _sync_directory(directory)
    size, md5 = digest(target)
    return Proof(size, md5, "read-back")


def _link(source: Path, target: Path) -> bool:
    """Give the file a second name; False where the file systems differ or do not allow it."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _mode() -> int:
    """What a new file of this process may be read by."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


_MODE = _mode()


def digest(path: Path) -> tuple[int, str]:
    """Size in bytes and MD5 in hexadecimal of a file."""
    size, md5 = 0, hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            md5.update(chunk)
            size += len(chunk)
    return size, md5.hexdigest()


def _make_directories(path: Path) -> list[Path]:
    """Make what is missing; returns the parents whose entries changed."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
    return [directory.parent for directory in missing]


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _refusal(error: OSError) -> StoreError:
    """What the file system said, in the words of an object store; paths of this machine stay here."""
    if isinstance(error, PermissionError):
        return StoreError("AccessDenied", "The server may not write to this bucket.", tell_at_once=True)
    if isinstance(error, FileNotFoundError):
        return StoreError("NoSuchKey", "The file to upload is not in the spool.", tell_at_once=True)
    return StoreError("InternalError", f"The bucket's file system failed: {os.strerror(error.errno or 0)}.")
