"""The API's cost and latency: signed Describe calls per core-second beside a bare answer of the same uvicorn.

    python -m bench.api [--calls 20000] [--seconds 10] [--postgresql]

One `roomtape dev` with raised limits, on SQLite or on a PostgreSQL that is started for it (its durability
switched off, as the tests do it; its CPU is not counted). The load comes from a process of its own, which sends requests
signed before the clock runs; the server's CPU is the kernel's count for its process. Bare = an ASGI application
that reads the body and answers a constant, behind the same listener, sent the same requests. The two take turns
in `ROUNDS` rounds, and the median counts: on a machine shared with others each call of either costs more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import uvloop
from bench.cpu import Figure, circumstances, process_cpu_s
from tests.support import postgres
from tests.support.rawhttp import code_of, exchange, signed
from tests.support.stack import REPO, Stack, start_stack, until

from roomtape.serving import HttpServer, listen

CONNECTIONS = 16
RATE = 200  # requests per second of the latency runs
CREATES = 10  # of them, in the mixed run
ROUNDS = 10
RATIO_GOAL = 0.6
RAISED = {
    "ROOMTAPE_LIMITS__PER_ACCOUNT": "1000000",
    "ROOMTAPE_LIMITS__PER_ADDRESS": "1000000",
    "ROOMTAPE_LIMITS__PER_ACTION": "{ DescribeCloudRecording = 1000000, CreateCloudRecording = 1000000 }",
    "ROOMTAPE_RECORDING__MAX_TASKS_PER_APP": "10000",
}


# --- the load: a process of its own -----------------------------------------------------------------------


async def _closed(host: str, port: int, requests: list[bytes]) -> dict[str, Any]:
    """Send all requests as fast as `CONNECTIONS` connections get answers."""
    left = iter(requests)
    wrong: list[str] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for request in left:
            answer = await exchange(reader, writer, request)
            if b'"Error"' in answer:
                wrong.append(code_of(answer))
        writer.close()

    began = time.monotonic()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return {"wrong": wrong, "took_s": time.monotonic() - began}


async def _paced(host: str, port: int, requests: list[bytes]) -> dict[str, Any]:
    """Send `RATE` requests per second; a latency counts from when its request was due."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS * 4):
        free.put_nowait(await asyncio.open_connection(host, port))
    took: list[tuple[bool, float]] = []
    wrong: list[str] = []
    began = time.monotonic() + 0.1

    async def one(due: float, request: bytes) -> None:
        await asyncio.sleep(due - time.monotonic())
        connection = await free.get()
        answer = await exchange(*connection, request)
        if b'"Error"' in answer:
            wrong.append(code_of(answer))
        took.append((b"CreateCloudRecording" in request, time.monotonic() - due))
        free.put_nowait(connection)

    await asyncio.gather(*(one(began + i / RATE, request) for i, request in enumerate(requests)))
    return {"wrong": wrong, "took": took}


def _load(folder: Path) -> None:
    order = json.loads((folder / "order.json").read_text())
    requests = [bytes.fromhex(text) for text in order["requests"]]
    send = _closed if order["kind"] == "closed" else _paced
    (folder / "done.json").write_text(json.dumps(uvloop.run(send(order["host"], order["port"], requests))))


def load(folder: Path, kind: str, host: str, port: int, requests: list[bytes]) -> dict[str, Any]:
    """Run the load process to its end; what it measured. Raises RuntimeError when an answer was an error."""
    order = {"kind": kind, "host": host, "port": port, "requests": [request.hex() for request in requests]}
    (folder / "order.json").write_text(json.dumps(order))
    subprocess.run([sys.executable, "-m", "bench.api", "--load", str(folder)], check=True, cwd=REPO)
    done: dict[str, Any] = json.loads((folder / "done.json").read_text())
    if done["wrong"]:
        raise RuntimeError(f"of {len(requests)} answers errors: {Counter(done['wrong'])}")
    return done


# --- the bare answer --------------------------------------------------------------------------------------


async def _bare(folder: Path) -> None:
    answer = json.dumps(
        {"Response": {"RequestId": "0" * 36, "Status": "Idle", "TaskId": "x" * 60, "StorageFileList": []}}
    )
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer.encode()})

    listener = listen("127.0.0.1", 0)
    await HttpServer(app, listener).start()
    (folder / "port").write_text(str(listener.getsockname()[1]))
    await asyncio.Event().wait()


@contextmanager
def bare(folder: Path) -> Iterator[tuple[int, int]]:
    """The bare server's process and port."""
    process = subprocess.Popen([sys.executable, "-m", "bench.api", "--bare", str(folder)], cwd=REPO)
    try:
        path = folder / "port"
        until("the bare server", lambda: path.exists() and path.read_text().isdigit())
        yield process.pid, int(path.read_text())
    finally:
        process.kill()
        process.wait()


# --- the scenarios ----------------------------------------------------------------------------------------


