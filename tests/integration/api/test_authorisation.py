"""Steps 15 and 16: whose application it is, what policies allow, and what is built; then six seconds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.api import DELETE, Stand, foreign_app, task


@pytest.mark.parametrize(
    ("action", "unknown", "foreign"),
    [
        (DELETE, "InvalidParameter.SdkAppId", "InvalidParameter.SdkAppId"),
        ("ModifyCloudRecording", "ResourceNotFound", "ResourceNotFound"),
        ("StopPublishCdnStream", "InvalidParameter", "InvalidParameter"),
        ("StopStreamIngest", "InvalidParameter.SdkAppId", "InvalidParameter.SdkAppId"),
    ],
)
async def test_an_application_must_exist_and_be_the_callers(
    api: Stand, action: str, unknown: str, foreign: str
) -> None:
    assert (await api.call(action, {"SdkAppId": 77, "TaskId": "x" * 64})).code == unknown
    assert (await api.call(action, {"SdkAppId": await foreign_app(api), "TaskId": "x" * 64})).code == foreign


async def test_room_actions_name_a_foreign_application_otherwise(api: Stand) -> None:
    room = {"RoomId": 5}
    assert (await api.call("DismissRoom", {"SdkAppId": 77} | room)).code == "InvalidParameter.SdkAppId"
    answer = await api.call("DismissRoom", {"SdkAppId": await foreign_app(api)} | room)
    assert answer.code == "UnauthorizedOperation.SdkAppId"


async def test_a_sub_user_works_on_the_applications_of_its_root_account(api: Stand) -> None:
    user = await api.access.create_account("sub", owner_uin=api.account.uin)
    await api.access.attach_policy(user.uin, "QcloudTRTCFullAccess")
    api.key = await api.access.create_key(user.uin)
    assert (await api.call(DELETE, task(api))).code == "ResourceNotFound"


async def test_a_key_may_be_bound_to_applications(api: Stand) -> None:
    second, _ = await api.access.create_app(uin=api.account.uin)
    api.key = await api.access.create_key(api.account.uin, sdk_app_ids=[second.sdk_app_id])
    assert (await api.call(DELETE, task(api))).code == "InvalidParameter.SdkAppId"
    assert (await api.call(DELETE, task(api) | {"SdkAppId": second.sdk_app_id})).code == "ResourceNotFound"


async def test_a_published_action_that_is_not_built_says_so_after_all_checks(api: Stand) -> None:
    app = api.app.sdk_app_id
    assert (await api.call("DescribeScaleInfo", {"SdkAppId": app})).code == "MissingParameter.StartTs"
    whole = {"SdkAppId": app, "StartTime": 1_700_000_000, "EndTime": 1_700_000_001}
    assert (await api.call("DescribeScaleInfo", whole)).code == "UnsupportedOperation"
    assert (await api.call("StartWebRecord", {"Anything": 1})).code == "UnsupportedOperation"


async def test_the_service_has_six_seconds(api: Stand) -> None:
    async def forever(*_: object) -> str:
        await asyncio.Event().wait()
        return ""

    api.recording.describe = forever  # type: ignore[assignment, method-assign]
    waiting = asyncio.create_task(api.call("DescribeCloudRecording", task(api)))
    await api.clock.sleepers()
    await api.clock.advance(5.9)
    assert not waiting.done()
    await api.clock.advance(0.1)
    assert (await waiting).code == "InternalError.CRInternalError"


async def test_an_action_that_is_late_still_ends_and_its_repeat_gets_its_answer(api: Stand) -> None:
    create_row = api.recording.create
    go = asyncio.Event()

    async def slow(spec: Any) -> str:
        await go.wait()
        return await create_row(spec)

    api.recording.create = slow  # type: ignore[method-assign]
    body = json.dumps(await api.create_request()).encode()
    headers = api.headers("CreateCloudRecording", body)
    waiting = asyncio.create_task(api.send("POST", headers, body))
    await api.clock.sleepers()
    await api.clock.advance(6)
    assert (await waiting).code == "InternalError.CRInternalError"
    repeat = asyncio.create_task(api.send("POST", headers, body))
    await api.clock.sleepers()
    go.set()
    assert (await repeat).code == "OK"
    assert await api.recording.count() == 1


async def test_a_client_that_goes_away_gets_no_answer(api: Stand) -> None:
    sent: list[object] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    scope = {"method": "POST", "path": "/", "query_string": b"", "headers": [], "client": ("::1", 1)}
    await api.gateway(scope, receive, send)
    assert sent == []


async def test_an_application_that_was_switched_off_is_unknown(api: Stand) -> None:
    await api.access.disable_app(api.app.sdk_app_id)
    assert (await api.call(DELETE, task(api))).code == "InvalidParameter.SdkAppId"


# --- policies ---------------------------------------------------------------------------------------


async def sub_user(api: Stand, *statements: dict[str, Any]) -> None:
    """From here on a sub-user calls, with one policy."""
    user = await api.access.create_account("sub", owner_uin=api.account.uin)
    document = {"version": "2.0", "statement": list(statements)}
    await api.access.attach_policy(user.uin, "p", json.dumps(document))
    api.key = await api.access.create_key(user.uin)


def grant(effect: str, action: str, resource: str) -> dict[str, str]:
    return {"effect": effect, "action": action, "resource": resource}


async def test_a_sub_user_without_a_policy_may_nothing(api: Stand) -> None:
    user = await api.access.create_account("sub", owner_uin=api.account.uin)
    api.key = await api.access.create_key(user.uin)
    assert (await api.call(DELETE, {})).code == "AuthFailure.UnauthorizedOperation"


async def test_what_needs_no_application_is_decided_before_the_body_is_read(api: Stand) -> None:
    await sub_user(api, grant("allow", "trtc:Describe*", "*"))
    assert (await api.call(DELETE, b"{")).code == "AuthFailure.UnauthorizedOperation"
    assert (await api.call("DescribeCloudRecording", b"{")).code == "InvalidParameter"
    assert (await api.call("DescribeCloudRecording", task(api))).code == "ResourceNotFound"


async def test_a_statement_on_one_application_is_judged_with_the_body(api: Stand) -> None:
    second, _ = await api.access.create_app(uin=api.account.uin)
    await sub_user(api, grant("allow", "trtc:*", f"qcs::trtc::uin/:sdkappid/{api.app.sdk_app_id}"))
    assert (await api.call(DELETE, task(api))).code == "ResourceNotFound"
    answer = await api.call(DELETE, task(api) | {"SdkAppId": second.sdk_app_id})
    assert answer.code == "AuthFailure.UnauthorizedOperation"
    assert f"qcs::trtc::uin/{api.account.uin}:sdkappid/{second.sdk_app_id}" in answer.message
    # Before the codes for applications that are unknown or another's, after those for the body.
    assert (await api.call(DELETE, task(api) | {"SdkAppId": 77})).code == "AuthFailure.UnauthorizedOperation"
    assert (await api.call(DELETE, {"SdkAppId": 77})).code == "MissingParameter.TaskId"


async def test_a_policy_is_gone_as_soon_as_it_is_detached(api: Stand) -> None:
    await sub_user(api, grant("allow", "trtc:*", "*"))
    assert (await api.call(DELETE, task(api))).code == "ResourceNotFound"
    key = await api.access.key(api.key.secret_id)
    assert key is not None
    await api.access.detach_policy(key.account.uin, "p")
    assert (await api.call(DELETE, task(api))).code == "AuthFailure.UnauthorizedOperation"
