"""Everything is killed at once, at each named point of any process: the next start makes good what was begun."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from roomtape.faults import POINTS
from roomtape.supervisor import ask
from tests.support.numbered import joined, pictures
from tests.support.publishers import publish_whip, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, start_stack, until

ALL = POINTS - {"mid-decode"}  # of no process that records: the poison tests'
AFTER_THE_STOP = {"mid-finalise"}


def kill_everything(stack: Stack) -> None:
    tree = [int(p["pid"]) for p in ask(stack.data_dir / "run", cmd="tree")]
    for pid in tree:
        with contextlib.suppress(ProcessLookupError):  # its parent's death was its own
            os.kill(pid, signal.SIGKILL)
    stack.stop()


def reached(stack: Stack) -> set[str]:
    return {path.name.removeprefix("fault-") for path in (stack.data_dir / "run" / "faults").glob("fault-*")}


def test_f2_r_lost_2_everything_killed_at_each_named_point_is_made_good_by_the_next_start(tmp_path: Path) -> None:
    receiver = CallbackReceiver()
    faults = ",".join(f"{point}:1:stop" for point in sorted(ALL))
    left, deaths, deleted = set(ALL), 0, False
    with start_stack(tmp_path / "data", env={"ROOMTAPE_FAULT": faults}) as stack:
        stack.set_callbacks(receiver.url)
        task = stack.create_recording("fault", OutputFormat=1, AvMerge=1, MaxIdleTime=600)
        receiver.wait(301, task_id=task)

        def at_a_point() -> set[str]:
            return reached(stack) & left

        while left:
            alice = None
            # Some points are met while the server takes up what the last one left, before it serves.
            if until("the server", lambda: at_a_point() or stack.is_ready()) is True:
                if left <= AFTER_THE_STOP and not deleted:
                    stack.delete(task)
                    deleted = True
                elif not deleted:
                    alice = publish_whip(stack, "fault", "alice", seconds=60)
            until(f"a process at one of {left}", at_a_point, timeout_s=60)
            kill_everything(stack)
            deaths += 1
            if alice is not None:
                alice.cut()
            left -= reached(stack)
            stack.launch()
        until("the last server", stack.is_ready)
        receiver.wait(310, task_id=task, timeout_s=60)

        (path,) = recordings(stack, task, ".m3u8")
        lines = path.read_text().splitlines()
        names = [line for line in lines if not line.startswith("#")]
        assert lines[-1] == "#EXT-X-ENDLIST"
        assert sorted(names) == sorted(part.name for part in recordings(stack, task, ".ts"))
        assert lines.count("#EXT-X-DISCONTINUITY") <= deaths
        (film,) = recordings(stack, task, ".mp4")
        for seen in (pictures(joined([path.parent / name for name in names], tmp_path / "whole.ts")), pictures(film)):
            # Each life of the publisher counts from 0 on: what is there of it is there whole.
            assert all(after == 0 for _, after in seen.holes()), seen.holes()
            assert seen.complaints == []
        told = {event.headers["x-event-id"]: event for event in receiver.events(task_id=task)}
        types = [event.type for event in told.values()]  # a delivery may be repeated, an event not
        for once in (301, 302, 305, 310):
            assert types.count(once) == 1, (once, types)
        assert 306 not in types
        assert [event.payload["Status"] for event in told.values() if event.type == 310] == [0]
    receiver.close()
