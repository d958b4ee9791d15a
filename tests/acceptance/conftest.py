"""Fixtures of the acceptance tests: one started product for the tests that do not break it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, start_stack

CALLBACK_KEY = "acceptanceKey0123456789"
PREFIX = "behind/a-path"  # takes API calls besides `/`


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running `roomtape dev` shared by the session; each test uses rooms of its own."""
    env = {"ROOMTAPE_API__PATH_PREFIXES": f'["{PREFIX}"]'}
    with start_stack(tmp_path_factory.mktemp("stack") / "data", env=env) as running:
        yield running


@pytest.fixture(scope="session")
def callbacks(stack: Stack) -> Iterator[CallbackReceiver]:
    """The receiver of all callbacks of the shared stack."""
    receiver = CallbackReceiver()
    stack.set_callbacks(receiver.url, key=CALLBACK_KEY)
    yield receiver
    receiver.close()
