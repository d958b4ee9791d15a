"""What the egress proxy costs: CPU and wall time per 10 MB to a real S3 server, with it and without.

CPU is that of this process: client and proxy. python -m bench.egress (needs versitygw: `make test`).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import obstore
import uvloop
from obstore.store import S3Store
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server, s3_server

from roomtape.fetching.guard import Guard
from roomtape.fetching.proxy import EgressProxy

OBJECTS, SIZE, ROUNDS = 20, 10_000_000, 3


async def measure(server: S3Server, proxy_url: str | None) -> tuple[float, float]:
    """Wall and CPU milliseconds per object."""
    options = {"allow_http": True, **({"proxy_url": proxy_url} if proxy_url else {})}
    store = S3Store(
        "bench", endpoint=server.endpoint, region="us-east-1", access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY, client_options=options,  # type: ignore[arg-type]
    )  # fmt: skip
    content = os.urandom(SIZE)
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(OBJECTS):
        await obstore.put_async(store, f"object-{number}", content, use_multipart=False)
    return (time.perf_counter() - wall) * 1000 / OBJECTS, (time.process_time() - cpu) * 1000 / OBJECTS


async def main() -> None:
    proxy = EgressProxy(Guard(allow_loopback=True))
    await proxy.start()
    with tempfile.TemporaryDirectory() as directory, s3_server(Path(directory) / "s3") as server:
        server.bucket("bench")
        for name, url in (("direct", None), ("through the proxy", proxy.url.reveal())):
            rounds = [await measure(server, url) for _ in range(ROUNDS)]
            wall, cpu = (min(values) for values in zip(*rounds, strict=True))
            print(f"{name:20} {wall:6.1f} ms wall  {cpu:6.1f} ms CPU per 10 MB")
    await proxy.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
