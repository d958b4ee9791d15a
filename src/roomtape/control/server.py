"""The server's end of the control channel: one Unix socket, one connection per worker.

A connection begins with Hello; anything else, or nothing within five seconds, closes it. A worker that
does not read is closed when `MAX_QUEUED_BYTES` wait for it: the supervisor then replaces it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from roomtape.control.channel import ChannelClosed, Unpacker, pack
from roomtape.control.messages import Hello, ToServer, ToWorker

log = structlog.get_logger(__name__)

HELLO_DEADLINE_S = 5.0
MAX_QUEUED_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 18

W = TypeVar("W")


class StreamLink:
    """The sending half of one connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def send(self, message: ToWorker) -> None:
        """Queue a message; a connection that is gone or stuffed swallows it, its end is told elsewhere."""
        transport = self._writer.transport
        if transport.is_closing():
            return
        self._writer.write(pack(message))
        if transport.get_write_buffer_size() > MAX_QUEUED_BYTES:
            log.error("worker_does_not_read", queued_bytes=transport.get_write_buffer_size())
            transport.abort()

    def close(self) -> None:
        self._writer.close()


class Pool(Protocol[W]):
    """What is told of connections: `roomtape.tasks.workers.Workers`."""

    def joined(self, hello: Hello, link: StreamLink) -> W: ...

    def heard(self, worker: W, message: ToServer) -> None: ...

    def left(self, worker: W) -> None: ...


class ControlServer:
    """Listens at `path` (mode 0600) until closed."""

    def __init__(self, path: Path, pool: Pool[W]) -> None:
        self._path = path
        self._converse = _conversation(pool)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind the socket; a file a former server left there is removed."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._connected, str(self._path))
        os.chmod(self._path, 0o600)

    async def close(self) -> None:
        """Stop listening and close every connection; workers take that as the server's end."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._converse(reader, StreamLink(writer))
        except asyncio.CancelledError:
            pass  # the server closes
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _conversation(pool: Pool[W]) -> Callable[[asyncio.StreamReader, StreamLink], Awaitable[None]]:
    async def converse(reader: asyncio.StreamReader, link: StreamLink) -> None:
        """Hand every message of one connection to the pool, in order, until it ends."""
        unpacker = Unpacker.at_server()
        try:
            async with asyncio.timeout(HELLO_DEADLINE_S):
                waiting = await _more(reader, unpacker)
                while not waiting:
                    waiting = await _more(reader, unpacker)
            hello = waiting.pop(0)
            if not isinstance(hello, Hello):
                raise ChannelClosed(f"the first message was {type(hello).__name__}, not Hello")
        except (TimeoutError, ChannelClosed, OSError) as error:
            log.warning("control_connection_refused", reason=str(error) or "no Hello")
            return
        worker = pool.joined(hello, link)
        try:
            while True:
                for message in waiting:
                    pool.heard(worker, message)
                waiting = await _more(reader, unpacker)
        except (ChannelClosed, OSError) as error:
            log.info("control_connection_ended", reason=str(error))
        finally:
            pool.left(worker)

    return converse


async def _more(reader: asyncio.StreamReader, unpacker: Unpacker[ToServer]) -> list[ToServer]:
    chunk = await reader.read(_CHUNK_BYTES)
    if not chunk:
        raise ChannelClosed("the worker closed the connection")
    return unpacker.feed(chunk)
