"""Long fault runs (`make soak`): processes killed at random moments, ROOMTAPE_SOAK_KILLS times or ROOMTAPE_SOAK_S seconds.

The seed is printed; ROOMTAPE_SOAK_SEED repeats a run's choices.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import power
from tests.support.killing import Killing, Tally
from tests.support.publishers import Publisher, publish_rtmp, publish_whip
from tests.support.receiver import CallbackReceiver
from tests.support.record import keep
from tests.support.stack import Stack, start_stack

pytestmark = pytest.mark.soak

SOAK_S = float(os.environ.get("ROOMTAPE_SOAK_S", "5400"))
KILLS = int(os.environ.get("ROOMTAPE_SOAK_KILLS", "1000"))
STACKS = int(os.environ.get("ROOMTAPE_SOAK_STACKS", "2"))
SEED = int(os.environ.get("ROOMTAPE_SOAK_SEED", str(random.SystemRandom().randrange(10**6))))
WEIGH_S = min(SOAK_S, 900.0)
LOST_S = 1.0  # G-4: what no worker had read yet, and what was not forced to disk yet
SENDING_S = 0.25  # a picture's way from the publisher's clock into the log, on a busy machine
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


def publish(stack: Stack, room: str, seconds: float) -> list[Publisher]:
    people = [
        publish_whip(stack, room, "alice", seconds=seconds + 60),
        publish_rtmp(stack, room, "bob", seconds=seconds + 60),
    ]
    for person in people:
        person.wait_up()
    return people


def killed(kills: int, seed: int, folder: Path, until_s: float) -> Tally:
    """One stack of its own, killed so often; what it cost."""
    callbacks = CallbackReceiver()
    sync_log = folder / "sync.log"
    try:
        with start_stack(folder / "d", env=power.noting(sync_log)) as stack:
            stack.set_callbacks(callbacks.url)
            return Killing(stack, callbacks, folder, sync_log, random.Random(seed), say).run(kills, until_s)
    finally:
        callbacks.close()


def say(text: str) -> None:
    print(text, flush=True)


def test_f1_f2_g4_g6_a_thousand_deaths_cost_what_is_promised(request: pytest.FixtureRequest) -> None:
    """The whole of it in `STACKS` stacks at once; docs/results/kills.json keeps the figures."""
    say(f"seed {SEED}, {KILLS} kills in {STACKS} stacks")
    until_s, total = time.monotonic() + SOAK_S, Tally()
    with tempfile.TemporaryDirectory(prefix="rt-") as folder, ThreadPoolExecutor(STACKS) as pool:
        begun = []
        for n in range(STACKS):
            own = Path(folder) / str(n)
            own.mkdir()
            begun.append(pool.submit(killed, KILLS // STACKS, SEED + n, own, until_s))
        for one in begun:
            total.add(one.result())
    report = total.report()
    say(json.dumps(report, indent=1))
    keep("kills", request.node.nodeid, seed=SEED, **report)
    assert total.faults == []
    assert total.holes_s == 0
    for cause in ("server", "everything", "power"):
        assert max(total.tails_s.get(cause, []), default=0.0) <= LOST_S + SENDING_S, cause
    assert total.kills.total() >= KILLS // STACKS * STACKS


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
    while time.monotonic() - began < WEIGH_S:
        number += 1
        record(f"weighed{number}")
    took_s = time.monotonic() - began
    last = weigh()
    slopes = {pid: (last[pid] - size) / took_s for pid, size in first.items() if pid in last}
    assert len(slopes) == len(first), "a process was replaced"
    assert {pid: slope for pid, slope in slopes.items() if slope > RSS_SLOPE_BYTES_S} == {}
