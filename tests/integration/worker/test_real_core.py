"""The worker at the real media core: what a WHIP publisher sent is in the pieces, also when workers die."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import pytest

from roomtape.control import messages as say
from tests.integration.core.stage import Stage, staged
from tests.support.measure import measure_bytes
from tests.support.numbered import joined, pictures
from tests.support.recordings import PATIENCE_S, ROOM, TASK, Rig, key, plan

LONG_S = 12
LIP_SYNC_S = 0.045


@pytest.mark.parametrize("kills", [0, 2])
async def test_every_picture_of_a_whip_publisher_is_recorded_once(kills: int) -> None:
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        data_dir = Path(directory)
        (data_dir / "run").mkdir()
        async with staged(data_dir / "run") as stage:
            now = time.monotonic_ns()
            row = {"clock_mono_ns": now, "created_ns": now, "clock_wall_ms": time.time_ns() // 1_000_000}
            rig = Rig(data_dir, plan(av_merge=1, **row), real_core=True)
            try:
                check(rig, await record(rig, stage, kills))
            finally:
                await asyncio.to_thread(rig.close)


async def record(rig: Rig, stage: Stage, kills: int) -> int:
    """Publish, kill now and then, stop when the publisher has gone; how many pictures were sent."""
    rig.start_worker()
    assert await asyncio.to_thread(rig.server.wait_for, lambda: heard(rig, say.Started) > 0, PATIENCE_S)
    publisher = await stage.publisher(stage.whip(ROOM, "amy"), "--seconds", str(LONG_S))
    await publisher.up()
    for _ in range(kills):
        beats = heard(rig, say.Beat)
        assert await asyncio.to_thread(
            rig.server.wait_for, lambda beats=beats: heard(rig, say.Beat) >= beats + 3, PATIENCE_S
        )
        await asyncio.to_thread(rig.kill_worker)
        rig.start_worker()
    sent = await publisher.finish()
    await stage.news.wait("track_stop", ROOM, "amy", "video", "closed")
    rig.stop(time.monotonic_ns())
    await asyncio.to_thread(rig.wait_until_stopped)
    return int(sent["pictures"])


def heard(rig: Rig, kind: type) -> int:
    return sum(isinstance(message, kind) for message in rig.server.heard)


def check(rig: Rig, sent: int) -> None:
    made = rig.server.of(TASK, key("amy", "main", "audiovideo"))
    assert rig.server.errors == []
    assert [p.piece_no for p in made] == list(range(len(made)))
    assert not any(p.discontinuity for p in made), rig.complaints()
    paths = [rig.path(p) for p in made]
    seen = measure_bytes(b"".join(path.read_bytes() for path in paths), "mpegts")
    assert seen.warnings == []
    assert seen.audio_gaps_s == []
    assert len(seen.av_offsets_s) >= LONG_S - 1
    assert max(map(abs, seen.av_offsets_s)) < LIP_SYNC_S
    shown = pictures(joined(paths, rig.data_dir / "whole.ts"))
    assert shown.numbers == list(range(sent))
