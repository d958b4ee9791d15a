"""The database: SQLite (WAL) on one machine, PostgreSQL beyond, behind one interface.

SQL is the only authority. There is one writer: its transactions come one after the other, on one
connection, begun IMMEDIATE in SQLite, so that a state change, its outbox rows and its stored answer are
one commit and nothing ever waits for a lock upgrade. Readers see a consistent snapshot and do not wait
for the writer.

Connections are plain blocking ones, each used by a thread of its own. A transaction is a function: `run`
and `ask` hand it over whole, so that it costs one hop whatever it says, and what waits while one commit
is on its way to the disk goes into the next one together. `write` and `read` are for conversations that
have to be held from the event loop, at a hop for each statement.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import queue
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import psycopg
import sqlalchemy as sa
import structlog
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from roomtape.clock import Clock
from roomtape.errors import Unavailable
from roomtape.state import migrations

BUSY_MS = 5000  # how long a statement waits for SQLite's file lock before it fails, retryable
READERS = 4
MAX_GROUP = 500  # transactions that share a commit

log = structlog.get_logger("roomtape.state")

_TOPICS = "roomtape.topics"
_ORIGIN = "roomtape.origin"

T = TypeVar("T")
P = ParamSpec("P")
Work = Callable[[sa.Connection], T]


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached or stays locked; nothing was committed, trying again is right.

    What the driver said (it may name hosts) is the error's cause, not its text.
    """


