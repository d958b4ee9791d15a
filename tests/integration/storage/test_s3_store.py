"""Objects in a bucket of a real S3 server: stored, proven, and every branch of the proof with a store that lies."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from roomtape.fetching.guard import Guard
from roomtape.fetching.proxy import EgressProxy, ProxyLimits
from roomtape.secret import Secret
from roomtape.storage.s3 import AWS, COS, S3Place, S3Rules, S3Stores, endpoint_of
from roomtape.storage.stores import ObjectStore, Proof, StoreError
from tests.support.faulty_s3 import Answer, Change, Death, Fault, FaultyS3, Request, Reset, Slow
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server, s3_server

MIB = 1 << 20
RULES = S3Rules(one_put_bytes=6 * MIB, part_bytes=5 * MIB, read_back_bytes=2 * MIB)
KEY = "school/2026/" + "tA+b=-_" * 9 + "/1400000001_cm9vbQ..__UserId_s_YWxpY2U=__UserId_e_main_video_20261125.ts"
SIZES = {"one put": 300_000, "multipart": 11 * MIB + 7}


def place(bucket: str, endpoint: str, **changes: object) -> S3Place:
    values = {"access_key": Secret(ACCESS_KEY), "secret_key": Secret(SECRET_KEY), **changes}
    return S3Place(vendor=AWS, region="us-east-1", bucket=bucket, endpoint_url=endpoint, **values)  # type: ignore[arg-type]


@pytest.fixture
def store(egress: EgressProxy, faulty: FaultyS3, bucket: str) -> ObjectStore:
    return S3Stores(egress, RULES).open(place(bucket, faulty.endpoint))


@pytest.fixture
def make(tmp_path: Path) -> Callable[[int], tuple[Path, bytes]]:
    def write(size: int) -> tuple[Path, bytes]:
        content = os.urandom(size)
        (tmp_path / "piece.ts").write_bytes(content)
        return tmp_path / "piece.ts", content

    return write


async def put(store: ObjectStore, path: Path, key: str = KEY) -> Proof:
    content = path.read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    return await store.put(key, path, size=len(content), md5=md5, content_type="video/mp2t")


def always(fault: Fault, when: Callable[[Request], bool] = lambda _r: True) -> Callable[[Request], Fault | None]:
    return lambda request: fault if when(request) else None


def reads(faulty: FaultyS3) -> int:
    """Requests for an object's content; a list of what lies unfinished names no key."""
    return len([request for request in faulty.requests if request.method == "GET" and request.key])


def cut(content: bytes) -> bytes:
    return content[:-100]


def flip(content: bytes) -> bytes:
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


