"""The log's lines: their form, that none is lost, and that the short way says the same as the long one."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Iterator
from threading import Thread

import pytest
import structlog

from roomtape import loglines
from roomtape.loglines import Lines, Often

STAMP = r"timestamp='\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z'"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What the log of a process that was set up at level info writes to; undone afterwards."""
    written, before = io.StringIO(), structlog.get_config()
    straight = loglines._straight
    loglines.set_up("info", written)
    yield written
    structlog.configure(**before)
    loglines._straight = straight


def members(line: str) -> str:
    assert re.match(STAMP + " ", line), line
    return line.split("' ", 1)[1]


def test_a_line_has_time_level_event_and_members_in_their_order(stream: io.StringIO) -> None:
    log = structlog.get_logger()
    log.info("one", b=1, a="two words", c=None)
    log.debug("not_said")
    log.warning("two")
    try:
        raise KeyError("x")
    except KeyError:
        log.exception("three", z=1)
    one, two, three = stream.getvalue().splitlines()
    assert members(one) == "level='info' event='one' b=1 a='two words' c=None"
    assert members(two) == "level='warning' event='two'"
    assert members(three).startswith("level='error' event='three' z=1 exception='Traceback")


def test_an_event_said_often_is_the_same_line_and_can_be_listened_to(stream: io.StringIO) -> None:
    say = Often("thing", "text", "number", "empty", "truth")
    values = ("it's\nof two lines %s", 0.5, "", True)
    say(*values)
    structlog.get_logger().info(
        "thing", **dict(zip(("text", "number", "empty", "truth"), values, strict=True))
    )
    one, two = stream.getvalue().splitlines()
    assert members(one) == members(two)
    with structlog.testing.capture_logs() as heard:
        say(*values)
    assert heard == [
        {"event": "thing", "log_level": "info", "text": values[0], "number": 0.5, "empty": "", "truth": True}
    ]
    assert len(stream.getvalue().splitlines()) == 2


def test_an_event_said_often_is_not_said_below_the_level() -> None:
    written, before = io.StringIO(), structlog.get_config()
    straight = loglines._straight
    try:
        loglines.set_up("warning", written)
        Often("thing", "a")(1)
    finally:
        structlog.configure(**before)
        loglines._straight = straight
    assert written.getvalue() == ""


class Counted(io.StringIO):
    """A stream that knows how often it was written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


async def test_what_is_said_in_one_turn_of_the_loop_is_one_write_in_its_order() -> None:
    stream = Counted()
    lines = Lines(stream)
    for number in range(100):
        lines.info(f"{number}\n")
    assert stream.writes == 0
    await asyncio.sleep(0)
    assert stream.writes == 1
    assert stream.getvalue().split() == [str(number) for number in range(100)]


async def test_a_warning_leaves_at_once_with_what_was_held_before_it() -> None:
    stream = Counted()
    lines = Lines(stream)
    lines.info("first\n")
    lines.warning("second\n")
    assert stream.getvalue().split() == ["first", "second"]
    await asyncio.sleep(0)
    assert stream.getvalue().split() == ["first", "second"], "nothing twice"


def test_outside_a_loop_each_line_leaves_at_once() -> None:
    stream = Counted()
    Lines(stream).info("one\n")
    assert stream.getvalue() == "one\n"


async def test_no_line_of_any_thread_is_lost() -> None:
    stream = Counted()
    lines = Lines(stream)

    def speak(name: object) -> None:
        for i in range(2000):
            lines.info(f"{name}.{i}\n")

    threads = [Thread(target=speak, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for i in range(2000):
        lines.info(f"loop.{i}\n")
        if i % 100 == 0:
            await asyncio.sleep(0)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    lines.flush()
    said = [f"{n}.{i}" for n in (*range(4), "loop") for i in range(2000)]
    assert sorted(stream.getvalue().split()) == sorted(said)


async def test_a_stream_that_nobody_reads_is_no_fault_of_who_speaks() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.info("x\n")
    stream.close()
    await asyncio.sleep(0)
    lines.error("y\n")
