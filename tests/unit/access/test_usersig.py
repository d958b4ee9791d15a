"""UserSig against the vectors of the official libraries, both ways, and everything that must fail."""

from __future__ import annotations

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomtape.access import usersig
from roomtape.access.errors import BadUserSig

K1 = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
K2 = "key-for-tests-0123456789"
U1_PYTHON = (
    "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkKjIT87NK82CSxSnZiQUFmSlAKUMTAyiAyqVWFGQWpQJlLMxM4IIlmbkgIUNz"
    "NMXFmekg44P93EzccsOcA0qT8yOKnfwLksLcjNPcnNNMzb0Ccg1Sq6IMs1LDPH1ywpJtlWoBk68y0A__"
)
U1_GO = (
    "eAEAqQBW-3siVExTLnZlciI6IjIuMCIsIlRMUy5pZGVudGlmaWVyIjoieGlhb2p1biIsIlRMUy5zZGthcHBpZCI6MTQwMDAwMDAwMCwiVExT"
    "LmV4cGlyZSI6ODY0MDAsIlRMUy50aW1lIjoxNzAwMDAwMDAwLCJUTFMuc2lnIjoiU05GNEZtVkNQdWNvWHNCT3BiVkYzZkZDZjU3SlBtMGV6"
    "WjFqZVZJTGxWYz0ifQoBAAD--1oJMXo_"
)
U2 = (
    "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkSotTi*IddQ1hssUp2YkFBZkpQDkjAyAwNDKGyqRWFGQWpQLFzQxMLAwMoKIlmbkg"
    "MUNzUwMIgJmTmQ4yPriy3MOyMiqpyjAo1dmrpLAgxNA5N90lxUQ7NMMrwqcw39crrCq3zLUyJNJWqRYAcogzSw__"
)


@pytest.mark.parametrize("ticket", [U1_PYTHON, U1_GO])
def test_u1_is_read_and_verified_whoever_packed_it(ticket: str) -> None:
    content = usersig.verify(ticket, [K1], 1400000000, "xiaojun", now_s=1700086400)
    assert content.signature == "SNF4FmVCPucoXsBOpbVF3fFCf57JPm0ezZ1jeVILlVc="
    assert (content.time_s, content.expire_s, content.userbuf) == (1700000000, 86400, None)


def test_u2_is_read_and_verified() -> None:
    content = usersig.verify(U2, [K1, K2], 20000123, "user_A-1", now_s=1750000000)
    assert content.signature == "SywH9yZbz1ReCJtqpT1CmgDd4+UhJXLqoMJVzmvEyTY="


def test_an_issued_ticket_says_what_the_library_says() -> None:
    ours = usersig.issue(K1, 1400000000, "xiaojun", time_s=1700000000, expire_s=86400)
    assert usersig.parse(ours) == usersig.parse(U1_PYTHON)
    assert not set("+/=") & set(ours)


def test_the_last_second_is_valid_and_the_next_is_not() -> None:
    usersig.verify(U1_PYTHON, [K1], 1400000000, "xiaojun", now_s=1700086400)
    with pytest.raises(BadUserSig) as refused:
        usersig.verify(U1_PYTHON, [K1], 1400000000, "xiaojun", now_s=1700086401)
    assert refused.value.native_code == usersig.EXPIRED


def packed(content: object) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.b64encode(zlib.compress(text)).translate(bytes.maketrans(b"+/=", b"*-_")).decode()


U1_JSON = {
    "TLS.ver": "2.0",
    "TLS.identifier": "xiaojun",
    "TLS.sdkappid": 1400000000,
    "TLS.expire": 86400,
    "TLS.time": 1700000000,
    "TLS.sig": "SNF4FmVCPucoXsBOpbVF3fFCf57JPm0ezZ1jeVILlVc=",
}


def test_quoted_numbers_are_read() -> None:
    quoted = {k: str(v) for k, v in U1_JSON.items()}
    usersig.verify(packed(quoted), [K1], 1400000000, "xiaojun", now_s=1700000000)