# --- what is stored --------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "method"), [("one put", "etag"), ("multipart", "parts")])
async def test_r_up_1_an_object_is_proven_by_the_md5_in_its_etag(
    store: ObjectStore, s3: S3Server, bucket: str, faulty: FaultyS3, make: Callable[[int], tuple[Path, bytes]],
    kind: str, method: str,
) -> None:  # fmt: skip
    path, content = make(SIZES[kind])
    proof = await put(store, path)
    assert proof == Proof(len(content), hashlib.md5(content).hexdigest(), method)
    assert s3.objects(bucket) == {KEY: content}
    assert s3.unfinished(bucket) == []
    assert faulty.count("PUT") == (1 if kind == "one put" else 3)
    assert reads(faulty) == 0
    sent = next(request.headers for request in faulty.requests if request.key)
    assert sent["content-type"] == "video/mp2t"
    assert not [name for name in sent if name.startswith("x-amz-checksum")]
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", list(SIZES))
@pytest.mark.parametrize("etag", ["", "0" * 32, "0x8DCA1B2C3D4E5F6", "f" * 32 + "-9"])
async def test_r_up_1_another_etag_is_no_proof_and_the_object_is_read_back(
    store: ObjectStore, faulty: FaultyS3, make: Callable[[int], tuple[Path, bytes]], kind: str, etag: str
) -> None:
    path, content = make(SIZES[kind])
    faulty.fault = always(Change(etag=etag))
    proof = await put(store, path)
    assert proof == Proof(len(content), hashlib.md5(content).hexdigest(), "read-back")
    assert reads(faulty) == -(-len(content) // RULES.read_back_bytes)


@pytest.mark.parametrize("etag", [None, "aws-kms-or-foreign"])
@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize("kind", list(SIZES))
async def test_f7_a_store_that_kept_other_bytes_proves_nothing_and_gets_the_object_again(
    store: ObjectStore, s3: S3Server, bucket: str, faulty: FaultyS3, make: Callable[[int], tuple[Path, bytes]],
    kind: str, damage: Callable[[bytes], bytes], etag: str | None,
) -> None:  # fmt: skip
    path, content = make(SIZES[kind])
    faulty.fault = always(Change(damage, etag))
    with pytest.raises(StoreError) as refused:
        await put(store, path)
    assert (refused.value.code, refused.value.tell_at_once) == ("BadDigest", False)
    assert path.read_bytes() == content
    faulty.fault = lambda _request: None
    assert (await put(store, path)).size == len(content)
    assert s3.objects(bucket) == {KEY: content}


async def test_a_file_that_is_not_the_one_announced_is_not_stored(
    store: ObjectStore, faulty: FaultyS3, make: Callable[[int], tuple[Path, bytes]]
) -> None:
    for size in SIZES.values():
        path, _ = make(size)
        with pytest.raises(StoreError, match="not the one"):
            await store.put(KEY, path, size=size, md5="0" * 32, content_type="")
    with pytest.raises(StoreError, match="not in the spool"):
        await store.put(KEY, path.with_name("none"), size=1, md5="", content_type="")
    assert faulty.requests == []


async def test_objects_are_replaced_found_and_deleted(
    store: ObjectStore, s3: S3Server, bucket: str, make: Callable[[int], tuple[Path, bytes]]
) -> None:
    assert not await store.exists(KEY)
    for _ in range(2):
        path, content = make(1000)
        await put(store, path)
        assert s3.objects(bucket) == {KEY: content}
    assert await store.exists(KEY)
    await store.delete(KEY)
    await store.delete(KEY)
    assert s3.objects(bucket) == {}


# --- checksum headers ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(SIZES))
async def test_r_up_3_a_checksum_header_is_sent_where_it_is_configured(
    egress: EgressProxy, faulty: FaultyS3, bucket: str, make: Callable[[int], tuple[Path, bytes]], kind: str
) -> None:
    rules = S3Rules(checksums={"127.0.0.1": "sha256"}, one_put_bytes=6 * MIB, part_bytes=5 * MIB)
    path, _ = make(SIZES[kind])
    proof = await put(S3Stores(egress, rules).open(place(bucket, faulty.endpoint)), path)
    assert proof.method in ("etag", "parts")
    assert [r for r in faulty.requests if any(n.startswith("x-amz-checksum") for n in r.headers)]


@pytest.mark.parametrize("status", [400, 501])
async def test_r_up_3_a_vendor_that_refuses_checksum_headers_is_sent_none_from_then_on(
    egress: EgressProxy, faulty: FaultyS3, bucket: str, make: Callable[[int], tuple[Path, bytes]], status: int
) -> None:
    stores = S3Stores(egress, S3Rules(checksums={"127.0.0.1": "sha256"}))

    def picky(request: Request) -> Fault | None:
        named = any(name.startswith("x-amz-checksum") for name in request.headers)
        return Answer(status, "NotImplemented", "A header you provided implies functionality.") if named else None

    faulty.fault = picky
    path, _ = make(1000)
    assert (await put(stores.open(place(bucket, faulty.endpoint)), path)).method == "etag"
    assert faulty.count("PUT") == 2
    assert (await put(stores.open(place(bucket, faulty.endpoint)), path)).method == "etag"
    assert faulty.count("PUT") == 3


# --- what a store may answer -----------------------------------------------------------------------

ANSWERS = {
    "401": (Answer(401), "AccessDenied", True),
    "expired key": (Answer(403, "ExpiredToken", "The provided token has expired."), "ExpiredToken", True),
    "clock skew": (Answer(403, "RequestTimeTooSkewed", "The difference is too large."), "RequestTimeTooSkewed", True),
    "no bucket": (Answer(404, "NoSuchBucket", "The specified bucket does not exist"), "NoSuchBucket", True),
    "bare 404": (Answer(404), "NoSuchBucket", True),
    "wrong region": (
        Answer(301, "PermanentRedirect", "Use that endpoint.", {"Location": "http://127.0.0.1:1/x"}),
        "PermanentRedirect",
        False,
    ),
    "redirect": (Answer(307, "TemporaryRedirect", "", {"Location": "http://127.0.0.1:1/"}), "TemporaryRedirect", False),
    "internal": (Answer(500, "InternalError", "We encountered an error."), "InternalError", False),
    "slow down": (Answer(503, "SlowDown", "Please reduce your request rate."), "SlowDown", False),
    "bare 503": (Answer(503), "ServiceUnavailable", False),
    "no document": (Answer(502, raw=b"<html>Bad gateway of 10.1.2.3</html>"), "BadGateway", False),
    "entities": (
        Answer(500, raw=b"<!DOCTYPE Error [<!ENTITY a 'b'>]><Error><!-- --><Code>X</Code></Error>"),
        "InternalError",
        False,
    ),
    "broken document": (Answer(500, raw=b"<Error><Code>X</Error>"), "InternalError", False),
    "odd code": (Answer(403, "a code, of words", "m"), "AccessDenied", True),
    "reset": (Reset(), "RequestFailed", False),
    "reset mid-body": (Reset(100_000), "RequestFailed", False),
}


@pytest.mark.parametrize("name", list(ANSWERS))
async def test_f6_what_went_wrong_is_told_in_the_stores_words_and_nothing_of_ours(
    store: ObjectStore, faulty: FaultyS3, bucket: str, make: Callable[[int], tuple[Path, bytes]], name: str
) -> None:
    fault, code, at_once = ANSWERS[name]
    faulty.fault = always(fault)
    path, _ = make(SIZES["one put"])
    with pytest.raises(StoreError) as refused:
        await put(store, path)
    assert (refused.value.code, refused.value.tell_at_once) == (code, at_once)
    text = str(refused.value)
    assert text
    assert not re.search(r"\d+\.\d+\.\d+\.\d+|http|Debug|\n", text)
    for hidden in (KEY, bucket, ACCESS_KEY, SECRET_KEY, str(path)):
        assert hidden not in text
    assert len(faulty.requests) == 1  # trying again is the queue's to do
    faulty.fault = lambda _request: None
    assert (await put(store, path)).method == "etag"


@pytest.mark.parametrize("headers", [{}, {"ETag": '"abc"'}], ids=["no ETag", "some ETag"])
@pytest.mark.parametrize("size", list(SIZES))
async def test_f6_a_web_page_that_answers_is_no_store(
    store: ObjectStore,
    faulty: FaultyS3,
    make: Callable[[int], tuple[Path, bytes]],
    headers: dict[str, str],
    size: str,
) -> None:
    """As a gateway that wants its guests to log in: 200 to everything."""
    faulty.fault = always(Answer(200, headers=headers, raw=b"<html><body>Welcome</body></html>"))
    path, _ = make(SIZES[size])
    with pytest.raises(StoreError) as refused:
        await put(store, path)
    assert (refused.value.code, refused.value.tell_at_once) == ("RequestFailed", False)
    assert str(refused.value) == "The endpoint does not answer as an S3 store does."


async def test_f6_a_store_that_repeats_secrets_in_its_message_is_not_believed(
    store: ObjectStore, faulty: FaultyS3, make: Callable[[int], tuple[Path, bytes]]
) -> None:
    said = f"{ACCESS_KEY} with {SECRET_KEY} may not write {KEY}" + "!" * 5000
    faulty.fault = always(Answer(403, "AccessDenied", said))
    path, _ = make(1000)
    with pytest.raises(StoreError) as refused:
        await put(store, path)
    assert str(refused.value).startswith("... with ... may not write ...!!!")
    assert len(str(refused.value)) <= 256


async def test_f6_five_seconds_of_latency_are_no_failure(
    store: ObjectStore, faulty: FaultyS3, make: Callable[[int], tuple[Path, bytes]]
) -> None:
    faulty.fault = always(Slow(5))
    path, _ = make(1000)
    assert (await put(store, path)).method == "etag"


async def test_f6_a_part_that_fails_for_a_moment_is_sent_again(
    store: ObjectStore, s3: S3Server, bucket: str, faulty: FaultyS3, make: Callable[[int], tuple[Path, bytes]]
) -> None:
    failed: set[str] = set()

    def once_each(request: Request) -> Fault | None:
        if "partNumber=" not in request.query or request.query in failed:
            return None
        failed.add(request.query)
        return Answer(503, "SlowDown", "") if len(failed) == 1 else Reset(1000)

    faulty.fault = once_each
    path, content = make(SIZES["multipart"])
    assert (await put(store, path)).method == "parts"
    assert s3.objects(bucket) == {KEY: content}
    assert len(failed) == 3


async def test_f6_a_store_that_dies_within_a_part_and_comes_back_has_the_object_whole_and_no_parts(
    egress: EgressProxy, tmp_path: Path, make: Callable[[int], tuple[Path, bytes]]
) -> None:
    path, content = make(SIZES["multipart"])
    with s3_server(tmp_path / "buckets") as first:
        first.bucket("tenant")
        front = FaultyS3(first)
        store = S3Stores(egress, RULES).open(place("tenant", front.endpoint))

        def dies(request: Request) -> Fault | None:
            kill = functools.partial(os.kill, first.pid, signal.SIGKILL)
            return Death(kill, 100_000) if "partNumber=3" in request.query else None

        try:
            front.fault = dies
            with pytest.raises(StoreError, match="connection to the store broke"):
                await put(store, path)
            front.fault = lambda _request: None
            with pytest.raises(StoreError):
                await put(store, path)  # nobody is there
            assert first.unfinished("tenant"), "the third part is sent when one of two before it is stored"
            with s3_server(tmp_path / "buckets", int(first.endpoint.rpartition(":")[2])) as again:
                assert (await put(store, path)).method == "parts"
                assert again.objects("tenant") == {KEY: content}
                assert again.unfinished("tenant") == []
        finally:
            front.close()


@pytest.mark.parametrize("tells", [True, False], ids=["a store that tells", "a key that may not list"])
async def test_r_up_1_parts_that_a_death_left_behind_are_taken_away_by_the_next_try(
    store: ObjectStore, s3: S3Server, bucket: str, faulty: FaultyS3, make: Callable[[int], tuple[Path, bytes]],
    tells: bool,
) -> None:  # fmt: skip
    path, content = make(SIZES["multipart"])

    def dies(request: Request) -> Fault | None:
        """Neither completed nor aborted: what a process that is killed leaves."""
        return Answer(503) if request.method == "DELETE" or (request.completes and "uploadId" in request.query) else None

    faulty.fault = dies
    with pytest.raises(StoreError):
        await put(store, path)
    other = KEY.replace("main_video", "main_video_2")
    with pytest.raises(StoreError):
        await put(store, path, other)
    assert len({part.parent for part in s3.unfinished(bucket)}) == 2
    faulty.fault = always(Answer(403, "AccessDenied"), lambda r: not tells and "prefix=" in r.query)
    await put(store, path)
    assert s3.objects(bucket) == {KEY: content}
    assert len({part.parent for part in s3.unfinished(bucket)}) == (1 if tells else 2)  # the other key's is not ours


async def test_f6_a_multipart_upload_that_ends_in_an_error_document_has_failed(
    store: ObjectStore, faulty: FaultyS3, make: Callable[[int], tuple[Path, bytes]]
) -> None:
    """The store answers 200 before it knows (CompleteMultipartUpload)."""
    document = b"<Error><Code>InternalError</Code><Message>We encountered an error.</Message></Error>"
    faulty.fault = always(Answer(200, raw=document), lambda r: r.method == "POST" and "uploadId=" in r.query)
    path, _ = make(SIZES["multipart"])
    with pytest.raises(StoreError) as refused:
        await put(store, path)
    assert (refused.value.code, str(refused.value)) == ("InternalError", "We encountered an error.")


async def test_an_answer_without_end_is_cut(
    faulty: FaultyS3, bucket: str, make: Callable[[int], tuple[Path, bytes]]
) -> None:
    proxy = EgressProxy(Guard(allow_loopback=True), limits=ProxyLimits(down_bytes=4 * MIB))
    await proxy.start()
    try:
        faulty.fault = always(Answer(400, endless=True))
        path, _ = make(1000)
        with pytest.raises(StoreError) as refused:
            await put(S3Stores(proxy).open(place(bucket, faulty.endpoint)), path)
        assert len(str(refused.value)) <= 256
    finally:
        await proxy.close()


async def test_f6_an_endpoint_that_is_down_is_told_without_its_address(
    egress: EgressProxy, faulty: FaultyS3, bucket: str, make: Callable[[int], tuple[Path, bytes]]
) -> None:
    store = S3Stores(egress).open(place(bucket, faulty.endpoint))
    path, _ = make(1000)
    faulty.close()
    for endpoint in (store, S3Stores(egress).open(place(bucket, faulty.endpoint.replace("http:", "https:")))):
        with pytest.raises(StoreError) as refused:
            await put(endpoint, path)
        assert (refused.value.code, refused.value.tell_at_once) == ("EndpointUnreachable", False)
        assert "127.0.0.1" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_endpoint_that_is_not_allowed_is_told_at_once(
    faulty: FaultyS3, bucket: str, make: Callable[[int], tuple[Path, bytes]], scheme: str
) -> None:
    proxy = EgressProxy(Guard())
    await proxy.start()
    try:
        path, _ = make(1000)
        store = S3Stores(proxy).open(place(bucket, faulty.endpoint.replace("http", scheme)))
        with pytest.raises(StoreError) as refused:
            await put(store, path)
    finally:
        await proxy.close()
    assert (refused.value.code, refused.value.tell_at_once) == ("EndpointNotAllowed", True)
    assert "127.0.0.1" not in str(refused.value)
    assert faulty.requests == []


# --- keys and places -------------------------------------------------------------------------------


async def test_the_servers_own_cloud_environment_is_never_lent_to_a_tenant(
    egress: EgressProxy, s3: S3Server, faulty: FaultyS3, bucket: str, monkeypatch: pytest.MonkeyPatch,
    make: Callable[[int], tuple[Path, bytes]],
) -> None:  # fmt: skip
    for name, value in {
        "AWS_SESSION_TOKEN": "token of the machine",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_SKIP_SIGNATURE": "true",
        "NO_PROXY": "*",
        "no_proxy": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    path, content = make(1000)
    await put(S3Stores(egress, RULES).open(place(bucket, faulty.endpoint)), path)
    assert s3.objects(bucket) == {KEY: content}
    (request,) = faulty.requests
    assert "x-amz-security-token" not in request.headers
    assert request.headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/")


async def test_a_wrong_secret_is_refused_by_the_store(
    egress: EgressProxy, s3: S3Server, bucket: str, make: Callable[[int], tuple[Path, bytes]]
) -> None:
    path, _ = make(1000)
    with pytest.raises(StoreError) as refused:
        await put(S3Stores(egress).open(place(bucket, s3.endpoint, secret_key=Secret("wrong"))), path)
    assert (refused.value.code, refused.value.tell_at_once) == ("SignatureDoesNotMatch", True)
    assert ACCESS_KEY not in str(refused.value)


def test_a_bucket_shows_no_secret(egress: EgressProxy) -> None:
    stores = S3Stores(egress)
    bucket = stores.open(place("tenant", "https://s3.example.com"))
    shown = f"{bucket!r} {stores!r} {egress!r} {place('tenant', 'x')!r} {egress.url!r}"
    assert SECRET_KEY not in shown
    assert ACCESS_KEY not in shown
    assert egress.url.reveal() not in shown


CONFIGURED = {"0.ap-guangzhou": "https://cos.example.com", "1.eu-west-1": "http://minio.internal:9000/"}


@pytest.mark.parametrize(
    ("vendor", "region", "url", "endpoint", "virtual"),
    [
        (AWS, "us-east-1", "s3.example.com", "https://s3.example.com", False),
        (AWS, "us-east-1", "s3.example.com:9000/", "https://s3.example.com:9000", False),
        (AWS, "us-east-1", "http://s3.example.com", "http://s3.example.com", False),
        (AWS, "eu-west-1", "https://s3.example.com", "https://s3.example.com", False),
        (AWS, "eu-west-1", None, "http://minio.internal:9000", False),
        (AWS, "eu-central-1", None, "https://s3.eu-central-1.amazonaws.com", False),
        (AWS, "cn-north-1", None, "https://s3.cn-north-1.amazonaws.com.cn", False),
        (COS, "ap-guangzhou", None, "https://cos.example.com", False),
        (COS, "ap-guangzhou", "https://ignored.example.com", "https://cos.example.com", False),
        (COS, "ap-shanghai", None, "https://tenant-1250000000.cos.ap-shanghai.myqcloud.com", True),
    ],
)
def test_where_a_bucket_is(vendor: int, region: str, url: str | None, endpoint: str, virtual: bool) -> None:
    where = S3Place(vendor, region, "tenant-1250000000", Secret("AK"), Secret("SK"), url)
    assert endpoint_of(where, CONFIGURED) == (endpoint, virtual)


@pytest.mark.parametrize(
    "changes",
    [
        {"bucket": "a/b"},
        {"bucket": ".."},
        {"bucket": "a..b"},
        {"bucket": "x.evil.com/", "vendor": COS},
        {"bucket": "under_score", "vendor": COS},
        {"region": "us-east-1.evil.com/#"},
        {"region": ""},
        {"access_key": Secret("")},
        {"access_key": Secret("a\r\nX: y")},
        {"secret_key": Secret("")},
        {"endpoint_url": "ftp://s3.example.com"},
        {"endpoint_url": "https://user:pw@s3.example.com"},
        {"endpoint_url": "https://s3.example.com/?a=b"},
        {"endpoint_url": "https://s3.example.com/#x"},
        {"endpoint_url": "https://"},
        {"endpoint_url": "s3.example.com:99999"},
        {"endpoint_url": "s3 .example.com"},
        {"endpoint_url": "https://s3.example.com\r\nX: y"},
    ],
)
def test_what_no_store_can_have_is_told_at_once(egress: EgressProxy, changes: dict[str, object]) -> None:
    values = {
        "vendor": AWS,
        "region": "us-east-1",
        "bucket": "tenant",
        "access_key": Secret("AK"),
        "secret_key": Secret("SK"),
        **changes,
    }
    with pytest.raises(StoreError) as refused:
        S3Stores(egress).open(S3Place(**values))  # type: ignore[arg-type]
    assert refused.value.tell_at_once
