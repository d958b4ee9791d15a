"""The envelope that every official client can read, whatever arrives and whichever way it is answered."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import DELETE, FORM, HOST, Stand, create, task


async def test_a_success_is_200_with_exactly_application_json_and_a_request_id(api: Stand) -> None:
    answer = await create(api)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.response) == {"TaskId", "RequestId"}
    assert re.fullmatch(r"[A-Za-z0-9-]{64}", answer.response["TaskId"])
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", answer.response["RequestId"]
    )
    assert answer.headers["x-tc-requestid"] == answer.response["RequestId"]
    assert answer.headers["content-length"] == str(len(answer.body))


async def test_an_error_is_200_too_and_has_code_message_and_request_id(api: Stand) -> None:
    answer = await api.call(DELETE, task(api))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert set(answer.response) == {"Error", "RequestId"}
    assert answer.code == "ResourceNotFound"
    assert answer.message


async def test_the_trace_id_is_echoed_when_it_can_be(api: Stand) -> None:
    answer = await api.call(DELETE, task(api), extra={"x-tc-traceid": "b9a1-7"})
    assert answer.headers["x-tc-traceid"] == "b9a1-7"
    answer = await api.call(DELETE, task(api), extra={"x-tc-traceid": "é"})
    assert "x-tc-traceid" not in answer.headers


@pytest.mark.parametrize(("language", "chinese"), [("zh-CN", True), ("en-US", False), ("tlh", False)])
async def test_messages_come_in_the_language_asked_for(api: Stand, language: str, chinese: bool) -> None:
    answer = await api.call(DELETE, {}, extra={"x-tc-language": language})
    assert answer.code == "MissingParameter.SdkAppId"
    assert ("缺少" in answer.message) is chinese
    assert "SdkAppId" in answer.message


async def test_a_request_that_ends_early_is_told_in_its_language_too(api: Stand) -> None:
    """The method, the size, the address's rate and absent credentials are judged before the parameters are read."""
    chinese = {"host": HOST, "content-type": "application/json", "x-tc-language": "zh-CN"}
    query = b"a=" + b"x" * 32 * 1024
    told = [await api.send("PUT", chinese), await api.send("GET", chinese, query=query), await api.send("POST", chinese)]
    api.config.limits.per_address = 1
    api.restart()
    told += [await api.send("POST", chinese) for _ in range(2)][1:]
    assert [answer.code for answer in told] == [
        *("UnsupportedProtocol", "RequestSizeLimitExceeded", "MissingParameter"),
        "RequestLimitExceeded.IPLimitExceeded",
    ]
    for answer in told:
        assert re.search("[\u4e00-\u9fff]", answer.message), answer.message


async def test_an_exception_becomes_an_error_of_ours_without_its_text(api: Stand) -> None:
    async def fail(*_: object) -> str:
        raise RuntimeError("secret path /srv/x")

    api.recording.stop = fail  # type: ignore[method-assign]
    answer = await api.call(DELETE, task(api))
    assert answer.code == "InternalError.CRInternalError"
    assert "secret path" not in answer.body.decode()


@pytest.mark.parametrize(("size", "code"), [(10 * 1024 * 1024 - 300, "OK"), (10 * 1024 * 1024, "ResponseSizeLimitExceeded")])
async def test_an_answer_above_10_mb_is_not_sent(api: Stand, size: int, code: str) -> None:
    async def long(*_: object) -> str:
        return "x" * size

    api.recording.stop = long  # type: ignore[method-assign]
    answer = await api.call(DELETE, task(api))
    assert (answer.status, answer.code) == (200, code)
    assert len(answer.body) < 10 * 1024 * 1024 if code == "OK" else len(answer.body) < 1000


async def test_a_lost_database_is_service_unavailable(api: Stand) -> None:
    from roomtape.state.database import DatabaseUnavailable

    async def fail(*_: object) -> str:
        raise DatabaseUnavailable("connection refused")

    api.recording.stop = fail  # type: ignore[method-assign]
    assert (await api.call(DELETE, task(api))).code == "ServiceUnavailable"


