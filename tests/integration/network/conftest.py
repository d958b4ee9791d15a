"""One room in which everybody's network or clock is wrong, recorded once for all tests of this directory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.network.scenes import Recorded
from tests.integration.network.storm import brewed
from tests.support.stack import REPO


@pytest.fixture(scope="session")
def bots() -> None:
    """The clients, built as they are now."""
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "roomtape-bots"], cwd=REPO, check=True)


@pytest.fixture(scope="session")
def storm(bots: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Recorded]]:
    with brewed(tmp_path_factory.mktemp("storm")) as seen:
        yield seen
