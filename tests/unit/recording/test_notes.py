"""A task's life as its operator reads it later: steps, notes, outputs, uploads and callbacks."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from roomtape.console import reading
from roomtape.control.messages import Note, StoppedCommitted
from roomtape.recording import notes
from roomtape.state.schema import task_notes
from tests.support.stage import ScriptedWorker, Stage


async def test_the_whole_life_of_a_task_can_be_read(server: Stage) -> None:
    first = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec())
    assign = await first.take()
    await server.event(301)
    await server.clock.advance(5)
    first.say(Note(task_id=task_id, epoch=1, kind="gap_overrun", text="track 3", count=12))
    await server.recording.settled()
    first.die()
    second = ScriptedWorker(server.workers, index=1)
    await server.clock.advance(1)
    assign = await second.take()
    second.piece(assign, 0)
    await server.event(304)
    await server.recording.stop(server.sdk_app_id, task_id)
    second.stopped(assign)
    await second.told(StoppedCommitted)
    await server.event(305, status=0)

    shown = await reading.recording(server.db, task_id)
    assert shown is not None
    assert [step["what"] for step in shown["life"]] == [
        *("created", "assigned", "robot in the room", "first media", "gap_overrun", "worker_died"),
        *("assigned", "stop ordered", "recorder left", "last upload proven"),
    ]
    texts = [step["more"] for step in shown["life"] if step["more"]]
    assert texts == [
        *("worker 0, epoch 1", "track 3", "the process that held it is gone", "worker 1, epoch 2"),
        *("stopped by the API", "final event 305:0"),
    ]
    assert next(n["count"] for n in shown["notes"] if n["kind"] == "gap_overrun") == 12
    (output,) = shown["outputs"]
    assert output["bytes"] == shown["pieces"][0]["size"] > 0
    assert (output["duration_us"], output["holes"]) == (10_000_000, 0)
    assert {(row["subject"], row["state"]) for row in shown["uploads"]} == {
        ("piece", "proven"), ("playlist", "proven"),
    }  # fmt: skip
    assert [row["type"] for row in shown["callbacks"]] == [301, 303, 307, 304, 302, 305]
    assert {row["state"] for row in shown["callbacks"]} == {"waiting"}
    assert server.sig("robot").reveal() not in repr(shown)


async def test_what_is_said_again_is_counted_and_a_flood_is_bounded(
    server: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "MOST", 5)
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec())
    await worker.take()
    for text in ["again"] * 3 + [f"other {n}" for n in range(10)]:
        worker.say(Note(task_id=task_id, epoch=1, kind="late", text=text, count=2))
        await server.recording.settled()
        await server.clock.advance(1)
    async with server.db.read() as conn:
        rows = (await conn.execute(sa.select(task_notes).where(task_notes.c.kind == "late"))).all()
    assert (rows[0].text, rows[0]._mapping["count"], rows[0].last_ms - rows[0].at_ms) == ("again", 6, 2000)
    assert (rows[-1].text, sum(row._mapping["count"] for row in rows)) == (notes.REST, 26)
    assert len(rows) <= 6
