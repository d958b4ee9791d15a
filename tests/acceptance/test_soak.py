"""Long fault runs (`make soak`): processes killed at random moments, ROOMTAPE_SOAK_KILLS times or ROOMTAPE_SOAK_S seconds.

The seed is printed; ROOMTAPE_SOAK_SEED repeats a run's choices.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.support import power
from tests.support.killing import Killing, Tally, is_back, live_workers, pause, spread
from tests.support.publishers import Publisher, publish_rtmp, publish_whip
from tests.support.receiver import CallbackReceiver
from tests.support.record import keep
from tests.support.stack import Stack, start_stack, until

pytestmark = pytest.mark.soak

SOAK_S = float(os.environ.get("ROOMTAPE_SOAK_S", "5400"))
KILLS = int(os.environ.get("ROOMTAPE_SOAK_KILLS", "1000"))
STACKS = int(os.environ.get("ROOMTAPE_SOAK_STACKS", "2"))
SEED = int(os.environ.get("ROOMTAPE_SOAK_SEED", str(random.SystemRandom().randrange(10**6))))
WEIGH_S = min(SOAK_S, 900.0)
LOST_S = 1.0  # G-4: what no worker had read yet, and what was not forced to disk yet
BACK_S = {"worker": 2.0, "server": 5.0}  # G-6: the median and 95 of 100
DEATHS = 20  # of either, one at a time: one in twenty may be late for what else the machine does
LONG_LIFE_S = 11.0  # what has lived so long is started again at once; sooner it waits, the longer the more often
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
    server = report["back_s"].get("server", {"p95": 0.0})
    assert server["p95"] <= BACK_S["server"]
    assert total.kills.total() >= KILLS // STACKS * STACKS


def test_g6_a_dead_worker_is_back_in_two_seconds_and_a_dead_server_in_five(
    stack: Stack, receiver: CallbackReceiver, request: pytest.FixtureRequest
) -> None:
    """With the task in its hands: a worker when as many as before are at work, the server when it serves."""

    def held() -> bool:
        return sum(int(worker["tasks"]) for worker in live_workers(stack)) == 1

    def replaced(victim: int, count: int) -> bool:
        pids = {int(worker["pid"]) for worker in live_workers(stack)}
        return victim not in pids and len(pids) >= count and held()

    def serves(old: int) -> bool:
        return is_back(stack, old) and held()

    back: dict[str, list[float]] = {"worker": [], "task": [], "server": []}
    publisher = publish_rtmp(stack, "one", "bob", seconds=DEATHS * 60)
    publisher.wait_up()
    task = stack.create_recording("one", MaxIdleTime=300)
    receiver.wait(301, task_id=task)
    try:
        for _ in range(DEATHS):
            pause(LONG_LIFE_S)
            workers = live_workers(stack)
            victim = next(int(worker["pid"]) for worker in workers if worker["tasks"])
            os.kill(victim, signal.SIGKILL)
            at = time.monotonic()
            until("the task in other hands", partial(replaced, victim, 1), every_s=0.02)
            back["task"].append(time.monotonic() - at)
            until("its successor", partial(replaced, victim, len(workers)), every_s=0.02)
            back["worker"].append(time.monotonic() - at)
            pause(LONG_LIFE_S)
            server = stack.pid_of("server")
            publisher.cut()
            os.kill(server, signal.SIGKILL)
            at = time.monotonic()
            until("the server", partial(serves, server), timeout_s=60, every_s=0.02)
            back["server"].append(time.monotonic() - at)
            publisher = publish_rtmp(stack, "one", "bob", seconds=DEATHS * 60)
            publisher.wait_up()
    finally:
        if publisher.process.poll() is None:
            publisher.cut()
    report = {what: spread(values) for what, values in back.items()}
    say(json.dumps(report))
    keep("restarts", request.node.nodeid, back_s=report)
    stack.delete(task)
    receiver.wait(305, task_id=task, timeout_s=60)
    for what, most in BACK_S.items():
        assert report[what]["median"] <= report[what]["p95"] <= most, what


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
