"""The media library behind CloudVod: files with an id of their own, links to play them, and their expiry.

What a recording brings is stored by the upload queue, as in any bucket, and entered here when it is whole.
A file whose ExpireTime has passed is no longer served at once, and deleted by the janitor.
Source: API docs > On-cloud Recording > CloudVod, TencentVod (647/36760), read 2026-11. How a link looks
and how long it lives is our choice.
"""

from __future__ import annotations

import asyncio
import secrets as random_source
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import IntegrityError

from roomtape.clock import NS_PER_S, Clock, sleep_unless
from roomtape.errors import DomainError, Fault
from roomtape.library.links import Links
from roomtape.library.store import LibraryStore, segments
from roomtape.secret import Secret
from roomtape.state.database import Database, DatabaseUnavailable, announce, origin
from roomtape.state.schema import library_files, secrets, uploads
from roomtape.state.sealing import Sealer
from roomtape.storage.stores import StoreError

log = structlog.get_logger(__name__)

TOPIC = "library"  # announced by every commit that changes what is stored or until when
HELD, STORED, FAILED, REMOVED = "held", "stored", "failed", "removed"
HLS = "hls"
LONGEST_LINK_S = 10 * 366 * 86_400  # of a file that is kept for ever, when links end with their file
LONGEST_EXPIRE_S = 10**11  # beyond three thousand years is for ever
_KEY_NAME = "media_links"
_KEY_BYTES = 32
_RETRY_S = 5.0
_BATCH = 100
_LEFTOVERS_S = 60.0  # between looks at a failed task of which something may still arrive


