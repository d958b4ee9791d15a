"""Whatever the official SDK signs we accept, and with one bit flipped we do not."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from hypothesis import given, settings
from hypothesis import strategies as st
from tencentcloud.common.credential import Credential
from tencentcloud.common.http.request import RequestInternal
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722.trtc_client import TrtcClient

from roomtape.api.decode import Leaf, Tree, plant
from roomtape.api.signing import (
    Tc3Request,
    host_candidates,
    parse_authorization,
    verify_tc3,
    verify_v1,
)

SECRET_ID, SECRET_KEY = "AKID" + "0" * 32, "k" * 32
HOSTS = ["127.0.0.1:9000", "trtc.tencentcloudapi.com", "localhost", "Rtc.Example.test:443"]

names = st.from_regex(r"[A-Z][A-Za-z0-9]{0,12}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=24)
values = st.recursive(
    texts | st.integers(-(2**63), 2**64 - 1) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
parameters = st.dictionaries(names, values, max_size=6)


def signed(params: dict[str, Any], method: str, host: str, algorithm: str, unsigned: bool) -> RequestInternal:
    """The request as the SDK would put it on the wire."""
    http = HttpProfile(protocol="http", endpoint=host, reqMethod=method)
    profile = ClientProfile(signMethod=algorithm, httpProfile=http)
    profile.unsignedPayload = unsigned
    client = TrtcClient(Credential(SECRET_ID, SECRET_KEY), "ap-singapore", profile)
    request = RequestInternal(host, method, "/")
    client._build_req_inter("DeleteCloudRecording", params, request)
    return request


def tc3(request: RequestInternal) -> Tc3Request:
    data = request.data.encode() if isinstance(request.data, str) else request.data
    get = request.method == "GET"
    headers = {name.lower(): value for name, value in request.header.items()}
    return Tc3Request(
        request.method,
        "/",
        data if get else b"",
        headers,
        b"" if get else data,
        headers["x-tc-timestamp"],
    )


def accepted(request: Tc3Request, authorization: str) -> bool:
    hosts = host_candidates(request.headers["host"], None, ())
    return verify_tc3(request, parse_authorization(authorization), SECRET_KEY, hosts)


@settings(deadline=None)
@given(
    params=parameters,
    method=st.sampled_from(["GET", "POST"]),
    host=st.sampled_from(HOSTS),
    unsigned=st.booleans(),
)
def test_tc3_from_the_sdk_is_accepted(params: dict[str, Any], method: str, host: str, unsigned: bool) -> None:
    request = signed(params, method, host, "TC3-HMAC-SHA256", unsigned)
    assert accepted(tc3(request), request.header["Authorization"])


@settings(deadline=None)
@given(
    params=parameters,
    method=st.sampled_from(["GET", "POST"]),
    host=st.sampled_from(HOSTS),
    at=st.integers(0, 10**9),
    where=st.sampled_from(["payload", "signature", "timestamp", "host", "type"]),
)
def test_one_flipped_bit_is_refused(
    params: dict[str, Any], method: str, host: str, at: int, where: str
) -> None:
    sent = signed(params | {"A": "b"}, method, host, "TC3-HMAC-SHA256", False)
    request, authorization = tc3(sent), sent.header["Authorization"]

    def flipped(data: bytes) -> bytes:
        bit = at % (len(data) * 8)
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    headers = dict(request.headers)
    body, query, timestamp = request.body, request.query, request.timestamp
    if where == "payload":
        body, query = (body, flipped(query)) if method == "GET" else (flipped(body), query)
    elif where == "signature":
        index = at % 64 - 64
        digit = format(int(authorization[index:][0], 16) ^ 1 << at % 4, "x")
        authorization = authorization[:index] + digit + (authorization[index:][1:])
    elif where == "timestamp":
        timestamp = str(int(timestamp) ^ 1 << at % 31)
    else:
        name = "host" if where == "host" else "content-type"
        headers[name] = flipped(headers[name].encode("latin-1")).decode("latin-1")
        if headers[name].lower() == request.headers[name].lower():
            return  # the case of these values is not part of the signature
    changed = Tc3Request(method, "/", query, headers, body, timestamp)
    assert not accepted(changed, authorization)


@settings(deadline=None)
@given(
    params=parameters,
    method=st.sampled_from(["GET", "POST"]),
    host=st.sampled_from(HOSTS),
    algorithm=st.sampled_from(["HmacSHA1", "HmacSHA256"]),
    at=st.integers(0, 10**9),
)
def test_v1_from_the_sdk_is_accepted_until_a_character_changes(
    params: dict[str, Any], method: str, host: str, algorithm: str, at: int
) -> None:
    sent = signed(params, method, host, algorithm, False)
    decoded = dict(parse_qsl(sent.data, keep_blank_values=True))
    hosts = host_candidates(host, None, ())
    assert verify_v1(method, "/", decoded, SECRET_KEY, hosts)
    name = sorted(decoded)[at % len(decoded)]
    if name != "SignatureMethod":
        changed = decoded | {name: decoded[name] + "x"}
        assert not verify_v1(method, "/", changed, SECRET_KEY, hosts)


def flattened(value: Any) -> Any:
    """What is left of a value after the SDK flattened it: text in trees, nothing empty."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        kept = {str(key): flattened(item) for key, item in items}
        return {key: item for key, item in kept.items() if item != {}}
    return str(value)


@settings(deadline=None)
@given(params=parameters)
def test_a_flattened_request_grows_back_into_its_levels(params: dict[str, Any]) -> None:
    sent = signed(params, "GET", HOSTS[0], "TC3-HMAC-SHA256", False)
    tree = plant(parse_qsl(sent.data, keep_blank_values=True))
    assert tree == flattened(params)
    assert json.loads(json.dumps(tree)) == tree
    assert all(isinstance(value, Tree | Leaf) for value in tree.values())
