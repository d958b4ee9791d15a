"""The master key is replaced while everything sealed stays readable, whatever moment a crash comes at."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from roomtape.access.service import Access
from roomtape.clock import ManualClock
from roomtape.state import resealing
from roomtape.state.database import Database
from roomtape.state.resealing import COLUMNS, GRACE_S, MasterKey, reseal
from roomtape.state.schema import metadata, secrets
from roomtape.state.sealing import Sealer, SealError

Fill = Callable[[Database, Sealer, ManualClock], Awaitable[None]]
KEYS = 7


async def fill(db: Database, sealer: Sealer, clock: ManualClock) -> Access:
    """Secrets of every kind the access tables have, and one that belongs to no other row."""
    access = Access(db, sealer, clock)
    account = await access.create_account("a")
    app, _ = await access.create_app("app", uin=account.uin, key="k" * 64)
    await access.set_callbacks(app.sdk_app_id, {}, "callbackkey")
    for number in range(KEYS):
        key = f"AKID{number}"
        await access.create_key(account.uin, secret_id=key, secret_key=f"secret-{number}", lifetime_s=60)
    async with db.write() as conn:
        for name, context in (("development", "development"), ("links", "secrets/links")):
            await conn.execute(
                sa.insert(secrets).values(
                    name=name, value_sealed=sealer.seal(f"of {name}", context), created_ms=0
                )
            )
    return access


async def assert_all_read(db: Database, sealer: Sealer, clock: ManualClock) -> None:
    access = Access(db, sealer, clock)
    assert [key.secret_key.reveal() for key in await access.keys()] == [f"secret-{n}" for n in range(KEYS)]
    assert all(key.token is not None for key in await access.keys())
    (app,) = await access.apps()
    assert app.callback_key is not None
    assert app.callback_key.reveal() == "callbackkey"
    assert await access.issue_user_sig(app.sdk_app_id, "amy")
    async with db.read() as conn:
        rows = (await conn.execute(sa.select(secrets.c.name, secrets.c.value_sealed))).all()
    contexts = {"development": "development", "links": "secrets/links"}
    assert {name: sealer.open(value, contexts[name]).reveal() for name, value in rows} == {
        name: f"of {name}" for name in contexts
    }


async def count_current(db: Database, sealer: Sealer) -> tuple[int, int]:
    """How many sealed values there are under the current key, and under others."""
    current = others = 0
    for place in COLUMNS:
        async with db.read() as conn:
            for value in await conn.scalars(sa.select(place.column).where(place.column.is_not(None))):
                current, others = (current + 1, others) if sealer.is_current(value) else (current, others + 1)
    return current, others


def test_every_sealed_column_is_sealed_anew() -> None:
    there = {c for t in metadata.tables.values() for c in t.columns if c.name.endswith("_sealed")}
    assert {place.column for place in COLUMNS} == there


async def test_a_rotation_seals_everything_anew_and_drops_the_former_key_later(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    path = tmp_path / "master.key"
    sealer = Sealer.load(path, {})
    await fill(db, sealer, clock)
    former = Sealer.load(path, {})
    master = MasterKey(db, sealer, clock)
    running = asyncio.create_task(master.run())
    assert await master.rotate() == 2 * KEYS + 4
    assert await count_current(db, sealer) == (2 * KEYS + 4, 0)
    assert len(path.read_text().split()) == 2, "kept until nothing can need it"

    # What was sealed just before, and is committed only now.
    async with db.write() as conn:
        late = former.seal("of links", "secrets/links")
        await conn.execute(sa.update(secrets).where(secrets.c.name == "links").values(value_sealed=late))
    await clock.sleepers()
    await clock.advance(GRACE_S)
    async with asyncio.timeout(20):
        while sealer.is_rotating:  # the database works in its own thread
            await asyncio.sleep(0)
    assert len(path.read_text().split()) == 1
    assert (path.stat().st_mode & 0o777) == 0o600
    await assert_all_read(db, Sealer.load(path, {}), clock)
    with pytest.raises(SealError):
        former.open(sealer.seal("x"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("moment", ["before the new key is filed", "after it is filed", *range(0, 2 * KEYS + 4, 3)])
async def test_a_crash_leaves_everything_readable_and_the_next_start_finishes(
    db: Database,
    clock: ManualClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str | int,
) -> None:
    path = tmp_path / "master.key"
    sealer = Sealer.load(path, {})
    await fill(db, sealer, clock)
    monkeypatch.setattr(resealing, "BATCH", 2)
    left = iter(range(moment if isinstance(moment, int) else 0))
    renewed, rename = resealing._renewed, os.rename

    def dying(*given: Any) -> bytes:
        if next(left, None) is None:
            raise Crash
        return renewed(*given)

    def dying_rename(*given: Any) -> None:
        raise Crash

    with monkeypatch.context() as fault:
        fault.setattr(resealing, "_renewed", dying)
        if moment == "before the new key is filed":
            fault.setattr(os, "rename", dying_rename)
        with pytest.raises(Crash):
            await MasterKey(db, sealer, clock).rotate()
    assert os.rename is rename

    again = Sealer.load(path, {})
    await assert_all_read(db, again, clock)
    running = asyncio.create_task(MasterKey(db, again, clock).run())
    async with asyncio.timeout(20):
        while again.is_rotating:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await count_current(db, again) == (2 * KEYS + 4, 0)
    assert len(path.read_text().split()) == 1
    await assert_all_read(db, Sealer.load(path, {}), clock)


async def test_a_ring_of_the_environment_is_not_ours_to_change(db: Database, clock: ManualClock) -> None:
    import base64

    old, new = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    await fill(db, Sealer.load(Path("/nowhere"), {"ROOMTAPE_MASTER_KEY": old}), clock)
    ring = Sealer.load(Path("/nowhere"), {"ROOMTAPE_MASTER_KEY": f"{new} {old}"})
    with pytest.raises(SealError, match="put a new one in front"):
        await MasterKey(db, ring, clock).rotate()
    assert await reseal(db, ring) == 2 * KEYS + 4
    await assert_all_read(db, Sealer.load(Path("/nowhere"), {"ROOMTAPE_MASTER_KEY": new}), clock)


async def test_a_value_that_no_key_opens_stops_it_and_nothing_is_dropped(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    path = tmp_path / "master.key"
    sealer = Sealer.load(path, {})
    await fill(db, sealer, clock)
    async with db.write() as conn:
        alien = Sealer([b"z" * 32]).seal("x", "secrets/links")
        await conn.execute(sa.update(secrets).where(secrets.c.name == "links").values(value_sealed=alien))
    with pytest.raises(SealError):
        await MasterKey(db, sealer, clock).rotate()
    with pytest.raises(SealError):
        await MasterKey(db, Sealer.load(path, {}), clock).run()
    assert len(path.read_text().split()) == 2
