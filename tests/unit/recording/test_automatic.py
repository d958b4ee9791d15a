"""Automatic recording on a real database, a manual clock and a scripted worker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from roomtape.access.errors import UnknownApp
from roomtape.api.actions.recording import automatic_spec
from roomtape.clock import ManualClock
from roomtape.control.messages import Assign, Stop
from roomtape.recording.errors import OptionNotSupported
from roomtape.recording.spec import MIXED, VodSpec
from roomtape.recording.task import TaskSettings
from roomtape.rooms import record
from roomtape.rooms.model import Session
from roomtape.state.database import Database
from roomtape.state.schema import tasks
from tests.support.stage import ScriptedWorker, Stage, stage

MEMBERS = {
    "RecordParams": {"RecordMode": 1, "MaxIdleTime": 20, "StreamType": 1},
    "StorageParams": {
        "CloudStorage": {
            "Vendor": 1,
            "Region": "eu",
            "Bucket": "recordings",
            "AccessKey": "AK-of-the-bucket",
            "SecretKey": "SK-of-the-bucket",
            "FileNamePrefix": ["auto"],
        }
    },
}


async def switch_on(server: Stage) -> None:
    await server.recording.set_automatic(automatic_spec(server.sdk_app_id, MEMBERS))


def publish(server: Stage, user: str = "amy", *, room: str = "class", handle: int = 1) -> Session:
    """A user enters and its sound begins."""
    session = Session("main", "whip", handle)
    server.rooms.enter(server.room("s", room), user, session)
    send(server, user, room=room, track=handle)
    return session


def send(server: Stage, user: str = "amy", *, room: str = "class", track: int = 1) -> None:
    at_ns = server.clock.monotonic_ns()
    server.rooms.track_started(track, server.room("s", room), user, "audio", "opus", at_ns)


async def automatic(server: Stage) -> int:
    return await server.count(tasks, tasks.c.automatic)


async def test_the_first_upstream_of_a_room_begins_a_recording_from_that_instant(
    server: Stage, clock: ManualClock
) -> None:
    await switch_on(server)
    worker = ScriptedWorker(server.workers)
    server.rooms.enter(server.room(), "amy", Session("main", "whip", 1))
    await clock.advance(7)
    at_ns = clock.monotonic_ns()
    send(server)
    assign = await worker.take()
    assert assign.plan.created_ns == at_ns
    assert (assign.plan.clock_mono_ns, assign.plan.clock_wall_ms) == (at_ns, clock.now_ms())
    assert (assign.plan.stream_type, assign.plan.max_idle_ms) == (1, 20_000)
    worker.piece(assign, 0)
    told = await server.event(304, task_id=assign.task_id)
    assert told.fact["user_id"].startswith("auto_")
    assert told.fact["room_id"] == "class"
    assert (server.bucket / "auto" / assign.task_id).is_dir()


async def test_r_rec_2_its_robot_is_nobody_in_the_room(server: Stage) -> None:
    await switch_on(server)
    worker = ScriptedWorker(server.workers)
    publish(server)
    await worker.take()
    await server.rooms_ledger.settled()
    room = server.rooms.room(server.room())
    assert room is not None
    assert list(room.members) == ["amy"]
    assert {row.fact.get("user_id") for row in await server.events(group=1)} == {"amy"}


async def test_one_recording_for_all_who_publish(server: Stage) -> None:
    await switch_on(server)
    worker = ScriptedWorker(server.workers)
    publish(server)
    send(server, track=2)
    await worker.take()
    publish(server, "bob", handle=3)
    publish(server, "cat", room="other", handle=4)
    assert (await worker.take()).plan.room.endswith("/other")
    assert await automatic(server) == 2
    assert not worker.waiting(Assign)


async def test_it_ends_when_all_anchors_are_gone_and_begins_again_with_the_next_upstream(
    server: Stage, clock: ManualClock
) -> None:
    await switch_on(server)
    worker = ScriptedWorker(server.workers)
    server.rooms.enter(server.room(), "eve", Session("play", "whep", 9))  # keeps the room open
    amy = publish(server)
    first = await worker.take()
    server.rooms.leave(amy)
    await clock.advance(19.9)
    await server.recording.settled()
    assert not worker.waiting(Stop)
    await clock.advance(0.2)
    assert (await worker.told(Stop)).task_id == first.task_id
    worker.stopped(first)
    left = await server.event(302, task_id=first.task_id)
    assert left.fact["payload"] == {"leave_code": 99}
    publish(server, handle=2)
    assert (await worker.take()).task_id != first.task_id


async def test_rooms_made_before_the_change_and_after_its_end_are_left_alone(
    server: Stage, clock: ManualClock
) -> None:
    worker = ScriptedWorker(server.workers)
    publish(server, room="before", handle=1)
    await clock.advance(1)
    await switch_on(server)
    publish(server, "bob", room="before", handle=2)
    publish(server, room="after", handle=3)
    assert (await worker.take()).plan.room.endswith("/after")
    await server.recording.no_automatic(server.sdk_app_id)
    publish(server, room="later", handle=4)
    publish(server, "bob", room="after", handle=5)
    await server.recording.create(server.spec(room_id="marker"))
    assert (await worker.take()).plan.room.endswith("/marker")
    assert await automatic(server) == 1
    assert not worker.waiting(Stop)  # what ran goes on


async def test_it_and_recordings_of_the_api_do_not_know_each_other(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with stage(db, clock, tmp_path, settings=TaskSettings(max_tasks_per_app=1)) as server:
        await switch_on(server)
        worker = ScriptedWorker(server.workers)
        publish(server)
        auto = await worker.take()
        asked = await server.recording.create(server.spec())  # the automatic one is not counted
        assert (await worker.take()).task_id == asked
        await server.recording.stop(server.sdk_app_id, asked)
        assert (await worker.told(Stop)).task_id == asked
        publish(server, "bob", handle=2)
        assert not worker.waiting(Stop)
        assert server.workers.holder(auto.task_id) is not None


async def test_one_that_was_stopped_by_hand_stays_stopped_in_that_life_of_the_room(
    server: Stage, clock: ManualClock
) -> None:
    await switch_on(server)
    worker = ScriptedWorker(server.workers)
    amy = publish(server)
    first = await worker.take()
    await server.recording.stop(server.sdk_app_id, first.task_id)
    await worker.told(Stop)
    worker.stopped(first)
    await server.event(305)
    bob = publish(server, "bob", handle=2)
    await server.recording.create(server.spec(room_id="marker"))
    assert (await worker.take()).plan.room.endswith("/marker")
    server.rooms.leave(amy)
    server.rooms.leave(bob)
    await clock.advance(1)
    publish(server, handle=3)  # the room is made anew
    assert (await worker.take()).plan.room.endswith("/class")


async def test_it_survives_a_restart_of_the_server(db: Database, clock: ManualClock, tmp_path: Path) -> None:
    async with stage(db, clock, tmp_path) as before:
        await switch_on(before)
        worker = ScriptedWorker(before.workers)
        publish(before)
        first = await worker.take()
        await before.rooms_ledger.settled()
        app = (before.sdk_app_id, before.app_key)
    async with stage(db, clock, tmp_path, boot_id="boot-2", app=app) as after:
        await record.take_back(db, after.rooms, clock, "node-1")
        worker = ScriptedWorker(after.workers)
        assert (await worker.take()).task_id == first.task_id
        publish(after, handle=7)  # amy is back
        publish(after, room="new", handle=8)  # and the application's wish is known
        assert (await worker.take()).plan.room.endswith("/new")
        assert await automatic(after) == 2


async def test_what_cannot_be_is_refused_and_nothing_is_kept(server: Stage) -> None:
    good = automatic_spec(server.sdk_app_id, MEMBERS)
    with pytest.raises(OptionNotSupported):
        await server.recording.set_automatic(replace(good, mode=MIXED))
    with pytest.raises(UnknownApp):
        await server.recording.set_automatic(replace(good, sdk_app_id=1))
    app = await server.access.app(server.sdk_app_id)
    assert app is not None
    assert app.auto_record is None
    for members, words in (
        ({}, "MissingParameter.RecordParams"),
        ({**MEMBERS, "RoomId": "5"}, "RoomId"),
        ({**MEMBERS, "RecordParams": {"RecordMode": 1, "MaxIdleTime": 1}}, "OutOfRange"),
        ({**MEMBERS, "StorageParams": {}}, "MissingParameter"),
        ({**MEMBERS, "RecordParams": {"RecordMode": 1, "Nonsense": 1}}, "UnknownParameter"),
    ):
        with pytest.raises(ValueError, match=words):
            automatic_spec(server.sdk_app_id, members)


async def test_the_buckets_keys_are_sealed(server: Stage, tmp_path: Path) -> None:
    await switch_on(server)
    written = b"".join(path.read_bytes() for path in tmp_path.glob("roomtape.db*"))
    assert b"SK-of-the-bucket" not in written
    assert b"AK-of-the-bucket" not in written
    app = await server.access.app(server.sdk_app_id)
    assert "of-the-bucket" not in repr(app)


async def test_into_the_library(server: Stage) -> None:
    members = {**MEMBERS, "StorageParams": {"CloudVod": {"TencentVod": {"MediaType": 1}}}}
    spec = automatic_spec(server.sdk_app_id, members)
    assert spec.storage == VodSpec(media_type=1)
    await server.recording.set_automatic(spec)
    worker = ScriptedWorker(server.workers)
    amy = publish(server)
    assign = await worker.take()
    worker.piece(assign, 0)
    server.rooms.leave(amy)
    await server.clock.advance(20)
    await worker.told(Stop)
    worker.stopped(assign)
    await server.event(312, task_id=assign.task_id, status=0)
    assert await server.types(assign.task_id) == [301, 302, 311, 312]
