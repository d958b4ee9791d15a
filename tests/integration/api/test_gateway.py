"""The chain: each check alone, their order, and an envelope that every official client can read."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from roomtape.access.service import AddressRules
from roomtape.api import signing
from roomtape.api.gateway import routes
from tests.support.api import FORM, HOST, Answer, Stand

DELETE = "DeleteCloudRecording"


def task(api: Stand, task_id: str = "xx") -> dict[str, Any]:
    return {"SdkAppId": api.app.sdk_app_id, "TaskId": task_id}


async def create(api: Stand, **members: Any) -> Answer:
    return await api.call("CreateCloudRecording", await api.create_request(**members))


# --- the envelope -----------------------------------------------------------------------------------


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


async def test_an_exception_becomes_an_error_of_ours_without_its_text(api: Stand) -> None:
    async def fail(*_: object) -> str:
        raise RuntimeError("secret path /srv/x")

    api.recording.stop = fail  # type: ignore[method-assign]
    answer = await api.call(DELETE, task(api))
    assert answer.code == "InternalError.CRInternalError"
    assert "secret path" not in answer.body.decode()


async def test_a_lost_database_is_service_unavailable(api: Stand) -> None:
    from roomtape.state.database import DatabaseUnavailable

    async def fail(*_: object) -> str:
        raise DatabaseUnavailable("connection refused")

    api.recording.stop = fail  # type: ignore[method-assign]
    assert (await api.call(DELETE, task(api))).code == "ServiceUnavailable"


# --- 1 to 4 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
async def test_other_methods_are_unsupported(api: Stand, method: str) -> None:
    answer = await api.send(method)
    assert (answer.status, answer.code) == (200, "UnsupportedProtocol")


async def test_a_query_above_32_kb_is_too_large(api: Stand) -> None:
    answer = await api.send("GET", {"host": HOST}, query=b"a=" + b"x" * 32 * 1024)
    assert answer.code == "RequestSizeLimitExceeded"


@pytest.mark.parametrize(
    ("content_type", "limit"),
    [
        ("application/json", 10 * 1024 * 1024),
        ("application/x-www-form-urlencoded; charset=utf-8", 1024 * 1024),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_above_its_limit_is_too_large_and_closes(
    api: Stand, content_type: str, limit: int, declared: bool
) -> None:
    headers = {"host": HOST, "content-type": content_type}
    if declared:
        headers["content-length"] = str(limit + 1)
    answer = await api.send("POST", headers, b"x" * (limit + 1))
    assert (answer.status, answer.code) == (200, "RequestSizeLimitExceeded")
    assert answer.headers["connection"] == "close"
    headers.pop("content-length", None)
    assert (await api.send("POST", headers, b"x" * limit)).code == "MissingParameter"


async def test_an_address_may_not_call_too_often(api: Stand) -> None:
    api.config.limits.per_address = 3
    api.restart()
    codes = [(await api.send("POST")).code for _ in range(4)]
    assert codes == ["MissingParameter"] * 3 + ["RequestLimitExceeded.IPLimitExceeded"]
    assert (await api.send("POST", address="203.0.113.8")).code == "MissingParameter"
    await api.clock.advance(0.34)
    assert (await api.send("POST")).code == "MissingParameter"


async def test_without_credentials_authorization_is_missing(api: Stand) -> None:
    answer = await api.send("POST", {"host": HOST, "content-type": "application/json"}, b"{}")
    assert answer.code == "MissingParameter"
    assert "Authorization" in answer.message


@pytest.mark.parametrize("name", ["x-tc-action", "x-tc-version", "x-tc-timestamp", "x-tc-region"])
async def test_a_missing_common_header_is_named(api: Stand, name: str) -> None:
    body = b"{}"
    headers = api.headers(DELETE, body)
    del headers[name]
    answer = await api.send("POST", headers, body)
    assert answer.code == "MissingParameter"
    assert name in answer.message.lower()


@pytest.mark.parametrize("name", ["Action", "Version", "Timestamp", "SecretId", "Nonce", "Region"])
async def test_a_missing_common_parameter_is_named(api: Stand, name: str) -> None:
    answer = await api.form(DELETE, {}, **{name: ""})
    assert answer.code == "MissingParameter"
    assert name in answer.message


@pytest.mark.parametrize("value", ["SKIP", "", "Basic eDp5", "TC3-HMAC-SHA256 nonsense"])
async def test_an_unreadable_authorization_is_invalid(api: Stand, value: str) -> None:
    headers = api.headers(DELETE, b"{}") | {"authorization": value}
    assert (await api.send("POST", headers, b"{}")).code == "AuthFailure.InvalidAuthorization"


# --- 5 to 10 ----------------------------------------------------------------------------------------


async def test_version_and_action_are_looked_at_in_this_order(api: Stand) -> None:
    assert (await api.call("Nonsense", {}, version="2018-01-01")).code == "NoSuchVersion"
    assert (await api.call("Nonsense", {})).code == "InvalidAction"
    assert (await api.call("deletecloudrecording", {})).code == "InvalidAction"
    assert (await api.call("DescribeRoomInformation", {})).code == "ActionOffline"


@pytest.mark.parametrize(("away", "code"), [(300, "OK"), (-300, "OK"), (301, ""), (-301, "")])
async def test_the_window_is_300_s_either_way(api: Stand, away: int, code: str) -> None:
    timestamp = str(api.clock.now_ms() // 1000 + away)
    answer = await api.call("CreateCloudRecording", await api.create_request(), timestamp=timestamp)
    assert answer.code == (code or "AuthFailure.SignatureExpire")


async def test_a_timestamp_that_is_no_integer_is_invalid(api: Stand) -> None:
    headers = api.headers(DELETE, b"{}") | {"x-tc-timestamp": "now"}
    assert (await api.send("POST", headers, b"{}")).code == "InvalidParameter"


@pytest.mark.parametrize(
    ("secret_id", "code"),
    [
        ("AKID" + "0" * 32, "AuthFailure.SecretIdNotFound"),
        ("abc", "AuthFailure.InvalidSecretId"),
        ("AKID with blanks", "AuthFailure.InvalidSecretId"),
        ("x" * 65, "AuthFailure.InvalidSecretId"),
    ],
)
async def test_a_secret_id_must_have_the_form_of_one_and_exist(api: Stand, secret_id: str, code: str) -> None:
    assert (await api.call(DELETE, {}, secret_id=secret_id)).code == code


async def test_blanks_around_a_secret_id_are_not_trimmed(api: Stand) -> None:
    answer = await api.call(DELETE, {}, secret_id=f" {api.key.secret_id}")
    assert answer.code == "AuthFailure.SecretIdNotFound"


async def test_a_disabled_key_is_not_found_and_works_again_when_enabled(api: Stand) -> None:
    await api.access.disable_key(api.key.secret_id)
    assert (await api.call(DELETE, task(api))).code == "AuthFailure.SecretIdNotFound"
    await api.access.disable_key(api.key.secret_id, disabled=False)
    assert (await api.call(DELETE, task(api))).code == "ResourceNotFound"


@pytest.mark.parametrize(
    "changes",
    [
        {"secret_key": "wrong"},
        {"date": "2023-11-13"},
        {"payload": b"{ }"},
        {"region": "ap-beijing", "host": "else", "extra": {"host": HOST}},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_signature_that_does_not_fit_is_refused(api: Stand, changes: dict[str, Any]) -> None:
    assert (await api.call(DELETE, {}, **changes)).code == "AuthFailure.SignatureFailure"


async def test_an_unknown_secret_id_costs_what_a_known_one_with_a_wrong_signature_costs(
    api: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same signatures are computed over the same texts, so time does not tell which keys exist."""
    disabled = await api.access.create_key(api.account.uin)
    await api.access.disable_key(disabled.secret_id)
    unknown = "AKID" + "0" * 32
    computed: list[tuple[int, str]] = []
    honest = signing.tc3_signature

    def counted(key: bytes, authorization: signing.Authorization, timestamp: str, canonical: str) -> str:
        computed.append((len(key), canonical))
        return honest(key, authorization, timestamp, canonical)

    monkeypatch.setattr(signing, "tc3_signature", counted)
    work = {}
    for secret_id, code in (
        (api.key.secret_id, "AuthFailure.SignatureFailure"),
        (disabled.secret_id, "AuthFailure.SecretIdNotFound"),
        (unknown, "AuthFailure.SecretIdNotFound"),
    ):
        for _ in range(2):  # the first asks the database
            computed.clear()
            answer = await api.call(DELETE, task(api), secret_id=secret_id, secret_key="x" * 32)
            assert answer.code == code
            work[secret_id] = list(computed)
    assert len(work[unknown]) > 10, "every text a client may have signed"
    assert work[unknown] == work[disabled.secret_id] == work[api.key.secret_id]
    v1 = {"SdkAppId": str(api.app.sdk_app_id), "TaskId": "x", "Signature": "wrong"}
    assert (await api.form(DELETE, v1, SecretId=unknown)).code == "AuthFailure.SecretIdNotFound"


