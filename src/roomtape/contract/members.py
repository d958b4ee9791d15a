"""The members of a published shape, as its readers need them: wire name, kind, whether required."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from roomtape.contract.shapes import Part


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a shape: its wire name, our name, and what it holds."""

    name: str
    attribute: str
    kind: str  # uint64, int64, string, boolean, float or object
    shape: type[Part] | None
    is_list: bool
    required: bool


@functools.cache
def members(shape: type[Part]) -> tuple[Member, ...]:
    """All members of a shape, in page order."""
    hints = get_type_hints(shape, include_extras=True)
    return tuple(
        _member(field.encode_name, field.name, hints[field.name], field.required)
        for field in msgspec.structs.fields(shape)
    )


def _member(name: str, attribute: str, hint: Any, required: bool) -> Member:
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    is_list = get_origin(hint) is list
    if is_list:
        (hint,) = get_args(hint)
    if get_origin(hint) is Annotated:
        return Member(name, attribute, hint.__metadata__[0], None, is_list, required)
    kinds = {str: "string", bool: "boolean", float: "float"}
    if hint in kinds:
        return Member(name, attribute, kinds[hint], None, is_list, required)
    assert isinstance(hint, type)
    assert issubclass(hint, Part)
    return Member(name, attribute, "object", hint, is_list, required)
