"""Cost of recording WebRTC publishers: pictures only, and with Opus turned into AAC.

    python -m bench.recording_webrtc [--streams 20] [--seconds 30]

Publishers are roomtape-bots (not counted): WHIP, 720p30 0.97 Mb/s H.264 and 64 kb/s stereo Opus, pre-encoded.
Ours is the whole process tree of `roomtape dev`: first only receiving, then every stream recorded to HLS with
AvMerge 1, then again with StreamType 2 (pictures only). Percent of one core per stream.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from bench.cpu import Figure, circumstances, rss_mib, tree
from bench.recording import SETTLE_S, percent
from bench.webrtc import BOTS, make_media
from tests.support.receiver import CallbackReceiver
from tests.support.stack import REPO, Stack, start_stack


def recorded(
    stack: Stack, receiver: CallbackReceiver, streams: int, seconds: float, robot: str, **record: int
) -> tuple[float, float]:
    """Record every room; returns percent per stream with receiving included, and the tree's RSS in MiB."""
    tasks = [stack.create_recording(f"bench{i}", robot=robot, **record) for i in range(streams)]
    for task in tasks:
        receiver.wait(301, task_id=task)
    time.sleep(SETTLE_S)
    pids = tree(int(stack.dev["pid"]))
    used, rss = percent(pids, seconds, streams), rss_mib(pids)
    for task in tasks:
        stack.delete(task)
    for task in tasks:
        receiver.wait(305, task_id=task, timeout_s=60)
    return used, rss


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    video, audio = make_media(REPO / ".cache" / "bench")
    receiver = CallbackReceiver()
    print(circumstances(REPO))
    print(f"N = {args.streams}, {args.seconds:g} s")
    with tempfile.TemporaryDirectory() as folder, start_stack(Path(folder) / "data") as stack:
        stack.set_callbacks(receiver.url)
        idle = rss_mib(tree(int(stack.dev["pid"])))
        life_s = 3 * args.seconds + 12 * SETTLE_S
        bots = subprocess.Popen(
            [str(BOTS), "publish", stack.whip_url("bench{n}", "bot"), "--token", stack.usersig("bot"),
             "--count", str(args.streams), "--seconds", str(life_s), "--pictures", str(video), "--sounds", str(audio)],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        receiver.wait(201, count=args.streams, timeout_s=60)
        time.sleep(SETTLE_S)
        receiving = percent(tree(int(stack.dev["pid"])), args.seconds, args.streams)
        both, rss = recorded(stack, receiver, args.streams, args.seconds, "both", AvMerge=1)
        pictures, _ = recorded(stack, receiver, args.streams, args.seconds, "pictures", StreamType=2)
        bots.terminate()
        bots.wait()
    receiver.close()
    for figure in (
        Figure("receive from WHIP", receiving, "%", 0.20),
        Figure("receive and record, pictures and Opus to AAC", both, "%"),
        Figure("of it, recording with Opus to AAC", both - receiving, "%", 1.1),
        Figure("of it, recording pictures only", pictures - receiving, "%", 0.30),
        Figure("RSS, idle server with its workers", idle, "MiB"),
        Figure("RSS per recorded stream", (rss - idle) / args.streams, "MiB"),
    ):
        print(figure.line())


if __name__ == "__main__":
    main()
