"""Cost of receiving and of recording: ours beside nginx-rtmp and FFmpeg, in one run.

    python -m bench.recording [--streams 20] [--seconds 30] [--runs 1]

RTMP publishers are FFmpeg processes that copy one pre-encoded 720p30 1.0 Mb/s file (not counted). Ours:
the whole process tree of `roomtape dev`, first only receiving, then recording every stream to HLS by
signed requests (journal, sync, hashes, checks and the copy into the bucket included). Figures are per
stream in percent of one core = 100 x CPU-seconds per stream-second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bench.cpu import Figure, circumstances, cpu_s, rss_mib, tree
from bench.media import make_flv
from bench.peers import ffmpeg_file_to_hls_cpu_s, nginx_rtmp, rtmp_pushers
from tests.support.receiver import CallbackReceiver
from tests.support.stack import REPO, start_stack

SETTLE_S = 4.0


def percent(pids: list[int], seconds: float, streams: int) -> float:
    """CPU of these processes over the next `seconds`, per stream, in percent of a core."""
    before, started = cpu_s(pids), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_s(pids) - before) / (time.monotonic() - started) / streams


def measure_nginx(source: Path, streams: int, seconds: float, work: Path) -> float:
    with nginx_rtmp(work) as (nginx, prefix):
        pushers = rtmp_pushers(source, [f"{prefix}s{i}" for i in range(streams)], seconds + 2 * SETTLE_S)
        time.sleep(SETTLE_S)
        used = percent(tree(nginx.pid), seconds, streams)
        for pusher in pushers:
            pusher.wait()
    return used


def measure_ours(source: Path, streams: int, seconds: float, work: Path) -> list[Figure]:
    receiver = CallbackReceiver()
    figures: list[Figure] = []
    with start_stack(work / "data") as stack:
        stack.set_callbacks(receiver.url)
        pid = int(stack.dev["pid"])
        idle = rss_mib(tree(pid))
        urls = [stack.rtmp_url(f"bench{i}", f"u{i}") for i in range(streams)]
        pushers = rtmp_pushers(source, urls, 2 * seconds + 6 * SETTLE_S)
        receiver.wait(203, count=streams)
        time.sleep(SETTLE_S)
        figures.append(Figure("receive from RTMP", percent(tree(pid), seconds, streams), "%", 0.20))
        created: dict[str, float] = {}
        for i in range(streams):
            task = stack.create_recording(f"bench{i}", robot="robot", OutputFormat=0, AvMerge=1)
            created[task] = time.monotonic()
        receiver.wait(301, count=streams)
        time.sleep(SETTLE_S)
        all_in = percent(tree(pid), seconds, streams)
        figures.append(Figure("receive and record from RTMP to HLS", all_in, "%", 0.50))
        figures.append(Figure("of it, recording (journal included)", all_in - figures[0].value, "%", 0.30))
        busy = rss_mib(tree(pid))
        figures.append(Figure("RSS, idle server with its workers", idle, "MiB"))
        figures.append(Figure("RSS per recorded stream", (busy - idle) / streams, "MiB"))
        for task in created:
            stack.delete(task)
        receiver.wait(305, count=streams, timeout_s=60)
        for pusher in pushers:
            pusher.terminate()
            pusher.wait()
    receiver.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    source = make_flv(REPO / ".cache" / "bench" / "720p30.flv")
    print(circumstances(REPO))
    print(f"N = {args.streams}, {args.seconds:g} s, media seed 7")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        figures = [
            Figure("nginx-rtmp, RTMP to HLS", measure_nginx(source, args.streams, args.seconds, work / "nginx"), "%"),
            Figure("ffmpeg, file to HLS, -c:v copy -c:a aac", 100 * ffmpeg_file_to_hls_cpu_s(source, work / "ff", 120), "%"),
            *measure_ours(source, args.streams, args.seconds, work),
        ]
    for figure in figures:
        print(figure.line())


if __name__ == "__main__":
    main()
