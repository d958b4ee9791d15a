"""A store behind HTTPS: the client checks the certificate through the proxy's tunnel, for the name it was given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from roomtape.cli import tls
from roomtape.config import Config
from roomtape.fetching.guard import Guard
from roomtape.fetching.proxy import EgressProxy
from roomtape.secret import Secret
from roomtape.storage import s3
from roomtape.storage.s3 import AWS, COS, S3Place, S3Rules, S3Stores, endpoint_of
from roomtape.storage.stores import Proof, StoreError
from tests.integration.fetching.test_guard import Lying
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server, s3_server

MIB = 1 << 20


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Server, bytes]]:
    """An S3 server with a certificate for loopback, and the authority that made it."""
    directory = tmp_path_factory.mktemp("tls")
    config = Config(data_dir=str(directory))
    tls.prepare(config)
    with s3_server(directory / "s3", tls=(Path(config.server.tls_cert), Path(config.server.tls_key))) as server:
        server.bucket("tenant")
        yield server, next(directory.rglob("*ca*.pem")).read_bytes()


async def put(proxy: EgressProxy, endpoint: str, path: Path, content: bytes, ca_pem: bytes) -> Proof:
    path.write_bytes(content)
    rules = S3Rules(ca_pem=ca_pem, one_put_bytes=6 * MIB, part_bytes=5 * MIB)
    where = S3Place(AWS, "us-east-1", "tenant", Secret(ACCESS_KEY), Secret(SECRET_KEY), endpoint)
    md5 = hashlib.md5(content).hexdigest()
    store = S3Stores(proxy, rules).open(where)
    return await store.put("a/b.ts", path, size=len(content), md5=md5, content_type="video/mp2t")


@pytest.mark.parametrize("size", [1000, 11 * MIB])
@pytest.mark.parametrize("scheme", ["https://", ""])
async def test_r_up_1_an_object_goes_through_a_tunnel_of_tls(
    secure: tuple[S3Server, bytes], egress: EgressProxy, tmp_path: Path, size: int, scheme: str
) -> None:
    server, ca_pem = secure
    content = b"media" * (size // 5)
    proof = await put(egress, server.endpoint.replace("https://", scheme), tmp_path / "x", content, ca_pem)
    assert proof.method == ("etag" if size == 1000 else "parts")
    assert server.objects("tenant") == {"a/b.ts": content}


@pytest.mark.parametrize("size", [1000, 11 * MIB])
async def test_r_up_1_a_bucket_of_cos_is_named_by_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The public form of Vendor 0, at a store that knows buckets by that name only; its port is another."""
    bucket, domain = "tenant-1250000000", "cos.ap-guangzhou.myqcloud.com"
    config = Config(data_dir=str(tmp_path / "tls"))
    config.server.http_host = f"{bucket}.{domain}"
    tls.prepare(config)
    proxy = EgressProxy(Guard(allow_loopback=True), resolver=Lying(["127.0.0.1"]))
    await proxy.start()
    certificate = (Path(config.server.tls_cert), Path(config.server.tls_key))
    try:
        with s3_server(tmp_path / "s3", tls=certificate, virtual_domain=domain) as server:
            server.bucket(bucket)
            place = S3Place(COS, "us-east-1", bucket, Secret(ACCESS_KEY), Secret(SECRET_KEY))
            public, virtual = endpoint_of(replace(place, region="ap-guangzhou"), {})
            assert (public, virtual) == (f"https://{config.server.http_host}", True)
            at_port = f"{public}:{server.endpoint.rpartition(':')[2]}"
            monkeypatch.setattr(s3, "endpoint_of", lambda *_: (at_port, True))
            path = tmp_path / "x"
            path.write_bytes(b"media" * (size // 5))
            md5 = hashlib.md5(path.read_bytes()).hexdigest()
            rules = S3Rules(
                ca_pem=(tmp_path / "tls/tls/ca.pem").read_bytes(), one_put_bytes=6 * MIB, part_bytes=5 * MIB
            )
            store = S3Stores(proxy, rules).open(place)
            proof = await store.put(
                "t/a.ts", path, size=path.stat().st_size, md5=md5, content_type="video/mp2t"
            )
            assert proof.method == ("etag" if size == 1000 else "parts")
            assert server.objects(bucket) == {"t/a.ts": path.read_bytes()}
            assert await store.exists("t/a.ts")
            await store.delete("t/a.ts")
            assert not await store.exists("t/a.ts")
    finally:
        await proxy.close()


async def test_a_certificate_of_nobody_known_is_refused(
    secure: tuple[S3Server, bytes], egress: EgressProxy, tmp_path: Path
) -> None:
    with pytest.raises(StoreError) as refused:
        await put(egress, secure[0].endpoint, tmp_path / "x", b"x", b"")
    assert str(refused.value) == "The store's certificate is not valid."
    assert not refused.value.tell_at_once


async def test_a_certificate_for_another_name_is_refused(
    secure: tuple[S3Server, bytes], tmp_path: Path
) -> None:
    """The tunnel goes to the checked address, the certificate must still be that of the name."""
    server, ca_pem = secure
    proxy = EgressProxy(Guard(allow_loopback=True), resolver=Lying(["127.0.0.1"]))
    await proxy.start()
    try:
        with pytest.raises(StoreError) as refused:
            await put(proxy, server.endpoint.replace("127.0.0.1", "store.test"), tmp_path / "x", b"x", ca_pem)
    finally:
        await proxy.close()
    assert str(refused.value) == "The store's certificate is not valid."
