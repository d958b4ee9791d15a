"""Quality samples: five seconds of each track become one row with the picture's size at that time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from roomtape.clock import ManualClock
from roomtape.state import facts
from roomtape.state.database import Database
from roomtape.state.schema import minutes, quality_samples
from roomtape.stats.quality import SPAN_S, QualitySampler

APP = 1400000001


async def _track(db: Database, core_track: int, kind: str, boot_id: str = "boot") -> int:
    db.set_origin("node", boot_id)
    async with db.write() as conn:
        life = await conn.run_sync(
            facts.open_room,
            sdk_app_id=APP,
            room_type="s",
            room_id=f"r{core_track}{boot_id}",
            creator="a",
            at_ms=1,
        )
        return await conn.run_sync(
            facts.begin_track,
            sdk_app_id=APP,
            life=life.id,
            user_id="amy",
            kind=kind,
            codec="opus",
            at_ms=1,
            core_track=core_track,
        )


async def _rows(db: Database) -> list[dict[str, Any]]:
    async with db.read() as conn:
        found = await conn.execute(sa.select(quality_samples).order_by(quality_samples.c.id))
        return [dict(row) for row in found.mappings()]


async def _span(clock: ManualClock, sampler: QualitySampler) -> None:
    """Let one span end and wait until its rows are written: then the sampler sleeps again."""
    await clock.sleepers(1)
    await clock.advance(SPAN_S)
    await clock.sleepers(1)


async def test_five_seconds_are_one_row_per_track(db: Database, clock: ManualClock) -> None:
    sound, picture = await _track(db, 1, "audio"), await _track(db, 2, "video")
    await _track(db, 1, "audio", "an earlier boot")  # the same number, another life of the server
    async with db.write() as conn:
        for width in (640, 1280):
            await conn.run_sync(
                facts.size_track, sdk_app_id=APP, track=picture, width=width, height=360, at_ms=1
            )
    assert sound != picture
    sampler = QualitySampler(db, clock, "boot")
    running = asyncio.create_task(sampler.run())
    for second in range(5):
        sampler.add([(1, 50, 8000, 1, 2.4), (2, 100, 100_000, 0, float(second)), (99, 1, 1, 0, 0.0)])
    await _span(clock, sampler)
    await _span(clock, sampler)  # nothing was told: no row
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    audio, video = await _rows(db)
    assert (audio["kind"], audio["packets"], audio["bytes"], audio["lost"]) == ("audio", 250, 40_000, 5)
    assert (audio["jitter_ms"], audio["width"], audio["span_ms"]) == (2, None, 5000)
    assert (video["jitter_ms"], video["width"], video["height"]) == (4, 1280, 360)
    assert {row["peer_id"] for row in (audio, video)} == {""}


@pytest.mark.parametrize(
    ("pixels", "name"),
    [
        (0, "Audio"),
        (1, "HD"),
        (1280 * 720, "HD"),
        (1280 * 720 + 1, "FullHD"),
        (1920 * 1080, "FullHD"),
        (2560 * 1440, "2K"),
        (2560 * 1440 + 1, "4K"),
        (8192 * 4320, "4K"),
    ],
)
def test_usage_classes(pixels: int, name: str) -> None:
    assert facts.size_class(pixels) == name


async def test_a_piece_is_metered_by_its_media_time_and_class(db: Database) -> None:
    async with db.write() as conn:
        for width in (0, 1920):
            await conn.run_sync(
                facts.meter_piece,
                sdk_app_id=APP,
                task_id="T",
                room_type="s",
                room_id="r",
                user_id="amy",
                mixed=False,
                width=width,
                height=1080 if width else 0,
                start_ms=1000,
                duration_us=10_005_000,
                size=5,
            )
    async with db.read() as conn:
        columns = (minutes.c.kind, minutes.c.size_class, minutes.c.from_ms, minutes.c.to_ms)
        rows = (await conn.execute(sa.select(*columns).order_by(minutes.c.id))).all()
    assert [tuple(row) for row in rows] == [
        ("record_single", "Audio", 1000, 11_005),
        ("record_single", "FullHD", 1000, 11_005),
    ]
