"""A worker is killed at every named point and at any moment: no trace in the files (TAPE 14, F-1, G-4)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.numbered import joined, pictures
from tests.support.publishers import publish_rtmp, publish_whip, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, start_stack, until

POINTS = ["after-journal-write", "before-ack", "mid-mux", "before-rename", "after-rename", "mid-finalise"]
MEDIAN_S = 0.020


def workers(stack: Stack) -> set[int]:
    return {int(p["pid"]) for p in stack.tree() if p["role"] == "worker"}


def assert_whole(stack: Stack, task: str, users: set[str], tmp_path: Path) -> None:
    """Every playlist of the task holds every picture once, with no mark that anything happened."""
    playlists = recordings(stack, task, ".m3u8")
    assert len(playlists) == len(users)
    for path in playlists:
        lines = path.read_text().splitlines()
        assert "#EXT-X-DISCONTINUITY" not in lines
        assert lines[-1] == "#EXT-X-ENDLIST"
        parts = [path.parent / line for line in lines if not line.startswith("#")]
        seen = pictures(joined(parts, tmp_path / f"{path.stem}.ts"))
        assert seen.holes() == []
        assert seen.complaints == []
    for file in recordings(stack, task, ".mp4"):
        seen = pictures(file)
        assert seen.holes() == []
        assert seen.complaints == []


@pytest.mark.parametrize("point", POINTS)
def test_f1_a_worker_killed_at_a_named_point_leaves_no_trace(point: str, tmp_path: Path) -> None:
    receiver = CallbackReceiver()
    with start_stack(tmp_path / "data", env={"ROOMTAPE_FAULT": f"{point}:2" if "journal" in point else point}) as stack:
        stack.set_callbacks(receiver.url)
        before = workers(stack)
        alice = publish_whip(stack, "fault", "alice", seconds=60)
        bob = publish_rtmp(stack, "fault", "bob", seconds=60)
        alice.wait_up()
        bob.wait_up()
        task = stack.create_recording("fault", OutputFormat=1, AvMerge=1)
        receiver.wait(307, task_id=task, timeout_s=30, count=2)
        alice.end()
        bob.end()
        stack.delete(task)
        receiver.wait(310, task_id=task, timeout_s=40)
        assert workers(stack) != before, f"no worker died at {point}"
        assert_whole(stack, task, {"alice", "bob"}, tmp_path)
        finals = receiver.events(310, task_id=task)
        assert [e.payload["Status"] for e in finals] == [0]
        assert receiver.events(306, task_id=task) == []
        assert len(receiver.events(301, task_id=task)) == len(receiver.events(302, task_id=task)) == 1
    receiver.close()


def test_f1_workers_killed_again_and_again_lose_nothing(stack: Stack, callbacks: CallbackReceiver, tmp_path: Path) -> None:
    alice = publish_whip(stack, "killed", "alice", seconds=60)
    alice.wait_up()
    task = stack.create_recording("killed", OutputFormat=1, AvMerge=1)
    callbacks.wait(301, task_id=task)
    for _ in range(4):
        held = until(
            "a worker with the task",
            lambda: next((p for p in stack.tree() if p["role"] == "worker" and p["tasks"]), None),
        )
        os.kill(int(held["pid"]), signal.SIGKILL)
        until("its successor", lambda pid=int(held["pid"]): pid not in workers(stack) and len(workers(stack)) >= 1)
    callbacks.wait(307, task_id=task, timeout_s=40)
    sent = alice.end()
    stack.delete(task)
    callbacks.wait(310, task_id=task, timeout_s=40)
    assert_whole(stack, task, {"alice"}, tmp_path)
    (mp4,) = recordings(stack, task, ".mp4")
    assert pictures(mp4).numbers[-1] >= sent["pictures"] - 2
