"""What is told of one member, and patterns and codings that several shapes share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """One member's meaning. `low` and `high` bound the value (of a list: of its entries), ends included."""

    text: str
    low: int | None = None
    high: int | None = None
    default: float | str | bool | None = None
    choices: Mapping[int, str] | None = None  # what each value stands for
    words: tuple[float | str, ...] | None = None  # the values there are, where they say themselves
    most: int | None = None  # entries of a list
    pattern: str | None = None  # of a text, or of each text of a list
    example: object = None
    secret: bool = False
    usual: bool = False  # optional, but in an example


NUMBER_ROOM = 0xFFFFFFFF
STRING_ROOM = r"^[a-zA-Z0-9 !#$%&()+\-:;<=.>?@\[\]^_{}|~,]{1,64}$"
USER = r"^[A-Za-z0-9_\-.@#:+=]{1,64}$"
PATH_PART = r"^[A-Za-z0-9_-]+$"
IMAGE = r"^https?://[a-zA-Z0-9\-._~:/?#\[\]@!&()*+,%=]+$"
COLOUR = r"^(#|0x)[0-9A-Fa-f]{6}$"
RENDER = {0: "stretch", 1: "crop", 2: "fit with bars", 3: "crop a little, stretch the rest"}
STREAM = {0: "main stream", 1: "auxiliary stream"}
SIDE = 1920
MARK_SIDE = 2560
