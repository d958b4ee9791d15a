"""The server is killed at every named point of its own: the next one finishes what was begun, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.support.numbered import joined, pictures
from tests.support.publishers import publish_whip, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, start_stack, until

POINTS = ["before-commit", "after-commit", "mid-upload", "before-delete"]


def server_pid(stack: Stack) -> int:
    return next((int(p["pid"]) for p in stack.tree() if p["role"] == "server"), 0)


def answers(stack: Stack, task: str) -> bool:
    """Whether the server answers again; the task is there as soon as it does."""
    try:
        return stack.describe(task)["Status"] in ("Idle", "InProgress")
    except TencentCloudSDKException as error:
        if error.get_code() != "ClientNetworkError":
            raise
        return False


@pytest.mark.parametrize("point", POINTS)
def test_f2_r_lost_2_a_server_killed_at_a_named_point_is_made_good_by_the_next(point: str, tmp_path: Path) -> None:
    receiver = CallbackReceiver()
    with start_stack(tmp_path / "data", env={"ROOMTAPE_FAULT": point}) as stack:
        stack.set_callbacks(receiver.url)
        before = server_pid(stack)
        alice = publish_whip(stack, "fault", "alice", seconds=60)
        alice.wait_up()
        task = stack.create_recording("fault", OutputFormat=0, AvMerge=1, MaxIdleTime=600)
        receiver.wait(301, task_id=task)
        until(
            f"the server's death at {point}",
            lambda: server_pid(stack) not in (0, before),
            timeout_s=40,
        )
        alice.cut()
        until("the next server", lambda: answers(stack, task))
        stack.delete(task)
        receiver.wait(305, task_id=task, timeout_s=40)

        (path,) = recordings(stack, task, ".m3u8")
        lines = path.read_text().splitlines()
        names = [line for line in lines if not line.startswith("#")]
        assert lines[-1] == "#EXT-X-ENDLIST"
        assert len(names) == len(set(names)) >= 1
        assert sorted(names) == sorted(part.name for part in recordings(stack, task, ".ts"))
        seen = pictures(joined([path.parent / name for name in names], tmp_path / "whole.ts"))
        assert seen.holes() == []
        spool = tmp_path / "data" / "spool" / task
        until("the spool's end", lambda: not list(spool.rglob("*.ts")))
        told = {event.headers["x-event-id"]: event for event in receiver.events(task_id=task)}
        types = [event.type for event in told.values()]  # a delivery may be repeated, an event not
        for once in (301, 303, 307, 304, 302, 305):
            assert types.count(once) == 1, (once, types)
        assert 306 not in types
        assert [event.payload["Status"] for event in told.values() if event.type == 305] == [0]
    receiver.close()
