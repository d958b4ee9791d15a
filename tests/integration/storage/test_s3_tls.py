"""A store behind HTTPS: the client checks the certificate through the proxy's tunnel, for the name it was given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from roomtape.cli import tls
from roomtape.config import Config
from roomtape.fetching.guard import Guard
from roomtape.fetching.proxy import EgressProxy
from roomtape.secret import Secret
from roomtape.storage.s3 import AWS, S3Place, S3Rules, S3Stores
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
