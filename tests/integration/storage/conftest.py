"""A real S3 server for the session; each test has a bucket of its own and an endpoint that breaks on demand."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from roomtape.fetching.guard import Guard
from roomtape.fetching.proxy import EgressProxy
from tests.support.faulty_s3 import FaultyS3
from tests.support.s3 import S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "buckets") as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    name = f"b-{uuid.uuid4().hex[:12]}"
    s3.bucket(name)
    return name


@pytest.fixture
def faulty(s3: S3Server) -> Iterator[FaultyS3]:
    front = FaultyS3(s3)
    yield front
    front.close()


@pytest.fixture
async def egress() -> AsyncIterator[EgressProxy]:
    proxy = EgressProxy(Guard(allow_loopback=True))
    await proxy.start()
    yield proxy
    await proxy.close()
