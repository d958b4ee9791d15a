"""Cost of the media core alone: receiving RTMP, and handing every frame to readers, by thread.

    python -m bench.rtmp [--streams 20] [--seconds 15]

Publishers are FFmpeg processes that copy one pre-encoded 720p30 1.0 Mb/s file, readers a process that reads and
acknowledges as the workers do that record single streams; neither is counted. The server is this process: a
core of one lane that accepts every publisher. Percent of one core per stream; nobody watches, then everybody is
recorded, then one viewer watches each stream (of whom only the lane's thread is of interest).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import selectors
import tempfile
import time
from pathlib import Path

from bench.cpu import Figure, ThreadTime, circumstances, threads
from bench.media import make_flv
from bench.peers import rtmp_pushers
from bench.webrtc import bots, report
from tests.integration.core.stage import Stage, staged

from roomtape.media.tap import BatchRead, Opened, TapClient, TrackEvent

REPO = Path(__file__).resolve().parents[1]
WORKERS = 2
FLUSH_MS = 1000  # as for the recording of single streams
SETTLE_S = 4.0
CORE = "roomtape-"


def room_of(stream: int) -> str:
    return f"1/s/bench{stream}"


def read_for_ever(path: Path, streams: range) -> None:
    """A worker's connection that reads every track of these rooms, as durable readers do."""
    client = TapClient.connect(str(path))
    for stream in streams:
        client.open(stream + 1, f"bench{stream}", room_of(stream), flush_ms=FLUSH_MS)
    with selectors.DefaultSelector() as selector:
        selector.register(client.fileno(), selectors.EVENT_READ)
        while True:
            selector.select()
            for message in client.on_readable():
                match message:
                    case Opened(reader=reader, tracks=tracks):
                        for track in tracks:
                            client.read(reader, track.track, -1, 0)
                    case TrackEvent(reader=reader, event="start", track=track):
                        client.read(reader, track.track, -1, 0)
                    case BatchRead(reader=reader, batch=batch) if batch.frames:
                        client.ack(reader, [(track, frames[-1].seq + 1) for track, frames in batch.frames.items()])


async def over(seconds: float) -> dict[str, ThreadTime]:
    """What the core's threads use per second of the time to come."""
    before, started = threads(os.getpid()), time.monotonic()
    await asyncio.sleep(seconds)
    passed = time.monotonic() - started
    used = {name: now - before[name] for name, now in threads(os.getpid()).items() if name in before}
    return {
        name.removeprefix(CORE): ThreadTime(t.all_s / passed, t.system_s / passed)
        for name, t in sorted(used.items())
        if name.startswith(CORE)
    }


def figures(what: str, used: dict[str, ThreadTime], streams: int, goal: float | None = None) -> list[Figure]:
    lines = [
        Figure(f"  thread {name} (of it system {100 * t.system_s / streams:.3f})", 100 * t.all_s / streams, "%")
        for name, t in used.items()
    ]
    return [Figure(what, sum(f.value for f in lines), "%", goal), *lines]


async def scenario(stage: Stage, source: Path, streams: int, seconds: float) -> list[Figure]:
    async def accept() -> None:
        for n in range(streams):
            _, conn, _, key, *_ = await stage.news.wait("rtmp_publish", count=n + 1)
            assert isinstance(conn, int)
            stage.core.rtmp_accept(conn, room_of(int(str(key))), "u", 1)

    url = f"rtmp://127.0.0.1:{stage.core.rtmp_port}/live/"
    pushers = rtmp_pushers(source, [f"{url}{n}" for n in range(streams)], 4 * (seconds + SETTLE_S) + 20)
    readers = []
    try:
        await accept()
        await stage.news.wait("track_start", "audio", count=streams)
        await asyncio.sleep(SETTLE_S)
        found = figures("receive from RTMP", await over(seconds), streams, 0.14)
        for worker in range(WORKERS):
            mine = range(worker, streams, WORKERS)
            readers.append(multiprocessing.Process(target=read_for_ever, args=(stage.tap_path, mine), daemon=True))
            readers[-1].start()
        await asyncio.sleep(SETTLE_S)
        found += figures("receive from RTMP and hand to recorders", await over(seconds), streams)
        watching = await bots(
            "play", stage.whep("1/s/bench{n}", "v{n}"), "--count", str(streams), "--seconds", str(int(seconds + SETTLE_S))
        )
        await asyncio.sleep(SETTLE_S / 2)
        found += figures("the same beside one WebRTC viewer of each", await over(seconds), streams)
        seen = await report(watching)
        found.append(Figure("offer to first picture, median", seen["first_picture_ms"]["median"], "ms", 500))
        return found
    finally:
        for process in [*pushers, *readers]:
            process.terminate()
        for pusher in pushers:
            pusher.wait()
        for reader in readers:
            reader.join()


async def run(source: Path, streams: int, seconds: float) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        async with staged(Path(directory)) as stage:
            return await scenario(stage, source, streams, seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=15)
    args = parser.parse_args()
    source = make_flv(REPO / ".cache" / "bench" / "720p30.flv")
    print(circumstances(REPO))
    print(f"N = {args.streams}, {args.seconds:g} s, media seed 7", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        for figure in asyncio.run(run(source, args.streams, args.seconds)):
            print(figure.line())


if __name__ == "__main__":
    main()
