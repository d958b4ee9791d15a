"""What hostile callers cost a started server, and what a good client beside them notices.

    python -m bench.abuse [--bad 10000] [--half 5000]

The scenarios are those of tests/integration/api/test_abuse.py, which holds their bounds; here are the numbers.
CPU is that of the server's process. The good client calls ten times a second from a process of its own; its p99
beside a flood is less what it is alone, on the same machine, just before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.cpu import Figure, circumstances, process_cpu_s
from tests.integration.api.test_abuse import (
    ADDRESSES,
    BODY_S,
    CREATE,
    DESCRIBE,
    HOSTILE,
    Server,
    flood,
    good_client,
    p99,
)
from tests.support.rawhttp import code_of
from tests.support.stack import REPO, start_stack

TIMES = 10  # each hostile body is sent
HELD_S = 3.0  # half-open connections are held before they are given up


def memory_mib(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


async def cost(server: Server, work: Coroutine[Any, Any, Any], calls: int) -> tuple[float, Any]:
    """Milliseconds of CPU per call, and what the work gave."""
    before = process_cpu_s(server.pid)
    result = await work
    return 1000 * (process_cpu_s(server.pid) - before) / calls, result


async def bad_signatures(server: Server, count: int) -> list[Figure]:
    figures = []
    async with good_client(server, at_least_s=5) as quiet:
        pass
    for name, given in (
        ("wrong signature", {"secret_key": "x" * 32}),
        ("unknown SecretId", {"secret_id": "AKID" + "0" * 32, "secret_key": "x" * 32}),
    ):
        wrong = [
            server.sign(server.nobody + b" " * (i % 500), at_s=int(time.time()) - i // 500, **given)
            for i in range(count)
        ]
        floods = [
            flood(server, wrong[i::ADDRESSES], f"127.0.{len(figures) + 1}.{i + 1}", 50)
            for i in range(ADDRESSES)
        ]
        log, began = len(server.stack.log()), time.monotonic()
        async with good_client(server) as good:
            cpu_ms, parts = await cost(server, _all(floods), count)
        seconds = time.monotonic() - began
        codes = Counter(code_of(answer) for part in parts for answer in part)
        lines = sum("AuthFailure" in line for line in server.stack.log()[log:].splitlines())
        figures += [
            Figure(f"{name}, {count} from {ADDRESSES} addresses: accepted", codes["ResourceNotFound"], "", 0),
            Figure(f"{name}: CPU of one", cpu_ms, "ms"),
            Figure(f"{name}: log", lines / seconds, "lines/s", 10),
            Figure(
                f"{name}: good client's p99, less alone",
                1000 * (p99(good["took_s"]) - p99(quiet["took_s"])),
                "ms",
                100,
            ),
        ]
    return figures


async def _all(works: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    return await asyncio.gather(*works)


async def hostile_bodies(server: Server) -> list[Figure]:
    items = {
        "SdkAppId": server.stack.sdk_app_id,
        "TaskId": "x",
        "SubscribeStreamUserIds": {"SubscribeAudioUserIds": [f"user{i}" for i in range(100_000)]},
    }
    bodies = {name: (DESCRIBE, body) for name, (body, _) in HOSTILE.items()}
    bodies["a list of 100 000 items"] = ("ModifyCloudRecording", json.dumps(items).encode())
    figures = []
    for name, (action, body) in bodies.items():
        await server.ask(server.sign(body, action), "127.0.0.4")  # warm
        Path(f"/proc/{server.pid}/clear_refs").write_text("5")
        rss = memory_mib(server.pid, "VmRSS")

        async def repeat(action: str = action, body: bytes = body) -> str:
            for _ in range(TIMES):
                code = await server.ask(server.sign(body, action), "127.0.0.4")
            return code

        cpu_ms, code = await cost(server, repeat(), TIMES)
        figures += [
            Figure(f"{name} ({code}): CPU", cpu_ms, "ms", 50),
            Figure(f"{name}: memory", memory_mib(server.pid, "VmHWM") - rss, "MiB", 20),
        ]
    return figures


async def many_creates(server: Server) -> list[Figure]:
    creates = [server.sign(b'{"RoomId": "%d"}' % i, CREATE) for i in range(1000)]
    async with good_client(server) as good:
        cpu_ms, answers = await cost(server, flood(server, creates, "127.0.0.5", 20), len(creates))
    refused = Counter(map(code_of, answers))["RequestLimitExceeded"]
    return [
        Figure("1000 Creates at once: told RequestLimitExceeded", refused, ""),
        Figure("1000 Creates at once: CPU of one", cpu_ms, "ms"),
        Figure(
            "1000 Creates at once: good client refused", float(good["codes"] != ["ResourceNotFound"]), "", 0
        ),
        Figure("1000 Creates at once: good client's p99", 1000 * p99(good["took_s"]), "ms", 100),
    ]


async def half_open(server: Server, count: int) -> list[Figure]:
    """Half of a header each, from addresses that may hold a thousand connections each."""
    before = process_cpu_s(server.pid)
    rss = memory_mib(server.pid, "VmRSS")
    writers = []
    for i in range(count):
        with suppress(OSError):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, local_addr=(f"127.0.9.{i % 10 + 1}", 0)
            )
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nX-A: ")
            writers.append(writer)
    async with good_client(server, at_least_s=HELD_S) as good:
        began = time.monotonic()
        healthy = b"ok" in await server.alive()
        health_ms = 1000 * (time.monotonic() - began)
    figures = [
        Figure("half-open headers held at once", len(writers), ""),
        Figure(
            "half-open headers: memory of one", 1024 * (memory_mib(server.pid, "VmRSS") - rss) / count, "KiB"
        ),
        Figure("half-open headers: CPU of one", 1000 * (process_cpu_s(server.pid) - before) / count, "ms"),
        Figure("half-open headers: health not green", float(not healthy), "", 0),
        Figure("half-open headers: health answered in", health_ms, "ms"),
        Figure("half-open headers: good client's p99", 1000 * p99(good["took_s"]), "ms", 100),
    ]
    for writer in writers:
        writer.close()
    return figures


async def scenarios(server: Server, bad: int, half: int) -> list[Figure]:
    return [
        *await bad_signatures(server, bad),
        *await hostile_bodies(server),
        *await many_creates(server),
        *await half_open(server, half),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bad", type=int, default=10_000)
    parser.add_argument("--half", type=int, default=5_000)
    args = parser.parse_args()
    env = {
        "ROOMTAPE_SERVER__BODY_TIMEOUT_S": str(BODY_S),
        "ROOMTAPE_LIMITS__PER_ACTION": "{ DescribeCloudRecording = 500, ModifyCloudRecording = 500 }",
    }
    print(circumstances(REPO))
    with tempfile.TemporaryDirectory(prefix="rt-") as name, start_stack(Path(name) / "d", env=env) as stack:
        for figure in asyncio.run(scenarios(Server(stack), args.bad, args.half)):
            print(figure.line())


if __name__ == "__main__":
    main()
