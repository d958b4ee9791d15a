"""A repeated signed request is one request: TC3 has no nonce, and clients resend."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

from tests.support.api import FORM, HOST, Answer, Stand

CREATE = "CreateCloudRecording"


async def signed(api: Stand, **changes: Any) -> tuple[dict[str, str], bytes]:
    body = json.dumps(await api.create_request()).encode()
    return api.headers(CREATE, body, **changes), body


async def test_f16_two_identical_creates_are_one_task_with_two_request_ids(api: Stand) -> None:
    headers, body = await signed(api)
    first = await api.send("POST", headers, body)
    second = await api.send("POST", headers, body)
    assert first.response["TaskId"] == second.response["TaskId"]
    assert first.response["RequestId"] != second.response["RequestId"]
    assert await api.recording.count() == 1


async def test_any_other_byte_is_another_request(api: Stand) -> None:
    headers, body = await signed(api)
    await api.send("POST", headers, body)
    other = body + b" "
    assert (await api.send("POST", api.headers(CREATE, other), other)).code == "OK"
    later = str(api.clock.now_ms() // 1000 + 1)
    assert (await api.send("POST", api.headers(CREATE, body, timestamp=later), body)).code == "OK"
    # The region is not signed, but part of the request.
    assert (await api.send("POST", headers | {"x-tc-region": "ap-mumbai"}, body)).code == "OK"
    assert await api.recording.count() == 4


async def test_an_unsigned_body_still_tells_requests_apart(api: Stand) -> None:
    headers, body = await signed(api, extra={"x-tc-content-sha256": "UNSIGNED-PAYLOAD"})
    await api.send("POST", headers, body)
    changed = body.replace(b"class_7", b"class_8")
    assert (await api.send("POST", headers, changed)).code == "OK"
    assert await api.recording.count() == 2


async def test_f16_the_action_is_part_of_a_request_though_it_is_not_signed(api: Stand) -> None:
    task_id = (await api.call(CREATE, await api.create_request())).response["TaskId"]
    body = json.dumps({"SdkAppId": api.app.sdk_app_id, "TaskId": task_id}).encode()
    headers = api.headers("ModifyCloudRecording", body)
    assert (await api.send("POST", headers, body)).code == "OK"
    delete = headers | {"x-tc-action": "DeleteCloudRecording"}
    assert (await api.send("POST", delete, body)).code == "OK"
    state = await api.call("DescribeCloudRecording", body)
    assert state.response["Status"] == "Exited"


async def test_f16_twins_that_come_together_are_one_task(api: Stand) -> None:
    headers, body = await signed(api)
    answers = await asyncio.gather(*(api.send("POST", headers, body) for _ in range(5)))
    assert len({answer.response["TaskId"] for answer in answers}) == 1
    assert await api.recording.count() == 1


async def test_f16_an_error_is_not_kept_the_repeat_acts(api: Stand) -> None:
    headers, body = await signed(api)
    api.recording.max_tasks = 0
    assert (await api.send("POST", headers, body)).code == "FailedOperation.RestrictedConcurrency"
    api.recording.max_tasks = 1
    assert (await api.send("POST", headers, body)).code == "OK"
    assert await api.recording.count() == 1


async def test_a_twin_of_a_failing_request_acts_itself(api: Stand) -> None:
    headers, body = await signed(api)
    create = api.recording.create
    entered, go = asyncio.Event(), asyncio.Event()

    async def fail_once(spec: Any) -> str:
        api.recording.create = create  # type: ignore[method-assign]
        entered.set()
        await go.wait()
        raise RuntimeError("lost")

    api.recording.create = fail_once  # type: ignore[method-assign]
    first = asyncio.create_task(api.send("POST", headers, body))
    await entered.wait()
    second = asyncio.create_task(api.send("POST", headers, body))
    go.set()
    assert (await first).code == "InternalError.CRInternalError"
    assert (await second).code == "OK"


async def test_a_repeat_passes_all_checks_again(api: Stand) -> None:
    headers, body = await signed(api)
    assert (await api.send("POST", headers, body)).code == "OK"
    await api.access.disable_key(api.key.secret_id)
    assert (await api.send("POST", headers, body)).code == "AuthFailure.SecretIdNotFound"
    await api.access.disable_key(api.key.secret_id, disabled=False)
    await api.clock.advance(301)
    assert (await api.send("POST", headers, body)).code == "AuthFailure.SignatureExpire"


async def test_a_stored_answer_outlives_the_window_of_the_youngest_timestamp(api: Stand) -> None:
    ahead = str(api.clock.now_ms() // 1000 + 300)
    headers, body = await signed(api, timestamp=ahead)
    first = await api.send("POST", headers, body)
    await api.clock.advance(599)
    again = await api.send("POST", headers, body)
    assert again.response["TaskId"] == first.response["TaskId"]


async def test_it_holds_for_the_older_signature_too(api: Stand) -> None:
    flat = {
        "SdkAppId": str(api.app.sdk_app_id),
        "RoomId": "12",
        "UserId": "robot",
        "UserSig": await api.robot(),
        "RecordParams.RecordMode": "1",
        "StorageParams.CloudVod.TencentVod.MediaType": "0",
    }
    body = urlencode(api.v1(CREATE, flat)).encode()

    async def send() -> Answer:
        return await api.send("POST", {"host": HOST, "content-type": FORM}, body)

    assert (await send()).response["TaskId"] == (await send()).response["TaskId"]
    other = urlencode(api.v1(CREATE, flat, Nonce="1")).encode()
    assert (await api.send("POST", {"host": HOST, "content-type": FORM}, other)).code == "OK"
    assert await api.recording.count() == 2


async def test_a_query_is_never_answered_from_store(api: Stand) -> None:
    task_id = (await api.call(CREATE, await api.create_request())).response["TaskId"]
    body = json.dumps({"SdkAppId": api.app.sdk_app_id, "TaskId": task_id}).encode()
    headers = api.headers("DescribeCloudRecording", body)
    assert (await api.send("POST", headers, body)).response["Status"] == "Idle"
    await api.call("DeleteCloudRecording", body)
    assert (await api.send("POST", headers, body)).response["Status"] == "Exited"
