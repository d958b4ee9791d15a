"""Database: one writer, snapshots, wake-ups after commit; the same for SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from functools import partial

import pytest
import sqlalchemy as sa

from roomtape.clock import ManualClock, SystemClock
from roomtape.state.database import Database, DatabaseUnavailable, announce
from roomtape.state.schema import accounts

WAIT_S = 60.0


async def _names(db: Database) -> list[str]:
    async with db.read() as conn:
        return list(await conn.scalars(sa.select(accounts.c.name).order_by(accounts.c.uin)))


async def test_what_a_write_block_did_is_there_after_it(db: Database) -> None:
    async with db.write() as conn:
        await conn.execute(accounts.insert().values(uin=1, name="a", created_ms=5))
    assert await _names(db) == ["a"]


async def test_a_block_that_raises_leaves_nothing(db: Database) -> None:
    async def fail() -> None:
        async with db.write() as conn:
            await conn.execute(accounts.insert().values(uin=1, name="a", created_ms=5))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await _names(db) == []
    async with db.write() as conn:  # and the writer is free again
        await conn.execute(accounts.insert().values(uin=2, name="b", created_ms=5))
    assert await _names(db) == ["b"]


async def test_writers_come_one_after_the_other(db: Database) -> None:
    """Read, yield, write: with two at a time an increment would be lost."""
    async with db.write() as conn:
        await conn.execute(accounts.insert().values(uin=1, app_id=0, created_ms=5))

    async def increment() -> None:
        async with db.write() as conn:
            value = await conn.scalar(sa.select(accounts.c.app_id))
            await asyncio.sleep(0)
            await conn.execute(accounts.update().values(app_id=value + 1))

    await asyncio.gather(*(increment() for _ in range(20)))
    async with db.read() as conn:
        assert await conn.scalar(sa.select(accounts.c.app_id)) == 20


async def test_a_read_block_is_a_snapshot_and_does_not_wait_for_the_writer(db: Database) -> None:
    async with db.read() as reader:
        before = await reader.scalar(sa.select(sa.func.count()).select_from(accounts))
        async with db.write() as conn:
            await conn.execute(accounts.insert().values(uin=1, created_ms=5))
            during = await reader.scalar(sa.select(sa.func.count()).select_from(accounts))
        after = await reader.scalar(sa.select(sa.func.count()).select_from(accounts))
    assert (before, during, after) == (0, 0, 0)
    assert len(await _names(db)) == 1


async def test_a_read_block_cannot_write(db: Database) -> None:
    with pytest.raises((DatabaseUnavailable, sa.exc.DBAPIError)):
        async with db.read() as conn:
            await conn.execute(accounts.insert().values(uin=1, created_ms=5))
    assert await _names(db) == []


async def test_a_write_inside_a_write_is_refused_instead_of_waiting_for_ever(db: Database) -> None:
    async with db.write():
        with pytest.raises(RuntimeError, match="inside"):
            async with db.write():
                pass


async def test_listeners_hear_of_a_commit_and_never_of_a_rollback(db: Database) -> None:
    heard: list[int] = []
    db.on_commit("topic", lambda: heard.append(1))

    async def fail() -> None:
        async with db.write() as conn:
            announce(conn, "topic")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert heard == []
    async with db.write() as conn:
        announce(conn, "topic")
        announce(conn, "topic")
        announce(conn, "another")
        assert heard == []
    assert heard == [1]
    async with db.write():
        pass
    assert heard == [1]


async def test_what_waits_for_a_commit_goes_into_the_next_one_together(db: Database) -> None:
    """Listeners are called once per commit, so they count them."""
    commits: list[int] = []
    db.on_commit("topic", lambda: commits.append(1))
    begun, go_on = threading.Event(), threading.Event()

    def slow(conn: sa.Connection) -> None:
        announce(conn, "topic")
        begun.set()
        go_on.wait()

    def account(uin: int, conn: sa.Connection) -> int:
        announce(conn, "topic")
        conn.execute(accounts.insert().values(uin=uin, created_ms=5))
        return uin

    first = asyncio.create_task(db.run(slow))
    await asyncio.to_thread(begun.wait)
    others = [asyncio.create_task(db.run(partial(account, uin))) for uin in range(20)]
    while not all(other.get_stack() for other in others) or len(db._jobs) < 20:
        await asyncio.sleep(0)
    go_on.set()
    await first
    assert await asyncio.gather(*others) == list(range(20))
    assert len(commits) == 2
    assert len(await _names(db)) == 20


async def test_one_that_fails_does_not_take_its_neighbours_along(db: Database) -> None:
    def account(uin: int, conn: sa.Connection) -> int:
        conn.execute(accounts.insert().values(uin=uin, created_ms=5))
        if uin == 7:
            raise ZeroDivisionError
        return uin

    same = 3  # breaks a rule of the database itself
    uins = [*range(10), same]
    done = await asyncio.gather(*(db.run(partial(account, uin)) for uin in uins), return_exceptions=True)
    assert done[:7] == list(range(7))
    assert isinstance(done[7], ZeroDivisionError)
    assert done[8:10] == [8, 9]
    assert isinstance(done[10], sa.exc.IntegrityError)
    assert len(await _names(db)) == 9


async def test_a_transaction_sees_the_context_of_its_caller(db: Database) -> None:
    asked: ContextVar[str] = ContextVar("asked", default="nobody")

    async def ask(name: str) -> str:
        asked.set(name)
        return await db.run(lambda _conn: asked.get())

    assert await asyncio.gather(ask("amy"), ask("bob")) == ["amy", "bob"]


async def test_a_transaction_inside_a_write_block_is_refused_instead_of_waiting_for_ever(db: Database) -> None:
    async with db.write():
        with pytest.raises(RuntimeError, match="inside"):
            await db.run(lambda _conn: None)


async def test_ask_reads_what_is_committed_and_cannot_write(db: Database) -> None:
    await db.run(lambda conn: conn.execute(accounts.insert().values(uin=1, name="a", created_ms=5)))
    assert await db.ask(lambda conn: conn.scalars(sa.select(accounts.c.name)).all()) == ["a"]
    with pytest.raises((DatabaseUnavailable, sa.exc.DBAPIError)):
        await db.ask(lambda conn: conn.execute(accounts.insert().values(uin=2, created_ms=5)))
    assert await _names(db) == ["a"]


async def test_rows_survive_closing_and_opening_again(database_url: str, clock: ManualClock) -> None:
    db = await Database.open(database_url, clock)
    await db.migrate()
    async with db.write() as conn:
        await conn.execute(accounts.insert().values(uin=1, name="kept 房", created_ms=2**53))
    await db.close()
    db = await Database.open(database_url, clock)
    await db.migrate()
    async with db.read() as conn:
        row = (await conn.execute(sa.select(accounts.c.name, accounts.c.created_ms))).one()
    assert tuple(row) == ("kept 房", 2**53)
    await db.close()


async def test_a_database_that_is_not_there_is_said_to_be_unavailable(tmp_path: object) -> None:
    with pytest.raises(DatabaseUnavailable):
        await Database.open(f"postgresql://roomtape@/none?host={tmp_path}", SystemClock())
    with pytest.raises(DatabaseUnavailable):
        await Database.open(f"sqlite:///{tmp_path}/no/such/directory/x.db", SystemClock())


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:"])
async def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite"):
        await Database.open(url, SystemClock())


async def test_sqlite_commits_reach_the_disk(tmp_path: object) -> None:
    """WAL with synchronous=FULL (2) on the writer: a commit survives a power cut."""
    db = await Database.open(f"sqlite:///{tmp_path}/x.db", SystemClock())
    async with db.write() as conn:
        mode = await conn.scalar(sa.text("PRAGMA journal_mode"))
        synchronous = await conn.scalar(sa.text("PRAGMA synchronous"))
        foreign_keys = await conn.scalar(sa.text("PRAGMA foreign_keys"))
    assert (mode, synchronous, foreign_keys) == ("wal", 2, 1)
    await db.close()


async def test_a_file_locked_by_another_process_is_unavailable_and_then_works_again(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomtape.state.database.BUSY_MS", 50)
    db = await Database.open(f"sqlite:///{tmp_path}/x.db", SystemClock())
    await db.migrate()
    other = sa.create_engine(f"sqlite:///{tmp_path}/x.db")
    with other.connect() as holder:
        holder.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable):
            async with db.write():
                pass
        with pytest.raises(DatabaseUnavailable):
            await db.run(lambda _conn: None)
    other.dispose()
    async with db.write() as conn:
        await conn.execute(accounts.insert().values(uin=1, created_ms=5))
    assert len(await _names(db)) == 1
    await db.close()


async def test_a_cancelled_writer_leaves_all_or_nothing_and_the_next_one_works(db: Database) -> None:
    """A request that is given up at any of its awaits; what a cancelled commit did is not known, but whole."""

    async def write_two(number: int) -> None:
        async with db.write() as conn:
            await conn.execute(accounts.insert().values(uin=2 * number, created_ms=0))
            await conn.execute(accounts.insert().values(uin=2 * number + 1, created_ms=0))

    for turns in range(40):
        writer = asyncio.create_task(write_two(turns))
        for _ in range(turns):
            await asyncio.sleep(0)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
    await write_two(1000)
    async with db.read() as conn:
        found = set(await conn.scalars(sa.select(accounts.c.uin)))
    assert {2000, 2001} <= found
    assert all(uin ^ 1 in found for uin in found)


async def test_a_caller_of_run_that_is_cancelled_leaves_all_or_nothing(db: Database) -> None:
    def write_two(number: int, conn: sa.Connection) -> None:
        conn.execute(accounts.insert().values(uin=2 * number, created_ms=0))
        conn.execute(accounts.insert().values(uin=2 * number + 1, created_ms=0))

    for turns in range(20):
        caller = asyncio.create_task(db.run(partial(write_two, turns)))
        for _ in range(turns):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
    await db.run(partial(write_two, 1000))
    found = set(await db.ask(lambda conn: conn.scalars(sa.select(accounts.c.uin)).all()))
    assert {2000, 2001} <= found
    assert all(uin ^ 1 in found for uin in found)


async def test_a_transaction_that_raises_stop_iteration_is_told_and_its_neighbours_go_on(db: Database) -> None:
    """A future cannot carry it: whoever awaits it would wait for ever."""

    def account(uin: int, conn: sa.Connection) -> int:
        conn.execute(accounts.insert().values(uin=uin, created_ms=5))
        return next(iter(())) if uin == 1 else uin

    asked = asyncio.gather(*(db.run(partial(account, uin)) for uin in range(4)), return_exceptions=True)
    done = await asyncio.wait_for(asked, WAIT_S)
    assert isinstance(done[1], RuntimeError)
    assert isinstance(done[1].__cause__, StopIteration)
    assert [done[0], *done[2:]] == [0, 2, 3]
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(db.ask(lambda _: next(iter(()))), WAIT_S)
    assert len(await _names(db)) == 3


async def test_a_listener_that_raises_keeps_nobody_from_the_answer(db: Database) -> None:
    heard: list[int] = []

    def raising() -> None:
        raise ZeroDivisionError

    db.on_commit("topic", raising)
    db.on_commit("topic", lambda: heard.append(1))
    for _ in range(2):
        await asyncio.wait_for(db.run(lambda conn: announce(conn, "topic")), WAIT_S)

    async def block() -> None:
        async with db.write() as conn:
            announce(conn, "topic")

    await asyncio.wait_for(block(), WAIT_S)
    assert len(heard) == 3


async def test_what_the_writers_thread_raises_outside_a_transaction_is_told_and_it_lives_on(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, failures = db._commit, [MemoryError()]

    def commit(group: list[object]) -> set[str]:
        if failures:
            raise failures.pop()
        return really(group)  # type: ignore[arg-type]

    monkeypatch.setattr(db, "_commit", commit)

    def account(uin: int, conn: sa.Connection) -> int:
        conn.execute(accounts.insert().values(uin=uin, created_ms=5))
        return uin

    asked = asyncio.gather(*(db.run(partial(account, uin)) for uin in range(3)), return_exceptions=True)
    done = await asyncio.wait_for(asked, WAIT_S)
    assert [type(error.__cause__) for error in done if isinstance(error, RuntimeError)] == [MemoryError] * 3
    assert await asyncio.wait_for(db.run(partial(account, 9)), WAIT_S) == 9
    assert len(await _names(db)) == 1


async def test_a_pump_that_is_cancelled_leaves_nobody_waiting(db: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: sa.Connection) -> None:
        begun.set()
        go_on.wait()

    first = asyncio.create_task(db.run(slow))
    await asyncio.to_thread(begun.wait)
    second = asyncio.create_task(db.run(lambda _: None))
    while not db._jobs:
        await asyncio.sleep(0)
    assert db._pump is not None
    db._pump.cancel()
    done, waiting = await asyncio.wait({first, second}, timeout=WAIT_S)
    go_on.set()
    assert waiting == set()
    for task in done:
        assert isinstance(task.exception(), RuntimeError)
    assert await asyncio.wait_for(db.run(lambda _: 5), WAIT_S) == 5


async def test_a_database_that_is_closed_says_so(tmp_path: object) -> None:
    db = await Database.open(f"sqlite:///{tmp_path}/x.db", SystemClock())
    await db.close()
    for asked in (db.run(lambda _: None), db.ask(lambda _: None)):
        with pytest.raises(DatabaseUnavailable):
            await asyncio.wait_for(asked, WAIT_S)
