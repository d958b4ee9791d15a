"""Pages of the console and of `dev`: who may have them."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from roomtape.console.guard import is_loopback, is_password, is_plain_host


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "localhost:1", "[::1]:8080", "192.0.2.7"])
def test_the_page_opens_by_address_and_as_localhost(host: str) -> None:
    assert is_plain_host(host)


@pytest.mark.parametrize(
    "host", ["rebound.example", "127.0.0.1.example:80", "", "localhost.example", "[::1", "a b"]
)
def test_a_name_that_was_pointed_here_is_refused(host: str) -> None:
    assert not is_plain_host(host)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)],
)
def test_only_loopback_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_password_opens_with_its_hash_alone() -> None:
    made = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("open sesame")
    assert is_password("open sesame", made)
    assert not is_password("open sesam", made)
    assert not is_password("open sesame", "no hash")
