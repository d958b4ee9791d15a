"""Cost of the media core alone: receiving WebRTC, and forwarding it.

    python -m bench.webrtc [--publishers 50] [--viewers 100] [--seconds 8]

Clients are roomtape-bots (crates/bots, not counted): publishers loop a pre-encoded 720p30 0.97 Mb/s H.264
and 64 kb/s Opus file over loopback. The server is this process: a core of one lane and a small HTTP door.
Figures are CPU of this process per stream, in percent of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.bot_media import pictures, sounds
from bench.cpu import Figure, circumstances, cpu_s
from tests.integration.core.stage import Stage, staged

REPO = Path(__file__).resolve().parents[1]
BOTS = REPO / "target" / "release" / "roomtape-bots"
VIDEO_BPS, SOUND_BPS, LOOP_S = 970_000, 64_000, 4
WARM_UP_S = 2.0


def make_media(directory: Path) -> tuple[Path, Path]:
    """The two files, made once."""
    video, audio = directory / "bots.h264", directory / "bots.opus20"
    directory.mkdir(parents=True, exist_ok=True)
    if not audio.exists():
        pictures(video, LOOP_S, VIDEO_BPS, 1280, 720)
        sounds(audio, LOOP_S, SOUND_BPS)
    return video, audio


async def bots(*args: str) -> asyncio.subprocess.Process:
    """Started clients, all connected."""
    process = await asyncio.create_subprocess_exec(str(BOTS), *args, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    if (await process.stdout.readline()).strip() != b"up":
        raise RuntimeError("the clients did not connect")
    return process


async def report(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    text = await process.stdout.read()
    await process.wait()
    return dict(json.loads(text))


async def busy(seconds: float) -> float:
    """CPU of this process over the next `seconds`, in percent of a core."""
    await asyncio.sleep(WARM_UP_S)
    before, started = cpu_s([os.getpid()]), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (cpu_s([os.getpid()]) - before) / (time.monotonic() - started)


async def scenario(stage: Stage, media: tuple[Path, Path], options: argparse.Namespace) -> list[Figure]:
    seconds, publishers, viewers = options.seconds, options.publishers, options.viewers
    files = ("--pictures", str(media[0]), "--sounds", str(media[1]))
    lasting = str(int(seconds + 2 * WARM_UP_S))
    url = stage.whip("1/s/bench{n}", "u{n}")
    sending = await bots("publish", url, "--count", str(publishers), "--seconds", lasting, *files)
    receive = await busy(seconds) / publishers
    await report(sending)
    one = await bots("publish", stage.whip("1/s/one", "u"), "--seconds", str(int(lasting) + 10), *files)
    watching = await bots(
        "play", stage.whep("1/s/one", "v{n}"), "--count", str(viewers), "--seconds", lasting
    )
    forward = await busy(seconds) / viewers
    seen = await report(watching)
    await report(one)
    return [
        Figure(f"receive from WebRTC, {publishers} publishers", receive, "%", 0.25),
        Figure(f"forward to WebRTC, 1 to {viewers} viewers", forward, "%", 0.25),
        Figure("offer to first picture, median", seen["first_picture_ms"]["median"], "ms", 500),
        Figure("packets lost to viewers", 100 * seen["lost_packets"] / seen["received_packets"], "%"),
    ]


async def run(options: argparse.Namespace) -> list[Figure]:
    media = make_media(REPO / ".cache" / "bench")
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        async with staged(Path(directory)) as stage:
            return await scenario(stage, media, options)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--publishers", type=int, default=50)
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "roomtape-bots"], cwd=REPO, check=True)
    print(circumstances(REPO))
    for figure in asyncio.run(run(options)):
        print(figure.line())


if __name__ == "__main__":
    main()
