"""The examples of the pages: every action has them, requests are legal and answers whole."""

from __future__ import annotations

import msgspec
import pytest

from roomtape.api.decode import Rules, decode
from roomtape.api.errors import malformed_code, missing_code
from roomtape.api.openapi import response_of
from roomtape.contract import examples
from roomtape.contract.members import members
from tests.support.requests import KNOWN, NOW_S, request_of


def test_every_action_has_an_answer_and_no_other() -> None:
    assert examples.ANSWERS.keys() == KNOWN.keys()


@pytest.mark.parametrize("action", KNOWN)
def test_a_request_is_legal(action: str) -> None:
    row = KNOWN[action]
    rules = Rules(lambda name: missing_code(action, name), lambda name: malformed_code(action, name))
    given = examples.request(request_of(action))
    request = decode(given, request_of(action), rules)
    if row.check is not None:
        row.check(request)
    if row.dated is not None:
        row.dated(request, NOW_S)
    assert msgspec.to_builtins(request) == given


@pytest.mark.parametrize("action", KNOWN)
def test_an_answer_is_whole(action: str) -> None:
    shape = response_of(KNOWN[action])
    assert shape is not None
    answer = examples.ANSWERS[action]
    assert msgspec.to_builtins(msgspec.convert(answer, shape)) == answer
    published = {member.name for member in members(shape)} - {"RecorderKey"}
    assert answer.keys() == published, "an example leaves nothing out that the international edition has"
