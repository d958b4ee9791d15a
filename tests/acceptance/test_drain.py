"""SIGTERM while people are recorded: over within 10 s, nothing that was sent is lost, and the next start goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.killing import hole_s, runs
from tests.support.numbered import joined, pictures
from tests.support.publisher import FPS
from tests.support.publishers import Publisher, publish_rtmp, publish_whip, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, until

DRAIN_S = 10.0
PATIENCE_S = 2.0  # until a busy machine has started and reaped the processes around that
# The drain closes rooms and stretches one after the other; what is sent meanwhile is not promised.
LOST_S = 1.0


@pytest.fixture
def receiver() -> Iterator[CallbackReceiver]:
    made = CallbackReceiver()
    yield made
    made.close()


def publish(stack: Stack) -> dict[str, tuple[Publisher, float]]:
    people = {
        "alice": publish_whip(stack, "drained", "alice", seconds=60),
        "bob": publish_rtmp(stack, "drained", "bob", seconds=60),
    }
    up: dict[str, tuple[Publisher, float]] = {}
    for user, person in people.items():
        person.wait_up()
        up[user] = (person, time.monotonic())
    return up


def go_on(stack: Stack, task: str) -> int:
    """Playlists that have a piece from after the hole."""
    return sum("#EXT-X-DISCONTINUITY" in path.read_text() for path in recordings(stack, task, ".m3u8"))


@pytest.mark.parametrize("signals", [1, 2], ids=["SIGTERM", "SIGTERM twice"])
def test_f3_r_drain_1_a_server_told_to_end_while_it_records_goes_on_at_its_next_start(
    tmp_path: Path, receiver: CallbackReceiver, signals: int
) -> None:
    stack = Stack(tmp_path / "data")
    stack.start()
    people: dict[str, tuple[Publisher, float]] = {}
    try:
        stack.set_callbacks(receiver.url)
        people = publish(stack)
        task = stack.create_recording("drained", OutputFormat=1, AvMerge=1, MaxIdleTime=600)
        receiver.wait(307, task_id=task, count=2)
        at = time.monotonic()
        lived_s = min(at - up for _, up in people.values())
        assert stack._process is not None
        for _ in range(signals - 1):
            stack._process.send_signal(signal.SIGTERM)
        code = stack.stop()
        took_s = time.monotonic() - at
        assert code == 0
        assert took_s <= DRAIN_S + PATIENCE_S
        for person, _ in people.values():
            person.cut()

        stack.start()
        assert stack.describe(task)["Status"] in ("Idle", "InProgress")
        people = publish(stack)
        until("pieces of the second session", lambda: go_on(stack, task) == len(people), 40)
        stack.delete(task)
        receiver.wait(310, task_id=task, timeout_s=60)
        playlists = recordings(stack, task, ".m3u8")
        assert len(playlists) == len(people)
        for path in playlists:
            lines = path.read_text().splitlines()
            parts = [path.parent / line for line in lines if not line.startswith("#")]
            first, second = runs(pictures(joined(parts, tmp_path / "whole.ts")).numbers)
            assert hole_s(first) == hole_s(second) == 0
            assert len(first) / FPS >= lived_s - first[0] / FPS - LOST_S
            assert lines.count("#EXT-X-DISCONTINUITY") == 1
        told = {event.headers["x-event-id"]: event for event in receiver.events(310, task_id=task)}
        assert [event.payload["Status"] for event in told.values()] == [0]
    finally:
        for person, _ in people.values():
            if person.process.poll() is None:
                person.cut()
        stack.stop()
