"""How a recording verb can fail; the API layer alone gives these their wire codes."""

from __future__ import annotations

from roomtape.errors import DomainError, NotBuilt


class TaskNotFound(DomainError):
    """There is no such task here: unknown, of another application, gone, or past its call window."""


class TaskExited(DomainError):
    """The recorder has left; only its files are still under way, so nothing can be changed."""


class TooManyTasks(DomainError):
    """The application already runs as many recording tasks as it may."""


class NoCapacity(DomainError):
    """The node has no room for one more recording: no worker, or too little disk."""


class FeatureOff(DomainError):
    """Recording is switched off for this application."""


class OptionNotSupported(NotBuilt):
    """The request is valid, but this server does not do that yet."""
