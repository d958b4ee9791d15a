import pytest

from roomtape.clock import ManualClock
from tests.support.callbacks import ScriptedPoster
from tests.support.databases import clock, database_url, db, postgres_cluster

__all__ = ["clock", "database_url", "db", "postgres_cluster"]


@pytest.fixture
def receiver(clock: ManualClock) -> ScriptedPoster:
    return ScriptedPoster(clock)
