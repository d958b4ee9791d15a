"""The log: one line per event on a stream, `key=value`, made cheaply enough for a line per request.

What is said during one turn of the event loop leaves in one write at its end; a warning or worse, and
whatever is said outside a loop, leaves at once, with what was held before it. So no line is lost but to a
process that is killed in that very turn.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from threading import Lock
from typing import Any, TextIO

import structlog

NS_PER_S = 1_000_000_000

_LEVELS = {"warn": "warning", "exception": "error"}  # by a method's name, when it is not the same


class Lines:
    """A logger for structlog, and its own factory: all loggers of a process write the same stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._held: list[str] = []
        self._lock = Lock()

    def __call__(self, *_: object) -> Lines:
        return self

    def info(self, line: str) -> None:
        """Write at the end of this turn of the event loop; at once where none runs."""
        with self._lock:
            self._held.append(line)
            if len(self._held) > 1:
                return  # somebody has seen to it already
        try:
            asyncio.get_running_loop().call_soon(self.flush)
        except RuntimeError:
            self.flush()

    debug = info

    def error(self, line: str) -> None:
        """Write at once."""
        with self._lock:
            self._held.append(line)
        self.flush()

    warning = warn = exception = critical = fatal = error

    def flush(self) -> None:
        """Write what is held."""
        with self._lock:
            held, self._held = self._held, []
            with suppress(OSError, ValueError):  # nobody reads: there is nowhere left to say so
                self._stream.write("".join(held))
                self._stream.flush()


def set_up(level: str, stream: TextIO | None = None) -> Lines:
    """Send our loggers' lines and the standard ones alike to `stream` (stderr), from `level` on."""
    global _straight
    minimum = logging.getLevelNamesMapping()[level.upper()]
    stream = stream or sys.stderr
    lines, processors = Lines(stream), [render]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=lines,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=stream, level=max(minimum, logging.WARNING), format="%(message)s")
    atexit.register(lines.flush)
    _straight = (processors, lines.info if minimum <= logging.INFO else None)
    return lines


def render(_: object, method: str, event: MutableMapping[str, Any]) -> str:
    """The line of one event: time in UTC, level and name first, then its members as given."""
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(None, method, event)
    name = event.pop("event")
    members = "".join([f" {key}={value!r}" for key, value in event.items()])
    return f"timestamp='{_now()}' level='{_LEVELS.get(method, method)}' event={name!r}{members}\n"


class Often:
    """An event at level info that is said so often that its cost counts: always with these members.

    The line is the one that `log.info(name, **members)` gives, without the way through its dicts.
    """

    def __init__(self, name: str, *members: str) -> None:
        self._log = structlog.get_logger()
        self._name = name
        self._members = members
        pairs = "".join(f" {member}=%r" for member in members)
        self._line = f"timestamp='%s' level='info' event={name!r}{pairs}\n"

    def __call__(self, *values: object) -> None:
        """Say it, with one value per member."""
        processors, info = _straight
        if processors and processors[0] is render:
            if info is not None:
                info(self._line % (_now(), *values))
        else:  # not set up by us, or somebody listens in
            self._log.info(self._name, **dict(zip(self._members, values, strict=True)))


# What `set_up` gave structlog (which replaces the list's content to listen in), and where lines go then.
_straight: tuple[list[Any], Callable[[str], None] | None] = ([], None)
_second = (0, "")  # its beginning in Unix nanoseconds, and its text up to the point


def _now() -> str:
    """This instant as ISO 8601 in UTC, with microseconds."""
    global _second
    now = time.time_ns()
    began, text = _second
    since = now - began  # a small number is quicker to divide, and most lines are of a second that is known
    if not 0 <= since < NS_PER_S:
        since = now % NS_PER_S
        text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(now // NS_PER_S))
        _second = (now - since, text)
    return f"{text}{since // 1000:06d}Z"
