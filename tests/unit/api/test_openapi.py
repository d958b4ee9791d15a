"""Every member of an action that works is explained, and its range is the one the action checks."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

import roomtape.api.gateway  # noqa: F401  (registers the actions)
from roomtape.api.actions import limits
from roomtape.api.decode import Rules, decode
from roomtape.api.dispatch import ACTIONS
from roomtape.api.errors import ApiError
from roomtape.contract import meanings
from roomtape.contract.meanings import MEANINGS, Meaning, meaning
from roomtape.contract.members import members
from roomtape.contract.shapes import Part

Path = tuple[str, ...]
RULES = Rules(missing=lambda name: f"MissingParameter.{name}", malformed=lambda name: f"InvalidParameter.{name}")


def walk(shape: type[Part], path: Path = ()) -> Iterator[tuple[type[Part], str, Path]]:
    for member in members(shape):
        at = (*path, member.name)
        yield shape, member.name, at
        if member.shape is not None:
            yield from walk(member.shape, (*at, "0") if member.is_list else at)


BUILT = [
    (name, shape, member, path)
    for name, action in sorted(ACTIONS.items())
    for shape, member, path in walk(action.request)
]


@pytest.mark.parametrize(("action", "shape", "member", "path"), BUILT, ids=lambda v: ".".join(v) if isinstance(v, tuple) else "")
def test_every_member_is_explained(action: str, shape: type[Part], member: str, path: Path) -> None:
    assert meaning(shape, member) is not None, f"{shape.__name__}.{member} needs a line in contract/meanings.py"


def test_no_explanation_is_of_nothing() -> None:
    used = {id(meaning(shape, member)) for _, shape, member, _ in BUILT}
    for action in ACTIONS.values():
        used |= {id(meaning(shape, member)) for shape, member, _ in walk(action.response)}
    assert [key for key, told in MEANINGS.items() if id(told) not in used and key not in ("RequestId", "RoomId", "UserId")] == []


def legal(shape: type[Part], wanted: Path) -> dict[str, Any]:
    """A body with all that is required, and the members on the way to `wanted`."""
    made: dict[str, Any] = {}
    for member in members(shape):
        here = bool(wanted) and wanted[0] == member.name
        if not member.required and not here:
            continue
        told = meaning(shape, member.name) or Meaning("")
        if member.shape is not None:
            rest = wanted[1:] if here else ()
            value: Any = legal(member.shape, rest[1:] if rest[:1] == ("0",) else rest)
            value = [value] if member.is_list else value
        else:
            value = told.example if told.example is not None else told.low if told.low is not None else "x"
        made[member.name] = value
    return made


def body(action: str, path: Path) -> dict[str, Any]:
    made = legal(ACTIONS[action].request, path)
    if action == "CreateCloudRecording":
        storage = made["StorageParams"]
        if not storage:
            storage["CloudStorage"] = {"Vendor": 1, "Region": "r", "Bucket": "b", "AccessKey": "a", "SecretKey": "s"}
        made.setdefault("RoomIdType", 0)
    for mark in made.get("MixLayoutParams", {}).get("WaterMarkList", []):
        kind = next((i for i, n in enumerate(("WaterMarkImage", "WaterMarkChar", "WaterMarkTimestamp")) if n in mark), None)
        if kind is None:
            mark["WaterMarkTimestamp"] = {"Pos": 0}
            kind = 2
        mark["WaterMarkType"] = kind
    return made


def judge(action: str, given: dict[str, Any]) -> str:
    row = ACTIONS[action]
    try:
        request = decode(given, row.request, RULES)
        if row.check is not None:
            row.check(request)
    except ApiError as error:
        return error.code
    return "OK"


def put(given: dict[str, Any], path: Path, value: object) -> dict[str, Any]:
    changed: Any = copy.deepcopy(given)
    at = changed
    for step in path[:-1]:
        at = at[int(step)] if step.isdigit() else at[step]
    at[path[-1]] = value
    return dict(changed)


RANGED = [
    (action, path, told)
    for action, shape, member, path in BUILT
    if (told := meaning(shape, member)) is not None and told.low is not None
]


@pytest.mark.parametrize(("action", "path", "told"), RANGED, ids=lambda v: ".".join(v) if isinstance(v, tuple) else "")
def test_a_range_is_the_one_that_is_checked(action: str, path: Path, told: Meaning) -> None:
    assert told.low is not None
    assert told.high is not None
    given = body(action, path)
    assert judge(action, given) == "OK"
    assert judge(action, put(given, path, told.high + 1)) != "OK"
    if told.low > 0:
        assert judge(action, put(given, path, told.low - 1)) != "OK"
    assert told.choices is None or list(told.choices) == list(range(told.low, told.high + 1))


LISTS = [
    (action, path, told)
    for action, shape, member, path in BUILT
    if (told := meaning(shape, member)) is not None and told.most is not None
]


@pytest.mark.parametrize(("action", "path", "told"), LISTS, ids=lambda v: ".".join(v) if isinstance(v, tuple) else "")
def test_a_list_may_be_as_long_as_it_says(action: str, path: Path, told: Meaning) -> None:
    assert told.most is not None
    given = body(action, path)
    one: Any = given
    for step in path:
        one = one[int(step)] if step.isdigit() else one[step]
    entry = one[0] if isinstance(one, list) else "amy"
    assert judge(action, put(given, path, [entry] * told.most)) == "OK"
    assert judge(action, put(given, path, [entry] * (told.most + 1))) != "OK"


@pytest.mark.parametrize(
    ("told", "checked"),
    [(meanings.STRING_ROOM, limits._STRING_ROOM), (meanings.USER, limits._USER), (meanings.COLOUR, limits._COLOUR)],
)
def test_a_pattern_is_the_one_that_is_checked(told: str, checked: re.Pattern[str]) -> None:
    assert told.removeprefix("^").removesuffix("$") == checked.pattern
