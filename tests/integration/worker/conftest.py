"""Rigs: a worker process between twins, or its driver alone in the test's own thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.inline import Inline
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


@pytest.fixture
def inline(tmp_path: Path) -> Iterator[Callable[..., Inline]]:
    made: list[Inline] = []

    def make(**changes: object) -> Inline:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Inline(directory, **changes))
        return made[-1]

    yield make
    for each in made:
        each.close()