class Bench:
    """A started server with some tasks to describe."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.host = stack.dev["http_url"].split("://", 1)[1]
        self.port = int(self.host.rsplit(":", 1)[1])
        self.pid = stack.pid_of("server")
        self.tasks = [stack.create_recording("bench", robot=f"robot{i}") for i in range(5)]

    def describes(self, count: int) -> list[bytes]:
        """Signed requests, each with another signature."""
        bodies = [
            json.dumps({"SdkAppId": self.stack.sdk_app_id, "TaskId": self.tasks[i % 5]})
            + " " * (i // 5 % 400)
            for i in range(count)
        ]
        return [self._sign("DescribeCloudRecording", body) for body in bodies]

    def creates(self, count: int) -> list[bytes]:
        storage = {
            "Vendor": 1,
            "Region": "us-east-1",
            "Bucket": "recordings",
            "AccessKey": "AK",
            "SecretKey": "SK",
        }
        members = {
            "SdkAppId": self.stack.sdk_app_id,
            "RoomIdType": 0,
            "RecordParams": {"RecordMode": 1, "MaxIdleTime": 30},
            "StorageParams": {"CloudStorage": storage},
        }
        return [
            self._sign(
                "CreateCloudRecording",
                json.dumps(
                    {**members, "RoomId": f"r{i}", "UserId": f"c{i}", "UserSig": self.stack.usersig(f"c{i}")}
                ),
            )
            for i in range(count)
        ]

    def _sign(self, action: str, body: str) -> bytes:
        return signed(
            self.host, self.stack.dev["secret_id"], self.stack.dev["secret_key"], action, body.encode()
        )

    def per_core_s(self, pid: int, port: int, requests: list[bytes]) -> float:
        """Answers per second of CPU of one process."""
        before = process_cpu_s(pid)
        load(self.folder, "closed", "127.0.0.1", port, requests)
        return len(requests) / (process_cpu_s(pid) - before)

    def beside_bare(self, calls: int) -> list[tuple[float, float]]:
        """Per round, bare answers and signed Describes per core-second."""
        rounds = []
        with bare(self.folder) as (pid, port):
            self.per_core_s(pid, port, self.describes(calls // ROUNDS))  # warm
            self.per_core_s(self.pid, self.port, self.describes(calls // ROUNDS))
            for _ in range(ROUNDS):
                requests = self.describes(calls // ROUNDS)  # signed now: a slow machine takes long
                plain = self.per_core_s(pid, port, requests)
                rounds.append((plain, self.per_core_s(self.pid, self.port, requests)))
        return rounds

    def latency(self, requests: list[bytes]) -> tuple[list[float], list[float]]:
        """Milliseconds of the Describes and of the Creates, sorted."""
        took = load(self.folder, "paced", "127.0.0.1", self.port, requests)["took"]
        return sorted(1000 * s for create, s in took if not create), sorted(
            1000 * s for create, s in took if create
        )


def at(share: float, values: list[float]) -> float:
    return values[min(int(len(values) * share), len(values) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        return _load(args.load)
    if args.bare:
        return uvloop.run(_bare(args.bare))
    print(circumstances(REPO))
    with ExitStack() as down:
        name = down.enter_context(tempfile.TemporaryDirectory(prefix="rt-"))
        env = dict(RAISED)
        if args.postgresql:
            env["ROOMTAPE_DATABASE__URL"] = down.enter_context(postgres.cluster()).create_database()
        stack = down.enter_context(start_stack(Path(name) / "d", env=env))
        bench = Bench(stack, Path(name))
        rounds = bench.beside_bare(args.calls)
        describe, _ = bench.latency(bench.describes(RATE * args.seconds))
        mixed = bench.describes(RATE * args.seconds)
        mixed[:: RATE // CREATES] = bench.creates(CREATES * args.seconds)
        beside, create = bench.latency(mixed)
    for figure in (
        Figure("bare ASGI answers per core-second", median(plain for plain, _ in rounds), "/s"),
        Figure("signed Describe calls per core-second", median(ours for _, ours in rounds), "/s"),
        Figure(f"ratio of the two (goal >= {RATIO_GOAL})", median(b / a for a, b in rounds), ""),
        Figure("the same, least of the rounds", min(b / a for a, b in rounds), ""),
        Figure("the same, most of the rounds", max(b / a for a, b in rounds), ""),
        Figure(f"Describe at {RATE}/s, p50", at(0.5, describe), "ms"),
        Figure(f"Describe at {RATE}/s, p99", at(0.99, describe), "ms", 30),
        Figure(f"Describe at {RATE}/s with {CREATES} Creates/s, p99", at(0.99, beside), "ms", 30),
        Figure(f"Create, {CREATES}/s among {RATE}/s, p99", at(0.99, create), "ms", 150),
    ):
        print(figure.line())


if __name__ == "__main__":
    main()
