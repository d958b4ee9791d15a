"""Legal requests of every action, with any one member in them: made from what is told of the members."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import roomtape.api.gateway  # noqa: F401  (registers the actions)
from roomtape.api.dispatch import ACTIONS, PLANNED, Action, Planned
from roomtape.contract.meaning import COLOUR, Meaning
from roomtape.contract.meanings import meaning
from roomtape.contract.meanings_reports import START
from roomtape.contract.members import members
from roomtape.contract.shapes import Part

Path = tuple[str, ...]  # names, and "0" for the one element of a list of structures
KNOWN: dict[str, Action | Planned] = {
    **dict(sorted(ACTIONS.items())),
    **{name: row for name, row in sorted(PLANNED.items()) if row.request is not None},
}
_FITTING = {COLOUR: "#102030", r"^[0-9A-Fa-f]{32}$": "0" * 32}
NOW_S = START + 7200  # when the examples of requests about the past are young enough


def request_of(action: str) -> type[Part]:
    shape = KNOWN[action].request
    assert shape is not None
    return shape


def walk(shape: type[Part], path: Path = ()) -> Iterator[tuple[type[Part], str, Path]]:
    """Every member at every depth, with its path."""
    for member in members(shape):
        at = (*path, member.name)
        yield shape, member.name, at
        if member.shape is not None:
            yield from walk(member.shape, (*at, "0") if member.is_list else at)


def body(action: str, wanted: Path = (), **values: Any) -> dict[str, Any]:
    """A legal request with all that is required and the members on the way to `wanted`.

    `values` are members at the top by name.
    """
    made = _filled(request_of(action), wanted)
    _mend(action, made)
    return made | values


def put(given: dict[str, Any], path: Path, value: object) -> dict[str, Any]:
    """A copy with another value at the path."""
    changed: Any = copy.deepcopy(given)
    at = changed
    for step in path[:-1]:
        at = at[int(step)] if step.isdigit() else at[step]
    at[path[-1]] = value
    return dict(changed)


def without(given: dict[str, Any], path: Path) -> dict[str, Any]:
    """A copy that lacks the member at the path."""
    changed: Any = copy.deepcopy(given)
    at = changed
    for step in path[:-1]:
        at = at[int(step)] if step.isdigit() else at[step]
    del at[path[-1]]
    return dict(changed)


def at(given: dict[str, Any], path: Path) -> Any:
    one: Any = given
    for step in path:
        one = one[int(step)] if step.isdigit() else one[step]
    return one


def _filled(shape: type[Part], wanted: Path) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for member in members(shape):
        here = bool(wanted) and wanted[0] == member.name
        if not member.required and not here:
            continue
        told = meaning(shape, member.name) or Meaning("")
        if member.shape is not None:
            rest = wanted[1:] if here else ()
            value: Any = _filled(member.shape, rest[1:] if rest[:1] == ("0",) else rest)
        else:
            value = _value(member.kind, told)
        made[member.name] = [value] if member.is_list and not isinstance(value, list) else value
    return made


def _value(kind: str, told: Meaning) -> Any:
    if told.example is not None:
        return told.example
    if told.words is not None:
        return told.words[0]
    if told.low is not None:
        return told.low
    if told.pattern is not None and told.pattern in _FITTING:
        return _FITTING[told.pattern]
    return {"uint64": 1, "int64": 1, "string": "x", "boolean": True, "float": 1.0}[kind]


def _mend(action: str, made: dict[str, Any]) -> None:
    """What rules over several members ask for besides."""
    if action == "CreateCloudRecording":
        storage = made["StorageParams"]
        if not storage:
            storage["CloudStorage"] = {
                "Vendor": 1,
                "Region": "r",
                "Bucket": "b",
                "AccessKey": "a",
                "SecretKey": "s",
            }
        made.setdefault("RoomIdType", 0)
    for mark in made.get("MixLayoutParams", {}).get("WaterMarkList", []):
        _mark(mark, ("WaterMarkImage", "WaterMarkChar", "WaterMarkTimestamp"), {"Pos": 0})
    if action == "StartPublishCdnStream":
        made["AgentParams"].setdefault("UserSig", "x")
        if "FeedBackRoomParams" not in made:
            made.setdefault("PublishCdnParams", [{"PublishCdnUrl": "rtmp://push.example.com/live/demo"}])
    if "PublishCdnStream" in action and "VideoParams" in made:
        video = made["VideoParams"]
        video.setdefault("VideoEncode", {"Width": 1920, "Height": 1920, "Fps": 15, "BitRate": 1500, "Gop": 2})
        for mark in video.get("WaterMarkList", []):
            image = {"WaterMarkUrl": "x", "WaterMarkWidth": 1, "WaterMarkHeight": 1, "LocationX": 0, "LocationY": 0}
            _mark(mark, ("WaterMarkText",), image, first=1, other=("WaterMarkImage", 0))
        for window in video.get("LayoutParams", {}).get("MixLayoutList", []):
            if "BackgroundCustomRender" in window or window.get("BackgroundRenderMode") is not None:
                window.update(ImageWidth=640, ImageHeight=640)
                window.setdefault("BackgroundCustomRender", {"Width": 64, "Height": 64})
    if "PayloadUuid" in (through := made.get("SeiParams", {}).get("PassThrough", {})):
        through["PayloadType"] = 5
    if made.get("RecordParams", {}).get("UniRecord") == 3:
        made["RecordParams"].setdefault("McuStorageParams", {"McuCloudVod": {}})
    if action == "StartStreamIngest":
        made.setdefault("StreamUrl", "https://media.example.com/film.mp4")


def _mark(
    mark: dict[str, Any],
    names: tuple[str, ...],
    filling: dict[str, Any],
    *,
    first: int = 0,
    other: tuple[str, int] | None = None,
) -> None:
    """Name the kind that a watermark has; give it one when it has none."""
    kind = next((i + first for i, name in enumerate(names) if name in mark), None)
    if kind is None:
        name, kind = other or (names[-1], len(names) - 1)
        mark.setdefault(name, filling)
    mark["WaterMarkType"] = kind
