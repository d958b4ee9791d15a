"""Every member of every action is explained, and what is told of its values is what the action checks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from roomtape.api.actions import ingest, limits, quality, usage
from roomtape.api.decode import Rules, decode
from roomtape.api.errors import ApiError
from roomtape.api.openapi import response_of
from roomtape.contract import meaning as patterns
from roomtape.contract import meanings_reports
from roomtape.contract.meaning import Meaning
from roomtape.contract.meanings import MEANINGS, meaning
from roomtape.contract.meanings_media import TASK
from roomtape.contract.shapes import Part
from tests.support.requests import KNOWN, NOW_S, Path, at, body, put, request_of, walk

RULES = Rules(missing=lambda name: f"MissingParameter.{name}", malformed=lambda name: f"InvalidParameter.{name}")
MEMBERS = [
    (name, shape, member, path) for name in KNOWN for shape, member, path in walk(request_of(name))
]
ANSWERS = [
    (name, shape, member)
    for name, row in KNOWN.items()
    for shape, member, _ in walk(response_of(row))  # type: ignore[arg-type]
]
# Members whose bound another member narrows: their own end need not be legal beside the example of that.
NARROWED = {
    *("Top", "Left", "Width", "Height", "LocationX", "LocationY", "ImageWidth", "ImageHeight"),
    *("StartTime", "EndTime", "PayloadType", "WaterMarkType", "RoomIdType", "WithTranscoding"),
}


def name_of(value: object) -> str:
    return ".".join(value) if isinstance(value, tuple) else ""


def test_every_member_is_explained() -> None:
    """A line in contract/meanings*.py."""
    assert [f"{shape.__name__}.{member}" for _, shape, member, _ in MEMBERS if meaning(shape, member) is None] == []
    assert [f"{shape.__name__}.{member}" for _, shape, member in ANSWERS if meaning(shape, member) is None] == []


def test_no_explanation_is_of_nothing() -> None:
    used = {id(meaning(shape, member)) for _, shape, member, _ in MEMBERS}
    used |= {id(meaning(shape, member)) for _, shape, member in ANSWERS}
    assert [key for key, told in MEANINGS.items() if id(told) not in used and key not in ("RequestId", "RoomId", "UserId")] == []


def judge(action: str, given: dict[str, Any]) -> str:
    row = KNOWN[action]
    try:
        request = decode(given, request_of(action), RULES)
        if row.check is not None:
            row.check(request)
        if row.dated is not None:
            row.dated(request, NOW_S)
    except ApiError as error:
        return error.code
    return "OK"


@pytest.mark.parametrize(("action", "shape", "member", "path"), MEMBERS, ids=name_of)
def test_every_member_can_be_given(action: str, shape: type[Part], member: str, path: Path) -> None:
    """The ground of all tests below: a legal request with this member in it."""
    assert judge(action, body(action, path)) == "OK"
    at(body(action, path), path)


TOLD = [
    (action, path, told) for action, shape, member, path in MEMBERS if (told := meaning(shape, member)) is not None
]
RANGED = [row for row in TOLD if row[2].low is not None]


@pytest.mark.parametrize(("action", "path", "told"), RANGED, ids=name_of)
def test_a_range_is_the_one_that_is_checked(action: str, path: Path, told: Meaning) -> None:
    assert told.low is not None
    given = body(action, path)
    if told.high is not None and told.high < 2**63 - 1:
        assert judge(action, put(given, path, told.high + 1)) != "OK"
    if told.low > 0 and path[-1] != "PayloadType":
        assert judge(action, put(given, path, told.low - 1)) != "OK"
    if path[-1] not in NARROWED and told.high is not None:
        assert judge(action, put(given, path, told.low)) == "OK"
        assert judge(action, put(given, path, told.high)) == "OK" or told.choices is not None
    assert told.choices is None or list(told.choices) == list(range(told.low, (told.high or 0) + 1))


@pytest.mark.parametrize(("action", "path", "told"), [row for row in TOLD if row[2].words], ids=name_of)
def test_the_words_are_the_ones_that_are_taken(action: str, path: Path, told: Meaning) -> None:
    assert told.words is not None
    given = body(action, path)
    listed = isinstance(at(given, path), list)
    for word in told.words:
        assert judge(action, put(given, path, [word] if listed else word)) == "OK"
    other: Any = "other" if isinstance(told.words[0], str) else 7
    assert judge(action, put(given, path, [other] if listed else other)) != "OK"


@pytest.mark.parametrize(("action", "path", "told"), [row for row in TOLD if row[2].pattern], ids=name_of)
def test_a_text_against_the_pattern_is_refused(action: str, path: Path, told: Meaning) -> None:
    assert told.pattern is not None
    given = body(action, path)
    one = at(given, path)
    whole = one[0] if isinstance(one, list) else one
    assert re.search(told.pattern, whole)
    for wrong in ("ü", "a" * 200 + "ü"):
        assert not re.search(told.pattern, wrong)
        assert judge(action, put(given, path, [wrong] if isinstance(one, list) else wrong)) != "OK"


@pytest.mark.parametrize(("action", "path", "told"), [row for row in TOLD if row[2].most], ids=name_of)
def test_a_list_may_be_as_long_as_it_says(action: str, path: Path, told: Meaning) -> None:
    assert told.most is not None
    given = body(action, path)
    one = at(given, path)
    entry = one[0] if isinstance(one, list) else "amy"
    assert judge(action, put(given, path, [entry] * told.most)) == "OK"
    assert judge(action, put(given, path, [entry] * (told.most + 1))) != "OK"


@pytest.mark.parametrize(
    ("told", "checked"),
    [
        (patterns.STRING_ROOM, limits._STRING_ROOM),
        (patterns.USER, limits._USER),
        (patterns.COLOUR, limits._COLOUR),
        (meanings_reports.DAY, usage._DAY),
        (meanings_reports.MINUTE, usage._MINUTE),
        (meanings_reports.CALL_ID, quality._CALL),
    ],
)
def test_a_pattern_is_the_one_that_is_checked(told: str, checked: re.Pattern[str]) -> None:
    assert told.removeprefix("^").removesuffix("$") == checked.pattern.replace("([0-9]{1,20})", "[0-9]{1,20}")


def test_the_metrics_and_the_task_of_the_pages_are_those_that_are_checked() -> None:
    assert set(meanings_reports.METRICS) == quality.METRICS
    assert ingest._TASK.fullmatch(TASK)
