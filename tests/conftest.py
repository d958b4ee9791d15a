"""A server's life without HTTP, on a clock that stands still: rooms and tasks over the core's twin, a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roomtape.clock import ManualClock
from roomtape.state.database import Database
from tests.support.stage import Stage, stage


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def db(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Database]:
    database = await Database.open(f"sqlite:///{tmp_path}/roomtape.db", clock)
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
async def server(db: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(db, clock, tmp_path) as running:
        yield running
