"""A recording into the media library: what is stored, told and kept, on a real database and a manual clock."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from roomtape.clock import ManualClock
from roomtape.control.messages import Finalise, Finalised, PieceCommitted, StoppedCommitted
from roomtape.library.service import TOPIC
from roomtape.library.store import segments
from roomtape.recording.names import enc, utc17
from roomtape.recording.service import UploadRules
from roomtape.recording.spec import VodSpec
from roomtape.state.database import Database
from roomtape.state.schema import library_files
from tests.support.stage import LINK_S, PATIENCE_S, ScriptedWorker, Stage, stage

TOLD_OF_NO_LIBRARY = {303, 304, 305, 307, 308, 310}
BASE = f"{enc('class')}_UserId_s_{enc('amy')}_UserId_e_main"


async def record(server: Stage, *, pieces: int = 2, **vod: Any) -> tuple[str, ScriptedWorker]:
    """Record some pieces of amy's sound, and stop."""
    worker = ScriptedWorker(server.workers)
    spec = server.spec(storage=VodSpec(**vod), stream_type=1, output_format=4)
    task_id = await server.recording.create(spec)
    assign = await worker.take()
    for number in range(pieces):
        worker.piece(assign, number)
        await worker.told(PieceCommitted)
    await server.recording.stop(server.sdk_app_id, task_id)
    worker.stopped(assign)
    await worker.told(StoppedCommitted)
    return task_id, worker


def in_library(server: Stage, task_id: str) -> set[str]:
    return {path.name for path in (server.root / "library" / task_id).glob("*")}


async def test_an_mp4_is_entered_told_and_linked(server: Stage, clock: ManualClock) -> None:
    task_id, worker = await record(server, media_type=0)
    job = await worker.told(Finalise)
    assert (job.kind, job.base_name) == ("mp4", BASE)
    made = worker.finish(job)
    await server.event(312, status=0)
    assert await server.types(task_id) == [301, 302, 311, 312]
    told = (await server.event(311)).fact["payload"]
    vod = told["vod"]
    url = urlsplit(vod.pop("video_url"))
    file_id = vod.pop("file_id")
    assert told == {"status": 0, "errmsg": "", "vod": vod}
    assert vod == {
        "user_id": "amy", "track_type": "audio_video", "media_id": "main", "cache_file": f"{BASE}.mp4",
        "start_ms": made.start_ms, "end_ms": made.end_ms,
    }  # fmt: skip
    assert file_id.isdigit()
    assert len(file_id) == 19
    assert (url.scheme, url.netloc, url.path) == ("https", "rooms.example", f"/media/{file_id}/{BASE}.mp4")
    assert int(parse_qs(url.query)["exp"][0]) == clock.now_ms() // 1000 + int(LINK_S)
    assert in_library(server, task_id) == {f"{BASE}.mp4"}
    await server.dropped(task_id)
    assert (await server.recording.describe(server.sdk_app_id, task_id)).files == ()


@pytest.mark.parametrize(
    ("media_type", "made", "stored"),
    [(1, [], ["m3u8"]), (2, ["aac"], ["aac"]), (3, ["mp4"], ["m3u8", "mp4"]), (4, ["aac"], ["m3u8", "aac"])],
)
async def test_media_type_says_which_files_there_are(
    server: Stage, media_type: int, made: list[str], stored: list[str]
) -> None:
    task_id, worker = await record(server, media_type=media_type, user_define_record_id="lesson-7")
    for kind in made:
        job = await worker.told(Finalise)
        assert job.kind == kind
        worker.finish(job)
    await server.event(312, status=0)
    names = [
        row.fact["payload"]["vod"]["cache_file"]
        for row in await server.events(task_id=task_id)
        if row.type == 311
    ]
    base = f"lesson-7__UserDefine_u_{BASE}"
    wanted = [f"{base}_audio.m3u8" if kind == "m3u8" else f"{base}.{kind}" for kind in stored]
    assert sorted(names) == sorted(wanted)  # in whatever order they became whole
    assert not TOLD_OF_NO_LIBRARY & set(await server.types(task_id))


