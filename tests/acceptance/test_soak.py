"""Long fault runs (`make soak`): workers and the server killed at random moments, for ROOMTAPE_SOAK_S seconds.

The seed is printed; ROOMTAPE_SOAK_SEED repeats a run's choices.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.numbered import joined, pictures
from tests.support.publishers import Publisher, publish_rtmp, publish_whip, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, start_stack, until

pytestmark = pytest.mark.soak

SOAK_S = float(os.environ.get("ROOMTAPE_SOAK_S", "1800"))
SEED = int(os.environ.get("ROOMTAPE_SOAK_SEED", str(random.SystemRandom().randrange(10**6))))
ROUND_S = (10.0, 40.0)
BETWEEN_KILLS_S = (0.05, 4.0)
RSS_SLOPE_BYTES_S = (
    1 << 20
)  # per process; a leak of a frame per second is more, noise of a run of minutes is less


@pytest.fixture
def stack() -> Iterator[Stack]:
    with (
        tempfile.TemporaryDirectory(prefix="rt-") as directory,
        start_stack(Path(directory) / "d") as running,
    ):
        yield running


@pytest.fixture
def receiver(stack: Stack) -> Iterator[CallbackReceiver]:
    made = CallbackReceiver()
    stack.set_callbacks(made.url)
    yield made
    made.close()


def pause(seconds: float) -> None:
    """Let time pass: the kills come at moments the dice chose, nothing is waited for."""
    threading.Event().wait(seconds)


def publish(stack: Stack, room: str, seconds: float) -> list[Publisher]:
    people = [
        publish_whip(stack, room, "alice", seconds=seconds + 60),
        publish_rtmp(stack, room, "bob", seconds=seconds + 60),
    ]
    for person in people:
        person.wait_up()
    return people


def test_f1_workers_killed_at_random_moments_lose_and_double_nothing(
    stack: Stack, receiver: CallbackReceiver, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    began, kills, round_no = time.monotonic(), 0, 0
    while time.monotonic() - began < SOAK_S:
        round_no += 1
        room, length = f"soak{round_no}", dice.uniform(*ROUND_S)
        people = publish(stack, room, length)
        task = stack.create_recording(room, OutputFormat=1, AvMerge=1)
        receiver.wait(301, task_id=task)
        end = time.monotonic() + length
        while time.monotonic() < end:
            pause(dice.uniform(*BETWEEN_KILLS_S))
            held = [p for p in stack.tree() if p["role"] == "worker"]
            if held:
                os.kill(int(dice.choice(held)["pid"]), signal.SIGKILL)
                kills += 1
        for person in people:
            person.end()
        stack.delete(task)
        receiver.wait(310, task_id=task, timeout_s=90)
        playlists = recordings(stack, task, ".m3u8")
        assert len(playlists) == 2
        for path in playlists:
            lines = path.read_text().splitlines()
            parts = [path.parent / line for line in lines if line and not line.startswith("#")]
            seen = pictures(joined(parts, tmp_path / f"{path.stem}.ts"))
            assert seen.holes() == [], (SEED, round_no, path.name)
            assert "#EXT-X-DISCONTINUITY" not in lines
        assert [e.payload["Status"] for e in receiver.events(310, task_id=task)] == [0]
        assert receiver.events(306, task_id=task) == []
    print(f"{round_no} recordings, {kills} kills")
    assert kills > 0


def test_f2_the_server_killed_at_random_moments_keeps_every_task(
    stack: Stack, receiver: CallbackReceiver
) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    began, round_no = time.monotonic(), 0
    while time.monotonic() - began < SOAK_S / 2:
        round_no += 1
        room = f"server{round_no}"
        people = publish(stack, room, 60)
        task = stack.create_recording(room, OutputFormat=1, AvMerge=1)
        receiver.wait(301, task_id=task)
        pause(dice.uniform(0.5, 15))
        old = stack.pid_of("server")
        os.kill(old, signal.SIGKILL)

        def back(old: int = old) -> bool:
            try:
                return stack.http("/readyz")[0] == 200 and stack.pid_of("server") != old
            except (OSError, RuntimeError, StopIteration):
                return False

        until("the server is back", back, 20)
        for person in people:
            person.cut()
        assert stack.describe(task)["Status"] in ("Idle", "InProgress")
        stack.delete(task)
        receiver.wait(302, task_id=task, timeout_s=60)
        receiver.wait(310, task_id=task, timeout_s=60)
        assert len(receiver.events(310, task_id=task)) == 1, (SEED, round_no)


def test_g16_memory_does_not_grow_with_recordings(stack: Stack, receiver: CallbackReceiver) -> None:
    def weigh() -> dict[int, int]:
        return {int(p["pid"]): int(p["rss_bytes"]) for p in stack.tree()}

    def record(room: str) -> None:
        people = publish(stack, room, 10)
        task = stack.create_recording(room, OutputFormat=1, AvMerge=1)
        receiver.wait(307, task_id=task, timeout_s=30)
        for person in people:
            person.end()
        stack.delete(task)
        receiver.wait(310, task_id=task, timeout_s=60)

    for number in range(3):  # caches and arenas fill
        record(f"warm{number}")
    first, began, number = weigh(), time.monotonic(), 0
    while time.monotonic() - began < SOAK_S / 2:
        number += 1
        record(f"weighed{number}")
    took_s = time.monotonic() - began
    last = weigh()
    slopes = {pid: (last[pid] - size) / took_s for pid, size in first.items() if pid in last}
    assert len(slopes) == len(first), "a process was replaced"
    assert {pid: slope for pid, slope in slopes.items() if slope > RSS_SLOPE_BYTES_S} == {}