async def test_any_service_name_is_taken_unless_strict(api: Stand) -> None:
    assert (await api.call(DELETE, task(api), service="127")).code == "ResourceNotFound"
    api.config.api.strict_service = True
    assert (await api.call(DELETE, task(api), service="127")).code == "NoSuchProduct"
    assert (await api.call(DELETE, task(api))).code == "ResourceNotFound"


async def test_an_unsigned_payload_is_taken_unless_switched_off(api: Stand) -> None:
    extra = {"x-tc-content-sha256": "UNSIGNED-PAYLOAD"}
    assert (await api.call(DELETE, task(api), payload=b"other", extra=extra)).code == "ResourceNotFound"
    api.config.api.allow_unsigned_payload = False
    assert (await api.call(DELETE, task(api), extra=extra)).code == "AuthFailure.SignatureFailure"


async def test_an_official_host_may_have_been_signed_behind_a_proxy(api: Stand) -> None:
    body = json.dumps(task(api)).encode()
    headers = api.headers(DELETE, body, host="trtc.tencentcloudapi.com") | {"host": "10.0.0.1:8080"}
    assert (await api.send("POST", headers, body)).code == "ResourceNotFound"


async def test_a_forwarded_host_counts_only_from_a_trusted_proxy(api: Stand) -> None:
    body = json.dumps(task(api)).encode()
    headers = api.headers(DELETE, body, host="rtc.customer.test") | {
        "host": "10.0.0.1:8080",
        "x-forwarded-host": "rtc.customer.test",
    }
    assert (await api.send("POST", headers, body)).code == "AuthFailure.SignatureFailure"
    api.config.server.trusted_proxies = ["203.0.113.0/24"]
    api.restart()
    assert (await api.send("POST", headers, body)).code == "ResourceNotFound"


