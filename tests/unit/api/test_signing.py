"""The nine published-algorithm vectors, what real clients send, and what must be refused.

The vectors are equal to what the official SDKs' signing code makes of made-up keys (docs/vectors.md).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tencentcloud.common.sign import Sign

from roomtape.api import signing
from roomtape.api.signing import (
    OFFICIAL_HOSTS,
    Authorization,
    BadAuthorization,
    HostTexts,
    SignedHeaderAbsent,
    Tc3Request,
    canonical_request,
    host_candidates,
    parse_authorization,
    payload_hash,
    tc3_key,
    tc3_signature,
    v1_signature,
    v1_string,
    verify_tc3,
    verify_v1,
)

SECRET_ID = "AKIDexampleRoomKitSecretId0000000001"
SECRET_KEY = "exampleSecretKeyForTests000001"
TIME = "1735693323"
BODY = b'{"SdkAppId": 1400000001, "RoomId": 1234, "UserIds": ["alice", "bob smith"]}'
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def post(host: str = "trtc.example.test", body: bytes = BODY, **headers: str) -> Tc3Request:
    lower = {"host": host, "content-type": JSON} | {k.replace("_", "-"): v for k, v in headers.items()}
    return Tc3Request("POST", "/", b"", lower, body, TIME)


def scope(signature: str, service: str = "trtc", signed: str = "content-type;host") -> Authorization:
    return parse_authorization(
        f"TC3-HMAC-SHA256 Credential={SECRET_ID}/2025-01-01/{service}/tc3_request, "
        f"SignedHeaders={signed}, Signature={signature}"
    )


TC3_VECTORS = {
    "post-json": (
        post(),
        scope("4d74b595611ffc2ce79401b4a8bebc2663ac1e91a87aff4d0028d75b55dbc36d"),
        "trtc.example.test",
        "d14b045d3678af8c46fd4cc4a8c65e5fe20dd18b1571f8b0b3b29f9b58387ebc",
    ),
    "get": (
        Tc3Request(
            "GET",
            "/",
            b"SdkAppId=1400000001&RoomId=1234&UserIds.0=alice&UserIds.1=bob+smith",
            {"host": "trtc.example.test", "content-type": FORM},
            b"",
            TIME,
        ),
        scope("50f67dd77ccd6cac261e7847d042616a98c513c5f39785b6955a0ca4b520d5a7"),
        "trtc.example.test",
        "2cf2b80cc5a1e2c1a82ae05388d8b210c2cdc0a6ec3b86c23c5cb879d16b7b58",
    ),
    "unsigned-payload-and-token": (
        post("127.0.0.1:9000", b"any body", x_tc_token="tok-1", x_tc_content_sha256="UNSIGNED-PAYLOAD"),
        scope("53fe590569f60256d2277a0fad0d88c61b1c07b01fa3145c612c92976cee8eac"),
        "127.0.0.1:9000",
        "61738f91dc8e9138c962268884d2a93bdaf587fd2091e7205d2ab0646e52be04",
    ),
    "node-drops-the-port-and-names-its-service-127": (
        post("127.0.0.1:9000", b'{"SdkAppId":1400000001,"RoomId":7}'),
        scope("29a4b41529ed3eedc151f91de3b538852055682b4015063b46229f371a545ab5", "127"),
        "127.0.0.1",
        "af9b81000d849542261af916f7b3d13e0186e31a56fac03c7aeb000e50982dab",
    ),
    "three-signed-headers": (
        post(content_type="application/json; charset=utf-8", x_tc_action="RemoveUser"),
        scope(
            "b5b3bd5c4ef426d385f02cfa575ba2370f41cf68a072b7aa7039ddf2f0b98f28",
            signed="content-type;host;x-tc-action",
        ),
        "trtc.example.test",
        "7bbccf79fcfdba4606a20da73d60fb8090967a296a74066e38862d78b2f6011a",
    ),
}


def test_the_derived_key_of_a_day_is_the_published_one() -> None:
    key = tc3_key(SECRET_KEY, "2025-01-01", "trtc")
    assert key.hex() == "bc4c58fd9fc5e14f1d585de49114afac543177e03898886cca3e2a7b3ae6ab2f"


@pytest.mark.parametrize("name", TC3_VECTORS)
def test_tc3_vector(name: str) -> None:
    request, authorization, host, digest = TC3_VECTORS[name]
    canonical = canonical_request(
        request, authorization.signed_headers, payload_hash(request), path="/", host=host, lower=True
    )
    assert hashlib.sha256(canonical.encode()).hexdigest() == digest
    key = tc3_key(SECRET_KEY, "2025-01-01", authorization.service)
    assert tc3_signature(key, authorization, TIME, canonical) == authorization.signature
    assert verify_tc3(request, authorization, SECRET_KEY, host_candidates(request.headers["host"], None, ()))


def test_the_hash_of_an_unsigned_payload_is_that_of_the_mark() -> None:
    request = TC3_VECTORS["unsigned-payload-and-token"][0]
    assert payload_hash(request) == "438d4109ef0d676b8c2c7ed13cdfcb418e494d53b843d4634ce3b1085f07bb96"


V1_GET = (
    "Action=RemoveUser&Language=en-US&Nonce=424242&Region=ap-singapore&RequestClient=SDK_PYTHON_3.1.193"
    f"&RoomId=1234&SdkAppId=1400000001&SecretId={SECRET_ID}&SignatureMethod=HmacSHA1&Timestamp=1735693323"
    "&UserIds.0=alice&UserIds.1=bob smith&Version=2019-07-22"
)
V1_ELEVEN = (
    "Action=DescribeUserInfo&CommId=1400000001_1234_1735689600&EndTime=1735693200&Language=en-US&Nonce=424242"
    "&PageNumber=0&PageSize=20&Region=ap-mumbai&RequestClient=SDK_PYTHON_3.1.193&SdkAppId=1400000001"
    f"&SecretId={SECRET_ID}&SignatureMethod=HmacSHA256&StartTime=1735689600&Timestamp=1735693323&Token=tok-1"
    "&UserIds.0=u0&UserIds.1=u1&UserIds.10=u10&UserIds.2=u2&UserIds.3=u3&UserIds.4=u4&UserIds.5=u5"
    "&UserIds.6=u6&UserIds.7=u7&UserIds.8=u8&UserIds.9=u9&Version=2019-07-22"
)
V1_VECTORS = {
    "sha1-get": ("GET", "trtc.example.test", V1_GET, "N6ml559dTUjQJhm+X6719yVw+8c="),
    "sha1-post-empty-region-non-ascii": (
        "POST",
        "127.0.0.1:9000",
        "Action=SetUserBlockedByStrRoomId&IsMute=2&Nonce=7&Region=&SdkAppId=1400000001"
        f"&SecretId={SECRET_ID}&StrRoomId=room a%2Bb&Timestamp=1735693323&UserId=张三&Version=2019-07-22",
        "IGN/SLE+Xa7S4vIo/NuUP5Q0YcI=",
    ),
    "sha256-post": (
        "POST",
        "trtc.example.test",
        V1_GET.replace("HmacSHA1", "HmacSHA256"),
        "c9b3Pdbels106iWccE9wUlTT4C4Al6g8h0X2sncg72A=",
    ),
    "sha256-get-eleven-items-and-token": (
        "GET",
        "127.0.0.1:9000",
        V1_ELEVEN,
        "QiSQ0BJJB4rLvsmFa/bhyvwarffPXu4X7J7WG62uoPQ=",
    ),
}


def v1_parameters(name: str) -> dict[str, str]:
    _, _, query, signature = V1_VECTORS[name]
    return dict(parse_qsl(query, keep_blank_values=True)) | {"Signature": signature}


@pytest.mark.parametrize("name", V1_VECTORS)
def test_v1_vector(name: str) -> None:
    method, host, query, signature = V1_VECTORS[name]
    parameters = v1_parameters(name)
    text = v1_string(method, host, "/", parameters)
    assert text == f"{method}{host}/?{query.replace('%2B', '+')}"
    assert v1_signature(SECRET_KEY, text, parameters.get("SignatureMethod")) == signature
    assert verify_v1(method, "/", parameters, SECRET_KEY, host_candidates(host, None, ()))


def test_a_v1_signature_without_a_known_method_is_sha1() -> None:
    parameters = {"A": "1", "SignatureMethod": "hmacsha256"}
    parameters["Signature"] = v1_signature(SECRET_KEY, v1_string("GET", "h", "/", parameters), None)
    assert verify_v1("GET", "/", parameters, SECRET_KEY, ["h"])


def test_v1_names_with_an_underscore_may_be_signed_with_a_dot() -> None:
    signature = v1_signature(SECRET_KEY, "GETh/?A.b=1", None)
    assert verify_v1("GET", "/", {"A_b": "1", "Signature": signature}, SECRET_KEY, ["h"])


@pytest.mark.parametrize("name", V1_VECTORS)
@pytest.mark.parametrize("change", ["value", "name", "method", "host", "empty-value-dropped"])
def test_a_changed_v1_request_is_refused(name: str, change: str) -> None:
    method, host, _, _ = V1_VECTORS[name]
    parameters = v1_parameters(name)
    if change == "value":
        parameters["Nonce"] += "1"
    elif change == "name":
        parameters["Nonces"] = parameters.pop("Nonce")
    elif change == "method":
        method = "POST" if method == "GET" else "GET"
    elif change == "host":
        host = "elsewhere.test"
    else:
        parameters["Extra"] = ""
    assert not verify_v1(method, "/", parameters, SECRET_KEY, host_candidates(host, None, ()))


CHANGES = ["body", "query", "date", "host", "timestamp", "signature", "key"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (name, change)
        for name in TC3_VECTORS
        for change in CHANGES
        if change != "query" or name == "get"  # a POST's query is not signed
    ],
)
def test_a_changed_tc3_request_is_refused(name: str, change: str) -> None:
    request, authorization, _, _ = TC3_VECTORS[name]
    secret = SECRET_KEY
    if change == "body":
        if request.method == "GET" or "x-tc-content-sha256" in request.headers:
            request = replace(request, headers=dict(request.headers) | {"content-type": "text/plain"})
        else:
            request = replace(request, body=request.body.replace(b"RoomId", b"RoomIe"))
    elif change == "query":
        request = replace(request, query=b"&".join(reversed(request.query.split(b"&"))))
    elif change == "date":
        authorization = replace(authorization, date="2025-01-02")
    elif change == "host":
        request = replace(request, headers=dict(request.headers) | {"host": "other.example.test"})
    elif change == "timestamp":
        request = replace(request, timestamp="1735693324")
    elif change == "signature":
        authorization = replace(authorization, signature=authorization.signature[::-1])
    else:
        secret += "x"
    assert not verify_tc3(request, authorization, secret, host_candidates(request.headers["host"], None, ()))


@pytest.mark.parametrize(
    "value",
    [
        "SKIP",
        "",
        "TC3-HMAC-SHA1 Credential=a/2025-01-01/t/tc3_request, SignedHeaders=content-type;host, Signature=x",
        "TC3-HMAC-SHA256",
        "TC3-HMAC-SHA256 ",
        f"TC3-HMAC-SHA256  Credential=a/2025-01-01/t/tc3_request, SignedHeaders=content-type;host, "
        f"Signature={'0' * 64}",
        f"TC3-HMAC-SHA256 Credential=a/2025-01-01/t/tc3_request, SignedHeaders=content-type;host, "
        f"Signature={'0' * 63}",
        f"TC3-HMAC-SHA256 Credential=a/2025-01-01/t/tc3_request, SignedHeaders=host, Signature={'0' * 64}",
        f"TC3-HMAC-SHA256 Credential=a/2025-01-01/t/tc4_request, SignedHeaders=content-type;host, "
        f"Signature={'0' * 64}",
        f"TC3-HMAC-SHA256 Credential=a/2025-01-01/t/u/tc3_request, SignedHeaders=content-type;host, "
        f"Signature={'0' * 64}",
        f"TC3-HMAC-SHA256 Credential=a/20250101/t/tc3_request, SignedHeaders=content-type;host, "
        f"Signature={'0' * 64}",
        f"TC3-HMAC-SHA256 Credential=a/2025-01-01/t/tc3_request, Signature={'0' * 64}",
        f"TC3-HMAC-SHA256 Credential=a/2025-01-01/t/tc3_request, SignedHeaders=content-type;host, "
        f"Signature={'0' * 64}, Extra=1",
    ],
)
def test_an_authorization_that_does_not_read_as_tc3_is_refused(value: str) -> None:
    with pytest.raises(BadAuthorization):
        parse_authorization(value)


def test_blanks_around_the_fields_are_free() -> None:
    header = (
        f"TC3-HMAC-SHA256 Credential={SECRET_ID}/2025-01-01/trtc/tc3_request,SignedHeaders=content-type;host,"
        f"   Signature={'0' * 64}"
    )
    assert parse_authorization(header).secret_id == SECRET_ID


@given(
    prefix=st.sampled_from(
        [
            f"TC3-HMAC-SHA256 Credential={SECRET_ID}/2025-01-01/trtc/tc3_request, "
            "SignedHeaders=content-type;host, Signature=",
            "TC3-HMAC-SHA256 Credential=a/2025-01-01/t/tc3_request,SignedHeaders=host;content-type,Signature=",
            "TC3-HMAC-SHA256 SignedHeaders=host;content-type;x, Credential=a/2025-01-01/t/tc3_request, Signature=",
            "TC3-HMAC-SHA256 Credential=a/2025-01-01/t/tc3_request, SignedHeaders=host, Signature=",
            "TC3-HMAC-SHA256 Credential=a/2025-01-01/t/tc3_request, Signature=, Signature=",
            "TC3-HMAC-SHA256 Credential=a/2025-01-01/t/tc3_request, SignedHeaders=host;content-type, NoSignature=",
            "Signature=",
        ]
    ),
    signature=st.text("0123456789abcdefA ,=", min_size=62, max_size=66)
    | st.text("0123456789abcdef", min_size=64),
)
def test_a_header_reads_the_same_whether_its_beginning_was_seen_before_or_not(
    prefix: str, signature: str
) -> None:
    def read(how: Callable[[str], Authorization]) -> Authorization | str:
        try:
            return how(prefix + signature)
        except BadAuthorization as error:
            return str(error)

    assert read(parse_authorization) == read(parse_authorization) == read(signing._parse)


@given(st.binary(max_size=64), st.text(max_size=200))
def test_a_signature_is_hmac_sha256_of_its_text_as_the_standard_library_has_it(key: bytes, text: str) -> None:
    digest = hashlib.sha256(text.encode("latin-1", "replace")).hexdigest()
    covered = f"TC3-HMAC-SHA256\n{TIME}\n2025-01-01/trtc/tc3_request\n{digest}"
    wanted = hmac.new(key, covered.encode(), "sha256").hexdigest()
    assert tc3_signature(key, scope("0" * 64), TIME, text) == wanted


LATIN = st.text(st.characters(max_codepoint=0xFF), max_size=12)  # a header's text
NAMES = st.lists(st.sampled_from(["x-a", "x-b", "x-tc-action", "x-É"]), unique=True, max_size=3)


@given(
    method=st.sampled_from(["GET", "POST"]),
    path=st.one_of(st.just("/"), LATIN.map("/".__add__)),
    query=st.binary(max_size=8),
    body=st.binary(max_size=80),
    values=st.lists(LATIN, min_size=4, max_size=4),
    signed=st.tuples(NAMES, NAMES).map(lambda names: (*names[0], "content-type", "host", *names[1])),
    unsigned=st.booleans(),
    hosts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=4, unique=True),
    choice=st.tuples(st.integers(0, 3), st.booleans(), st.booleans()),
    wrong=st.booleans(),
)
def test_the_core_takes_what_the_readable_form_signs_and_nothing_else(
    method: str, path: str, query: bytes, body: bytes, values: list[str], signed: tuple[str, ...],
    unsigned: bool, hosts: list[str], choice: tuple[int, bool, bool], wrong: bool,
) -> None:  # fmt: skip
    headers = {"host": "h", "content-type": JSON, "x-a": values[0], "x-b": values[1], "x-tc-action": values[2], "x-É": values[3]}
    if unsigned:
        headers["x-tc-content-sha256"] = "UNSIGNED-PAYLOAD"
    request = Tc3Request(method, path, query, headers, body, TIME)
    place, asked_path, lower = choice
    canonical = canonical_request(
        request, signed, payload_hash(request),
        path=path if asked_path else "/", host=hosts[place % len(hosts)], lower=lower,
    )  # fmt: skip
    authorization = Authorization(SECRET_ID, "2025-01-01", "trtc", signed, "")
    key = tc3_key(SECRET_KEY, "2025-01-01", "trtc")
    authorization.signature = tc3_signature(key, authorization, TIME, canonical + " " * wrong)
    assert verify_tc3(request, authorization, SECRET_KEY, tuple(hosts)) is not wrong


def test_all_that_a_server_tries_is_tried_once_per_host_and_in_order() -> None:
    texts = HostTexts(["alias.test"])
    assert texts.of("Rtc.test:80", "front.test") == host_candidates(
        "Rtc.test:80", "front.test", ("alias.test", *OFFICIAL_HOSTS)
    )
    assert texts.of("Rtc.test:80", None) is texts.of("Rtc.test:80", None)
    long = "h" * 1000
    assert texts.of(long, None) == texts.of(long, None)
    assert texts.of(long, None) is not texts.of(long, None), "a long one is not kept"


@given(
    st.lists(
        st.tuples(st.one_of(st.sampled_from([b"host", b"x-tc-action"]), st.binary(max_size=8)), st.binary(max_size=12)),
        max_size=8,
    )
)
def test_headers_become_texts_of_which_the_first_counts(headers: list[tuple[bytes, bytes]]) -> None:
    wanted: dict[str, str] = {}
    for name, value in headers:
        wanted.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    assert signing.header_texts(headers) == wanted


def test_a_signed_header_must_be_there() -> None:
    authorization = scope("0" * 64, signed="content-type;host;x-tc-region")
    with pytest.raises(SignedHeaderAbsent):
        verify_tc3(post(), authorization, SECRET_KEY, ("trtc.example.test",))


def test_a_host_header_holding_a_url_gives_the_bare_host_too() -> None:
    assert list(host_candidates("http://Rtc.Example.test:9000", None, ("alias.test",))) == [
        "http://Rtc.Example.test:9000",
        "http://rtc.example.test:9000",
        "rtc.example.test:9000",
        "rtc.example.test",
        "alias.test",
    ]


def test_the_forwarded_host_comes_before_the_aliases() -> None:
    assert list(host_candidates("inner:80", "rtc.example.test", ("a",)))[-2:] == ["rtc.example.test", "a"]


def test_a_value_signed_as_sent_is_accepted_like_one_lower_cased() -> None:
    request = post(content_type="Application/JSON")
    canonical = canonical_request(
        request,
        ("content-type", "host"),
        payload_hash(request),
        path="/",
        host="trtc.example.test",
        lower=False,
    )
    signature = tc3_signature(tc3_key(SECRET_KEY, "2025-01-01", "trtc"), scope("0" * 64), TIME, canonical)
    assert verify_tc3(request, scope(signature), SECRET_KEY, ("trtc.example.test",))


@given(
    parameters=st.dictionaries(
        st.from_regex(r"[A-Z][A-Za-z]{0,8}(\.\d{1,2})?", fullmatch=True), st.text(max_size=20), max_size=8
    ),
    method=st.sampled_from(["GET", "POST"]),
    algorithm=st.sampled_from(["HmacSHA1", "HmacSHA256"]),
)
def test_whatever_the_official_signer_signs_we_accept(
    parameters: dict[str, str], method: str, algorithm: str
) -> None:
    parameters = {n: v for n, v in parameters.items() if v.isprintable()} | {"SignatureMethod": algorithm}
    text = v1_string(method, "h:1", "/", parameters)
    theirs = Sign.sign(SECRET_KEY, text, algorithm)
    assert verify_v1(method, "/", parameters | {"Signature": theirs}, SECRET_KEY, ["h:1"])
