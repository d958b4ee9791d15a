"""The official SDK against the gateway with the real recording service behind it; the worker is scripted."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import uvicorn
from starlette.applications import Starlette
from tencentcloud.trtc.v20190722 import models

from roomtape.api.gateway import routes
from roomtape.api.services import Services
from roomtape.clock import ManualClock
from roomtape.config import Config
from roomtape.control.messages import Assign, Modify, PieceCommitted, Stop
from roomtape.state.database import Database
from tests.integration.api.test_official_sdk import call, client, filled, refusal
from tests.support.api import Stand
from tests.support.stage import ScriptedWorker, Stage, stage
from tests.support.taskrows import RecordingRows


@asynccontextmanager
async def serving(server: Stage, config: Config) -> AsyncIterator[str]:
    """The API of the stage behind uvicorn; yields its host:port."""
    services = Services(server.db, server.clock, server.access, server.recording, server.rooms)
    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=list(routes(services, config)))
    http = uvicorn.Server(uvicorn.Config(app, log_config=None, http="httptools", lifespan="off"))
    running = asyncio.create_task(http.serve(sockets=[listener]))
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        http.should_exit = True
        await running


async def caller_of(server: Stage) -> Stand:
    """Keys of the account that owns the stage's application."""
    app = await server.access.app(server.sdk_app_id)
    assert app is not None
    account = next(a for a in await server.access.accounts() if a.uin == app.uin)
    key = await server.access.create_key(account.uin)
    rows = RecordingRows(server.db, server.access, server.clock)
    return Stand(
        server.db, server.clock, server.access, account, app, key, Config(), rows, server.core, server.rooms
    )


@asynccontextmanager
async def everything(migrated: Path, tmp_path: Path) -> AsyncIterator[tuple[Stage, Stand, Any]]:
    copy(migrated, tmp_path / "roomtape.db")
    clock = ManualClock(now_ms=time.time_ns() // 1_000_000)  # the SDK signs by the machine's clock
    db = await Database.open(f"sqlite:///{tmp_path}/roomtape.db", clock)
    try:
        async with stage(db, clock, tmp_path) as server:
            api = await caller_of(server)
            async with serving(server, api.config) as endpoint:
                yield server, api, client(api, endpoint)
    finally:
        await db.close()


async def request(api: Stand, **record: Any) -> Any:
    """A CreateCloudRecording into the stage's local bucket."""
    members = await api.create_request(RecordParams={"RecordMode": 1, **record})
    members["StorageParams"]["CloudStorage"]["Bucket"] = "recordings"
    return filled(models.CreateCloudRecordingRequest(), members)


async def test_a_task_from_create_to_its_end_as_the_sdk_sees_it(migrated: Path, tmp_path: Path) -> None:
    async with everything(migrated, tmp_path) as (server, api, sdk):
        worker = ScriptedWorker(server.workers)
        created = await call(sdk.CreateCloudRecording, await request(api, MaxIdleTime=60, FillType=1))
        task = {"SdkAppId": server.sdk_app_id, "TaskId": created.TaskId}
        describe = filled(models.DescribeCloudRecordingRequest(), task)
        assert (await call(sdk.DescribeCloudRecording, describe)).Status == "Idle"

        assign: Assign = await worker.take()
        assert (assign.plan.max_idle_ms, assign.plan.fill_type, assign.plan.room) == (
            *(60_000, 1, f"{server.sdk_app_id}/s/class_7"),
        )
        worker.piece(assign, 0)
        await worker.told(PieceCommitted)
        shown = await call(sdk.DescribeCloudRecording, describe)
        assert shown.Status == "InProgress"
        (file,) = shown.StorageFileList
        assert (file.UserId, file.TrackType, file.BeginTimeStamp) == (
            *("amy", "audio", assign.plan.clock_wall_ms),
        )
        assert file.FileName.startswith(
            f"{server.sdk_app_id}_Y2xhc3NfNw..__UserId_s_YW15__UserId_e_main_audio"
        )

        lists = {"SubscribeStreamUserIds": {"SubscribeAudioUserIds": ["amy", "b.*$"]}}
        await call(sdk.ModifyCloudRecording, filled(models.ModifyCloudRecordingRequest(), task | lists))
        assert (await worker.told(Modify)).subscription.audio_allow == ["amy", "b.*$"]

        delete = filled(models.DeleteCloudRecordingRequest(), task)
        assert (await call(sdk.DeleteCloudRecording, delete)).TaskId == created.TaskId
        assert (await worker.told(Stop)).task_id == created.TaskId
        assert (await call(sdk.DescribeCloudRecording, describe)).Status == "Exited"
        modify = filled(models.ModifyCloudRecordingRequest(), task)
        assert (await refusal(sdk.ModifyCloudRecording, modify)).get_code() == "FailedOperation"


async def test_what_the_service_refuses_has_its_code(migrated: Path, tmp_path: Path) -> None:
    async with everything(migrated, tmp_path) as (server, api, sdk):
        create = sdk.CreateCloudRecording

        async def code(given: Any) -> str:
            return str((await refusal(create, given)).get_code())

        ScriptedWorker(server.workers)
        wrong = await request(api)
        wrong.UserSig = "nonsense"
        assert await code(wrong) == "InvalidParameter.UserSig"
        mixed = await request(api)
        mixed.RecordParams.RecordMode = 2
        assert await code(mixed) == "UnsupportedOperation"
        await server.access.set_recording(server.sdk_app_id, False)
        assert await code(await request(api)) == "FailedOperation.CRUnsupportMethod"
        await server.access.set_recording(server.sdk_app_id, True)
        await server.access.set_permission_control(server.sdk_app_id, True)
        assert await code(await request(api)) == "FailedOperation"
        ticket = await server.access.issue_ticket(server.sdk_app_id, "robot", "s", "class_7", 60)
        let_in = await request(api)
        let_in.PrivateMapKey = ticket.reveal()
        assert (await call(create, let_in)).TaskId


async def test_a_request_resent_by_the_client_is_one_task(migrated: Path, tmp_path: Path) -> None:
    async with everything(migrated, tmp_path) as (server, api, _):
        ScriptedWorker(server.workers)
        api.recording = server.recording  # type: ignore[assignment]
        api.restart()
        members = await api.create_request()
        members["StorageParams"]["CloudStorage"]["Bucket"] = "recordings"
        answers = await asyncio.gather(*(api.call("CreateCloudRecording", members) for _ in range(3)))
        assert len({answer.response["TaskId"] for answer in answers}) == 1
        assert len(await server.recording.list_tasks()) == 1


async def test_F18_the_101st_task_of_an_application_is_refused_and_another_application_is_not(
    migrated: Path, tmp_path: Path
) -> None:
    async with everything(migrated, tmp_path) as (server, api, _):
        ScriptedWorker(server.workers)
        api.recording = server.recording  # type: ignore[assignment]
        api.config.limits.per_action = {"CreateCloudRecording": 1000}
        api.restart()

        async def create(robot: str, sdk_app_id: int = server.sdk_app_id) -> str:
            sig = (await api.access.issue_user_sig(sdk_app_id, robot)).reveal()
            members = await api.create_request(UserId=robot, UserSig=sig, SdkAppId=sdk_app_id)
            members["StorageParams"]["CloudStorage"]["Bucket"] = "recordings"
            return (await api.call("CreateCloudRecording", members)).code

        assert {await create(f"robot{i}") for i in range(100)} == {"OK"}
        assert await create("robot100") == "FailedOperation.RestrictedConcurrency"
        other, _ = await api.access.create_app("other", uin=api.account.uin)
        assert await create("robot", other.sdk_app_id) == "OK"