async def test_many_failed_signatures_of_an_address_are_answered_late(api: Stand) -> None:
    for _ in range(100):
        assert (await api.call(DELETE, {}, secret_key="wrong")).code == "AuthFailure.SignatureFailure"
    late = asyncio.create_task(api.call(DELETE, {}, secret_key="wrong"))
    await api.clock.sleepers()
    assert (await api.call(DELETE, task(api))).code == "ResourceNotFound"  # only failures are slowed
    assert not late.done()
    await api.clock.advance(1)
    assert (await late).code == "AuthFailure.SignatureFailure"


async def test_a_temporary_key_needs_its_token_until_it_expires(api: Stand) -> None:
    key = await api.access.create_key(api.account.uin, lifetime_s=60)
    assert key.token is not None
    api.key = key

    async def with_token(value: str) -> str:
        return (await api.call(DELETE, task(api), extra={"x-tc-token": value})).code

    assert (await api.call(DELETE, task(api))).code == "AuthFailure.TokenFailure"
    assert await with_token("wrong") == "AuthFailure.TokenFailure"
    assert await with_token(key.token.reveal()) == "ResourceNotFound"
    await api.clock.advance(60)
    assert await with_token(key.token.reveal()) == "AuthFailure.TokenFailure"


async def test_a_token_with_a_permanent_key_is_refused(api: Stand) -> None:
    answer = await api.call(DELETE, task(api), extra={"x-tc-token": "t"})
    assert answer.code == "AuthFailure.TokenFailure"


async def test_a_key_may_be_bound_to_networks(api: Stand) -> None:
    rules = AddressRules(allow=("10.0.0.0/8",), deny=("10.1.0.0/16",))
    api.key = await api.access.create_key(api.account.uin, addresses=rules)

    async def at(address: str) -> str:
        body = json.dumps(task(api)).encode()
        return (await api.send("POST", api.headers(DELETE, body), body, address=address)).code

    assert await at("10.0.0.1") == "ResourceNotFound"
    assert await at("10.1.0.1") == "IpInBlacklist"
    assert await at("192.0.2.1") == "IpNotInWhitelist"


