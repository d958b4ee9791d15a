"""The database: SQLite (WAL) on one machine, PostgreSQL beyond, behind one async interface.

SQL is the only authority. There is one writer: `write` hands out a transaction at a time, on one
connection, begun IMMEDIATE in SQLite, so that a state change, its outbox rows and its stored answer
are one commit and nothing ever waits for a lock upgrade. `read` gives a consistent snapshot and does
not wait for the writer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from roomtape.clock import Clock
from roomtape.errors import Unavailable
from roomtape.state import migrations

BUSY_MS = 5000  # how long a statement waits for SQLite's file lock before it fails, retryable
READERS = 4

_TOPICS = "roomtape.topics"
_ORIGIN = "roomtape.origin"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached or stays locked; nothing was committed, trying again is right.

    What the driver said (it may name hosts) is the error's cause, not its text.
    """


class Database:
    """One open database. Made by `open`; `migrate` before first use."""

    def __init__(self, url: sa.URL, clock: Clock) -> None:
        self.url = url
        self.clock = clock
        self._threads: list[Thread] = []  # of SQLite connections
        make = _sqlite_engines if self.is_sqlite else _postgres_engines
        self._writer, self._readers = make(url, self._threads)
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None
        self._listeners: dict[str, list[Callable[[], None]]] = {}
        self._origin = ("", "")

    @classmethod
    async def open(cls, url: str, clock: Clock) -> Database:
        """Connect to `sqlite:///path/to/file` or `postgresql://user:password@host/name`.

        Raises:
            ValueError: the URL names another kind of database, or SQLite without a file.
            DatabaseUnavailable: nothing answers there.
        """
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ValueError("a SQLite database needs a file: sqlite:///path/to/roomtape.db")
        elif parsed.get_backend_name() != "postgresql":
            raise ValueError(f"the database is sqlite:// or postgresql://, not {parsed.drivername}://")
        database = cls(parsed, clock)
        try:
            async with database.read() as conn:
                await conn.execute(sa.select(sa.literal(1)))
        except DatabaseUnavailable:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Close all connections; a transaction that still runs is waited for."""
        async with self._lock:
            await self._writer.dispose()
            await self._readers.dispose()
            # A connection given up by a cancelled task ends by itself, in its thread, into this loop.
            for thread in self._threads:
                await asyncio.to_thread(thread.join, BUSY_MS / 1000)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    async def migrate(self) -> None:
        """Bring the schema to the newest revision; does nothing when it is there."""
        async with self.write() as conn:
            await conn.run_sync(migrations.upgrade)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """The writer's transaction: committed at exit, rolled back when the block raises.

        Keep it short and await nothing but the database inside.

        Raises:
            DatabaseUnavailable: nothing was committed.
            RuntimeError: this task is already inside `write` (it would wait for itself).
        """
        if self._owner is asyncio.current_task() and self._owner is not None:
            raise RuntimeError("write() inside write(): pass the connection on instead")
        async with self._lock:
            self._owner = asyncio.current_task()
            topics: set[str] = set()
            try:
                with _as_unavailable():
                    async with self._writer.begin() as conn:
                        conn.info[_TOPICS] = topics
                        conn.info[_ORIGIN] = self._origin
                        yield conn
            except asyncio.CancelledError:
                self._tell(topics)  # the commit may have happened; looking in vain costs little
                raise
            finally:
                self._owner = None
        self._tell(topics)

    def _tell(self, topics: set[str]) -> None:
        for topic in sorted(topics):
            for listener in self._listeners.get(topic, ()):
                listener()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A read-only snapshot of what is committed now. Raises DatabaseUnavailable."""
        with _as_unavailable():
            async with self._readers.begin() as conn:
                yield conn

    def set_origin(self, node_id: str, boot_id: str) -> None:
        """Who writes: rows of this process's transactions can name it (`origin`)."""
        self._origin = (node_id, boot_id)

    @property
    def node_id(self) -> str:
        """Which node's process this is, as `set_origin` named it."""
        return self._origin[0]

    def on_commit(self, topic: str, listener: Callable[[], None]) -> None:
        """Call `listener` (quick, does not raise) after each commit that announced `topic`."""
        self._listeners.setdefault(topic, []).append(listener)


def announce(conn: AsyncConnection, topic: str) -> None:
    """Wake the listeners of `topic` once the transaction of `conn` is committed."""
    conn.info[_TOPICS].add(topic)


def origin(conn: AsyncConnection) -> tuple[str, str]:
    """(node_id, boot_id) of the process that owns this write transaction."""
    node_id, boot_id = conn.info[_ORIGIN]
    return node_id, boot_id


class _as_unavailable:
    """Turns lost connections and lasting locks into DatabaseUnavailable, and nothing else."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OperationalError | InterfaceError) or (
            isinstance(error, DBAPIError) and error.connection_invalidated
        ):
            raise DatabaseUnavailable("the database does not answer") from error


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _sqlite_engines(url: sa.URL, threads: list[Thread]) -> tuple[AsyncEngine, AsyncEngine]:
    path = url.database
    assert path is not None  # open() has looked

    async def connect() -> aiosqlite.Connection:
        connection = aiosqlite.connect(path, timeout=BUSY_MS / 1000)
        connection._thread.daemon = True
        threads[:] = [thread for thread in threads if thread.is_alive()]
        threads.append(connection._thread)
        return await connection

    common: dict[str, Any] = {
        "json_serializer": _dump,
        "async_creator": connect,
        "poolclass": sa.AsyncAdaptedQueuePool,
    }
    url = sa.URL.create("sqlite+aiosqlite", database=path)
    writer = create_async_engine(url, pool_size=1, max_overflow=0, **common)
    readers = create_async_engine(url, pool_size=READERS, **common)
    pragmas = ["foreign_keys=ON", f"busy_timeout={BUSY_MS}"]
    # FULL: a commit is on the disk when it returns, also against power loss.
    _on_sqlite(writer, ["journal_mode=WAL", "synchronous=FULL", *pragmas], "BEGIN IMMEDIATE")
    _on_sqlite(readers, [*pragmas, "query_only=ON"], "BEGIN")
    return writer, readers


def _on_sqlite(engine: AsyncEngine, pragmas: list[str], begin: str) -> None:
    @sa.event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        # The driver must not begin transactions of its own: it would begin them deferred, and too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)


def _postgres_engines(url: sa.URL, _threads: list[Thread]) -> tuple[AsyncEngine, AsyncEngine]:
    url = url.set(drivername="postgresql+psycopg")
    common: dict[str, Any] = {"json_serializer": _dump, "pool_pre_ping": True}
    writer = create_async_engine(url, pool_size=1, max_overflow=0, **common)
    readers = create_async_engine(
        url,
        pool_size=READERS,
        isolation_level="REPEATABLE READ",  # one snapshot for the whole block, as in SQLite
        connect_args={"options": "-c default_transaction_read_only=on"},
        **common,
    )
    return writer, readers
