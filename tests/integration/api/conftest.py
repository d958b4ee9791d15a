"""The API on a real SQLite database."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roomtape.clock import ManualClock
from roomtape.state.database import Database
from tests.support.api import Stand, stand


@pytest.fixture
async def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the newest schema, migrated once for all tests of a process."""
    path = tmp_path_factory.getbasetemp() / "api-template.db"
    if not path.exists():
        db = await Database.open(f"sqlite:///{path}", ManualClock())
        await db.migrate()
        await db.close()
    return path


@pytest.fixture
async def api(migrated: Path, tmp_path: Path) -> AsyncIterator[Stand]:
    """An application, its key and the gateway, on a clock that stands still."""
    clock = ManualClock()
    shutil.copy(migrated, tmp_path / "roomtape.db")
    db = await Database.open(f"sqlite:///{tmp_path}/roomtape.db", clock)
    async with stand(db, clock) as made:
        yield made
    await db.close()
