"""Recordings whose bucket fails in every way for minutes and hours: nothing is lost, each file is told of once.

The server's recording side on SQLite and a manual clock, a scripted worker, and a real S3 server behind an
endpoint that breaks on demand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from roomtape.clock import ManualClock
from roomtape.console import reading
from roomtape.control.messages import Assign, Finalise, PieceCommitted, StoppedCommitted
from roomtape.recording import spec as formats
from roomtape.recording.service import UploadRules
from roomtape.recording.spec import CloudStorageSpec
from roomtape.secret import Secret
from roomtape.state.database import Database
from roomtape.state.schema import uploads
from tests.support.faulty_s3 import Answer, Change, Fault, FaultyS3, Request, Reset, Slow
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.stage import PATIENCE_S, ScriptedWorker, Stage, stage

LONG_S = 301  # the queue sleeps at most 300 s; what sleeps longer is MaxIdleTime
TEN_MINUTES_MS = 600_000
SERVER_FAULT = Answer(500, "InternalError", "We encountered an internal error. Please try again.")
EXPIRED = Answer(403, "ExpiredToken", "The provided token has expired.")


@dataclass
class Job:
    """One recording into the bucket behind `faulty`."""

    server: Stage
    worker: ScriptedWorker
    assign: Assign
    faulty: FaultyS3
    bucket: str

    @property
    def task_id(self) -> str:
        return self.assign.task_id

    def local(self, name: str) -> bool:
        return (Path(self.assign.spool_dir) / "pieces" / name).exists()

    def stored(self) -> dict[str, bytes]:
        prefix = f"school/2026/{self.task_id}/"
        objects = self.faulty.behind.objects(self.bucket)
        assert all(key.startswith(prefix) for key in objects)
        return {key.removeprefix(prefix): content for key, content in objects.items()}

    def heal(self) -> None:
        self.faulty.fault = lambda _request: None

    async def event(self, type_: int, *, advancing: bool = True, **payload: Any) -> Any:
        if not advancing:
            return await self.server.event(type_, task_id=self.task_id, **payload)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.server._committed.clear()
                for row in await self.server.events(task_id=self.task_id):
                    held = row.fact["payload"]
                    if row.type == type_ and all(held.get(key) == value for key, value in payload.items()):
                        return row
                await self.onward()

    async def onward(self) -> None:
        """Move the clock to the next try, but never while something is on its way; or wait for a commit."""
        clock, queue = self.server.clock, self.server.recording._uploads
        waiting = asyncio.ensure_future(
            self.server.when(lambda: queue.in_flight == 0 and (clock.next_wake_s() or LONG_S) < LONG_S)
        )
        committed = asyncio.ensure_future(self.server._committed.wait())
        try:
            await asyncio.wait({waiting, committed}, return_when=asyncio.FIRST_COMPLETED)
            step_s = clock.next_wake_s()
            if waiting.done() and queue.in_flight == 0 and step_s is not None and step_s < LONG_S:
                await clock.advance(step_s)
        finally:
            for other in (waiting, committed):
                other.cancel()
            await asyncio.gather(waiting, committed, return_exceptions=True)

    async def payloads(self, type_: int) -> list[dict[str, Any]]:
        events = await self.server.events(task_id=self.task_id)
        return [event.fact["payload"] for event in events if event.type == type_]

    async def stop(self) -> None:
        await self.server.recording.stop(self.server.sdk_app_id, self.task_id)
        self.worker.stopped(self.assign)
        await self.worker.told(StoppedCommitted)

    async def described(self) -> tuple[str, list[str]]:
        view = await self.server.recording.describe(self.server.sdk_app_id, self.task_id)
        return view.status, [file.file_name for file in view.files]


async def begin(server: Stage, faulty: FaultyS3, bucket: str, **changes: Any) -> Job:
    worker = ScriptedWorker(server.workers)
    place = CloudStorageSpec(
        1, "us-east-1", bucket, Secret(ACCESS_KEY), Secret(SECRET_KEY), ("school", "2026"), faulty.endpoint
    )
    await server.recording.create(server.spec(storage=place, max_idle_s=86_400, **changes))
    return Job(server, worker, await worker.take(), faulty, bucket)


def media(fault: Fault) -> Callable[[Request], Fault | None]:
    """Only segments fail; playlists pass."""
    return lambda request: fault if request.key.endswith(".ts") else None


async def test_r_up_1_names_content_and_events_are_those_of_a_local_bucket(
    server: Stage, faulty: FaultyS3, bucket: str
) -> None:
    job = await begin(server, faulty, bucket)
    pieces = [job.worker.piece(job.assign, 0)]
    await job.event(304, advancing=False)
    pieces.append(job.worker.piece(job.assign, 1))
    await job.stop()
    await job.event(305, advancing=False, status=0)
    stored = job.stored()
    status, (playlist,) = await job.described()
    assert status == "Exited"
    assert set(stored) == {*(piece.name for piece in pieces), playlist}
    for piece in pieces:
        assert stored[piece.name] == piece.name.encode() * 47
    await server.when(lambda: not any(job.local(piece.name) for piece in pieces))
    assert stored[playlist].decode().endswith("#EXT-X-ENDLIST\n")
    types = await server.types(job.task_id)
    assert types[:2] == [301, 303]
    assert sorted(types[2:]) == [302, 304, 305, 307]
    assert types[-1] == 305


@pytest.mark.parametrize(
    "fault", [SERVER_FAULT, Answer(503, "SlowDown", "Please reduce your request rate."), Reset(200),
              Answer(301, "PermanentRedirect", "Use the endpoint of that region.")],
    ids=["500", "503", "reset mid-body", "wrong region 301"],
)  # fmt: skip
async def test_f6_trouble_that_may_pass_is_told_after_ten_minutes_and_made_good(
    server: Stage, faulty: FaultyS3, bucket: str, clock: ManualClock, fault: Fault
) -> None:
    faulty.fault = lambda _request: fault
    job = await begin(server, faulty, bucket)
    began_ms = clock.now_ms()
    piece = job.worker.piece(job.assign, 0)
    await job.worker.told(PieceCommitted)
    await job.stop()
    told = await job.event(308)
    assert TEN_MINUTES_MS <= told.at_ms - began_ms < TEN_MINUTES_MS + 301_000
    assert job.local(piece.name)
    await job.event(305, status=1)
    status, listed = await job.described()
    assert status == "Exited"
    job.heal()
    await job.event(305, status=2)
    assert await job.payloads(305) == [{"status": 1}, {"status": 2}]
    assert len(await job.payloads(308)) == 1
    assert job.stored()[piece.name] == piece.name.encode() * 47
    assert listed == [name for name in job.stored() if name.endswith(".m3u8")]
    await server.when(lambda: not job.local(piece.name))
    life = await lifeline(server, job)
    tries = {step["what"]: step for step in life if step["what"].startswith("store")}
    assert tries["store_failed"]["count"] > 6
    assert tries["store_failed"]["last_ms"] - began_ms >= TEN_MINUTES_MS, "how long it failed can be read"
    assert tries["store_back"]["at_ms"] > tries["store_failed"]["last_ms"]


async def lifeline(server: Stage, job: Job) -> list[dict[str, Any]]:
    """What `record show` tells; and the list of recordings shows the trouble there was last."""
    found = await reading.recording(server.db, job.task_id)
    assert found is not None
    life: list[dict[str, Any]] = found["life"]
    trouble = [step for step in life if step["what"] in ("store_failed", "given_up")]
    youngest = max(reversed(trouble), key=lambda step: step["last_ms"] or step["at_ms"])
    (row,) = await reading.recordings(server.db)
    assert row["last_error"] == found["last_error"] == f"{youngest['what']}: {youngest['more']}"
    return life


@pytest.mark.parametrize(
    "fault", [Answer(401), EXPIRED, Answer(403, "RequestTimeTooSkewed", "The difference is too large."),
              Answer(404, "NoSuchBucket", "The specified bucket does not exist")],
    ids=["401", "expired key", "clock skew", "404"],
)  # fmt: skip
async def test_f6_a_refusal_is_told_at_once_once_per_file_and_retried(
    server: Stage, faulty: FaultyS3, bucket: str, clock: ManualClock, fault: Answer
) -> None:
    faulty.fault = lambda _request: fault
    job = await begin(server, faulty, bucket)
    began_ms = clock.now_ms()
    names = [job.worker.piece(job.assign, number).name for number in range(2)]
    first = await job.event(308, advancing=False)
    assert first.at_ms == began_ms
    await job.stop()
    await job.event(305, advancing=False, status=1)  # both are told by then
    assert len(await job.payloads(308)) == 2
    tries = len(faulty.requests)
    while len(faulty.requests) < tries + 6:  # goes on trying
        server._committed.clear()
        await job.onward()
    assert all(job.local(name) for name in names)
    job.heal()
    await job.event(305, status=2)
    assert len(await job.payloads(308)) == 2
    for payload in await job.payloads(308):
        assert payload["code"] == (fault.code or "AccessDenied")
        text = str(payload)
        assert not [hidden for hidden in (ACCESS_KEY, SECRET_KEY, "127.0.0.1", *names) if hidden in text]
    assert set(names) < set(job.stored())


@pytest.mark.parametrize("etag", [None, "not-an-md5"], ids=["etag", "read back"])
async def test_f7_a_corrupt_object_is_put_again_and_the_local_piece_stays_until_then(
    server: Stage, faulty: FaultyS3, bucket: str, etag: str | None
) -> None:
    job = await begin(server, faulty, bucket)
    seen: list[bool] = []

    def twice(request: Request) -> Fault | None:
        if not request.key.endswith(".ts") or not request.completes:
            return None
        seen.append(job.local(request.key.rsplit("/", 1)[1]))
        return Change(lambda content: content[:-1], etag) if len(seen) <= 2 else None

    faulty.fault = twice
    piece = job.worker.piece(job.assign, 0)
    await job.event(304)
    assert seen == [True, True, True]
    assert job.stored()[piece.name] == piece.name.encode() * 47
    await server.when(lambda: not job.local(piece.name))
    assert await job.payloads(308) == []


async def test_f6_slow_answers_are_waited_for(server: Stage, faulty: FaultyS3, bucket: str) -> None:
    job = await begin(server, faulty, bucket)
    faulty.fault = media(Slow(5))
    job.worker.piece(job.assign, 0)
    await job.event(304, advancing=False)
    assert faulty.count("PUT") == 2
    assert await job.payloads(308) == []


async def test_g18_f6_two_hours_down_and_the_backlog_drains(
    server: Stage, faulty: FaultyS3, bucket: str, clock: ManualClock
) -> None:
    job = await begin(server, faulty, bucket)
    faulty.fault = lambda _request: SERVER_FAULT
    began_ms = clock.now_ms()
    names = []
    for number in range(12):
        names.append(job.worker.piece(job.assign, number).name)
        await job.worker.told(PieceCommitted)
    while clock.now_ms() < began_ms + 7_200_000:
        server._committed.clear()
        await job.onward()
    assert all(job.local(name) for name in names)
    status, (playlist,) = await job.described()
    assert status == "InProgress"
    await job.stop()
    await job.event(305, advancing=False, status=1)
    job.heal()
    await job.event(305, status=2)
    assert set(names) < set(job.stored())
    lines = [line for line in job.stored()[playlist].decode().splitlines() if not line.startswith("#")]
    assert lines == names
    assert len(await job.payloads(308)) == 12


async def test_r_up_1_an_mp4_is_held_back_and_made_good_and_its_pieces_stay_until_310(
    server: Stage, faulty: FaultyS3, bucket: str
) -> None:
    faulty.fault = lambda request: EXPIRED if request.key.endswith(".mp4") else None
    job = await begin(server, faulty, bucket, output_format=formats.HLS_MP4)
    piece = job.worker.piece(job.assign, 0)
    await job.event(304, advancing=False)
    await job.stop()
    film = job.worker.finish(await job.worker.told(Finalise))
    await job.event(308, advancing=False)
    held = await job.event(310, advancing=False, status=1)
    assert [file["file_name"] for file in held.fact["payload"]["files"]] == [film.name]
    assert job.local(piece.name)
    job.heal()
    await job.event(310, status=0)
    assert [payload["status"] for payload in await job.payloads(310)] == [1, 0]
    assert job.stored()[film.name] == b"a film"
    await server.when(lambda: not job.local(piece.name))


async def test_r_up_2_a_restarted_server_goes_on_with_what_is_in_the_spool(
    db: Database, clock: ManualClock, tmp_path: Path, faulty: FaultyS3, bucket: str
) -> None:
    faulty.fault = lambda _request: SERVER_FAULT
    async with stage(db, clock, tmp_path) as before:
        job = await begin(before, faulty, bucket)
        piece = job.worker.piece(job.assign, 0)
        await job.worker.told(PieceCommitted)
        await job.stop()
        app = (before.sdk_app_id, before.app_key)
    job.heal()
    async with stage(db, clock, tmp_path, boot_id="boot-2", app=app) as after:
        job.server = after
        await job.event(305)
        assert job.stored()[piece.name] == piece.name.encode() * 47


@pytest.mark.parametrize("left", [None, b""], ids=["its name", "its bytes"])
async def test_r_up_2_a_playlist_of_which_a_power_cut_took_the_file_is_written_again(
    db: Database, clock: ManualClock, tmp_path: Path, faulty: FaultyS3, bucket: str, left: bytes | None
) -> None:
    """Its row is there, and what the row says is what it is made of."""
    faulty.fault = lambda request: SERVER_FAULT if request.key.endswith(".m3u8") else None
    async with stage(db, clock, tmp_path) as before:
        job = await begin(before, faulty, bucket)
        piece = job.worker.piece(job.assign, 0)
        await job.worker.told(PieceCommitted)
        async with asyncio.timeout(PATIENCE_S):
            while not [r for r in faulty.requests if r.key.endswith(".m3u8")]:
                await job.onward()
        app = (before.sdk_app_id, before.app_key)
    (index,) = (tmp_path / "spool" / job.task_id / "index").iterdir()
    if left is None:
        index.unlink()
    else:
        index.write_bytes(left)
    job.heal()
    async with stage(db, clock, tmp_path, boot_id="boot-2", app=app) as after:
        job.server = after
        await job.event(304)
        (playlist,) = (content for key, content in job.stored().items() if key.endswith(".m3u8"))
        assert piece.name in playlist.decode()
        assert await job.payloads(308) == []


async def test_r_up_2_what_fails_for_its_whole_time_is_kept_and_the_task_goes(
    db: Database, clock: ManualClock, tmp_path: Path, faulty: FaultyS3, bucket: str
) -> None:
    faulty.fault = media(EXPIRED)
    async with stage(db, clock, tmp_path, upload=UploadRules(max_age_s=3600)) as server:
        job = await begin(server, faulty, bucket)
        piece = job.worker.piece(job.assign, 0)
        await job.worker.told(PieceCommitted)
        await job.stop()
        await server.gone(job.task_id)
        assert job.local(piece.name)
        assert await job.payloads(305) == [{"status": 1}]
        assert await server.count(uploads, uploads.c.state == "given_up") == 1
        told = {step["what"]: step["more"] for step in await lifeline(server, job)}
        assert told["store_failed"] == "ExpiredToken: The provided token has expired."
        assert told["given_up"] == f"{piece.name} stays in the spool"


@pytest.mark.parametrize("fault", [None, EXPIRED], ids=["a good key", "an expired key"])
async def test_r_up_3_a_byte_put_and_deleted_tells_at_the_start_whether_the_bucket_is_good(
    db: Database, clock: ManualClock, tmp_path: Path, faulty: FaultyS3, bucket: str, fault: Answer | None
) -> None:
    faulty.fault = lambda _request: fault
    async with stage(db, clock, tmp_path, upload=UploadRules(probe=True)) as server:
        probed = asyncio.Event()
        begin_probing = server.recording._probing.begin
        server.recording._probing.begin = lambda task: begin_probing(task, probed.set)
        job = await begin(server, faulty, bucket)
        await asyncio.wait_for(probed.wait(), PATIENCE_S)
        found = await reading.recording(db, job.task_id)
        assert found is not None
        noted = [note["text"] for note in found["notes"] if note["kind"] == "store_refuses"]
        if fault is None:
            assert [r.method for r in faulty.requests] == ["PUT", "DELETE"]
            assert faulty.requests[0].headers["content-length"] == "1"
            assert noted == []
        else:
            assert len(noted) == 1
            assert noted[0].startswith("ExpiredToken: ")
        assert job.stored() == {}
        assert await job.payloads(308) == []


async def test_r_up_4_forty_five_uploads_at_once_finish(
    server: Stage, faulty: FaultyS3, bucket: str
) -> None:
    job = await begin(server, faulty, bucket)
    names = [job.worker.piece(job.assign, number).name for number in range(45)]
    await job.stop()
    await job.event(305, status=0)
    assert set(names) < set(job.stored())
    await server.when(lambda: not any(job.local(name) for name in names))


async def test_no_secret_of_a_bucket_is_in_the_database_or_the_events(
    server: Stage, faulty: FaultyS3, bucket: str, tmp_path: Path
) -> None:
    faulty.fault = lambda _request: EXPIRED
    job = await begin(server, faulty, bucket)
    job.worker.piece(job.assign, 0)
    await job.event(308, advancing=False)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name.startswith("roomtape.db"):
            content = path.read_bytes()
            assert ACCESS_KEY.encode() not in content
            assert SECRET_KEY.encode() not in content


async def test_a_bucket_declared_for_other_applications_is_one_of_the_s3_dialect(
    server: Stage, s3: S3Server, faulty: FaultyS3
) -> None:
    local = server.buckets.by_name["recordings"]
    server.buckets.by_name["recordings"] = type(local)(local.store, frozenset({server.sdk_app_id + 1}))
    s3.bucket("recordings")
    job = await begin(server, faulty, "recordings")
    job.worker.piece(job.assign, 0)
    await job.event(304, advancing=False)
    assert server.stored() == {}
    assert len(job.stored()) == 2
