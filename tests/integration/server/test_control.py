"""The control channel over its real socket."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from roomtape.control.channel import LENGTH, Unpacker, pack
from roomtape.control.messages import Beat, Forget, Hello, ToServer, ToWorker
from roomtape.control.server import ControlServer, StreamLink
from roomtape.tasks.workers import Worker, Workers


class Watched(Workers):
    """The pool, telling a test when something has happened."""

    def __init__(self) -> None:
        super().__init__()
        self.happened: asyncio.Queue[str] = asyncio.Queue()

    def joined(self, hello: Hello, link: StreamLink) -> Worker:  # type: ignore[override]
        worker = super().joined(hello, link)
        self.happened.put_nowait("joined")
        return worker

    def heard(self, worker: Worker, message: ToServer) -> None:
        super().heard(worker, message)
        self.happened.put_nowait("heard")

    def left(self, worker: Worker) -> None:
        super().left(worker)
        self.happened.put_nowait("left")


async def test_a_worker_joins_speaks_is_told_and_leaves(tmp_path: Path) -> None:
    pool = Watched()
    server = ControlServer(tmp_path / "control.sock", pool)
    await server.start()
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
    both = pack(Hello(index=3, pid=99)) + pack(Beat(tasks=1, rss_bytes=5))
    for byte in both:  # in whatever portions it comes
        writer.write(bytes([byte]))
    assert [await pool.happened.get() for _ in range(2)] == ["joined", "heard"]
    assert [(worker.index, worker.pid, worker.beat.rss_bytes) for worker in pool.live] == [(3, 99, 5)]

    unpacker: Unpacker[ToWorker] = Unpacker.at_worker()
    pool.give(3, "t", Forget(task_id="t", epoch=2))
    told: list[ToWorker] = []
    while not told:
        told = unpacker.feed(await reader.read(4096))
    assert told == [Forget(task_id="t", epoch=2)]

    writer.close()
    assert await pool.happened.get() == "left"
    assert pool.live == []
    await server.close()
    assert not (tmp_path / "control.sock").exists()


async def test_who_does_not_say_hello_is_closed(tmp_path: Path) -> None:
    pool = Watched()
    server = ControlServer(tmp_path / "control.sock", pool)
    await server.start()
    for nonsense in (pack(Beat()), LENGTH.pack(5) + b"xxxxx", LENGTH.pack(1 << 31)):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
        writer.write(nonsense)
        assert await reader.read() == b""
        writer.close()
    assert pool.live == []
    await server.close()


async def test_the_end_of_the_server_is_the_end_of_the_connection(tmp_path: Path) -> None:
    pool = Watched()
    server = ControlServer(tmp_path / "control.sock", pool)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
    writer.write(pack(Hello(index=0, pid=1)))
    await pool.happened.get()
    await server.close()
    assert await reader.read() == b""
    writer.close()
