"""The machine's wall clock is set under the started product (F-9): media, retries and the task's life go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.support.numbered import joined, pictures
from tests.support.publishers import publish_rtmp, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import start_stack, until

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

pytestmark = pytest.mark.skipif(not LIBRARIES, reason="needs the package faketime")


def test_f9_an_hour_forward_and_a_quarter_back_leave_no_trace(tmp_path: Path) -> None:
    receiver = CallbackReceiver()
    wall = tmp_path / "wall"
    wall.write_text("+0")
    env = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(wall),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with start_stack(tmp_path / "data", env=env) as stack:
        stack.set_callbacks(receiver.url)
        alice = publish_rtmp(stack, "clock", "alice", seconds=90)
        alice.wait_up()
        task = stack.create_recording("clock", OutputFormat=1, AvMerge=1)
        receiver.wait(307, task_id=task, timeout_s=40)

        for step in ("+3600", "-900"):
            wall.write_text(step)
            with pytest.raises(TencentCloudSDKException) as refused:  # the caller's clock is the one it was
                stack.describe(task)
            assert refused.value.get_code() == "AuthFailure.SignatureExpire", "the server's clock was set"
            pieces = len(recordings(stack, task, ".ts"))
            until("pieces after a step", lambda n=pieces: len(recordings(stack, task, ".ts")) > n, 30)

        sent = alice.end()
        stack.cli("record", "stop", task)  # signs by the same clock as the server's
        assert receiver.wait(310, task_id=task, timeout_s=40)[0].payload["Status"] == 0
        (playlist,) = recordings(stack, task, ".m3u8")
        lines = playlist.read_text().splitlines()
        assert "#EXT-X-DISCONTINUITY" not in lines
        starts = [int(line.split(":")[1].split(",")[0]) for line in lines if "FILE-ATTR" in line]
        lengths = [float(line.split(":")[1].rstrip(",")) for line in lines if line.startswith("#EXTINF")]
        for before, after, length in zip(starts, starts[1:], lengths, strict=False):
            assert after - before == pytest.approx(length * 1000, abs=2)
        parts = [playlist.parent / line for line in lines if not line.startswith("#")]
        seen = pictures(joined(parts, tmp_path / "all.ts"))
        assert seen.holes() == []
        assert seen.numbers[-1] >= sent["pictures"] - 2
        left = receiver.wait(102, timeout_s=20)
        assert len(left) == 1, "the room ends once, when she has left"
        assert "process_silent" not in stack.log()
    receiver.close()
