"""The root of every error a domain raises on purpose.

A domain declares its own errors beside its service, each a subclass of `DomainError` with a sentence for
its docstring. A domain error knows whose fault it is and what to tell a person; it knows no wire code:
`roomtape.api.errors` is the one place where the two meet.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Fault = Literal["caller", "destination", "ours"]


class DomainError(Exception):
    """Something a caller can be told: `str(error)` holds no secret and no internal address.

    `fault` says who has to act: the caller (the request was wrong), the destination (their bucket, their
    CDN, their webhook) or ours (only this one is a page to the operator).
    """

    fault: ClassVar[Fault] = "caller"


class NotBuilt(DomainError):
    """The request is valid, but asks for something this server does not do."""


class Unavailable(DomainError):
    """The server cannot do this now (starting, draining, its database away); later it may."""

    fault: ClassVar[Fault] = "ours"
