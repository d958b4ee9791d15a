"""A value that must not be printed: keys, UserSigs, bucket credentials.

Leaf module: everything may import it. Nothing that formats, logs, compares by `repr`, serialises or
pickles an object that holds a `Secret` can show what is inside; only `reveal` does.
"""

from __future__ import annotations

import hmac
from typing import NoReturn, final

REDACTED = "<secret>"


@final
class Secret:
    """Text or bytes that print as `<secret>`.

    Equality is in constant time and only between secrets. Not hashable, so that it never becomes a
    key of something that is dumped.
    """

    __slots__ = ("_value",)

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: str | bytes) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> str:
        """The value as text. Raises UnicodeDecodeError when it was made of other bytes."""
        return self._value.decode()

    def reveal_bytes(self) -> bytes:
        """The value as bytes (UTF-8 of a text)."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __copy__(self) -> Secret:
        return self  # immutable

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised; seal it (roomtape.state.sealing)")
