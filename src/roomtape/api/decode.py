"""From the parameters of a request to its published shape, or the code of the first thing wrong.

The order is fixed, whatever order a client writes in: unknown names, then types, then missing fields in
page order. JSON `null`, an empty string, and an empty list where one is required count as absent; 0 and
false are values, and so is an empty list that is optional: relay takes one as "everybody". A form or
query (flattened names, everything text) takes the same way: `Tree` and `Leaf` mark what came as text and
is turned into the type the shape asks for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from roomtape.api import messages
from roomtape.api.errors import ApiError
from roomtape.contract.members import Member, members
from roomtape.contract.shapes import Part

P = TypeVar("P", bound=Part)
MAX_LEVELS = 32  # of a flattened name; no published one has half as many
MAX_ITEMS = 10_000  # of any list; far above every published bound, so that a huge one costs nothing


class Leaf(str):
    """A value that came as text, of a type only the shape knows."""

    __slots__ = ()


class Tree(dict[str, Any]):
    """Flattened names put back into levels; a list is still a tree with decimal keys."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How strict to be, and which codes the action's page has."""

    missing: Callable[[str], str]
    malformed: Callable[[str], str]
    reject_unknown: bool = True


def decode(raw: Mapping[str, Any], shape: type[P], rules: Rules) -> P:
    """Build the shape. Raises ApiError."""
    if rules.reject_unknown:
        _refuse_unknown(raw, shape, "")
    typed = _typed(raw, shape, "", rules)
    built = _built(typed, shape, "", rules)
    assert isinstance(built, shape)
    return built


def decode_plain(body: bytes, shape: type[P]) -> P | None:
    """The shape straight from a JSON body that is plain and right; None when `decode` has to look.

    Plain: members of one value each, nothing escaped, nothing absent that is written down.
    """
    plain = _plain(shape)
    if plain is None or b"\\" in body:  # an escape may stand for NUL
        return None
    try:
        built: P = plain[0].decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for attribute, kind, low, high in plain[1]:
        value = getattr(built, attribute)
        if value is None:
            continue
        if kind == "string":
            if value == "":
                return None
        elif not low <= value <= high:
            return None
    return built


@functools.cache
def _plain(shape: type[P]) -> tuple[msgspec.json.Decoder[P], tuple[tuple[str, str, int, int], ...]] | None:
    """How to read a shape of single values, and the range of each; None for other shapes."""
    checks: list[tuple[str, str, int, int]] = []
    for member in members(shape):
        if member.shape is not None or member.is_list or member.kind == "float":
            return None
        if member.kind != "boolean":
            low, high = _RANGES.get(member.kind, (0, 0))
            if member.name in _APP_IDS:
                low = 1
            checks.append((member.attribute, member.kind, low, high))
    return msgspec.json.Decoder(shape), tuple(checks)


def plant(pairs: Iterable[tuple[str, str]]) -> Tree:
    """Put flattened names back into levels: `A.0.B=x` is field B of element 0 of A.

    Raises ApiError when a name is given both as a value and as a prefix, or has too many levels.
    """
    root = Tree()
    for name, value in pairs:
        if name.count(".") >= MAX_LEVELS:
            raise ApiError(
                "InvalidParameter", messages.Text("A parameter has too many levels.", "参数层级过多。")
            )
        at: Any = root
        *path, last = name.split(".")
        for step in path:
            at = at.setdefault(step, Tree())
            if not isinstance(at, Tree):
                raise _both(name)
        if isinstance(at.get(last), Tree):
            raise _both(name)
        at[last] = Leaf(value)
    return root


def _both(name: str) -> ApiError:
    return ApiError(
        "InvalidParameter",
        messages.Text(
            f"{name} is given both as a value and as a structure.", f"参数 {name} 既是值又是结构。"
        ),
    )


def _refuse_unknown(raw: Mapping[str, Any], shape: type[Part], path: str) -> None:
    known = {member.name: member for member in members(shape)}
    for name, value in raw.items():
        member = known.get(name)
        if member is None:
            raise ApiError("UnknownParameter", messages.unknown(path + name))
        if member.shape is None:
            continue
        for where, item in _items(member, value, path + name):
            if isinstance(item, Mapping):
                _refuse_unknown(item, member.shape, f"{where}.")


def _items(member: Member, value: Any, where: str) -> Iterable[tuple[str, Any]]:
    """The structures a member may hold, each with its place."""
    if not member.is_list:
        return [(where, value)]
    if not isinstance(value, list | Tree) or len(value) > MAX_ITEMS:
        return []  # what it is not is said later, when types are looked at
    if isinstance(value, Tree):
        return [(f"{where}.{index}", item) for index, item in value.items()]
    return [(f"{where}.{i}", item) for i, item in enumerate(value)]


