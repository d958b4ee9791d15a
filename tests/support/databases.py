"""Fixtures that give a test each kind of database in turn; import them in a `conftest.py`.

SQLite and PostgreSQL are full twins: what is tested of one is tested of the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from roomtape.clock import ManualClock
from roomtape.state.database import Database
from tests.support import postgres


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[postgres.Cluster]:
    """One private cluster for the whole run."""
    with postgres.cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/roomtape.db"
    running: postgres.Cluster = request.getfixturevalue("postgres_cluster")
    return running.create_database()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def db(database_url: str, clock: ManualClock) -> AsyncIterator[Database]:
    """An open database with the newest schema."""
    database = await Database.open(database_url, clock)
    await database.migrate()
    yield database
    await database.close()
