"""Checks of single values, shared by the actions; each raises OutOfRange, which an action's page names."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from roomtape.api import messages
from roomtape.api.errors import OutOfRange
from roomtape.api.messages import Text

_STRING_ROOM = re.compile(r"[a-zA-Z0-9 !#$%&()+\-:;<=.>?@\[\]^_{}|~,]{1,64}")
_NUMBER_ROOM = re.compile(r"[1-9][0-9]{0,9}")
_USER = re.compile(r"[A-Za-z0-9_\-.@#:+=]{1,64}")
_COLOUR = re.compile(r"(#|0x)[0-9A-Fa-f]{6}")
_IMAGE_URL = re.compile(r"https?://[a-zA-Z0-9\-._~:/?#\[\]@!&()*+,%=]+")
_IMAGE_NAME = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)


def refuse(text: Text) -> OutOfRange:
    return OutOfRange("InvalidParameter.OutOfRange", text)


def within(name: str, value: int | None, low: int, high: int, default: int, unit: str = "") -> int:
    """The value or its default. Raises OutOfRange outside low..high."""
    if value is None:
        return default
    if not low <= value <= high:
        raise refuse(messages.between(name, low, high, unit))
    return value


def at_most(name: str, items: Sequence[object] | None, count: int) -> None:
    """Raise OutOfRange for a list that is too long."""
    if items is not None and len(items) > count:
        raise refuse(messages.at_most(name, count, "entries", "项"))


def is_string_room(room: str) -> bool:
    return _STRING_ROOM.fullmatch(room) is not None


def is_number_room(room: str) -> bool:
    return _NUMBER_ROOM.fullmatch(room) is not None and int(room) <= 0xFFFFFFFF


def is_user_id(user: str) -> bool:
    return _USER.fullmatch(user) is not None


def user_id(name: str, value: str) -> str:
    """A UserId. Raises OutOfRange."""
    if not is_user_id(value):
        raise refuse(
            Text(
                f"{name} must be 1 to 64 characters of A-Z a-z 0-9 _ - . @ # : + =.",
                f"{name} 必须是 1 到 64 个合法字符。",
            )
        )
    return value


def colour(name: str, value: str | None, default: str) -> str:
    """A colour as #rrggbb; both published spellings are taken. Raises OutOfRange."""
    if value is None:
        return default
    if _COLOUR.fullmatch(value) is None:
        raise refuse(Text(f"{name} must be a colour like #RRGGBB.", f"{name} 必须是 #RRGGBB 形式的颜色。"))
    return "#" + value[-6:].lower()


def image_url(name: str, value: str | None) -> str:
    """The address of a picture, "" when absent. Raises OutOfRange."""
    if value is None:
        return ""
    path = re.split(r"[?#]", value, maxsplit=1)[0]
    if _IMAGE_URL.fullmatch(value) is None or _IMAGE_NAME.search(path) is None:
        raise refuse(
            Text(
                f"{name} must be an http(s) URL ending in .jpg, .jpeg or .png.",
                f"{name} 必须是以 .jpg、.jpeg 或 .png 结尾的 URL。",
            )
        )
    return value


def matching(name: str, value: str, pattern: re.Pattern[str], rule: Text) -> str:
    """The value. Raises OutOfRange with the rule when it does not match."""
    if pattern.fullmatch(value) is None:
        raise refuse(Text(f"{name} {rule.en}", f"{name} {rule.zh}"))
    return value


def choice(name: str, value: str | None, values: Collection[str], default: str) -> str:
    """One of some words. Raises OutOfRange."""
    if value is None:
        return default
    if value not in values:
        raise refuse(messages.one_of(name, ", ".join(values)))
    return value


def one_number_of(name: str, value: float | None, values: Collection[float]) -> None:
    """Raise OutOfRange for a number that is none of these; absent is well."""
    if value is not None and value not in values:
        raise refuse(messages.one_of(name, ", ".join(f"{one:g}" for one in values)))


def flag(name: str, value: int | None) -> bool:
    """0, 1 or absent, which is 0. Raises OutOfRange."""
    return within(name, value, 0, 1, 0) == 1
