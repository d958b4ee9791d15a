"""Sealed values: opened only by the right key, in the right place, unaltered."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from roomtape.secret import Secret
from roomtape.state.sealing import ENVIRONMENT, Sealer, SealError

A, B = b"a" * 32, b"b" * 32


@pytest.mark.parametrize("value", ["", "text", "房", b"\x00\xff" * 1000, Secret("key")])
def test_what_is_sealed_opens_again(value: str | bytes | Secret) -> None:
    opened = Sealer([A]).open(Sealer([A]).seal(value, "here"), "here")
    plain = value.reveal_bytes() if isinstance(value, Secret) else value
    assert opened.reveal_bytes() == (plain.encode() if isinstance(plain, str) else plain)


def test_the_value_cannot_be_seen_and_no_two_seals_are_alike() -> None:
    sealer = Sealer([A])
    first, second = sealer.seal("bucket-secret"), sealer.seal("bucket-secret")
    assert b"bucket-secret" not in first
    assert first != second


def test_every_altered_byte_is_noticed() -> None:
    sealer = Sealer([A])
    sealed = sealer.seal("value")
    for index in range(len(sealed)):
        broken = bytearray(sealed)
        broken[index] ^= 1
        with pytest.raises(SealError):
            sealer.open(bytes(broken))
    for length in range(len(sealed)):
        with pytest.raises(SealError):
            sealer.open(sealed[:length])


def test_another_place_or_another_key_does_not_open_it() -> None:
    sealed = Sealer([A]).seal("value", "app 1")
    with pytest.raises(SealError, match="another place"):
        Sealer([A]).open(sealed, "app 2")
    with pytest.raises(SealError, match="not in the ring"):
        Sealer([B]).open(sealed, "app 1")


def test_a_new_key_in_front_seals_and_the_old_one_still_opens() -> None:
    old = Sealer([A]).seal("value")
    ring = Sealer([B, A])
    assert ring.open(old).reveal() == "value"
    assert not ring.is_current(old)
    new = ring.seal("value")
    assert ring.is_current(new)
    with pytest.raises(SealError):
        Sealer([A]).open(new)


def test_the_key_file_is_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    sealed = Sealer.load(path, {}).seal("value")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Sealer.load(path, {}).open(sealed).reveal() == "value"
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


def test_a_key_file_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    Sealer.load(path, {})
    path.chmod(0o640)
    with pytest.raises(SealError, match="chmod 600"):
        Sealer.load(path, {})


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    environment = {ENVIRONMENT: f"{base64.b64encode(A).decode()} {base64.b64encode(B).decode()}"}
    sealer = Sealer.load(path, environment)
    assert not path.exists()
    assert sealer.open(Sealer([B]).seal("value")).reveal() == "value"


@pytest.mark.parametrize("text", ["short", base64.b64encode(b"x" * 31).decode(), "***"])
def test_a_malformed_key_is_named_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(SealError) as caught:
        Sealer.load(tmp_path / "x", {ENVIRONMENT: text})
    assert text not in str(caught.value)
