"""Steps 1 to 10: size and form of a request, its signature, its key, and the order in which they are judged."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from roomtape.access.service import AddressRules
from roomtape.api import signing
from roomtape.api.gateway import routes
from tests.support.api import DELETE, FORM, HOST, Stand, task

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


async def test_of_ipv6_a_network_may_not_call_too_often(api: Stand) -> None:
    api.config.limits.per_address = 2
    api.restart()
    codes = [(await api.send("POST", address=f"2001:db8:0:1::{n}")).code for n in range(3)]
    assert codes == ["MissingParameter"] * 2 + ["RequestLimitExceeded.IPLimitExceeded"]
    assert (await api.send("POST", address="2001:db8:0:2::1")).code == "MissingParameter"


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


async def test_prefixes_of_the_path_are_routes_and_may_be_signed(api: Stand) -> None:
    api.config.api.path_prefixes = ["trtc-api/", "/"]
    assert [r.path for r in routes(api.services, api.config)] == ["/", "/trtc-api", "/trtc-api/"]
    body = json.dumps(task(api)).encode()
    for path in ("/trtc-api", "/trtc-api/"):
        answer = await api.send("POST", api.headers(DELETE, body), body, path=path)
        assert answer.code == "ResourceNotFound"
    flat = {"SdkAppId": str(api.app.sdk_app_id), "TaskId": "x"}
    form = urlencode(api.v1(DELETE, flat, path="/trtc-api")).encode()
    headers = {"host": HOST, "content-type": FORM}
    assert (await api.send("POST", headers, form, path="/trtc-api")).code == "ResourceNotFound"
    assert (await api.send("POST", headers, form, path="/else")).code == "AuthFailure.SignatureFailure"


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
    """The same texts are tried with a key of the same length, so time does not tell which keys exist."""
    disabled = await api.access.create_key(api.account.uin)
    await api.access.disable_key(disabled.secret_id)
    unknown = "AKID" + "0" * 32
    computed: list[tuple[int, tuple[str, ...]]] = []
    honest = signing.verify_tc3

    def counted(
        request: signing.Tc3Request, authorization: signing.Authorization, key: str, hosts: tuple[str, ...]
    ) -> bool:
        computed.append((len(key), hosts))
        return honest(request, authorization, key, hosts)

    monkeypatch.setattr(signing, "verify_tc3", counted)
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
    assert len(work[unknown]) == 1
    assert len(work[unknown][0][1]) > 10, "every text a client may have signed"
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
    mapped = headers | {"x-forwarded-for": "10.9.9.9, ::ffff:198.51.100.9"}  # of a proxy that listens on ::
    assert (await api.send("POST", mapped, body)).code == "ResourceNotFound"


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
