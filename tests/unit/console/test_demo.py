"""The browser page of `dev`: who may have it."""

from __future__ import annotations

import pytest

from roomtape.console.demo import is_plain_host


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "localhost:1", "[::1]:8080", "192.0.2.7"])
def test_the_page_opens_by_address_and_as_localhost(host: str) -> None:
    assert is_plain_host(host)


@pytest.mark.parametrize(
    "host", ["rebound.example", "127.0.0.1.example:80", "", "localhost.example", "[::1", "a b"]
)
def test_a_name_that_was_pointed_here_is_refused(host: str) -> None:
    assert not is_plain_host(host)