async def test_the_callers_address_is_the_one_the_outermost_trusted_proxy_saw(api: Stand) -> None:
    api.config.server.trusted_proxies = ["203.0.113.7"]
    api.restart()
    api.key = await api.access.create_key(api.account.uin, addresses=AddressRules(allow=("198.51.100.9",)))
    forwarded = {"x-forwarded-for": "10.9.9.9, 198.51.100.9"}
    body = json.dumps(task(api)).encode()
    headers = api.headers(DELETE, body) | forwarded
    assert (await api.send("POST", headers, body)).code == "ResourceNotFound"
    assert (await api.send("POST", headers, body, address="192.0.2.1")).code == "IpNotInWhitelist"


# --- 11 to 13 ---------------------------------------------------------------------------------------


async def test_a_region_must_be_one_of_the_actions(api: Stand) -> None:
    answer = await api.call(DELETE, task(api), region="na-toronto")
    assert answer.code == "UnsupportedRegion"
    assert "ap-mumbai" in answer.message
    api.config.api.extra_regions = ["na-toronto"]
    assert (await api.call(DELETE, task(api), region="na-toronto")).code == "ResourceNotFound"
    api.config.api.extra_regions = []
    api.config.api.region_mode = "any"
    assert (await api.call(DELETE, task(api), region="mars-1")).code == "ResourceNotFound"


async def test_an_action_without_regions_ignores_what_is_sent(api: Stand) -> None:
    answer = await api.call("DescribeTRTCMarketScaleData", {}, region="mars-1")
    assert answer.code == "UnsupportedOperation"


async def test_a_blocked_account_fails_its_check(api: Stand) -> None:
    await api.access.block_account(api.account.uin)
    assert (await api.call(DELETE, task(api))).code == "AuthFailure"
    assert (await api.call("RemoveUser", {})).code == "AuthFailure.UnauthorizedOperation"


async def test_an_action_may_be_called_20_times_a_second(api: Stand) -> None:
    codes = [(await api.call(DELETE, task(api))).code for _ in range(21)]
    assert codes == ["ResourceNotFound"] * 20 + ["RequestLimitExceeded"]
    assert (await api.call("DescribeCloudRecording", task(api))).code == "ResourceNotFound"
    await api.clock.advance(0.05)
    assert (await api.call(DELETE, task(api))).code == "ResourceNotFound"
    assert (await api.call(DELETE, task(api))).code == "RequestLimitExceeded"


async def test_a_burst_of_one_action_leaves_the_accounts_other_actions_alone(api: Stand) -> None:
    api.config.limits.per_account = 40
    burst = [(await api.call(DELETE, task(api))).code for _ in range(200)]
    assert set(burst[20:]) == {"RequestLimitExceeded"}, "what its own limit refuses is not taken twice"
    assert (await api.call("DescribeCloudRecording", task(api))).code == "ResourceNotFound"


async def test_limits_may_be_raised_by_action_and_hold_over_all_actions(api: Stand) -> None:
    api.config.limits.per_action = {DELETE: 30}
    api.config.limits.per_account = 25
    api.restart()
    codes = [(await api.call(DELETE, task(api))).code for _ in range(26)]
    assert codes == ["ResourceNotFound"] * 25 + ["RequestLimitExceeded.UinLimitExceeded"]


# --- 14: reading parameters -------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"[]", b"{", b"null", b'"x"', b"{} {}", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_invalid(api: Stand, body: bytes) -> None:
    assert (await api.call(DELETE, body)).code == "InvalidParameter"
    assert (await api.call("DescribeRoomInfo", body)).code == "InvalidParameter.BodyParamsError"
    assert (await api.call("StartStreamIngest", body)).code == "InvalidParameter.BodyParamsError"


async def test_broken_utf8_is_invalid(api: Stand) -> None:
    assert (await api.call(DELETE, b'{"TaskId":"\xff"}')).code == "InvalidParameter"
    body = b"TaskId=%FF&Signature=x"
    answer = await api.send("POST", {"host": HOST, "content-type": FORM}, body)
    assert answer.code == "InvalidParameter"


async def test_an_empty_body_is_an_empty_object(api: Stand) -> None:
    assert (await api.call(DELETE, b"")).code == "MissingParameter.SdkAppId"


async def test_an_unknown_name_comes_before_a_wrong_type_before_a_missing_member(api: Stand) -> None:
    wrong = {"TaskId": 5, "TaskID": "x"}
    answer = await api.call(DELETE, wrong)
    assert (answer.code, "TaskID" in answer.message) == ("UnknownParameter", True)
    assert (await api.call(DELETE, {"TaskId": 5})).code == "InvalidParameter"
    assert (await api.call(DELETE, {})).code == "MissingParameter.SdkAppId"
    api.config.api.reject_unknown = False
    assert (await api.call(DELETE, task(api) | {"TaskID": "x"})).code == "ResourceNotFound"