class Database:
    """One open database. Made by `open`; `migrate` before first use."""

    def __init__(self, url: sa.URL, clock: Clock) -> None:
        self.url = url
        self.clock = clock
        make = _sqlite_engines if self.is_sqlite else _postgres_engines
        writing, reading = make(url)
        self._engines = (writing, reading)
        self._writer = _Worker("sql-writer", writing, "BEGIN IMMEDIATE")
        self._readers = [_Worker(f"sql-reader-{number}", reading, "BEGIN") for number in range(READERS)]
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()  # the last used has the warmest cache
        for reader in self._readers:
            self._idle.put_nowait(reader)
        self._lock = asyncio.Lock()  # of the writer
        self._owner: asyncio.Task[Any] | None = None
        self._jobs: list[_Job[Any]] = []  # for the next commit
        self._pump: asyncio.Task[None] | None = None
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
            await database.ask(lambda conn: conn.execute(sa.select(sa.literal(1))).one())
        except DatabaseUnavailable:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Close all connections; a transaction that still runs is waited for."""
        async with self._lock:
            for worker in (self._writer, *self._readers):
                worker.end()
            for worker in (self._writer, *self._readers):
                await asyncio.to_thread(worker.join, 2 * BUSY_MS / 1000)
            for engine in self._engines:
                engine.dispose()

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    async def migrate(self) -> None:
        """Bring the schema to the newest revision; does nothing when it is there."""
        await self.run(migrations.upgrade)

    # --- whole transactions -----------------------------------------------------------------------

    async def run(self, work: Work[T]) -> T:
        """Call `work` in a write transaction, in the writer's thread; returns when it is committed.

        `work` does nothing but SQL and looking at values: it may be called again when its neighbours in
        the commit failed, and it is not on the event loop. What it raises is raised here and rolled back.
        A caller that is cancelled does not know whether it was committed.

        Raises:
            DatabaseUnavailable: nothing was committed.
            RuntimeError: this task is inside `write` (it would wait for itself).
        """
        self._refuse_nesting()
        job = _Job(contextvars.copy_context(), work, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._commit_jobs())
        result: T = await job.done
        return result

    async def ask(self, work: Work[T]) -> T:
        """Call `work` on a read-only snapshot of what is committed now, in a reader's thread.

        It returns plain values or fetched rows, nothing that still hangs on the connection.
        Raises DatabaseUnavailable.
        """
        reader = await self._idle.get()

        try:
            return await reader.do(lambda: reader.transact(work))
        finally:
            self._idle.put_nowait(reader)

    async def _commit_jobs(self) -> None:
        """Every job that was taken is settled, whatever happens: its caller would wait for ever."""
        while self._jobs:
            group: list[_Job[Any]] = []
            try:
                async with self._lock:
                    group, self._jobs = self._jobs[:MAX_GROUP], self._jobs[MAX_GROUP:]
                    group = [job for job in group if not job.done.cancelled()]
                    if group:
                        topics = await self._writer.do(lambda group=group: self._commit(group))  # type: ignore[misc]
                        self._tell(topics)
            except BaseException as error:  # not of a transaction: of the thread or the loop
                left = [] if isinstance(error, Exception) else self._jobs
                for job in [*group, *left]:
                    job.error = error if isinstance(error, DatabaseUnavailable) else _unknown(error)
                    job.settle()
                if not isinstance(error, Exception):
                    self._jobs = []
                    raise
                log.exception("commit_failed", jobs=len(group))
            else:
                for job in group:
                    job.settle()

    def _commit(self, group: list[_Job[Any]]) -> set[str]:
        """Run in the writer's thread: one transaction for all, or, when one of them fails, one for each."""
        topics: set[str] = set()
        at: _Job[Any] | None = None

        def work(conn: sa.Connection) -> None:
            nonlocal at
            conn.info[_TOPICS] = topics
            conn.info[_ORIGIN] = self._origin
            for job in group:
                at = job
                job.result, job.error = job.context.run(job.work, conn), None
            at = None

        try:
            self._writer.transact(work)
        except BaseException as error:
            if at is None or len(group) == 1:  # it could not be begun or committed, for nobody
                for job in group:
                    job.error = error
                return set()
            return set().union(*(self._commit([job]) for job in group))
        return topics

    # --- conversations ----------------------------------------------------------------------------

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """The writer's transaction: committed at exit, rolled back when the block raises.

        Keep it short and await nothing but the database inside.

        Raises:
            DatabaseUnavailable: nothing was committed.
            RuntimeError: this task is already inside `write` (it would wait for itself).
        """
        self._refuse_nesting()
        async with self._lock:
            self._owner = asyncio.current_task()
            topics: set[str] = set()
            try:
                with _as_unavailable():
                    tell = lambda: self._tell(topics)  # noqa: E731
                    async with _conversation(self._writer, tell) as conn:
                        conn.info[_TOPICS] = topics
                        conn.info[_ORIGIN] = self._origin
                        yield conn
            finally:
                self._owner = None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A read-only snapshot of what is committed now. Raises DatabaseUnavailable."""
        reader = await self._idle.get()
        try:
            with _as_unavailable():
                async with _conversation(reader) as conn:
                    yield conn
        finally:
            self._idle.put_nowait(reader)

    def _refuse_nesting(self) -> None:
        if self._owner is not None and self._owner is asyncio.current_task():
            raise RuntimeError("a transaction inside write(): pass the connection on instead")

    # --- what commits tell ------------------------------------------------------------------------

    def _tell(self, topics: set[str]) -> None:
        for topic in sorted(topics):
            for listener in self._listeners.get(topic, ()):
                try:
                    listener()
                except Exception:  # what was committed stays so, and others want to hear of it too
                    log.exception("commit_listener_failed", topic=topic)

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


class Transaction:
    """A transaction that is held from the event loop; each call is a hop to the connection's thread."""

    def __init__(self, worker: _Worker, conn: sa.Connection) -> None:
        self._worker = worker
        self._conn = conn

    @property
    def info(self) -> dict[Any, Any]:
        return self._conn.info

    async def run_sync(
        self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **more: P.kwargs
    ) -> T:
        """Call a function that takes a connection, inside this transaction."""
        context = contextvars.copy_context()
        return await self._worker.do(lambda: context.run(work, self._conn, *args, **more))

    async def execute(
        self, statement: sa.Executable, parameters: Any = None
    ) -> sa.CursorResult[*tuple[Any, ...]]:
        """Execute and fetch everything."""

        def fetched() -> sa.CursorResult[*tuple[Any, ...]]:
            result = self._conn.execute(statement, parameters)
            if (
                result.returns_rows and result.cursor is not None
            ):  # into memory: the loop's thread must not step through a query
                result.cursor_strategy = FullyBufferedCursorFetchStrategy(result.cursor)
            return result

        return await self._worker.do(fetched)

    @overload
    async def scalar(self, statement: sa.sql.selectable.TypedReturnsRows[T]) -> T | None: ...

    @overload
    async def scalar(self, statement: sa.Executable) -> Any: ...

    async def scalar(self, statement: sa.Executable) -> Any:
        """The first column of the first row; None without one."""
        return await self._worker.do(lambda: self._conn.scalar(statement))

    async def scalars(self, statement: sa.Executable) -> sa.ScalarResult[Any]:
        """The first column of every row."""
        return (await self.execute(statement)).scalars()


