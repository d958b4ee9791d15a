"""HTTP listeners: uvicorn with deadlines of ours, because it has none for a slow client.

A header must be complete in `header_s` and within `MAX_HEADER_BYTES`, a body in `body_s`; what is late is
answered 408 when nothing was answered yet, and closed. Requests are not logged here: URLs can hold
UserSigs, the gateway and the doors log what may be logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 64 * 1024
GRACE_S = 3  # for requests that are under way when the server ends


class _Guarded(HttpToolsProtocol):
    """One connection; subclasses carry the deadlines."""

    header_s: float = 10.0
    body_s: float = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_header = True
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(self.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_header:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_header and self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._arm(self.header_s)

    def on_headers_complete(self) -> None:
        self._in_header = False
        self._arm(self.body_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._disarm()
        self._in_header = True  # of the next request, should one follow
        self._header_bytes = 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._disarm()
        super().handle_websocket_upgrade()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._refuse, b"408 Request Timeout")

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes) -> None:
        self._disarm()
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and self.cycle.response_started
        if not answering:
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
        self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """Bind a TCP listener now, so that a taken port is an error before anything else begins.

    Raises OSError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class HttpServer(uvicorn.Server):
    """One listener's server; signals are the composition root's business."""

    def __init__(
        self,
        app: Any,
        listener: socket.socket,
        *,
        header_s: float = 10.0,
        body_s: float = 30.0,
        tls_cert: str = "",
        tls_key: str = "",
    ) -> None:
        guarded = type("Guarded", (_Guarded,), {"header_s": header_s, "body_s": body_s})
        super().__init__(
            uvicorn.Config(
                app,
                http=guarded,
                ws="websockets-sansio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_S,
                ssl_certfile=tls_cert or None,
                ssl_keyfile=tls_key or None,
            )
        )
        self._listener = listener
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when connections are accepted."""
        self._task = asyncio.create_task(self.serve(sockets=[self._listener]))
        up = asyncio.create_task(self._up.wait())
        await asyncio.wait({self._task, up}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._task.done():
            self._task.result()
            raise RuntimeError("the HTTP listener ended at its start")

    def renew(self, tls_cert: str, tls_key: str) -> None:
        """Read the certificate files again: for connections from now on, those that are open stay.

        Raises OSError (an SSLError too) when the files are not good; the former ones then stay in use.
        """
        if self.config.ssl is None:
            return
        # A try first: a context that took the chain but not its key could not go back.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tls_cert, tls_key)
        self.config.ssl.load_cert_chain(tls_cert, tls_key)

    async def stop(self) -> None:
        """Take no more connections, give requests `GRACE_S`, then end."""
        self.should_exit = True
        if self._task is not None:
            await self._task

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
