"""The recording service on a real database, a manual clock and a scripted worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from roomtape.access.errors import BadUserSig, UnknownApp
from roomtape.clock import ManualClock
from roomtape.control.messages import (
    Assign,
    FileCommitted,
    Finalise,
    Finalised,
    Flow,
    Forget,
    Modify,
    PieceCommitted,
    Started,
    Stop,
    Stopped,
    StoppedCommitted,
)
from roomtape.recording import spec as formats
from roomtape.recording.errors import (
    FeatureOff,
    OptionNotSupported,
    TaskExited,
    TaskNotFound,
    TooManyTasks,
)
from roomtape.recording.service import UploadRules
from roomtape.recording.spec import SubscribeLists
from roomtape.recording.task import TaskSettings
from roomtape.rooms.model import Session
from roomtape.state.database import Database
from roomtape.state.schema import minutes, pieces, tasks, uploads
from tests.support.stage import ScriptedWorker, Stage, stage


async def test_a_recording_from_create_to_its_last_event(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec())
    assign = await worker.take()
    assert (assign.task_id, assign.epoch, assign.committed, assign.stop_at_ns) == (task_id, 1, [], None)
    worker.piece(assign, 0)
    assert (await worker.told(PieceCommitted)).piece_no == 0
    await server.event(304)
    view = await server.recording.describe(server.sdk_app_id, task_id)
    assert view.status == "InProgress"
    assert [(f.user_id, f.track_type, f.begin_ms) for f in view.files] == [
        ("amy", "audio", assign.plan.clock_wall_ms)
    ]

    assert await server.recording.stop(server.sdk_app_id, task_id) == task_id
    assert (await server.recording.describe(server.sdk_app_id, task_id)).status == "Exited"
    stop = await worker.told(Stop)
    assert stop.at_ns == server.clock.monotonic_ns()
    worker.piece(assign, 1)
    worker.stopped(assign)
    await worker.told(StoppedCommitted)
    await server.event(305, status=0)

    assert await server.types(task_id) == [301, 303, 307, 304, 302, 305]
    left = await server.event(302)
    assert left.fact["payload"] == {"leave_code": 0}
    assert left.fact["user_id"] == "robot"
    stored = server.stored()
    playlist = view.files[0].file_name
    assert set(stored) == {"amy_main_audio_0000.ts", "amy_main_audio_0001.ts", playlist}
    assert (server.bucket / "school" / "2026" / task_id / playlist).is_file()
    text = stored[playlist].decode()
    assert text.index("amy_main_audio_0000.ts") < text.index("amy_main_audio_0001.ts")
    assert text.endswith("#EXT-X-ENDLIST\n")
    await server.dropped(task_id)


async def test_r_task_4_what_events_tell_is_what_describe_answers(server: Stage) -> None:
    """At the commit of each event, asked at once: never another state, never another name, never an error."""
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec())
    assign = await worker.take()
    worker.piece(assign, 0)
    expected = {301: "InProgress", 303: "InProgress", 307: "InProgress", 304: "InProgress"}
    for type_, status in expected.items():
        event = await server.event(type_)
        view = await server.recording.describe(server.sdk_app_id, task_id)
        assert view.status == status, type_
        if type_ == 304:
            assert event.fact["payload"]["file_list"] == view.files[0].file_name
    await server.recording.stop(server.sdk_app_id, task_id)
    worker.stopped(assign)
    for type_ in (302, 305):
        await server.event(type_)
        after = await server.recording.describe(server.sdk_app_id, task_id)
        assert (after.status, after.files) == ("Exited", view.files), type_


async def test_a_piece_leaves_the_spool_only_when_it_is_proven(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    await server.recording.create(server.spec())
    assign = await worker.take()
    piece = worker.piece(assign, 0)
    await server.event(304)
    assert not (Path(assign.spool_dir) / "pieces" / piece.name).exists()
    assert piece.name in server.stored()


async def test_create_refuses_who_and_what_it_must(server: Stage) -> None:
    ScriptedWorker(server.workers)
    create = server.recording.create
    with pytest.raises(UnknownApp):
        await create(server.spec(sdk_app_id=1))
    with pytest.raises(BadUserSig):
        await create(server.spec(user_sig=server.sig("somebody else")))
    with pytest.raises(OptionNotSupported, match="RecordMode"):
        await create(server.spec(mode=formats.MIXED))
    await server.access.set_recording(server.sdk_app_id, False)
    with pytest.raises(FeatureOff):
        await create(server.spec())
    assert await server.count(tasks) == 0


async def test_an_application_runs_so_many_tasks_and_no_more(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with stage(db, clock, tmp_path, settings=TaskSettings(max_tasks_per_app=2)) as server:
        first = await server.recording.create(server.spec(robot="r1"))
        await server.recording.create(server.spec(robot="r2"))
        with pytest.raises(TooManyTasks):
            await server.recording.create(server.spec(robot="r3"))
        await server.recording.stop(server.sdk_app_id, first)
        await server.recording.create(server.spec(robot="r3"))


async def test_secrets_of_a_task_are_nowhere_in_the_clear(server: Stage, tmp_path: Path) -> None:
    await server.recording.create(server.spec())
    written = b"".join(path.read_bytes() for path in tmp_path.glob("roomtape.db*"))
    assert server.sig("robot").reveal_bytes() not in written
    assert b'"SK"' not in written


async def test_r_task_3_stop_is_legal_in_every_state_and_tells_the_worker_once(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec())
    assign = await worker.take(flowing=False)
    for _ in range(3):
        assert await server.recording.stop(server.sdk_app_id, task_id) == task_id
    worker.stopped(assign)
    await server.event(305)
    assert await server.recording.stop(server.sdk_app_id, task_id) == task_id
    await worker.told(Stop)
    assert not worker.waiting(Stop)
    assert (await server.types(task_id)).count(302) == 1


async def test_what_a_worker_says_twice_in_one_breath_is_told_once(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec(output_format=formats.HLS_MP4))
    assign = await worker.told(Assign)
    for _ in range(2):
        worker.say(Started(task_id=task_id, epoch=assign.epoch))
    worker.piece(assign, 0)
    await worker.told(PieceCommitted)
    await server.recording.stop(server.sdk_app_id, task_id)
    for _ in range(2):
        worker.stopped(assign)
    worker.finish(await worker.told(Finalise))
    await server.event(310, status=0)
    await server.recording.settled()
    assert sorted(await server.types(task_id)) == [301, 302, 303, 304, 305, 307, 310]


async def test_r_task_2_a_task_is_exited_for_a_minute_and_then_gone(server: Stage, clock: ManualClock) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec())
    assign = await worker.take(flowing=False)
    await server.recording.stop(server.sdk_app_id, task_id)
    worker.stopped(assign)
    await server.event(305)
    await clock.sleepers()
    await clock.advance(59.0)
    assert (await server.recording.describe(server.sdk_app_id, task_id)).status == "Exited"
    gone = server.recording.gone(task_id)
    await clock.advance(1.0)
    await gone
    with pytest.raises(TaskNotFound):
        await server.recording.describe(server.sdk_app_id, task_id)
    assert await server.count(tasks, tasks.c.status == "gone") == 1


async def test_the_calls_stop_working_when_their_time_is_over_and_the_recorder_goes_on(
    server: Stage, clock: ManualClock
) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec(expired_hours=6, max_idle_s=86_400))
    await worker.take()
    await clock.advance(6 * 3600)
    for call in (
        server.recording.describe(server.sdk_app_id, task_id),
        server.recording.stop(server.sdk_app_id, task_id),
        server.recording.modify(server.sdk_app_id, task_id, SubscribeLists()),
    ):
        with pytest.raises(TaskNotFound):
            await call
    assert not worker.waiting(Stop)


async def test_a_task_of_another_application_is_not_found(server: Stage) -> None:
    task_id = await server.recording.create(server.spec())
    account = await server.access.create_account("other")
    other, _ = await server.access.create_app("other", uin=account.uin)
    with pytest.raises(TaskNotFound):
        await server.recording.describe(other.sdk_app_id, task_id)


async def test_modify_replaces_the_lists_and_reaches_the_worker_and_its_successor(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec(lists=SubscribeLists(audio_allow=("amy",))))
    assert (await worker.take()).plan.subscription.audio_allow == ["amy"]
    await server.recording.modify(server.sdk_app_id, task_id, SubscribeLists(video_deny=("bob",)))
    told = (await worker.told(Modify)).subscription
    assert (told.audio_allow, told.video_deny) == ([], ["bob"])
    worker.die()
    successor = ScriptedWorker(server.workers, index=0, pid=4712)
    again = await successor.take()
    assert (again.plan.subscription.audio_allow, again.plan.subscription.video_deny) == ([], ["bob"])
    await server.recording.stop(server.sdk_app_id, task_id)
    with pytest.raises(TaskExited):
        await server.recording.modify(server.sdk_app_id, task_id, SubscribeLists())


async def test_the_same_robot_in_the_room_ends_the_first_task_with_101(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    first = await server.recording.create(server.spec())
    assign = await worker.take()
    await server.recording.create(server.spec())
    assert (await worker.told(Stop)).task_id == first
    worker.stopped(assign)
    assert (await server.event(302, task_id=first)).fact["payload"] == {"leave_code": 101}
    assert (await worker.take()).task_id != first


async def test_another_robot_in_the_room_disturbs_nobody(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    await server.recording.create(server.spec(robot="one"))
    await server.recording.create(server.spec(robot="two"))
    await worker.take()
    await worker.take()
    assert not worker.waiting(Stop)


async def test_r_task_2_idle_in_progress_and_back_after_five_seconds(server: Stage, clock: ManualClock) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec())

    async def status() -> str:
        await server.recording.settled()
        return (await server.recording.describe(server.sdk_app_id, task_id)).status

    assign = await worker.take(flowing=False)
    assert await status() == "Idle"
    worker.say(Flow(task_id=task_id, epoch=assign.epoch, flowing=True))
    assert await status() == "InProgress"
    worker.say(Flow(task_id=task_id, epoch=assign.epoch, flowing=False))
    assert await status() == "InProgress"
    await clock.advance(4.9)
    assert await status() == "InProgress"
    await clock.advance(0.2)
    assert await status() == "Idle"


async def test_a_room_without_an_anchor_ends_the_task_with_99(server: Stage, clock: ManualClock) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec(max_idle_s=30))
    assign = await worker.take()
    amy = Session("main", "whip", handle=1)
    await clock.advance(29)
    server.rooms.enter(server.room(), "amy", amy)  # she sends nothing and keeps the task alive all the same
    await clock.advance(3600)
    server.rooms.leave(amy)
    await clock.advance(29)
    await server.recording.settled()
    assert not worker.waiting(Stop)
    await clock.advance(1)
    await worker.told(Stop)
    worker.stopped(assign)
    assert (await server.event(302, task_id=task_id)).fact["payload"] == {"leave_code": 99}


async def test_a_viewer_is_no_anchor(server: Stage, clock: ManualClock) -> None:
    worker = ScriptedWorker(server.workers)
    server.rooms.enter(server.room(), "eve", Session("play", "whep", handle=1))
    await server.recording.create(server.spec(max_idle_s=5))
    await worker.take(flowing=False)
    await clock.advance(5)
    await worker.told(Stop)


async def test_removing_the_robot_and_dismissing_its_room_end_the_task(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    removed = await server.recording.create(server.spec(room_id="a"))
    await worker.take()
    dismissed = await server.recording.create(server.spec(room_id="b"))
    await worker.take()
    await server.rooms.remove_users(server.sdk_app_id, "s", "a", ["robot"])
    await server.rooms.dismiss(server.sdk_app_id, "s", "b")
    await server.recording.settled()
    for task_id, code in ((removed, 1), (dismissed, 2)):
        stop = await worker.told(Stop)
        assert stop.task_id == task_id
        worker.say(_stopped(stop))
        assert (await server.event(302, task_id=task_id)).fact["payload"] == {"leave_code": code}


async def test_a_user_who_takes_the_robots_place_ends_the_task(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec())
    assign = await worker.take()
    server.rooms.enter(server.room(), "robot", Session("main", "whip", handle=1))
    await worker.told(Stop)
    worker.stopped(assign)
    assert (await server.event(302, task_id=task_id)).fact["payload"] == {"leave_code": 101}


async def test_anchors_in_the_room_of_the_other_type_are_named(server: Stage) -> None:
    server.rooms.enter(server.room("s", "123"), "amy", Session("main", "whip", handle=1))
    server.rooms.enter(server.room("s", "123"), "bob", Session("main", "whip", handle=2))
    task_id = await server.recording.create(server.spec(room_type="i", room_id="123"))
    hint = (await server.recording.detail(task_id)).hint
    assert hint == 'integer room 123 is empty; string room "123" has 2 anchors'
    assert server.recording.hint(task_id) == hint
    server.rooms.enter(server.room("i", "123"), "cat", Session("main", "whip", handle=3))
    assert server.recording.hint(task_id) == ""


async def test_f1_r_task_1_a_dead_workers_task_goes_on_with_the_next_epoch(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec())
    first = await worker.take()
    worker.piece(first, 0)
    worker.piece(first, 1)
    await server.event(304)
    await server.recording.settled()
    worker.die()
    successor = ScriptedWorker(server.workers, index=0, pid=4712)
    second = await successor.take()
    assert (second.task_id, second.epoch, second.new_stretch) == (task_id, 2, False)
    last = second.committed[0]
    assert (last.output, last.piece_no, last.end_ns, last.counters) == (
        "amy\x1fmain\x1faudio",
        1,
        20_000_000_000,
        {256: 7},
    )
    successor.piece(second, 2)
    await successor.told(PieceCommitted)
    assert (await server.types(task_id)).count(301) == 1
    assert (await server.types(task_id)).count(307) == 1
    assert 306 not in await server.types(task_id)


async def test_tasks_go_to_the_worker_with_the_fewest(server: Stage) -> None:
    one, two = ScriptedWorker(server.workers, index=0), ScriptedWorker(server.workers, index=1, pid=4712)
    for robot in ("a", "b", "c", "d"):
        await server.recording.create(server.spec(robot=robot))
    for _ in range(2):
        await one.take()
        await two.take()


async def test_f4_a_message_of_a_former_epoch_is_dropped(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    await server.recording.create(server.spec())
    first = await worker.take()
    worker.die()
    successor = ScriptedWorker(server.workers, index=0, pid=4712)
    await successor.take()
    successor.piece(first, 0)  # as if the former one had spoken
    assert (await successor.told(Forget)).epoch == first.epoch
    assert await server.count(pieces) == 0


async def test_a_repeated_piece_is_answered_from_its_row(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec())
    assign = await worker.take()
    piece = worker.piece(assign, 0)
    await worker.told(PieceCommitted)
    await server.event(304)
    worker.say(piece)
    await worker.told(PieceCommitted)
    assert await server.count(pieces) == 1
    assert await server.count(minutes, minutes.c.kind == "record_single") == 1  # and is metered once
    assert (await server.types(task_id)).count(307) == 1


async def test_r_task_2_a_worker_silent_after_the_stop_loses_the_task(server: Stage, clock: ManualClock) -> None:
    silent = ScriptedWorker(server.workers, index=0)
    task_id = await server.recording.create(server.spec())
    assign = await silent.take()
    await server.recording.stop(server.sdk_app_id, task_id)
    stop = await silent.told(Stop)
    await clock.advance(10)
    assert (await silent.told(Forget)).epoch == assign.epoch
    again = await silent.told(Assign)
    assert (again.epoch, again.stop_at_ns) == (2, stop.at_ns)
    silent.stopped(again)
    await server.event(305)


async def test_a_task_stopped_without_a_worker_is_finished_by_the_next(server: Stage) -> None:
    task_id = await server.recording.create(server.spec())
    await server.recording.stop(server.sdk_app_id, task_id)
    worker = ScriptedWorker(server.workers)
    assign = await worker.told(Assign)
    assert assign.stop_at_ns is not None
    worker.stopped(assign)
    await server.event(305)
    assert await server.types(task_id) == [302, 305]


@pytest.mark.parametrize(
    ("output_format", "kind", "flow"),
    [
        (formats.HLS_MP4, "mp4", [301, 303, 307, 304, 302, 305, 310]),
        (formats.MP4, "mp4", [301, 303, 307, 302, 310]),
        (formats.HLS_AAC, "aac", [301, 303, 307, 304, 302, 305, 310]),
        (formats.AAC, "aac", [301, 303, 307, 302, 310]),
    ],
)
async def test_files_are_made_after_the_stop_and_stored(
    server: Stage, output_format: int, kind: str, flow: list[int]
) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec(output_format=output_format))
    assign = await worker.take()
    worker.piece(assign, 0)
    worker.piece(assign, 1)
    if output_format in formats.KEEPS_HLS:
        await server.event(304)
    await server.recording.stop(server.sdk_app_id, task_id)
    await worker.told(Stop)
    worker.stopped(assign)
    if output_format in formats.KEEPS_HLS:
        await server.event(305)
    job = await worker.told(Finalise)
    assert (job.kind, [piece.piece_no for piece in job.pieces]) == (kind, [0, 1])
    assert all(Path(piece.path).is_file() for piece in job.pieces)
    made = worker.finish(job)
    await worker.told(FileCommitted)
    done = await server.event(310, status=0)
    assert [entry["file_name"] for entry in done.fact["payload"]["files"]] == [made.name]
    assert await server.types(task_id) == flow
    assert server.stored()[made.name] == b"a film"
    hls = {name for name in server.stored() if name.endswith((".ts", ".m3u8"))}
    assert bool(hls) is (output_format in formats.KEEPS_HLS)
    view = await server.recording.describe(server.sdk_app_id, task_id)
    assert [file.file_name for file in view.files]  # the playlist is named even if it is not stored


async def test_a_file_that_cannot_be_made_three_times_ends_with_310_status_2(server: Stage) -> None:
    worker = ScriptedWorker(server.workers)
    task_id = await server.recording.create(server.spec(output_format=formats.MP4))
    assign = await worker.take()
    piece = worker.piece(assign, 0)
    await worker.told(PieceCommitted)
    await server.recording.stop(server.sdk_app_id, task_id)
    worker.stopped(assign)
    job = await worker.told(Finalise)
    worker.say(Finalised(task_id=task_id, epoch=job.epoch, job=job.job, error="cannot"))
    await worker.told(Finalise)
    worker.die()  # a death is a failure like the others
    successor = ScriptedWorker(server.workers, index=0, pid=4712)
    job = await successor.told(Finalise)
    successor.say(Finalised(task_id=task_id, epoch=job.epoch, job=job.job, error="cannot"))
    await server.event(310, status=2)
    assert (Path(assign.spool_dir) / "pieces" / piece.name).is_file()
    assert [t for t in await server.types(task_id) if t in (305, 310)] == [310]


async def test_a_full_bucket_is_told_held_back_and_made_good(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with stage(db, clock, tmp_path, max_bytes=2_500) as server:
        worker = ScriptedWorker(server.workers)
        task_id = await server.recording.create(server.spec(max_idle_s=86_400))
        assign = await worker.take()
        worker.piece(assign, 0)
        await server.event(304)
        worker.piece(assign, 1)  # 1034 bytes each: the second one and two playlists do not fit
        worker.piece(assign, 2)
        await server.recording.settled()
        await server.recording.stop(server.sdk_app_id, task_id)
        worker.stopped(assign)
        await server.event(302)
        began_ms = clock.now_ms()
        told = await server.event(308, advancing=True)
        assert told.fact["payload"]["code"] == "QuotaExceeded"
        assert told.at_ms - began_ms >= 600_000  # trouble that may pass is told after ten minutes of it
        await server.event(305, advancing=True, status=1)
        for old in server.bucket.rglob("*0000.ts"):
            old.unlink()
        server.buckets.by_name["recordings"].store.max_bytes = 0
        await server.event(305, advancing=True, status=2)
        assert [t for t in await server.types(task_id) if t == 305] == [305, 305]
        async with db.read() as conn:
            final = await conn.scalar(tasks.select().with_only_columns(tasks.c.final_event))
        assert final == "305:2"


async def test_what_cannot_be_stored_for_its_whole_time_is_given_up_and_kept(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with stage(db, clock, tmp_path, max_bytes=1, upload=UploadRules(max_age_s=1200)) as server:
        worker = ScriptedWorker(server.workers)
        task_id = await server.recording.create(server.spec())
        assign = await worker.take()
        piece = worker.piece(assign, 0)
        await worker.told(PieceCommitted)
        await server.recording.stop(server.sdk_app_id, task_id)
        worker.stopped(assign)
        await server.gone(task_id)
        assert await server.count(uploads, uploads.c.state == "given_up") == 1
        assert (Path(assign.spool_dir) / "pieces" / piece.name).is_file()
        assert [e.fact["payload"] for e in await server.events(task_id=task_id) if e.type == 305] == [
            {"status": 1}
        ]


async def test_f2_r_lost_2_r_task_1_a_restarted_server_takes_its_tasks_back_after_a_hole(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with stage(db, clock, tmp_path) as before:
        worker = ScriptedWorker(before.workers)
        going_on = await before.recording.create(before.spec(robot="one"))
        first = await worker.take()
        worker.piece(first, 0)
        await before.event(304)
        stopped = await before.recording.create(before.spec(robot="two"))
        await worker.take()
        await before.recording.stop(before.sdk_app_id, stopped)
        app = (before.sdk_app_id, before.app_key)
    async with stage(db, clock, tmp_path, boot_id="boot-2", app=app) as after:
        assert (await after.recording.describe(after.sdk_app_id, going_on)).status == "InProgress"
        worker = ScriptedWorker(after.workers)
        assigned = {a.task_id: a for a in (await worker.told(Assign), await worker.told(Assign))}
        again = assigned[going_on]
        assert (again.epoch, again.new_stretch) == (2, True)
        assert [piece.piece_no for piece in again.committed] == [0]
        assert assigned[stopped].stop_at_ns is not None
        worker.stopped(assigned[stopped])
        await after.event(305, task_id=stopped)
        await after.recording.stop(after.sdk_app_id, going_on)
        worker.piece(again, 1)
        worker.stopped(again)
        await after.event(305, task_id=going_on)
        assert await after.types(going_on) == [301, 303, 307, 304, 302, 305]
        names = [name for name in after.stored() if name.endswith(".ts")]
        assert sorted(names) == ["amy_main_audio_0000.ts", "amy_main_audio_0001.ts"]


def _stopped(stop: Stop) -> Stopped:
    return Stopped(task_id=stop.task_id, epoch=stop.epoch)