async def test_an_unknown_name_deep_inside_is_named_with_its_path(api: Stand) -> None:
    answer = await create(
        api, MixLayoutParams={"MixLayoutMode": 4, "MixLayoutList": [{"Top": 0, "Lefty": 1}]}
    )
    assert answer.code == "UnknownParameter"
    assert "MixLayoutParams.MixLayoutList.0.Lefty" in answer.message


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (True, "InvalidParameter.SdkAppId"),
        ("1400000001", "InvalidParameter.SdkAppId"),
        (1.5, "InvalidParameter.SdkAppId"),
        (-1, "InvalidParameter.SdkAppId"),
        (2**64, "InvalidParameter.SdkAppId"),
        (2**64 - 1, "InvalidParameter.SdkAppId"),
        ([], "InvalidParameter.SdkAppId"),
        ("", "InvalidParameter.SdkAppId"),
        (0, "MissingParameter.SdkAppId"),
        (None, "MissingParameter.SdkAppId"),
    ],
)
async def test_an_integer_is_a_json_number_in_range(api: Stand, value: Any, code: str) -> None:
    assert (await api.call(DELETE, {"SdkAppId": value, "TaskId": "x"})).code == code


async def test_a_number_is_no_string_and_a_duplicate_name_counts_last(api: Stand) -> None:
    assert (await api.call(DELETE, task(api) | {"TaskId": 5})).code == "InvalidParameter"
    body = f'{{"SdkAppId":1,"TaskId":"x","SdkAppId":{api.app.sdk_app_id}}}'.encode()
    assert (await api.call(DELETE, body)).code == "ResourceNotFound"


async def test_a_body_of_another_type_is_invalid(api: Stand) -> None:
    assert (await api.call(DELETE, task(api), content_type="text/plain")).code == "InvalidParameter"


async def test_parameters_of_the_content_type_are_ignored(api: Stand) -> None:
    answer = await api.call(DELETE, task(api), content_type="Application/JSON; Charset=UTF-8")
    assert answer.code == "ResourceNotFound"