def announce(conn: sa.Connection | Transaction, topic: str) -> None:
    """Wake the listeners of `topic` once the transaction of `conn` is committed."""
    conn.info[_TOPICS].add(topic)


def origin(conn: sa.Connection | Transaction) -> tuple[str, str]:
    """(node_id, boot_id) of the process that owns this write transaction."""
    node_id, boot_id = conn.info[_ORIGIN]
    return node_id, boot_id


@dataclass(slots=True)
class _Job(Generic[T]):
    """One caller of `run`, and what became of it."""

    context: contextvars.Context
    work: Work[T]
    done: asyncio.Future[T]
    result: T | None = None
    error: BaseException | None = None

    def settle(self) -> None:
        if self.done.cancelled():
            return
        if self.error is not None:
            self.done.set_exception(_raisable(self.error))
        else:
            self.done.set_result(self.result)  # type: ignore[arg-type]


class _Worker:
    """A thread that does what it is given, in that order, and its connection."""

    def __init__(self, name: str, engine: sa.Engine, begin: str) -> None:
        self._engine = engine
        self._is_file = engine.dialect.name == "sqlite"
        self._begin = begin  # of SQLite
        self._conn: sa.Connection | None = None  # between two transactions
        self._ended = False  # the thread takes nothing more
        self._given: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def do(self, job: Callable[[], T], then: Callable[[], None] | None = None) -> T:
        """Call `job` in the thread, and `then` in the loop once it has succeeded.

        A caller that is cancelled does not wait for it; it is done all the same.
        """
        if self._ended:
            raise DatabaseUnavailable("the database is closed")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def tell(result: T | None, error: BaseException | None) -> None:
            if error is None and then is not None:
                then()
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(_raisable(error))
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result, error = None, None
            try:
                result = job()
            except BaseException as raised:
                error = raised
            loop.call_soon_threadsafe(tell, result, error)

        self._given.put(work)
        return await done

    # --- in the thread ----------------------------------------------------------------------------

    def begin(self) -> sa.Connection:
        """Begin a transaction; `commit` or `abandon` ends it.

        A file stays open from one to the next, with SQLAlchemy believing in one long transaction: its own
        ones cost as much as several statements. A server may have gone: the pool looks, and connects anew.
        """
        conn, self._conn = self._conn, None
        if conn is None:
            conn = self._engine.connect()
            conn.begin()
        try:
            if self._is_file:
                _driver(conn).execute(self._begin)
        except BaseException:
            conn.close()
            raise
        return conn

    def commit(self, conn: sa.Connection) -> None:
        if self._is_file:
            _driver(conn).commit()
            self._conn = conn
        else:
            conn.commit()
            conn.close()

    def abandon(self, conn: sa.Connection) -> None:
        """Roll back; the next transaction has a fresh connection."""
        conn.close()

    def transact(self, work: Work[T]) -> T:
        """Call `work` in a transaction: committed when it returns, rolled back when it raises."""
        with _as_unavailable():
            conn = self.begin()
            try:
                result = work(conn)
                self.commit(conn)
            except BaseException:
                self.abandon(conn)
                raise
            return result

    # --- on the loop ------------------------------------------------------------------------------

    def end(self) -> None:
        """Let the thread end when it has done what it was given."""
        self._ended = True
        self._given.put(None)

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            work = self._given.get()
            if work is None:
                break
            try:
                work()
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._ended = True
                break
            del work
        if self._conn is not None:
            self._conn.close()


