"""A secret shows itself to nobody who does not ask by name."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from dataclasses import asdict, dataclass

import msgspec
import pytest

from roomtape.secret import Secret

VALUE = "s3cr3t-välue"


@dataclass
class Holder:
    key: Secret


def test_no_way_of_printing_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(VALUE)
    logging.getLogger("x").warning("key %s %r", secret, Holder(secret))
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", "%s" % secret]  # noqa: UP031
    shown += [repr(Holder(secret)), repr([secret]), str(asdict(Holder(Secret("x")))), caplog.text]
    try:
        raise ValueError(secret)
    except ValueError as error:
        shown.append("".join(traceback.format_exception(error)))
    assert not any(VALUE in text for text in shown)
    assert repr(secret) == "<secret>"


def test_it_is_not_serialised() -> None:
    secret = Secret(VALUE)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    with pytest.raises(TypeError):
        hash(secret)


def test_reveal_gives_it_back() -> None:
    assert Secret(VALUE).reveal() == VALUE
    assert Secret(b"\xff").reveal_bytes() == b"\xff"
    assert Secret(VALUE).reveal_bytes() == VALUE.encode()


def test_equality_is_of_the_value_and_only_among_secrets() -> None:
    assert Secret("a") == Secret(b"a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert not Secret("")


def test_a_copy_is_the_same_secret() -> None:
    secret = Secret(VALUE)
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    assert asdict(Holder(secret)) == {"key": secret}