async def test_an_hls_is_whole_before_it_is_told_and_names_its_segments_as_stored(server: Stage) -> None:
    task_id, _ = await record(server, media_type=1)
    told = (await server.event(311)).fact["payload"]["vod"]
    text = (server.root / "library" / task_id / told["cache_file"]).read_text()
    listed = [line for line in text.splitlines() if not line.startswith("#")]
    start_ms = told["start_ms"]
    assert listed == [f"{BASE}_audio_{utc17(start_ms + 10_000 * n)}.ts" for n in range(2)]
    assert in_library(server, task_id) == {*listed, told["cache_file"]}
    assert told["end_ms"] == start_ms + 20_000
    assert text.endswith("#EXT-X-ENDLIST\n")


async def test_stored_pieces_stay_in_the_spool_until_the_last_event(server: Stage) -> None:
    task_id, worker = await record(server, media_type=3)
    await server.event(311)  # of the HLS: all its pieces are in the library
    assert len(list((server.spool / task_id / "pieces").iterdir())) == 2
    worker.finish(await worker.told(Finalise))
    await server.event(312)
    await server.dropped(task_id)


async def test_a_task_without_media_ends_with_312_alone(server: Stage) -> None:
    task_id, _ = await record(server, pieces=0)
    await server.event(312, status=0)
    assert await server.types(task_id) == [301, 302, 312]


async def test_a_file_that_cannot_be_made_is_told_as_failed_and_its_pieces_are_kept(server: Stage) -> None:
    task_id, worker = await record(server, media_type=3)
    for _ in range(3):
        job = await worker.told(Finalise)
        worker.say(Finalised(task_id=task_id, epoch=job.epoch, job=job.job, error="broken"))
    await server.event(312, status=1)
    payloads = [row.fact["payload"] for row in await server.events(task_id=task_id) if row.type == 311]
    assert sorted(p["status"] for p in payloads) == [0, 2]
    failed = next(p for p in payloads if p["status"] == 2)
    assert failed["errmsg"]
    assert failed["vod"]["cache_file"] == f"{BASE}.mp4"
    assert (await server.types(task_id)).count(312) == 1
    assert (server.spool / task_id / "pieces").exists()


