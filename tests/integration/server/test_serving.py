"""Slow and greedy clients of the HTTP listener."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from roomtape.cli import tls
from roomtape.config import Config
from roomtape.serving import MAX_HEADER_BYTES, REFUSED, Bounds, HttpServer, listen
from tests.support.rawhttp import sip

HEADER_S, BODY_S, IDLE_S, PING_S, PONG_S = 0.3, 0.4, 0.35, 0.1, 0.3
QUICK = Bounds(header_s=HEADER_S, body_s=BODY_S, idle_s=IDLE_S, ping_s=PING_S, pong_s=PONG_S)
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = 8 * 2**20  # more than the system's buffers of a connection hold when its receiver has a small one
SMALL_BUFFER = 4096
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(os.urandom(16)) + b"\r\n\r\n"
)
PING, PONG, CLOSE = 0x9, 0xA, 0x8

Serve = Callable[[Bounds], Awaitable[int]]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[..., Awaitable[Stream]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a listener with bounds; its port."""

    async def echo(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    async def big(request: Request) -> Response:
        return Response(bytes(BIG))

    async def parrot(socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text(await socket.receive_text())
        except WebSocketDisconnect:
            pass

    async with AsyncExitStack() as down:

        async def start(bounds: Bounds) -> int:
            listener = listen("127.0.0.1", 0)
            routes = [
                Route("/", echo, methods=["GET", "POST"]),
                Route("/big", big),
                WebSocketRoute("/ws", parrot),
            ]
            server = HttpServer(Starlette(routes=routes), listener, bounds)
            number: int = listener.getsockname()[1]
            await server.start()
            down.push_async_callback(server.stop)
            return number

        yield start


@pytest.fixture
async def narrow() -> AsyncIterator[Callable[[int], Awaitable[socket.socket]]]:
    """Connected sockets that take little unread; nobody reads from them but the test."""
    made: list[socket.socket] = []

    async def opened(port: int) -> socket.socket:
        client = socket.socket()
        made.append(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        return client

    yield opened
    for client in made:
        client.close()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connections that are closed at the end, whatever became of them."""
    writers = []

    async def opened(port: int, address: str = "127.0.0.1") -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        writers.append(writer)
        return reader, writer

    yield opened
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
async def port(serve: Serve) -> int:
    return await serve(QUICK)


def refused(bound: str) -> float:
    return REFUSED.labels(bound)._value.get()


async def _answer(port: int, *parts: bytes) -> tuple[bytes, float]:
    """Send the parts and read until the server closes; the answer and how long it took."""
    began = asyncio.get_running_loop().time()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    try:
        heard = await reader.read()
    except ConnectionResetError:
        heard = b""
    took = asyncio.get_running_loop().time() - began
    writer.close()
    return heard, took


async def test_a_client_that_says_nothing_is_closed(port: int) -> None:
    heard, took = await _answer(port)
    assert heard.startswith(b"HTTP/1.1 408 ")
    assert took >= HEADER_S


async def test_f19_a_header_that_never_ends_is_closed(port: int) -> None:
    heard, took = await _answer(port, b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert heard.startswith(b"HTTP/1.1 408 ")
    assert took >= HEADER_S


async def test_a_body_that_does_not_come_is_closed(port: int) -> None:
    heard, took = await _answer(port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert heard.startswith(b"HTTP/1.1 408 ")
    assert took >= BODY_S


async def test_a_header_without_measure_is_refused_at_once(port: int) -> None:
    greedy = b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEADER_BYTES + 1)
    heard, _ = await _answer(port, greedy)
    assert heard == b"" or heard.startswith(b"HTTP/1.1 431 ")


async def test_an_ordinary_request_is_answered(port: int) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    heard, _ = await _answer(port, request)
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert heard.endswith(b"3")


async def _answered(stream: Stream) -> None:
    """Ask on a connection and read the whole answer."""
    reader, writer = stream
    writer.write(ASK)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert await reader.readexactly(1) == b"0"


async def test_an_idle_connection_is_closed_without_a_word(port: int, connect: Connect) -> None:
    stream = await connect(port)
    await _answered(stream)
    await _answered(stream)  # the idle time began anew
    asked = asyncio.get_running_loop().time()
    assert await stream[0].read() == b""
    assert asyncio.get_running_loop().time() - asked >= IDLE_S - 0.1


async def test_empty_lines_do_not_keep_a_connection(port: int, connect: Connect) -> None:
    stream = await connect(port)
    await _answered(stream)
    stream[1].write(b"\r\n")
    assert (await stream[0].read()).startswith(b"HTTP/1.1 408 ")


async def test_an_address_holds_so_many_connections_and_others_are_not_hindered(
    serve: Serve, connect: Connect
) -> None:
    port = await serve(Bounds(per_address=3))
    before = refused("too_many")
    held = [await connect(port) for _ in range(3)]
    for stream in held:  # answered: the server has them
        await _answered(stream)
    heard, _ = await _answer(port)
    assert heard.startswith(b"HTTP/1.1 503 ")
    assert refused("too_many") == before + 1
    await _answered(await connect(port, "127.0.0.2"))

    reader, writer = held[0]
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    await _answered(await connect(port))  # its place is free again


async def test_all_addresses_together_hold_no_more_than_the_bound(serve: Serve, connect: Connect) -> None:
    port = await serve(Bounds(in_all=2, proxies=("127.0.0.2",)))
    before = refused("too_many_in_all")
    held = [await connect(port, address) for address in ("127.0.0.1", "127.0.0.2")]  # a proxy's count here
    for stream in held:
        await _answered(stream)
    reader, _ = await connect(port, "127.0.0.3")
    assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    assert refused("too_many_in_all") == before + 1
    held[1][1].write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await held[1][0].read()).startswith(b"HTTP/1.1 200 ")
    await _answered(await connect(port, "127.0.0.3"))


UNREAD = {
    "one large answer": b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
    "one large answer, the last": b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "many small ones": ASK * 100_000,
}


@pytest.mark.parametrize("asked", UNREAD.values(), ids=UNREAD)
async def test_a_client_that_asks_and_does_not_read_is_cut(
    serve: Serve, narrow: Callable[[int], Awaitable[socket.socket]], asked: bytes
) -> None:
    """Its place, the only one, is another's then: it was not just forgotten."""
    port = await serve(Bounds(write_s=0.3, in_all=1))
    before, loop = refused("slow_reader"), asyncio.get_running_loop()
    began = loop.time()
    client = await narrow(port)
    sending = asyncio.ensure_future(loop.sock_sendall(client, asked))
    await asyncio.wait([sending], timeout=0.05)  # the many are never sent in whole
    heard = b""
    while not heard.startswith(b"HTTP/1.1 200 "):
        heard, _ = await _answer(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert not heard or heard.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 "))
    assert refused("slow_reader") == before + 1
    assert loop.time() - began >= 0.3
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_a_client_that_reads_slowly_gets_all_of_its_answer(
    serve: Serve, narrow: Callable[[int], Awaitable[socket.socket]]
) -> None:
    port = await serve(Bounds(write_s=0.5))
    before, loop = refused("slow_reader"), asyncio.get_running_loop()
    began = loop.time()
    client = await narrow(port)
    await loop.sock_sendall(client, b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert await sip(client, BIG // 16, every_s=0.1) > BIG
    assert loop.time() - began > 1.0, "longer than a client has that takes nothing"
    assert refused("slow_reader") == before


async def test_connections_of_a_proxy_are_not_counted(serve: Serve, connect: Connect) -> None:
    port = await serve(Bounds(per_address=1, proxies=("127.0.0.0/30",)))
    for stream in [await connect(port) for _ in range(4)]:
        await _answered(stream)


async def _upgraded(stream: Stream) -> None:
    reader, writer = stream
    writer.write(UPGRADE)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next frame of a server: its kind, and its payload of less than 126 bytes."""
    kind, length = await reader.readexactly(2)
    return kind & 0xF, await reader.readexactly(length)


def _pong(payload: bytes) -> bytes:
    return bytes([0x80 | PONG, 0x80 | len(payload), 0, 0, 0, 0]) + payload  # masked by zeros


async def test_f19_a_websocket_without_pong_is_closed_and_one_with_lives(port: int, connect: Connect) -> None:
    before = refused("silent_websocket")
    reader, writer = await connect(port)
    await _upgraded((reader, writer))
    for _ in range(3):
        kind, payload = await _frame(reader)
        assert kind == PING
        writer.write(_pong(payload))
    kind, _ = await _frame(reader)  # this one stays without its answer
    assert kind == PING
    asked = asyncio.get_running_loop().time()
    rest = b""
    with suppress(ConnectionResetError):
        rest = await reader.read()
    assert rest == b"" or rest[0] & 0xF == CLOSE
    assert asyncio.get_running_loop().time() - asked >= PONG_S - 0.1
    assert refused("silent_websocket") == before + 1


async def test_a_websocket_keeps_its_place_until_it_ends(serve: Serve, connect: Connect) -> None:
    port = await serve(Bounds(per_address=1))
    stream = await connect(port)
    await _upgraded(stream)
    heard, _ = await _answer(port)
    assert heard.startswith(b"HTTP/1.1 503 ")
    stream[1].close()
    while not heard.startswith(b"HTTP/1.1 200 "):  # the server reads of the end when it reads of it
        heard, _ = await _answer(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert not heard or heard.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 "))


WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
HTTP2 = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


@pytest.mark.parametrize("asked", [HTTP2, HTTP2.lower(), WEBSOCKET], ids=["h2c", "lower case", "websocket"])
async def test_an_upgrade_that_is_not_followed_takes_no_body_away(port: int, connect: Connect, asked: bytes) -> None:
    """Java's own client asks for HTTP/2 in each request of HTTP."""
    reader, writer = await connect(port)
    for body in (b"hello", b"", b"you"):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), asked, body))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert await reader.readexactly(1) == b"%d" % len(body)


@pytest.mark.parametrize(
    "head", [b"GET /ws HTTP/1.1\r\nContent-Length: 3\r\n", b"GET /ws HTTP/1.1\r\n" + b"X-A: b\r\n" * 300], ids=["a body", "headers"]
)
async def test_f19_a_websocket_that_cannot_begin_is_closed(port: int, head: bytes) -> None:
    heard, took = await _answer(port, head + b"Host: x\r\n" + WEBSOCKET + b"\r\n")
    assert not heard.startswith(b"HTTP/1.1 101")
    assert took < HEADER_S + 5, "not kept without a bound"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_tls_handshake_that_never_comes_is_closed(loop: str, tmp_path: Path) -> None:
    """On the loop of the tests and on that of the product."""
    settings = Config(data_dir=str(tmp_path))
    tls.prepare(settings)

    async def silent() -> tuple[bytes, float]:
        listener = listen("127.0.0.1", 0)
        files = {"tls_cert": settings.server.tls_cert, "tls_key": settings.server.tls_key}
        server = HttpServer(Starlette(), listener, QUICK, **files)
        await server.start()
        try:
            return await _answer(listener.getsockname()[1])
        finally:
            await server.stop()

    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        heard, took = runner.run(silent())
    assert heard == b""
    assert HEADER_S - 0.05 <= took < 30, "not only at the library's minute"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_client_has_one_address_whatever_the_listener_is_bound_to(address: str) -> None:
    """To a socket on `::`, 127.0.0.1 is ::ffff:127.0.0.1: no rule that names an IPv4 network would hold."""

    async def whose(request: Request) -> Response:
        assert request.client is not None
        return Response(request.client.host)

    peers: list[str] = []

    def at_once(path: str, headers: dict[str, str], body: bytes, peer: str) -> tuple[bytes, bytes]:
        peers.append(peer)
        return b"content-length: 2\r\n", b"ok"

    listener = listen("::", 0)
    server = HttpServer(Starlette(routes=[Route("/whose", whose)]), listener, QUICK, answers={"/": at_once})
    await server.start()
    reader, writer = await asyncio.open_connection(address, listener.getsockname()[1])
    try:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert b"ok" in await reader.readuntil(b"ok")
        writer.write(b"GET /whose HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).partition(b"\r\n\r\n")[2] == address.encode()
    finally:
        writer.close()
        await server.stop()
    assert peers == [address]


async def test_a_taken_port_is_an_error_before_anything_begins(port: int) -> None:
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", port)
