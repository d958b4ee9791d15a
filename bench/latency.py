"""How soon: Create to the first frame in the journal, stop to the MP4, and RSS over a longer call.

    python -m bench.latency [--creates 40] [--call-s 60] [--grow-s 600]

One WHIP publisher (FFmpeg's muxer) is live, its sender report known. Each Create is a signed request of the
official SDK; the clock runs from before the request until the task's journal holds its first batch.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from bench.cpu import Figure, circumstances, rss_mib, tree
from tests.support.publishers import publish_rtmp, publish_whip
from tests.support.receiver import CallbackReceiver
from tests.support.stack import REPO, Stack, start_stack

from roomtape.recording.journal import Journal


def has_frames(spooled: Path) -> bool:
    """Whether a task's journal holds a frame, by the reader that a restart would use, on a copy."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for path in spooled.glob("*.j"):
            shutil.copy(path, copy)
        recovered = Journal.open(copy, 1_000_000).recovered
    return recovered is not None and recovered.packets > 0


def first_frame_s(stack: Stack, room: str, robot: str) -> float:
    """Seconds from the call to the first batch on disk."""
    spool = stack.data_dir / "spool"
    asked = time.monotonic()
    task = stack.create_recording(room, robot=robot, AvMerge=1)
    while not has_frames(spool / task):
        if time.monotonic() - asked > 10:
            raise TimeoutError(f"no frame in the journal of {task}")
        time.sleep(0.005)
    took = time.monotonic() - asked
    stack.delete(task)
    return took


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--creates", type=int, default=40)
    parser.add_argument("--call-s", type=float, default=60)
    parser.add_argument("--grow-s", type=float, default=600)
    args = parser.parse_args()
    print(circumstances(REPO))
    receiver = CallbackReceiver()
    with tempfile.TemporaryDirectory() as folder, start_stack(Path(folder) / "data") as stack:
        stack.set_callbacks(receiver.url)
        pid = int(stack.dev["pid"])
        life_s = args.call_s + args.grow_s + 3 * args.creates + 60
        publishers = [publish_whip(stack, "call", "alice", seconds=life_s), publish_rtmp(stack, "call", "bob", seconds=life_s)]
        for publisher in publishers:
            publisher.wait_up()
        receiver.wait(201, count=2)
        time.sleep(3)  # sender reports
        starts = sorted(first_frame_s(stack, "call", f"start{i}") for i in range(args.creates))
        task = stack.create_recording("call", robot="mp4", AvMerge=1, OutputFormat=1)
        time.sleep(args.call_s)
        stopped = time.monotonic()
        stack.delete(task)
        receiver.wait(310, task_id=task, timeout_s=60)
        mp4_s = time.monotonic() - stopped
        long = stack.create_recording("call", robot="long", AvMerge=1)
        receiver.wait(301, task_id=long)
        time.sleep(30)
        before = rss_mib(tree(pid))
        time.sleep(args.grow_s)
        after = rss_mib(tree(pid))
        stack.delete(long)
        receiver.wait(305, task_id=long, timeout_s=60)
        for publisher in publishers:
            publisher.end()
    receiver.close()
    for figure in (
        Figure("Create to first frame in the journal, p50", starts[len(starts) // 2], "s"),
        Figure("Create to first frame in the journal, p95", starts[int(len(starts) * 0.95)], "s", 1.0),
        Figure(f"stop to MP4 of a {args.call_s:g} s call of two (event 310)", mp4_s, "s", 2.0),
        Figure("RSS of all processes while recording", after, "MiB"),
        Figure(f"RSS growth over {args.grow_s / 60:g} min of recording", after - before, "MiB"),
    ):
        print(figure.line())


if __name__ == "__main__":
    main()