async def test_a_full_library_is_told_as_held_back_then_failed(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    rules = UploadRules(max_age_s=1200)
    async with stage(db, clock, tmp_path, library_bytes=1, upload=rules) as server:
        task_id, worker = await record(server, media_type=0)
        worker.finish(await worker.told(Finalise))
        await server.event(312, advancing=True, status=1)
        payloads = [row.fact["payload"] for row in await server.events(task_id=task_id) if row.type == 311]
        assert [p["status"] for p in payloads] == [1, 2]
        assert all(p["errmsg"] == "The bucket is full." for p in payloads)
        assert not TOLD_OF_NO_LIBRARY & set(await server.types(task_id))
        assert await server.count(library_files, library_files.c.state == "failed") == 1
        assert (server.spool / task_id / "files").exists()


async def test_segments_of_a_playlist_that_never_comes_do_not_stay_in_the_library(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """No playlist names them, so that nothing would ever end them; the spool keeps the pieces."""
    rules = UploadRules(max_age_s=1200)
    async with stage(db, clock, tmp_path, library_bytes=2000, upload=rules) as server:  # room for one of two
        task_id, _worker = await record(server, media_type=1, pieces=2)
        await server.event(311, advancing=True, status=1)
        assert len(list((server.root / "library").rglob("*.ts"))) == 1
        await server.event(312, advancing=True, status=1)
        changed = asyncio.Event()
        db.on_commit(TOPIC, changed.set)
        async with asyncio.timeout(PATIENCE_S):
            while not await server.count(library_files, library_files.c.removed_ms.is_not(None)):
                await changed.wait()
                changed.clear()
        assert list((server.root / "library").rglob("*.ts")) == []
        assert len(list((server.spool / task_id / "pieces").iterdir())) == 2


async def test_a_task_is_not_gone_before_its_312_however_late_that_is(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A piece was given up while the MP4 is still being made, longer than a task must be seen as Exited."""
    async with stage(db, clock, tmp_path, library_bytes=1, upload=UploadRules(max_age_s=600)) as server:
        task_id, worker = await record(server, media_type=3, pieces=1)
        job = await worker.told(Finalise)
        await server.event(311, advancing=True, status=2)  # of the HLS
        await clock.advance(120)
        await server.recording.settled()
        assert (await server.recording.describe(server.sdk_app_id, task_id)).status == "Exited"
        worker.finish(job)
        await server.event(312, advancing=True, status=1)
        assert [row.fact["payload"]["status"] for row in await server.events() if row.type == 311].count(
            2
        ) == 2


async def test_a_server_that_dies_before_the_last_event_tells_each_file_once(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with stage(db, clock, tmp_path) as first:
        task_id, worker = await record(first, media_type=3)
        await first.event(311)  # of the HLS; the MP4 is not made yet
        await worker.told(Finalise)
        app = (first.sdk_app_id, first.app_key)
    async with stage(db, clock, tmp_path, boot_id="boot-2", app=app) as second:
        worker = ScriptedWorker(second.workers)
        worker.finish(await worker.told(Finalise))
        await second.event(312, status=0)
        assert (await second.types(task_id)).count(311) == 2
        assert (await second.types(task_id)).count(312) == 1


async def test_the_longest_names_are_stored_played_and_deleted(server: Stage, clock: ManualClock) -> None:
    room, user, record_id = "r" * 64, "u" * 32, "i" * 64
    worker = ScriptedWorker(server.workers)
    vod = VodSpec(media_type=3, user_define_record_id=record_id, expire_s=60)
    task_id = await server.recording.create(server.spec(room_id=room, storage=vod))
    assign = await worker.take()
    worker.piece(assign, 0, user=user)
    await worker.told(PieceCommitted)
    await server.recording.stop(server.sdk_app_id, task_id)
    worker.stopped(assign)
    worker.finish(await worker.told(Finalise))
    await server.event(312, status=0)
    files = [row.fact["payload"]["vod"] for row in await server.events() if row.type == 311]
    hls = next(file for file in files if file["cache_file"].endswith(".m3u8"))
    assert len(files) == 2
    assert hls["cache_file"] == (
        f"{record_id}__UserDefine_u_{enc(room)}_UserId_s_{enc(user)}_UserId_e_main_audio.m3u8"
    )
    library = server.library
    lines = library.store.playlist_of(f"{task_id}/{hls['cache_file']}")
    [segment] = segments(lines)
    assert len(segment) > 255
    assert library.store.path(f"{task_id}/{segment}").is_file()
    await clock.advance(60)
    for vod_file in files:
        await until_removed(server, vod_file["file_id"])
    assert not (server.root / "library" / task_id).exists()


async def until_removed(server: Stage, file_id: str) -> None:
    changed = asyncio.Event()
    server.db.on_commit(TOPIC, changed.set)
    async with asyncio.timeout(PATIENCE_S):
        while {row["file_id"]: row["state"] for row in await server.library.files()}[file_id] != "removed":
            await changed.wait()
            changed.clear()


async def test_an_expire_time_of_any_size_is_kept(server: Stage) -> None:
    task_id, _ = await record(server, media_type=1, expire_s=2**64 - 1)
    await server.event(312, status=0)
    [row] = await server.library.files(task_id=task_id)
    assert row["expires_at_ms"] is None


async def test_what_the_request_wished_is_kept_with_the_file(server: Stage) -> None:
    wishes: dict[str, Any] = {
        "procedure": "flow", "storage_region": "ap-x", "class_id": 7, "sub_app_id": 8,
        "session_context": "s", "source_context": "t",
    }  # fmt: skip
    task_id, _ = await record(server, media_type=1, **wishes)
    await server.event(312)
    [row] = await server.library.files(task_id=task_id)
    assert {name: row[name] for name in wishes} == wishes