REFUSED = {
    "empty": ("", usersig.EMPTY),
    "over 8 KiB": ("e" * 8193, usersig.EMPTY),
    "base64url alphabet": ("eJyr+/==", usersig.NOT_BASE64),
    "not ascii": ("eJyréé__", usersig.NOT_BASE64),
    "not base64": ("eJyrV", usersig.NOT_BASE64),
    "not zlib": (base64.b64encode(b"hello").decode().replace("=", "_"), usersig.NOT_ZLIB),
    "cut short": (
        base64.b64encode(zlib.compress(b"x" * 99)[:-4]).translate(bytes.maketrans(b"+/=", b"*-_")).decode(),
        usersig.NOT_ZLIB,
    ),
    "a bomb": (packed(b" " * 100_000), usersig.NOT_ZLIB),
    "not JSON": (packed(b"{"), usersig.NOT_JSON),
    "a list": (packed([1]), usersig.NOT_JSON),
    "nested deeply": (packed(b"[" * 60_000), usersig.NOT_JSON),
    "version 1.0": (packed(U1_JSON | {"TLS.ver": "1.0"}), usersig.NOT_JSON),
    "no signature": (packed({k: v for k, v in U1_JSON.items() if k != "TLS.sig"}), usersig.NOT_JSON),
    "boolean time": (packed(U1_JSON | {"TLS.time": True}), usersig.NOT_JSON),
    "fraction": (packed(U1_JSON | {"TLS.time": 1.5}), usersig.NOT_JSON),
    "other application": (packed(U1_JSON | {"TLS.sdkappid": 1400000001}), usersig.WRONG_APP),
    "other user": (packed(U1_JSON | {"TLS.identifier": "Xiaojun"}), usersig.WRONG_USER),
    "longer life": (packed(U1_JSON | {"TLS.expire": 86401}), usersig.WRONG_KEY),
    "later birth": (packed(U1_JSON | {"TLS.time": 1700000001}), usersig.WRONG_KEY),
    "added userbuf": (packed(U1_JSON | {"TLS.userbuf": ""}), usersig.WRONG_KEY),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_its_native_code(name: str) -> None:
    ticket, code = REFUSED[name]
    with pytest.raises(BadUserSig) as refused:
        usersig.verify(ticket, [K1], 1400000000, "xiaojun", now_s=1700000000)
    assert refused.value.native_code == code
    assert refused.value.code == -100018


def test_a_plain_usersig_is_no_permission_ticket_and_the_reverse() -> None:
    with pytest.raises(BadUserSig) as refused:
        usersig.verify(U1_PYTHON, [K1], 1400000000, "xiaojun", now_s=1700000000, userbuf=True)
    assert refused.value.native_code == usersig.HAS_USERBUF
    ticket = usersig.issue(K1, 1, "u", time_s=1, userbuf=b"x")
    with pytest.raises(BadUserSig) as refused:
        usersig.verify(ticket, [K1], 1, "u", now_s=1)
    assert refused.value.native_code == usersig.HAS_USERBUF


def test_both_keys_of_a_rotation_are_accepted_and_no_third() -> None:
    ticket = usersig.issue("old", 1, "u", time_s=1)
    assert usersig.verify(ticket, ["new", "old"], 1, "u", now_s=1)
    for keys in (["new"], []):
        with pytest.raises(BadUserSig):
            usersig.verify(ticket, keys, 1, "u", now_s=1)


@given(user=st.text(max_size=40), app=st.integers(1, 2**32 - 1), time=st.integers(0, 2**33))
def test_what_we_issue_we_verify(user: str, app: int, time: int) -> None:
    ticket = usersig.issue(K2, app, user, time_s=time, expire_s=60)
    assert usersig.verify(ticket, [K2], app, user, now_s=time + 60).user == user


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    with pytest.raises(BadUserSig):
        usersig.parse(text)
