"""Slow and greedy clients of the HTTP listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from roomtape.serving import MAX_HEADER_BYTES, HttpServer, listen

HEADER_S, BODY_S = 0.3, 0.4


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def echo(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    listener = listen("127.0.0.1", 0)
    server = HttpServer(
        Starlette(routes=[Route("/", echo, methods=["GET", "POST"])]),
        listener,
        header_s=HEADER_S,
        body_s=BODY_S,
    )
    number: int = listener.getsockname()[1]
    await server.start()
    yield number
    await server.stop()


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


async def test_a_header_that_never_ends_is_closed(port: int) -> None:
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


async def test_a_taken_port_is_an_error_before_anything_begins(port: int) -> None:
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", port)
