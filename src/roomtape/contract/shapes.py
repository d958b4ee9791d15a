"""The bases of all published shapes, and their two integer types.

A shape is data only: its fields are the published members in page order, in snake case here and in
PascalCase on the wire. `X | None = None` is an optional member: None means absent, and so does JSON
`null`; a value is never tested by its truth, since 0 is a value. Reading a request into its shape is
`roomtape.api.decode`'s work, which knows the codes; writing a response is msgspec's.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

U64 = Annotated[int, "uint64"]  # 0 .. 2**64-1 when read; never above 2**53-1 when written
I64 = Annotated[int, "int64"]


class Part(msgspec.Struct, rename="pascal", kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A structure inside a request or a response."""

    def __repr__(self) -> str:
        """The name alone: requests carry UserSigs and bucket keys, and a shape may end up in a log."""
        return f"<{type(self).__name__}>"


class Request(Part):
    """The members of one action's request, common parameters excluded."""


class Response(Part):
    """The members of one action's response, RequestId excluded: the gateway adds it."""