@pytest.mark.parametrize("known", [False, True])
async def test_answers_at_once_are_the_ordinary_ones(api: Stand, known: bool) -> None:
    """Success and refusal at every step, with keys and applications known or to be read first."""
    created = (await create(api)).response["TaskId"]
    body = json.dumps(task(api, created)).encode()
    describe, deny = (
        "DescribeCloudRecording",
        await api.access.create_account("sub", owner_uin=api.account.uin),
    )
    sub_user = await api.access.create_key(deny.uin)
    changes: list[tuple[str, dict[str, Any], bytes]] = [
        (describe, {}, body),
        (describe, {"extra": {"x-tc-traceid": "t-1", "x-tc-language": "zh-CN"}}, body),
        (describe, {"version": "2020-01-01"}, body),
        (describe, {"timestamp": str(api.clock.now_ms() // 1000 - 301)}, body),
        (describe, {"secret_id": "AKID" + "0" * 32}, body),
        (describe, {"secret_id": "a b"}, body),
        (describe, {"secret_key": "x" * 32}, body),
        (describe, {"extra": {"x-tc-token": "x"}}, body),
        (describe, {"region": "xx"}, body),
        (describe, {"secret_id": sub_user.secret_id, "secret_key": sub_user.secret_key.reveal()}, body),
        (describe, {}, b"{"),
        (describe, {}, b'{"X": 1}'),
        (describe, {}, json.dumps(task(api, "nobody")).encode()),
        (describe, {}, json.dumps({"SdkAppId": 1, "TaskId": created}).encode()),
        (DELETE, {}, json.dumps(task(api, "nobody")).encode()),
        ("DescribeTrtcUsage", {}, b"{}"),
        ("MadeUp", {}, b"{}"),
    ]
    codes = set()
    for action, changed, sent in changes:
        headers = api.headers(action, sent, **changed)
        answers = []
        for at_once in (False, True):
            if not known:
                api.access._forget()
            answer = await api.send("POST", headers, sent, at_once=at_once)
            told, told_headers = answer.response, dict(answer.headers)
            assert told.pop("RequestId") == told_headers.pop("x-tc-requestid")
            answers.append((told, told_headers))
        assert answers[0] == answers[1]
        codes.add(answer.code)
    assert len(codes) >= 12, codes


async def test_an_answer_at_once_is_right_after_every_change(api: Stand) -> None:
    """Of key, account, application and limit: what was answered before does not stay."""
    body = json.dumps(task(api)).encode()

    async def code() -> str:
        return (await api.send("POST", api.headers(DELETE, body), body, at_once=True)).code

    assert await code() == "ResourceNotFound"
    await api.access.disable_key(api.key.secret_id)
    assert await code() == "AuthFailure.SecretIdNotFound"
    await api.access.disable_key(api.key.secret_id, disabled=False)
    assert await code() == "ResourceNotFound"
    await api.access.disable_app(api.app.sdk_app_id)
    assert await code() == "InvalidParameter.SdkAppId"
    await api.access.disable_app(api.app.sdk_app_id, disabled=False)
    assert await code() == "ResourceNotFound"
    api.config.limits.per_action = {DELETE: 1}
    api.restart()
    assert [await code(), await code()] == ["ResourceNotFound", "RequestLimitExceeded"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    method=st.sampled_from(["GET", "POST"]),
    body=st.binary(max_size=200),
    query=st.binary(max_size=60),
    names=st.dictionaries(
        st.sampled_from(
            [
                "authorization",
                "content-type",
                "x-tc-action",
                "x-tc-version",
                "x-tc-timestamp",
                "content-length",
            ]
        ),
        st.text(st.characters(max_codepoint=255), max_size=40)
        | st.sampled_from(
            ["application/json", FORM, "multipart/form-data; boundary=b", DELETE, "2019-07-22"]
        ),
    ),
)
def test_whatever_arrives_the_answer_has_its_form(
    api: Stand, method: str, body: bytes, query: bytes, names: dict[str, str]
) -> None:
    api.config.limits.per_address = 10**9
    loop = asyncio.new_event_loop()  # nothing here reaches the database, whose loop is another
    try:
        answer = loop.run_until_complete(api.send(method, {"host": HOST} | names, body, query))
    finally:
        loop.close()
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.code not in ("OK", "InternalError")
    assert answer.message
    assert answer.response["RequestId"]
