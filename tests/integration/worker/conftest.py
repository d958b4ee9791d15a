"""One rig per test: a worker process between twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.recordings import Rig, plan


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Call it with changes to the plan."""
    rigs: list[Rig] = []

    def make(**changes: object) -> Rig:
        rigs.append(Rig(tmp_path / f"data{len(rigs)}", plan(**changes)))
        return rigs[-1]

    yield make
    for each in rigs:
        each.close()
