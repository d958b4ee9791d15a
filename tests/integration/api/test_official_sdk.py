"""The official Python SDK, unmodified, against the gateway over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models, trtc_client

from roomtape.api.gateway import routes
from roomtape.clock import SystemClock
from roomtape.state.database import Database
from tests.support.api import Stand, stand
from tests.support.taskrows import FileView

SIGNATURES = ["TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256"]
METHODS = ["POST", "GET"]
Client = Any


@pytest.fixture
async def served(migrated: Path, tmp_path: Path) -> AsyncIterator[tuple[Stand, str]]:
    """The API behind uvicorn, on the machine's clock; its host:port."""
    copy(migrated, tmp_path / "roomtape.db")
    clock = SystemClock()
    db = await Database.open(f"sqlite:///{tmp_path}/roomtape.db", clock)
    async with stand(db, clock) as api:
        app = Starlette(routes=list(routes(api.services, api.config)))
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, http="httptools", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield api, f"127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving
    await db.close()


def client(
    api: Stand,
    endpoint: str,
    *,
    method: str = "POST",
    signature: str = "TC3-HMAC-SHA256",
    region: str = "ap-singapore",
    secret_key: str | None = None,
    language: str = "en-US",
    unsigned: bool = False,
) -> Client:
    http = HttpProfile(protocol="http", endpoint=endpoint, reqMethod=method, reqTimeout=20)
    profile = ClientProfile(signMethod=signature, httpProfile=http, language=language)
    profile.unsignedPayload = unsigned
    credential = Credential(
        api.key.secret_id,
        secret_key or api.key.secret_key.reveal(),
        None if api.key.token is None else api.key.token.reveal(),
    )
    return trtc_client.TrtcClient(credential, region, profile)


def filled(model: Any, members: dict[str, Any]) -> Any:
    model.from_json_string(json.dumps(members))
    return model


async def call(method: Callable[[Any], Any], request: Any) -> Any:
    """The SDK blocks: it runs in a thread, the server in this loop."""
    return await asyncio.to_thread(method, request)


async def refusal(method: Callable[[Any], Any], request: Any) -> TencentCloudSDKException:
    with pytest.raises(TencentCloudSDKException) as raised:
        await call(method, request)
    return raised.value


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("method", METHODS)
async def test_the_life_of_a_task_in_every_way_of_signing(
    served: tuple[Stand, str], signature: str, method: str
) -> None:
    api, endpoint = served
    sdk = client(api, endpoint, method=method, signature=signature)
    members = await api.create_request(RoomId=" class a+b&c")
    members["RecordParams"]["SubscribeStreamUserIds"] = {
        "SubscribeAudioUserIds": [f"user-{i}" for i in range(12)]
    }
    created = await call(sdk.CreateCloudRecording, filled(models.CreateCloudRecordingRequest(), members))
    assert len(created.TaskId) == 64
    assert api.recording.specs[0].room_id == " class a+b&c"
    assert api.recording.specs[0].lists.audio_allow == tuple(f"user-{i}" for i in range(12))

    task = {"SdkAppId": api.app.sdk_app_id, "TaskId": created.TaskId}
    api.recording.files = [FileView("amy", "a.m3u8", "video", 1772352900125)]
    shown = await call(sdk.DescribeCloudRecording, filled(models.DescribeCloudRecordingRequest(), task))
    assert (shown.TaskId, shown.Status) == (created.TaskId, "Idle")
    (file,) = shown.StorageFileList
    assert (file.UserId, file.FileName, file.TrackType, file.BeginTimeStamp) == (
        *("amy", "a.m3u8", "video", 1772352900125),
    )
    modify = task | {"SubscribeStreamUserIds": {"SubscribeAudioUserIds": ["amy"]}}
    changed = await call(sdk.ModifyCloudRecording, filled(models.ModifyCloudRecordingRequest(), modify))
    assert changed.TaskId == created.TaskId
    stopped = await call(sdk.DeleteCloudRecording, filled(models.DeleteCloudRecordingRequest(), task))
    assert stopped.TaskId == created.TaskId
    assert stopped.RequestId


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("method", METHODS)
async def test_an_error_reaches_the_caller_with_code_message_and_request_id(
    served: tuple[Stand, str], signature: str, method: str
) -> None:
    api, endpoint = served
    sdk = client(api, endpoint, method=method, signature=signature)
    task = {"SdkAppId": api.app.sdk_app_id, "TaskId": "xx"}
    error = await refusal(sdk.DeleteCloudRecording, filled(models.DeleteCloudRecordingRequest(), task))
    assert error.get_code() == "ResourceNotFound"
    assert error.get_message()
    assert len(error.get_request_id()) == 36


