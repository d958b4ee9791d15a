"""Facts of rooms: complete when asked for, gone when too old."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from roomtape.clock import ManualClock
from roomtape.state import facts
from roomtape.state.database import Database
from roomtape.state.schema import minutes, quality_samples, rooms, stays, track_sizes, tracks, user_events

APP = 1400000001


@pytest.mark.parametrize(
    ("room_type", "room_id", "number"),
    [("i", "70012", 70012), ("s", "", 0x811C9DC5), ("s", "a", 0xE40C292C), ("s", "foobar", 0xBF9CF968)],
)
def test_room_numbers(room_type: str, room_id: str, number: int) -> None:
    """The hashes are the published test vectors of FNV-1a 32."""
    assert facts.room_number(room_type, room_id) == number


async def _life(db: Database, room_id: str = "class") -> int:
    """One life of a room with one user, a picture that changes its size, a sample and a minute."""
    at_ms = db.clock.now_ms()
    async with db.write() as conn:
        life = await conn.run_sync(
            facts.open_room, sdk_app_id=APP, room_type="s", room_id=room_id, creator="amy", at_ms=at_ms
        )
        stay = await conn.run_sync(
            facts.begin_stay,
            sdk_app_id=APP,
            life=life.id,
            user_id="amy",
            at_ms=at_ms,
            role=20,
            device_type="WHIP",
        )
        track = await conn.run_sync(
            facts.begin_track,
            sdk_app_id=APP,
            life=life.id,
            user_id="amy",
            kind="video",
            codec="h264",
            at_ms=at_ms,
            stay_id=stay,
        )
        for width in (640, 1280):
            await conn.run_sync(
                facts.size_track, sdk_app_id=APP, track=track, width=width, height=360, at_ms=at_ms + width
            )
        await conn.run_sync(
            facts.note_user_event, sdk_app_id=APP, life=life.id, user_id="amy", event_id=32788, at_ms=at_ms
        )
        sample = {"sdk_app_id": APP, "room_life": life.id, "user_id": "amy", "kind": "video", "at_ms": at_ms}
        await conn.run_sync(facts.add_quality, [sample, {**sample, "at_ms": at_ms + 5000}])
        await conn.run_sync(
            facts.add_minutes,
            [
                {
                    "sdk_app_id": APP,
                    "kind": "trtc",
                    "size_class": "HD",
                    "from_ms": at_ms,
                    "to_ms": at_ms + 60_000,
                }
            ],
        )
        await conn.run_sync(facts.end_track, track, at_ms=at_ms + 1000, cause="closed")
        await conn.run_sync(facts.end_track, track, at_ms=at_ms + 2000, cause="lost")
        await conn.run_sync(facts.end_stay, stay, at_ms=at_ms + 3000, reason=1)
        await conn.run_sync(facts.end_stay, stay, at_ms=at_ms + 4000, reason=2)
        await conn.run_sync(facts.close_room, life.id, at_ms=at_ms + 5000, cause="emptied")
    return life.id


async def _all(db: Database, table: sa.Table) -> list[dict[str, Any]]:
    async with db.read() as conn:
        return [dict(row) for row in (await conn.execute(sa.select(table))).mappings()]


async def test_a_life_with_all_that_happened(db: Database, clock: ManualClock) -> None:
    db.set_origin("node", "boot")
    began_ms = clock.now_ms()
    life = await _life(db)
    (room,) = await _all(db, rooms)
    assert room["comm_id"] == f"{APP}_{facts.room_number('s', 'class')}_{began_ms // 1000}"
    assert (room["destroyed_ms"], room["end_cause"], room["creator_user_id"]) == (
        began_ms + 5000,
        "emptied",
        "amy",
    )
    assert (room["node_id"], room["boot_id"]) == ("node", "boot")
    (stay,) = await _all(db, stays)
    assert (stay["left_ms"], stay["reason_out"]) == (began_ms + 3000, 1)  # the first end stands
    (track,) = await _all(db, tracks)
    assert (track["room_life"], track["stopped_ms"], track["stop_cause"]) == (life, began_ms + 1000, "closed")
    assert [row["width"] for row in await _all(db, track_sizes)] == [640, 1280]
    (event,) = await _all(db, user_events)
    assert (event["peer_id"], event["param_one"], event["param_two"]) == ("amy", -1, -1)


async def test_a_room_is_open_once_at_a_time(db: Database) -> None:
    async def open_room() -> None:
        async with db.write() as conn:
            await conn.run_sync(
                facts.open_room, sdk_app_id=APP, room_type="s", room_id="r", creator="a", at_ms=1
            )

    await open_room()
    with pytest.raises(sa.exc.IntegrityError):
        await open_room()
    async with db.write() as conn:
        await conn.run_sync(
            facts.close_room, (await conn.scalars(sa.select(rooms.c.id))).one(), at_ms=2, cause="x"
        )
    await open_room()
    assert len(await _all(db, rooms)) == 2


async def test_facts_are_kept_fifteen_days_and_minutes_ninety_three(db: Database, clock: ManualClock) -> None:
    await _life(db, "old")
    await clock.advance(facts.KEEP_FACTS_MS / 1000)
    await _life(db, "new")

    async def prune() -> None:
        async with db.write() as conn:
            await conn.run_sync(facts.prune, clock.now_ms())

    await prune()
    assert len(await _all(db, rooms)) == 2  # closed 5 s after it was opened: not yet 15 days ago
    await clock.advance(6)
    await prune()
    assert [room["room_id"] for room in await _all(db, rooms)] == ["new"]
    counts = [len(await _all(db, table)) for table in (stays, tracks, track_sizes, quality_samples)]
    assert counts == [1, 1, 2, 2]
    assert len(await _all(db, minutes)) == 2
    await clock.advance(facts.KEEP_MINUTES_MS / 1000 + 60)
    await prune()
    assert await _all(db, minutes) == []