def _typed(raw: Mapping[str, Any], shape: type[Part], path: str, rules: Rules) -> dict[str, Any]:
    """The present members by our names, each of its type; nested ones as dicts still."""
    typed: dict[str, Any] = {}
    for member in members(shape):
        value = raw.get(member.name)
        where = path + member.name
        if value is None or value == "":
            wants_text = member.kind == "string" and not member.is_list
            if value is not None and not wants_text and not isinstance(value, Leaf):
                raise _malformed(member, where, rules)
            continue
        if member.is_list:
            items = [_one(member, item, at, rules) for at, item in _elements(member, value, where, rules)]
            if items or not member.required:
                typed[member.attribute] = items
        else:
            typed[member.attribute] = _one(member, value, where, rules)
    return typed


def _elements(member: Member, value: Any, where: str, rules: Rules) -> list[tuple[str, Any]]:
    if isinstance(value, list | Tree) and len(value) > MAX_ITEMS:
        raise ApiError(
            rules.malformed(member.name),
            messages.Text(
                f"{where} has more than {MAX_ITEMS} elements.", f"{where} 超过 {MAX_ITEMS} 个元素。"
            ),
        )
    if isinstance(value, list):
        return [(f"{where}.{i}", item) for i, item in enumerate(value)]
    if isinstance(value, Tree):
        # Indices are ordered as numbers; gaps close up.
        if all(_INDEX.fullmatch(index) for index in value):
            return [(f"{where}.{i}", value[i]) for i in sorted(value, key=int)]
        raise ApiError(
            rules.malformed(member.name),
            messages.Text(f"The indices of {where} must be numbers.", f"{where} 的下标必须是数字。"),
        )
    raise ApiError(rules.malformed(member.name), messages.wrong_type(where, "list"))


def _one(member: Member, value: Any, where: str, rules: Rules) -> Any:
    """One value of a member. Raises ApiError."""
    if member.shape is not None:
        if not isinstance(value, Mapping):
            raise _malformed(member, where, rules)
        return _typed(value, member.shape, f"{where}.", rules)
    read = _FROM_TEXT[member.kind] if isinstance(value, Leaf) else _FROM_JSON[member.kind]
    result = read(value)
    if result is None:
        raise _malformed(member, where, rules)
    return result


def _malformed(member: Member, where: str, rules: Rules) -> ApiError:
    return ApiError(rules.malformed(member.name), messages.wrong_type(where, member.kind))


def _built(typed: Mapping[str, Any], shape: type[Part], path: str, rules: Rules) -> Part:
    """The shape itself, when nothing required is missing; depth first, in page order."""
    values: dict[str, Any] = {}
    for member in members(shape):
        value = typed.get(member.attribute)
        where = path + member.name
        # An application number of 0 is what a client sends that has none.
        if value is None or (member.name in _APP_IDS and value == 0):
            if member.required:
                raise ApiError(rules.missing(member.name), messages.missing(where))
            continue
        if member.shape is None:
            values[member.attribute] = value
        elif member.is_list:
            values[member.attribute] = [
                _built(item, member.shape, f"{where}.{i}.", rules) for i, item in enumerate(value)
            ]
        else:
            values[member.attribute] = _built(value, member.shape, f"{where}.", rules)
    return shape(**values)


_APP_IDS = ("SdkAppId", "SdkAppid")
_INDEX = re.compile(r"[0-9]{1,9}")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_FLOAT = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
_RANGES = {"uint64": (0, 2**64 - 1), "int64": (-(2**63), 2**63 - 1)}


def _integer(kind: str, value: Any) -> int | None:
    """A JSON number without fraction in the declared range; a quoted number is a string."""
    low, high = _RANGES[kind]
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if low <= value <= high else None


def _text(value: str) -> str | None:
    """A text that every store can hold: PostgreSQL has no NUL."""
    return None if "\0" in value else value


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) != float("inf") else None


_FROM_JSON: Mapping[str, Callable[[Any], Any]] = {
    "uint64": functools.partial(_integer, "uint64"),
    "int64": functools.partial(_integer, "int64"),
    "string": lambda value: _text(value) if isinstance(value, str) else None,
    "boolean": lambda value: value if isinstance(value, bool) else None,
    "float": _finite,
}
_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "uint64": lambda text: _integer("uint64", int(text)) if _INTEGER.fullmatch(text) else None,
    "int64": lambda text: _integer("int64", int(text)) if _INTEGER.fullmatch(text) else None,
    "string": lambda text: _text(str(text)),
    "boolean": _BOOLEANS.get,
    "float": lambda text: _finite(float(text)) if _FLOAT.fullmatch(text) else None,
}