@pytest.mark.parametrize("signature", SIGNATURES)
async def test_a_wrong_key_is_a_signature_failure(served: tuple[Stand, str], signature: str) -> None:
    api, endpoint = served
    sdk = client(api, endpoint, signature=signature, secret_key="wrong")
    error = await refusal(sdk.DeleteCloudRecording, models.DeleteCloudRecordingRequest())
    assert error.get_code() == "AuthFailure.SignatureFailure"


async def test_an_unsigned_payload_passes(served: tuple[Stand, str]) -> None:
    api, endpoint = served
    sdk = client(api, endpoint, unsigned=True)
    members = await api.create_request()
    assert (
        await call(sdk.CreateCloudRecording, filled(models.CreateCloudRecordingRequest(), members))
    ).TaskId


@pytest.mark.parametrize("signature", SIGNATURES)
async def test_a_temporary_key_passes_with_its_token(served: tuple[Stand, str], signature: str) -> None:
    api, endpoint = served
    api.key = await api.access.create_key(api.account.uin, lifetime_s=3600)
    sdk = client(api, endpoint, signature=signature)
    task = {"SdkAppId": api.app.sdk_app_id, "TaskId": "xx"}
    error = await refusal(sdk.DeleteCloudRecording, filled(models.DeleteCloudRecordingRequest(), task))
    assert error.get_code() == "ResourceNotFound"


async def test_messages_in_chinese(served: tuple[Stand, str]) -> None:
    api, endpoint = served
    sdk = client(api, endpoint, language="zh-CN")
    error = await refusal(sdk.DeleteCloudRecording, models.DeleteCloudRecordingRequest())
    assert (error.get_code(), "缺少" in error.get_message()) == ("MissingParameter.SdkAppId", True)


async def test_a_published_action_that_is_not_built_is_unsupported(served: tuple[Stand, str]) -> None:
    api, endpoint = served
    sdk = client(api, endpoint)
    now_s = api.clock.now_ms() // 1000
    span = {"SdkAppId": api.app.sdk_app_id, "StartTime": now_s - 60, "EndTime": now_s}
    request = filled(models.DescribeScaleInfoRequest(), span)
    assert (await refusal(sdk.DescribeScaleInfo, request)).get_code() == "UnsupportedOperation"


async def test_every_action_of_the_sdk_is_known(served: tuple[Stand, str]) -> None:
    """Whatever the client can call is told apart from nonsense."""
    api, endpoint = served
    sdk = client(api, endpoint)
    api.config.api.region_mode = "any"
    names = [name for name in dir(sdk) if name[0].isupper() and hasattr(models, f"{name}Request")]
    assert len(names) > 40
    for name in names:
        error = await refusal(getattr(sdk, name), getattr(models, f"{name}Request")())
        assert error.get_code() not in ("InvalidAction", "InternalError"), name
    error = await refusal(lambda params: sdk.call_json("Nonsense", params), {})
    assert error.get_code() == "InvalidAction"


async def test_a_body_that_is_too_large_is_told_so_to_a_client_that_is_still_sending(
    served: tuple[Stand, str],
) -> None:
    api, endpoint = served
    sdk = client(api, endpoint)
    error = await refusal(
        lambda params: sdk.call_json("DeleteCloudRecording", params), {"A": "x" * 12_000_000}
    )
    assert error.get_code() == "RequestSizeLimitExceeded"