@asynccontextmanager
async def _conversation(
    worker: _Worker, committed: Callable[[], None] | None = None
) -> AsyncIterator[Transaction]:
    """A transaction over several hops. Its end is queued behind all of them, cancelled or not."""
    held: list[sa.Connection] = []

    def begin() -> None:
        held.append(worker.begin())

    def commit() -> None:
        worker.commit(held[0])
        held.clear()

    def close() -> None:
        for conn in held:
            worker.abandon(conn)

    try:
        await worker.do(begin)
        yield Transaction(worker, held[0])
        await worker.do(commit, committed)
    finally:
        await worker.do(close)


SQL_ERRORS = (sa.exc.SQLAlchemyError, sqlite3.Error, psycopg.Error)  # after one the transaction is void

# As SQLAlchemy says it, and as the drivers say it to a `Statement`.
_LOST = (
    OperationalError,
    InterfaceError,
    sqlite3.OperationalError,
    sqlite3.InterfaceError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)


def _raisable(error: BaseException) -> BaseException:
    """As a future can carry it: StopIteration would end the coroutine that awaits it."""
    if isinstance(error, StopIteration):
        wrapped = RuntimeError("a transaction raised StopIteration")
        wrapped.__cause__ = error
        return wrapped
    return error


def _unknown(error: BaseException) -> RuntimeError:
    wrapped = RuntimeError("it is not known whether this transaction was committed")
    wrapped.__cause__ = error
    return wrapped


class _as_unavailable:
    """Turns lost connections and lasting locks into DatabaseUnavailable, and nothing else."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _LOST) or (isinstance(error, DBAPIError) and error.connection_invalidated):
            raise DatabaseUnavailable("the database does not answer") from error


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _sqlite_engines(url: sa.URL) -> tuple[sa.Engine, sa.Engine]:
    common: dict[str, Any] = {
        "json_serializer": _dump,
        "poolclass": sa.QueuePool,
        # A conversation's rows are let go of by the loop's thread, a pool is closed by another one.
        "connect_args": {"timeout": BUSY_MS / 1000, "check_same_thread": False},
    }
    url = sa.URL.create("sqlite+pysqlite", database=url.database)
    writing = sa.create_engine(url, pool_size=1, max_overflow=0, **common)
    reading = sa.create_engine(url, pool_size=READERS, max_overflow=0, **common)
    pragmas = ["foreign_keys=ON", f"busy_timeout={BUSY_MS}"]
    # FULL: a commit is on the disk when it returns, also against power loss.
    _on_sqlite(writing, ["journal_mode=WAL", "synchronous=FULL", *pragmas])
    _on_sqlite(reading, [*pragmas, "query_only=ON"])
    return writing, reading


def _on_sqlite(engine: sa.Engine, pragmas: list[str]) -> None:
    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        # The driver must not begin transactions of its own: it would begin them deferred, and too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


def _driver(conn: sa.Connection) -> Any:
    """The driver's own connection."""
    return conn.connection.dbapi_connection


def _postgres_engines(url: sa.URL) -> tuple[sa.Engine, sa.Engine]:
    url = url.set(drivername="postgresql+psycopg")
    common: dict[str, Any] = {"json_serializer": _dump, "pool_pre_ping": True, "max_overflow": 0}
    writing = sa.create_engine(url, pool_size=1, **common)
    reading = sa.create_engine(
        url,
        pool_size=READERS,
        isolation_level="REPEATABLE READ",  # one snapshot for the whole block, as in SQLite
        connect_args={"options": "-c default_transaction_read_only=on"},
        **common,
    )
    return writing, reading
