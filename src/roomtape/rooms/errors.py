"""How a verb of the rooms can fail."""

from __future__ import annotations

from roomtape.errors import DomainError


class RoomNotFound(DomainError):
    """No room of that type and name is open."""


class UserNotInRoom(DomainError):
    """The user is not in the room."""


class RoomFull(DomainError):
    """The room has as many users, or as many publishers, as its scene allows."""


class SubstreamTaken(DomainError):
    """Another user of the room already shares a screen."""


class NobodyPublishing(DomainError):
    """There is no room, or nobody in it, to watch."""
