"""One request on its way through the chain: what arrived, and what the steps have found out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from roomtape.access.service import ApiKey, App
from roomtape.api.dispatch import Action, Planned
from roomtape.api.errors import ApiError
from roomtape.api.messages import Language
from roomtape.api.signing import Authorization
from roomtape.contract.shapes import Request, Response

_LATER: Any = None  # not known yet, and of no step before that
_NOTHING: Mapping[str, str] = MappingProxyType({})  # the same for all calls
_IDS = 64  # ids made of one reading of the system's random source
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_random: list[str] = []  # 32 hexadecimal digits each, every one used once


def request_id() -> str:
    """A UUID, version 4, lower case."""
    if not _random:
        digits = os.urandom(16 * _IDS).hex()
        _random.extend(digits[i : i + 32] for i in range(0, len(digits), 32))
    h = _random.pop()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:]}"


class Call(msgspec.Struct, eq=False):
    """Filled in from top to bottom; a step may rely on what the steps before it have set."""

    method: str
    path: str
    query: bytes  # raw, as received
    headers: dict[str, str]  # by lower-case name
    address: str  # the caller's, as believed
    trusted: bool  # the peer is a proxy of ours
    trace_id: str  # to be echoed; "" when there is none
    started_ns: int
    request_id: str
    steps: Iterator[Any]  # of the chain, those that are left
    failure: ApiError | None = None
    body: bytes = b""
    too_large: bool = False  # the rest of the body is not read: the connection closes
    content: str = ""  # media type alone
    form: Mapping[str, str] = _NOTHING  # decoded query or form
    pairs: Sequence[tuple[str, str]] = ()
    authorization: Authorization | None = None  # None: signed in the older way
    action_name: str = ""
    version: str = ""
    timestamp_text: str = ""
    timestamp_s: int = 0
    region: str = ""
    token: str = ""
    language: Language = "en-US"
    client: str = ""
    secret_id: str = ""
    signature: str = ""
    action: Action | Planned = _LATER  # from step 5 on
    key: ApiKey = _LATER  # that signed; from step 7 on
    request: Request | None = None
    app: App | None = None
    response: Response | None = None
    replayed: bool = False