def flat(value: Any, name: str = "") -> dict[str, str]:
    """As the SDKs flatten: empty lists and objects vanish, Python writes True."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, item in items for k, v in flat(item, f"{name}.{key}".lstrip(".")).items()}
    return {name: str(value)}


@pytest.mark.parametrize("way", ["get", "form", "v1-get"])
async def test_flattened_parameters_build_the_same_request(api: Stand, way: str) -> None:
    users = [f"user{i}" for i in range(12)]
    request = await api.create_request(
        RecordParams={
            "RecordMode": 1,
            "SubscribeStreamUserIds": {"SubscribeAudioUserIds": users, "SubscribeVideoUserIds": []},
        },
        MixLayoutParams={"MixLayoutMode": 3, "PureAudioDisableLayout": True},
    )
    if way == "get":
        answer = await api.get("CreateCloudRecording", flat(request))
    elif way == "form":
        answer = await api.form("CreateCloudRecording", flat(request))
    else:
        query = urlencode(api.v1("CreateCloudRecording", flat(request), "GET")).encode()
        answer = await api.send("GET", {"host": HOST}, query=query)
    assert answer.code == "OK"
    assert api.recording.specs[0].lists.audio_allow == tuple(users)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"RecordParams": "x"}, "InvalidParameter"),
        ({"RecordParams": "x", "RecordParams.RecordMode": "1"}, "InvalidParameter"),
        ({"RecordParams.RecordMode": "1", "RecordParams": "x"}, "InvalidParameter"),
        ({"RecordParams.RecordMode": "one"}, "InvalidParameter"),
        ({"RecordParams.RecordMode": "1.0"}, "InvalidParameter"),
        ({"RecordParams.SubscribeStreamUserIds.SubscribeAudioUserIds.a": "x"}, "InvalidParameter"),
        ({"RecordParams.SubscribeStreamUserIds.SubscribeAudioUserIds": "x"}, "InvalidParameter"),
        ({"MixLayoutParams.PureAudioDisableLayout": "yes"}, "InvalidParameter"),
        ({"RecordParams.RecordMod": "1"}, "UnknownParameter"),
    ],
)
async def test_flattened_parameters_that_do_not_fit_the_shape(
    api: Stand, parameters: dict[str, str], code: str
) -> None:
    assert (await api.form("CreateCloudRecording", parameters)).code == code


async def test_gaps_between_indices_close_up(api: Stand) -> None:
    request = flat(await api.create_request())
    at = "RecordParams.SubscribeStreamUserIds.SubscribeAudioUserIds"
    await api.form("CreateCloudRecording", request | {f"{at}.10": "c", f"{at}.2": "b", f"{at}.0": "a"})
    assert api.recording.specs[0].lists.audio_allow == ("a", "b", "c")


async def test_an_action_that_is_not_known_to_take_multipart_takes_it_anyway(api: Stand) -> None:
    request = await api.create_request()
    parts = []
    for name, value in request.items():
        kind = "Content-Type: application/json\r\n" if isinstance(value, dict) else ""
        text = json.dumps(value) if isinstance(value, dict) else str(value)
        parts.append(f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n{kind}\r\n{text}\r\n')
    body = ("".join(parts) + "--b--\r\n").encode()
    multipart = "multipart/form-data; boundary=b"
    assert (await api.call("CreateCloudRecording", body, content_type=multipart)).code == "OK"
    for broken in (body[:-8], body.replace(b"--b", b"--c"), b"", b"garbage"):
        answer = await api.call("CreateCloudRecording", broken, content_type=multipart)
        assert answer.code == "InvalidRequest"


async def test_of_equal_names_the_last_counts_wherever_they_are(api: Stand) -> None:
    own, foreign = api.app.sdk_app_id, await foreign_app(api)
    body = '{"TaskId": 1, "TaskId": "x", "SdkAppId": %d, "SdkAppId": %d}'
    assert (await api.call(DELETE, (body % (foreign, own)).encode())).code == "ResourceNotFound"
    assert (await api.call(DELETE, (body % (own, foreign)).encode())).code == "InvalidParameter.SdkAppId"
    deep = json.dumps(await api.create_request()).replace('"Vendor": 1', '"Vendor": 7, "Vendor": 1')
    assert (await api.call("CreateCloudRecording", deep.encode())).code == "OK"
    turned = deep.replace('"Vendor": 7, "Vendor": 1', '"Vendor": 1, "Vendor": 7')
    assert (await api.call("CreateCloudRecording", turned.encode())).code == "InvalidParameter.OutOfRange"

    pairs = api.v1(DELETE, {"SdkAppId": str(own), "TaskId": "x"})
    form = f"SdkAppId={foreign}&{urlencode(pairs)}".encode()
    answer = await api.send("POST", {"host": HOST, "content-type": FORM}, form)
    assert answer.code == "ResourceNotFound", "signed and judged by the last"
    query = f"SdkAppId={foreign}&SdkAppId={own}&TaskId=x".encode()
    headers = api.headers(DELETE, b"", method="GET", query=query, content_type=FORM)
    assert (await api.send("GET", headers, query=query)).code == "ResourceNotFound"


# --- 15 and 16 --------------------------------------------------------------------------------------


async def foreign_app(api: Stand) -> int:
    other = await api.access.create_account("other")
    app, _ = await api.access.create_app(uin=other.uin)
    return app.sdk_app_id


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


# --- what is said about requests --------------------------------------------------------------------


async def test_a_request_is_one_log_line_without_a_secret(api: Stand) -> None:
    request = await api.create_request(PrivateMapKey="a-ticket-text")
    request["StorageParams"]["CloudStorage"] |= {"AccessKey": "access-text", "SecretKey": "bucket-text"}
    with structlog.testing.capture_logs() as lines:
        answer = await api.call(
            "CreateCloudRecording",
            request,
            extra={"x-tc-traceid": "t-1", "x-tc-requestclient": "SDK_PYTHON_3.1.193"},
        )
    (line,) = lines
    assert line["action"] == "CreateCloudRecording"
    assert (line["code"], line["request_id"]) == ("OK", answer.response["RequestId"])
    assert (line["secret_id"], line["sdk_app_id"]) == (api.key.secret_id, api.app.sdk_app_id)
    assert (line["address"], line["trace_id"], line["client"]) == (
        *("203.0.113.7", "t-1", "SDK_PYTHON_3.1.193"),
    )
    shown = repr(lines)
    for secret in ("a-ticket-text", "access-text", "bucket-text", request["UserSig"]):
        assert secret not in shown
    assert api.key.secret_key.reveal() not in shown


async def test_a_fault_is_logged_with_its_request_and_without_its_parameters(api: Stand) -> None:
    async def fail(*_: object) -> str:
        raise RuntimeError("broken")

    api.recording.create = fail  # type: ignore[method-assign]
    request = await api.create_request()
    with structlog.testing.capture_logs() as lines:
        answer = await api.call("CreateCloudRecording", request)
    fault = next(line for line in lines if line["event"] == "action_failed")
    assert fault["request_id"] == answer.response["RequestId"]
    assert request["UserSig"] not in repr(lines)


async def test_requests_are_counted_by_action_and_code(api: Stand) -> None:
    def count(action: str, code: str) -> float:
        labels = {"action": action, "code": code}
        return REGISTRY.get_sample_value("roomtape_api_requests_total", labels) or 0.0

    before = count(DELETE, "ResourceNotFound"), count("unknown", "InvalidAction")
    await api.call(DELETE, task(api))
    await api.call("MadeUp", {})
    after = count(DELETE, "ResourceNotFound"), count("unknown", "InvalidAction")
    assert after == (before[0] + 1, before[1] + 1)


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


async def test_prefixes_of_the_path_are_routes_and_may_be_signed(api: Stand) -> None:
    api.config.api.path_prefixes = ["trtc-api/", "/"]
    assert [route.path for route in routes(api.services, api.config)] == ["/", "/trtc-api"]
    body = json.dumps(task(api)).encode()
    assert (await api.send("POST", api.headers(DELETE, body), body, path="/trtc-api")).code == (
        "ResourceNotFound"
    )
    flat = {"SdkAppId": str(api.app.sdk_app_id), "TaskId": "x"}
    form = urlencode(api.v1(DELETE, flat, path="/trtc-api")).encode()
    headers = {"host": HOST, "content-type": FORM}
    assert (await api.send("POST", headers, form, path="/trtc-api")).code == "ResourceNotFound"
    assert (await api.send("POST", headers, form, path="/else")).code == "AuthFailure.SignatureFailure"


# --- rarer mixtures of signature and body -----------------------------------------------------------


async def test_a_form_signed_the_newer_way_is_read_as_a_form(api: Stand) -> None:
    body = urlencode({"SdkAppId": api.app.sdk_app_id, "TaskId": "x", "Language": "en-US"}).encode()
    answer = await api.call(DELETE, body, content_type="application/x-www-form-urlencoded; charset=utf-8")
    assert answer.code == "ResourceNotFound"


async def test_json_cannot_be_signed_the_older_way(api: Stand) -> None:
    query = urlencode(api.v1(DELETE, {}, "POST")).encode()
    headers = {"host": HOST, "content-type": "application/json"}
    answer = await api.send("POST", headers, json.dumps(task(api)).encode(), query)
    assert answer.code == "MissingParameter"
    assert "Authorization" in answer.message


async def test_the_older_way_names_its_language_among_the_parameters(api: Stand) -> None:
    answer = await api.form(DELETE, {}, Language="zh-CN")
    assert (answer.code, "缺少" in answer.message) == ("MissingParameter.SdkAppId", True)


async def test_a_query_in_any_order_and_spelling_is_signed_as_received(api: Stand) -> None:
    """One client writes a space as + and sorts, another writes %20 and does not."""
    app = api.app.sdk_app_id
    for query in (f"TaskId=a+b&SdkAppId={app}", f"SdkAppId={app}&TaskId=a%20b", f"SdkAppId={app}&TaskId=%61"):
        headers = api.headers(DELETE, b"", method="GET", query=query.encode(), content_type=FORM)
        assert (await api.send("GET", headers, query=query.encode())).code == "ResourceNotFound"
        reordered = b"&".join(reversed(query.encode().split(b"&")))
        answer = await api.send("GET", headers, query=reordered)
        assert answer.code == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize("nonce", ["-1", "x", "1.5"])
async def test_a_nonce_is_a_number(api: Stand, nonce: str) -> None:
    assert (await api.form(DELETE, {}, Nonce=nonce)).code == "InvalidParameter"


async def test_an_application_that_was_switched_off_is_unknown(api: Stand) -> None:
    await api.access.disable_app(api.app.sdk_app_id)
    assert (await api.call(DELETE, task(api))).code == "InvalidParameter.SdkAppId"
