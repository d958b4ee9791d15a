"""The levels of a filling disk (R-DISK-1, R-DISK-2): who has to wait, who is told, and who goes on when."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from roomtape.clock import ManualClock
from roomtape.control.messages import Note, Pause, Resume
from roomtape.recording.disk import DiskRules
from roomtape.recording.errors import NoCapacity
from roomtape.state.database import Database
from roomtape.storage.spool import DiskLevels
from tests.support.stage import ScriptedWorker, Stage, stage

GB = 1_000_000_000
WARN, REFUSE, PAUSE = 20 * GB, 10 * GB, 2 * GB


def set_free(server: Stage, free_bytes: int) -> None:
    """The disk has so much room from now on; it is looked at."""
    levels = DiskLevels(free_bytes, free_bytes < WARN, free_bytes < REFUSE, free_bytes < PAUSE)
    server.recording.disk.measure = lambda: levels
    server.recording.disk.look()


async def record(server: Stage, count: int) -> list[str]:
    """So many tasks, oldest first, each with a worker's word that it began."""
    made = []
    for number in range(count):
        made.append(await server.recording.create(server.spec(robot=f"r{number}")))
        await server.clock.advance(1)
    return made


async def taken(worker: ScriptedWorker, count: int) -> None:
    for _ in range(count):
        await worker.take()


async def test_r_disk_1_the_second_level_admits_nothing_new_and_says_disk(server: Stage) -> None:
    set_free(server, REFUSE - 1)
    with pytest.raises(NoCapacity, match="disk"):
        await server.recording.create(server.spec())
    set_free(server, REFUSE)
    await server.recording.create(server.spec())


async def test_r_disk_1_a_task_is_admitted_only_with_its_reserve(clock: ManualClock, tmp_path: Path) -> None:
    """Also above the second level: of a small disk that may be less than one piece needs."""
    db = await Database.open(f"sqlite:///{tmp_path}/roomtape.db", clock)
    await db.migrate()
    rules = DiskRules(refuse=(0, 0), warn=(0, 0), pause=(0, 0), task_reserve_mb=128)
    async with stage(db, clock, tmp_path, disk=rules) as server:
        for free_bytes, admitted in ((128_000_000 - 1, False), (128_000_000, True)):
            server.recording.disk.measure = partial(DiskLevels, free_bytes, False, False, False)
            server.recording.disk.look()
            if admitted:
                await server.recording.create(server.spec())
            else:
                with pytest.raises(NoCapacity, match="disk"):
                    await server.recording.create(server.spec())
    await db.close()


async def test_r_disk_1_the_youngest_wait_first_and_the_oldest_longest(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    a, b, c, d = await record(server, 4)
    await taken(worker, 4)
    set_free(server, PAUSE - 1)
    assert {m.task_id for m in worker.waiting(Pause)} == {c, d}
    set_free(server, PAUSE - 2)
    assert len(worker.waiting(Pause)) == 2, "it is looked at each second, not held back each second"
    set_free(server, PAUSE // 2 - 1)
    assert {m.task_id for m in worker.waiting(Pause)} == {b, c, d}
    set_free(server, PAUSE // 4 - 1)
    assert {m.task_id for m in worker.waiting(Pause)} == {a, b, c, d}
    assert server.recording.paused() == 4


async def test_r_disk_2_all_go_on_when_the_second_level_is_left_not_before(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    _, young = await record(server, 2)
    await taken(worker, 2)
    set_free(server, PAUSE - 1)
    set_free(server, REFUSE - 1)
    assert worker.waiting(Resume) == []
    set_free(server, REFUSE)
    assert [m.task_id for m in worker.waiting(Resume)] == [young]
    assert server.recording.paused() == 0
    set_free(server, PAUSE - 1)
    assert [m.task_id for m in worker.waiting(Pause)] == [young, young]


async def test_r_disk_1_a_waiting_task_is_told_of_once_and_lives_on(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    _, young = await record(server, 2)
    await taken(worker, 2)
    for free in (PAUSE - 1, PAUSE // 2 - 1, PAUSE - 1):
        set_free(server, free)
    told = await server.event(308, task_id=young)
    assert told.fact["payload"]["code"] == "DiskFull"
    await server.recording.settled()
    assert (await server.types(young)).count(308) == 1
    assert (await server.recording.describe(server.sdk_app_id, young)).status == "InProgress"
    await server.recording.stop(server.sdk_app_id, young)


async def test_r_disk_1_a_waiting_task_waits_with_its_next_worker_too(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    await record(server, 2)
    await taken(worker, 2)
    set_free(server, PAUSE - 1)
    worker.die()
    successor = ScriptedWorker(server.workers, index=1)
    assert [(await successor.take()).paused, (await successor.take()).paused].count(True) == 1


async def test_r_disk_1_a_worker_that_meets_a_full_disk_is_a_308_once_an_episode(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    (task_id,) = await record(server, 1)
    assign = await worker.take()

    def note(kind: str) -> None:
        worker.say(Note(task_id=task_id, epoch=assign.epoch, kind=kind, text="No space left on device"))

    for kind in ("disk_full", "disk_ok", "disk_full"):
        note(kind)
        await server.recording.settled()
    note("disk_full")
    await server.recording.settled()
    assert (await server.types(task_id)).count(308) == 2


async def test_a_disk_that_cannot_be_measured_changes_nothing(
    server: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> DiskLevels:
        raise OSError(5, "Input/output error")

    server.recording.disk.measure = broken
    server.recording.disk.look()
    server.recording.disk.look()
    assert capsys.readouterr().out.count("disk_not_measured") == 1
    set_free(server, WARN)
    assert server.recording.disk.level == "enough"
