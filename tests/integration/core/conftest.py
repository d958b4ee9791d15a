"""Fixtures of the media core's tests."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.core.stage import Stage, staged


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A core on free ports; its directory's name is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        async with staged(Path(directory)) as running:
            yield running
