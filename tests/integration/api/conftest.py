"""The API on a real SQLite database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roomtape.clock import ManualClock
from roomtape.state.database import Database
from tests.support.api import Stand, stand


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Stand]:
    """An application, its key and the gateway, on a clock that stands still."""
    clock = ManualClock()
    db = await Database.open(f"sqlite:///{tmp_path}/roomtape.db", clock)
    await db.migrate()
    yield await stand(db, clock)
    await db.close()