class NoSuchFile(DomainError):
    """The library has no such file, or no longer."""

    fault: ClassVar[Fault] = "caller"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the request says about its files beyond their form; kept for what stands behind the library."""

    procedure: str = ""
    storage_region: str = ""
    class_id: int = 0
    sub_app_id: int = 0
    session_context: str = ""
    source_context: str = ""


@dataclass(frozen=True, slots=True)
class Media:
    """One file of a task: an MP4, an AAC, or an HLS with all its segments."""

    sdk_app_id: int
    task_id: str
    kind: str  # mp4, aac, hls
    name: str
    user_id: str
    media: str
    track_type: str
    size: int = 0
    start_ms: int = 0
    end_ms: int = 0
    expire_s: int = 0  # 0: for ever
    wishes: Wishes = field(default_factory=Wishes)


@dataclass(frozen=True, slots=True)
class Playable:
    """A stored file and the link that plays it."""

    file_id: str
    url: str


class Library:
    """The built-in library of this node."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        sealer: Sealer,
        store: LibraryStore,
        *,
        public_url: str,
        link_s: float,
    ) -> None:
        self.store = store
        self._db = db
        self._clock = clock
        self._sealer = sealer
        self._public_url = public_url.rstrip("/")
        self._link_s = link_s
        self._links: Links | None = None
        self._wake = asyncio.Event()
        self._closed = False

    @property
    def links(self) -> Links:
        if self._links is None:
            raise RuntimeError("the library was not opened")
        return self._links

    async def open(self) -> None:
        """Read the key of the links, drawn once per installation."""
        sealed = await self._sealed_key()
        if sealed is None:
            drawn = self._sealer.seal(random_source.token_bytes(_KEY_BYTES), f"secrets/{_KEY_NAME}")
            try:
                async with self._db.write() as conn:
                    await conn.execute(
                        sa.insert(secrets).values(
                            name=_KEY_NAME, value_sealed=drawn, created_ms=self._clock.now_ms()
                        )
                    )
            except IntegrityError:
                log.info("library_key_drawn_by_another_node")
            sealed = await self._sealed_key()
        assert sealed is not None
        self._links = Links(Secret(self._sealer.open(sealed, f"secrets/{_KEY_NAME}").reveal_bytes()))
        self._db.on_commit(TOPIC, self._wake.set)

    async def _sealed_key(self) -> bytes | None:
        async with self._db.read() as conn:
            sealed: bytes | None = await conn.scalar(
                sa.select(secrets.c.value_sealed).where(secrets.c.name == _KEY_NAME)
            )
            return sealed

    # --- entering ---------------------------------------------------------------------------------

    def state_of(self, conn: sa.Connection, task_id: str, name: str) -> str:
        """What was entered about a file: held, stored, failed, removed, or empty."""
        where = sa.and_(library_files.c.task_id == task_id, library_files.c.name == name)
        return conn.scalar(sa.select(library_files.c.state).where(where)) or ""

    def enter(self, conn: sa.Connection, media: Media) -> Playable:
        """A file that is stored whole: it can be played from the commit on."""
        now_ms = self._clock.now_ms()
        ends = 0 < media.expire_s <= LONGEST_EXPIRE_S
        expires_ms = now_ms + media.expire_s * 1000 if ends else None
        file_id = self._write(conn, media, STORED, stored_ms=now_ms, expires_at_ms=expires_ms)
        announce(conn, TOPIC)
        return Playable(file_id, self._url(file_id, media.name, now_ms, expires_ms))

    def note(self, conn: sa.Connection, media: Media, *, failed: bool, error: str) -> None:
        """A file that waits for its storage (held), or that will never come (failed)."""
        self._write(conn, media, FAILED if failed else HELD, error=error)
        if failed:
            announce(conn, TOPIC)

    def _write(self, conn: sa.Connection, media: Media, state: str, **more: Any) -> str:
        now_ms = self._clock.now_ms()
        node_id, boot_id = origin(conn)
        values = asdict(media)
        values.pop("expire_s")
        values.update(values.pop("wishes"), state=state, node_id=node_id, boot_id=boot_id, **more)
        where = sa.and_(library_files.c.task_id == media.task_id, library_files.c.name == media.name)
        known = conn.scalar(
            sa.update(library_files).where(where).values(**values).returning(library_files.c.file_id)
        )
        if known is not None:
            return str(known)
        file_id = new_file_id()
        conn.execute(sa.insert(library_files).values(file_id=file_id, created_ms=now_ms, **values))
        return file_id

    # --- links ------------------------------------------------------------------------------------

    async def link(self, file_id: str, valid_s: float | None = None) -> Playable:
        """A fresh link to a stored file. Raises NoSuchFile."""
        row = await self.find(file_id)
        if row is None:
            raise NoSuchFile(f"There is no file {file_id} in the library.")
        now_ms = self._clock.now_ms()
        return Playable(file_id, self._url(file_id, row.name, now_ms, row.expires_at_ms, valid_s))

    async def find(self, file_id: str) -> sa.Row[Any] | None:
        """The row of a file that can be played now."""
        async with self._db.read() as conn:
            row = (
                await conn.execute(
                    sa.select(library_files).where(
                        library_files.c.file_id == file_id, library_files.c.state == STORED
                    )
                )
            ).one_or_none()
        over = row is not None and row.expires_at_ms is not None and row.expires_at_ms <= self._clock.now_ms()
        return None if over else row

    def _url(
        self, file_id: str, name: str, now_ms: int, expires_ms: int | None, valid_s: float | None = None
    ) -> str:
        """A link ends after `link_s`, or with its file if that is sooner; 0: with its file."""
        lives_s = (self._link_s if valid_s is None else valid_s) or LONGEST_LINK_S
        end_s = -(-now_ms // 1000) + int(lives_s)
        if expires_ms is not None:
            end_s = min(end_s, -(-expires_ms // 1000))
        return self._public_url + self.links.path(file_id, name, end_s)

    # --- looking and removing ---------------------------------------------------------------------

    async def files(self, sdk_app_id: int | None = None, task_id: str | None = None) -> list[dict[str, Any]]:
        """What the library has, oldest first."""
        query = sa.select(library_files).order_by(library_files.c.created_ms, library_files.c.file_id)
        if sdk_app_id is not None:
            query = query.where(library_files.c.sdk_app_id == sdk_app_id)
        if task_id is not None:
            query = query.where(library_files.c.task_id == task_id)
        async with self._db.read() as conn:
            return [dict(row) for row in (await conn.execute(query)).mappings()]

    async def space(self) -> dict[str, int]:
        """Bytes: what the library fills, what it may (0: no limit of its own), what its disk has left."""
        used, free = await asyncio.to_thread(self.store.measure)
        return {"used_bytes": used, "max_bytes": self.store.max_bytes, "disk_free_bytes": free}

    async def remove(self, file_id: str) -> None:
        """End a file now; its bytes go at once. Raises NoSuchFile."""
        now_ms = self._clock.now_ms()
        still = sa.or_(library_files.c.expires_at_ms.is_(None), library_files.c.expires_at_ms > now_ms)
        async with self._db.write() as conn:
            done = await conn.execute(
                sa.update(library_files)
                .where(library_files.c.file_id == file_id, library_files.c.state == STORED, still)
                .values(expires_at_ms=now_ms)
            )
            if not done.rowcount:
                raise NoSuchFile(f"There is no file {file_id} in the library.")
            announce(conn, TOPIC)

    # --- the janitor ------------------------------------------------------------------------------

    def end(self) -> None:
        """Delete nothing more; `run` returns."""
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Delete what has expired, until `end`."""
        while not self._closed:
            self._wake.clear()
            began_ns = self._clock.monotonic_ns()
            try:
                waits = [await self._sweep(), await self._clear_failed()]
                wait_s = min((wait for wait in waits if wait is not None), default=None)
            except DatabaseUnavailable as error:
                log.error("database_unavailable", reason=str(error))
                wait_s = _RETRY_S
            if not self._closed:
                looked_s = (self._clock.monotonic_ns() - began_ns) / NS_PER_S
                left_s = None if wait_s is None else wait_s - looked_s
                await sleep_unless(self._clock, left_s, self._wake)

    async def _sweep(self) -> float | None:
        """Delete what is due; returns the seconds until something else is, None while nothing expires."""
        now_ms = self._clock.now_ms()
        node_id = self._db.node_id
        async with self._db.read() as conn:
            rows = await conn.execute(
                sa.select(library_files)
                .where(
                    library_files.c.state == STORED,
                    library_files.c.expires_at_ms.is_not(None),
                    library_files.c.node_id == node_id,
                )
                .order_by(library_files.c.expires_at_ms)
                .limit(_BATCH)
            )
            waiting = rows.all()
        failed = False
        for row in waiting:
            if row.expires_at_ms > now_ms:
                next_s = max(int(row.expires_at_ms) - now_ms, 1) / 1000
                return min(next_s, _RETRY_S) if failed else next_s
            failed = not await self._delete(row) or failed
        return _RETRY_S if failed else 0.0 if waiting else None

    async def _clear_failed(self) -> float | None:
        """Delete what was stored of files that failed; returns the seconds until some may be due, or None.

        Segments of an HLS whose playlist never comes are named by nobody and would never expire. What can
        still arrive is waited for; the spool keeps its own copy.
        """
        failed = sa.and_(
            library_files.c.state == FAILED,
            library_files.c.removed_ms.is_(None),
            library_files.c.node_id == self._db.node_id,
        )
        arrives = sa.exists().where(uploads.c.task_id == library_files.c.task_id, uploads.c.state == "ready")
        async with self._db.read() as conn:
            query = sa.select(library_files.c.task_id, arrives.label("arrives")).where(failed).distinct()
            rows = (await conn.execute(query.limit(_BATCH))).all()
        wait_s = _LEFTOVERS_S if any(row.arrives for row in rows) else None
        for row in rows:
            if not row.arrives and not await self._clear_task(row.task_id):
                wait_s = _RETRY_S
        return wait_s

    async def _clear_task(self, task_id: str) -> bool:
        mine = library_files.c.task_id == task_id
        async with self._db.read() as conn:
            rows = (await conn.execute(sa.select(library_files).where(mine))).all()
        try:
            keep = set()
            for row in rows:
                if row.state in (STORED, HELD):
                    lines = await asyncio.to_thread(self.store.playlist_of, f"{task_id}/{row.name}")
                    keep |= {row.name, *(segments(lines) if row.kind == HLS else ())}
            cleared = await self.store.clear(task_id, keep)
        except (OSError, StoreError) as error:
            log.error("library_clear_failed", task_id=task_id, reason=str(error))
            return False
        async with self._db.write() as conn:
            announce(conn, TOPIC)
            await conn.execute(
                sa.update(library_files)
                .where(mine, library_files.c.state == FAILED, library_files.c.removed_ms.is_(None))
                .values(removed_ms=self._clock.now_ms())
            )
        if cleared:
            log.info("library_leftovers_removed", task_id=task_id, files=cleared)
        return True

    async def _delete(self, row: sa.Row[Any]) -> bool:
        """The bytes first, then the row: what is interrupted in between is done again."""
        try:
            names = [row.name]
            if row.kind == HLS:
                lines = await asyncio.to_thread(self.store.playlist_of, f"{row.task_id}/{row.name}")
                names = [*segments(lines), row.name]  # the playlist last: it knows the others
            for name in names:
                await self.store.delete(f"{row.task_id}/{name}")
            await asyncio.to_thread(self.store.drop_folder, row.task_id)
        except (OSError, StoreError) as error:
            log.error("library_delete_failed", file_id=row.file_id, reason=str(error))
            return False
        async with self._db.write() as conn:
            announce(conn, TOPIC)
            await conn.execute(
                sa.update(library_files)
                .where(library_files.c.file_id == row.file_id)
                .values(state=REMOVED, removed_ms=self._clock.now_ms())
            )
        log.info("library_file_removed", file_id=row.file_id, task_id=row.task_id, name=row.name)
        return True


def new_file_id() -> str:
    """A decimal number of 19 digits, as file ids of the cloud's library look."""
    return str(10**18 + random_source.randbelow(9 * 10**18))
