"""A spool whose disk fills under the started product (R-DISK-1..3, F-5): nobody's task ends, and it goes on."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.support.measure import measure
from tests.support.numbered import joined, pictures
from tests.support.publishers import publish_rtmp, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, start_stack, until

SPOOL_MB = 48
MB = 1 << 20
LEVELS = "[workers]\ncount = 1\n[disk]\nwarn_percent = 70\nrefuse_percent = 50\npause_percent = 25\ntask_reserve_mb = 1\n"
NO_LEVELS = "[workers]\ncount = 1\n[disk]\nwarn_percent = 0\nrefuse_percent = 0\npause_percent = 0\ntask_reserve_mb = 0\n"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")


class Disk:
    """A small file system mounted as the spool, and a file that takes its room."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / ".ballast"

    @property
    def free(self) -> int:
        room = os.statvfs(self.path)
        return room.f_bavail * room.f_frsize

    def leave(self, free_bytes: int) -> None:
        """Take so much that `free_bytes` are left; less than before gives room back."""
        held = self._ballast.stat().st_size if self._ballast.exists() else 0
        size = max(0, held + self.free - free_bytes)
        with self._ballast.open("ab") as file:
            os.ftruncate(file.fileno(), min(size, held))
            with contextlib.suppress(OSError):  # the recorder took the room first: it is full all the same
                os.posix_fallocate(file.fileno(), 0, max(size, 1))

    def clear(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_spool(tmp_path: Path, config: str) -> Iterator[tuple[Stack, Disk]]:
    spool = tmp_path / "data" / "spool"
    spool.mkdir(parents=True)
    (tmp_path / "data" / "roomtape.toml").write_text(config)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SPOOL_MB}m", "none", str(spool)], check=True)
    try:
        with start_stack(tmp_path / "data") as stack:
            yield stack, Disk(spool)
    finally:
        subprocess.run(["umount", "-l", str(spool)], check=True)


def said(stack: Stack, *words: str) -> list[str]:
    return [line for line in stack.log().splitlines() if all(word in line for word in words)]


@pytest.fixture
def receiver() -> Iterator[CallbackReceiver]:
    made = CallbackReceiver()
    yield made
    made.close()


def test_r_disk_1_f5_the_youngest_waits_nothing_new_begins_and_all_goes_on(
    tmp_path: Path, receiver: CallbackReceiver
) -> None:
    with small_spool(tmp_path, LEVELS) as (stack, disk):
        stack.set_callbacks(receiver.url)
        alice = publish_rtmp(stack, "old", "alice", seconds=90)
        bob = publish_rtmp(stack, "young", "bob", seconds=90)
        alice.wait_up()
        bob.wait_up()
        old = stack.create_recording("old", OutputFormat=1, AvMerge=0)
        receiver.wait(301, task_id=old)
        young = stack.create_recording("young", OutputFormat=1, AvMerge=0)
        receiver.wait(307, task_id=young, timeout_s=40, count=2)

        disk.leave(SPOOL_MB * MB // 5)
        receiver.wait(308, task_id=young, timeout_s=10)
        assert said(stack, "task_paused", young)
        assert not said(stack, "task_paused", old)
        with pytest.raises(TencentCloudSDKException, match="disk") as refused:
            stack.create_recording("third")
        assert refused.value.get_code() == "FailedOperation.RestrictedConcurrency"
        assert stack.describe(young)["Status"] != "Exited"

        pieces = len(recordings(stack, old, ".ts"))
        until("the old task's next pieces", lambda: len(recordings(stack, old, ".ts")) > pieces, 30)
        kept = {path: path.read_bytes() for path in recordings(stack, young, ".ts")}
        assert kept, "what was open is closed and stored"

        disk.clear()
        until("the young one goes on", lambda: said(stack, "task_resumed", young), 10)
        until("new pieces of it", lambda: len(recordings(stack, young, ".ts")) > len(kept), 40)
        sent = {"alice": alice.end(), "bob": bob.end()}
        for task in (old, young):
            stack.delete(task)
        for task in (old, young):
            assert receiver.wait(310, task_id=task, timeout_s=60)[0].payload["Status"] == 0
        assert all(path.read_bytes() == before for path, before in kept.items())
        assert receiver.events(308, task_id=old) == []
        assert len(receiver.events(308, task_id=young)) == 1
        # the old one has every picture, the young one a marked hole and everything on both sides of it
        whole = pictures(joined(video_pieces(stack, old), tmp_path / "old.ts"))
        assert whole.holes() == []
        assert whole.numbers[-1] >= sent["alice"]["pictures"] - 2
        holed = pictures(joined(video_pieces(stack, young), tmp_path / "young.ts"))
        assert len(holed.holes()) == 1
        assert holed.numbers[-1] >= sent["bob"]["pictures"] - 2
        (playlist,) = (p for p in recordings(stack, young, ".m3u8") if "video" in p.name)
        assert playlist.read_text().count("#EXT-X-DISCONTINUITY") == 1


def video_pieces(stack: Stack, task: str) -> list[Path]:
    (playlist,) = (p for p in recordings(stack, task, ".m3u8") if "video" in p.name)
    return [playlist.parent / line for line in playlist.read_text().splitlines() if not line.startswith("#")]


def test_r_disk_2_f5_a_disk_full_for_five_seconds_costs_no_picture(
    tmp_path: Path, receiver: CallbackReceiver
) -> None:
    with small_spool(tmp_path, NO_LEVELS) as (stack, disk):
        stack.set_callbacks(receiver.url)
        alice = publish_rtmp(stack, "full", "alice", seconds=90)
        alice.wait_up()
        task = stack.create_recording("full", OutputFormat=0, AvMerge=1)
        receiver.wait(307, task_id=task, timeout_s=40)

        def full() -> list[str]:
            disk.leave(0)  # what is uploaded meanwhile makes room: take that, too
            return said(stack, "task_note", "disk_full", task)

        until("a write that fails", full, 20)
        receiver.wait(308, task_id=task, timeout_s=10)
        stack.create_recording("other")  # the API is as it was
        assert stack.describe(task)["Status"] == "InProgress"
        disk.clear()
        until("it writes again", lambda: said(stack, "task_note", "disk_ok", task), 10)
        pieces = len(recordings(stack, task, ".ts"))
        until("and makes pieces", lambda: len(recordings(stack, task, ".ts")) > pieces, 30)
        sent = alice.end()
        stack.delete(task)
        assert receiver.wait(305, task_id=task, timeout_s=60)[0].payload["Status"] == 0
        parts = recordings(stack, task, ".ts")
        for part in parts:  # R-DISK-3: each piece decodes by itself
            assert measure(part).warnings == []
        seen = pictures(joined(parts, tmp_path / "all.ts"))
        assert seen.holes() == []
        assert seen.numbers[-1] >= sent["pictures"] - 2
