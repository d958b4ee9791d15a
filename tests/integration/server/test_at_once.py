"""Answers without waiting: on the wire they are what the ordinary way gives, whatever else a connection brings."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roomtape._core import header_texts
from roomtape.serving import AT_ONCE_BYTES, Answer, Bounds, HttpServer, listen

HEADER_S, BODY_S, IDLE_S = 0.3, 0.4, 1.0
LATER = b"later"  # a body that starts so is answered after a wait


class App:
    """Answers with what it was sent; it can at once, but for bodies that start with `LATER`."""

    def __init__(self) -> None:
        self.at_once_count = 0
        self.waiting = asyncio.Event()
        self.release = asyncio.Event()

    def at_once(
        self, path: str, headers: dict[str, str], body: bytes, peer: str
    ) -> Answer | Coroutine[Any, Any, Answer]:
        if body == b"broken":
            raise RuntimeError("a bug")
        answer = self._answer("POST", path, headers, body, peer)
        lines = b"".join(b"%b: %b\r\n" % header for header in self._headers(answer))
        if body.startswith(LATER):
            return self._later((lines, answer), broken=body.endswith(b"broken"))
        self.at_once_count += 1
        return lines, answer

    async def _later(self, answer: Answer, broken: bool) -> Answer:
        self.waiting.set()
        await self.release.wait()
        if broken:
            raise RuntimeError("a bug")
        return answer

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        peer = scope["client"][0]
        if body.startswith(LATER):
            await self.release.wait()
        target = scope["raw_path"].decode() + "?" * bool(scope["query_string"])
        answer = self._answer(scope["method"], target, header_texts(scope["headers"]), body, peer)
        await send({"type": "http.response.start", "status": 200, "headers": self._headers(answer)})
        await send({"type": "http.response.body", "body": answer})

    @staticmethod
    def _answer(method: str, target: str, headers: dict[str, str], body: bytes, peer: str) -> bytes:
        told = sorted(headers.items())
        return repr((method, target, told, len(body), body[:20], peer)).encode()

    @staticmethod
    def _headers(answer: bytes) -> list[tuple[bytes, bytes]]:
        return [(b"content-length", b"%d" % len(answer)), (b"x-thing", b"1")]


class Pair:
    """The same application behind two listeners: one asks it for answers at once, the other does not."""

    def __init__(self, app: App, ports: tuple[int, int]) -> None:
        self.app = app
        self.ports = ports

    async def both(self, sent: bytes, pieces: int = 1) -> tuple[bytes, bytes]:
        """All that each listener answers until it closes."""
        one, two = await asyncio.gather(*(self._told(port, sent, pieces) for port in self.ports))
        return one, two

    async def _told(self, port: int, sent: bytes, pieces: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        size = max(len(sent) // pieces, 1)
        for i in range(0, len(sent), size):
            writer.write(sent[i : i + size])
            await writer.drain()
            await asyncio.sleep(0)
        try:
            heard = await reader.read()
        except ConnectionResetError:
            heard = b"reset"
        writer.close()
        return re.sub(rb"date: [^\r]+", b"date: x", heard)


@asynccontextmanager
async def listeners(bounds: Bounds | None = None) -> AsyncIterator[Pair]:
    """Both of them, up."""
    app = App()
    async with AsyncExitStack() as down:
        ports = []
        for answers in ({"/": app.at_once, "/v1": app.at_once}, None):
            listener = listen("127.0.0.1", 0)
            server = HttpServer(app, listener, bounds, answers=answers)
            await server.start()
            down.push_async_callback(server.stop)
            ports.append(listener.getsockname()[1])
        yield Pair(app, (ports[0], ports[1]))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with listeners(Bounds(header_s=HEADER_S, body_s=BODY_S, idle_s=IDLE_S)) as pair:
        yield pair


@pytest.fixture
async def patient() -> AsyncIterator[Pair]:
    """With the bounds of a server, which no busy machine exceeds."""
    async with listeners() as pair:
        yield pair


def post(body: bytes = b"hello", *, target: str = "/", more: str = "", version: str = "1.1") -> bytes:
    head = f"POST {target} HTTP/{version}\r\nHost: x\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


CLOSE = "Connection: close\r\n"
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"5\r\nhello\r\n7\r\n world!\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("sent", "at_once"),
    [
        (post(more=CLOSE), 1),
        (post(version="1.0"), 1),
        (post(b"", more=CLOSE), 1),
        (post(b"x" * AT_ONCE_BYTES, more=CLOSE), 1),
        (post(b"x" * (AT_ONCE_BYTES + 1), more=CLOSE), 0),
        (post(b"x" * 300_000, more=CLOSE), 0),
        (post(target="/v1", more=CLOSE), 1),
        (post(target="/v1?x=1", more=CLOSE), 0),
        (post(target="/else", more=CLOSE), 0),
        (post(target="http://h/", more=CLOSE), 0),
        (CHUNKED, 1),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 0),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 0),
        (post(more="Expect: 100-continue\r\n" + CLOSE), 0),
        (post(more="Upgrade: h2c\r\nConnection: Upgrade\r\n"), 0),
        (post(more="X-A: 1\r\nx-a: 2\r\n" + CLOSE), 1),
        (post() * 20 + post(more=CLOSE), 21),
        (post() + post(b"x" * 40_000) + post() + post(more=CLOSE), 1),
    ],
)
async def test_the_answer_on_the_wire_is_the_ordinary_one(pair: Pair, sent: bytes, at_once: int) -> None:
    one, two = await pair.both(sent)
    assert one == two
    assert one.startswith(b"HTTP/1.1 ")
    assert pair.app.at_once_count >= at_once


async def test_a_request_is_answered_also_when_nonsense_follows_it(pair: Pair) -> None:
    heard, _ = await pair.both(post() + b"nonsense\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", heard) == [b"200", b"400"]


async def test_a_bug_closes_its_connection_and_no_other(pair: Pair) -> None:
    heard, _ = await pair.both(post(b"broken"))
    assert heard == b""
    one, two = await pair.both(post(more=CLOSE))
    assert one == two


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(
        st.builds(
            lambda size, target, chunked: (
                CHUNKED.replace(b"Connection: close\r\n", b"")
                if chunked
                else post(b"y" * size, target=target)
            ),
            st.sampled_from([0, 1, 100, AT_ONCE_BYTES, AT_ONCE_BYTES + 1, 70_000]),
            st.sampled_from(["/", "/v1", "/else"]),
            st.booleans(),
        ),
        max_size=5,
    ),
    pieces=st.integers(1, 40),
)
def test_however_requests_are_cut_and_follow_each_other_the_answers_are_the_same(
    requests: list[bytes], pieces: int
) -> None:
    async def compare() -> None:
        async with listeners() as pair:
            one, two = await pair.both(b"".join(requests) + post(more=CLOSE), pieces)
            assert one == two
            assert one.count(b"HTTP/1.1 200") == len(requests) + 1

    asyncio.run(compare())


async def test_what_has_to_wait_waits_and_what_follows_it_waits_with_it(pair: Pair) -> None:
    """The answer of a pipelined request never overtakes that of the one before it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.ports[0])
    writer.write(post(LATER) + post(b"next", more=CLOSE))
    first = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
    reader_two, writer_two = await asyncio.open_connection("127.0.0.1", pair.ports[0])
    writer_two.write(post(more=CLOSE))
    assert (await reader_two.read()).startswith(b"HTTP/1.1 200"), "others do not wait"
    assert not first.done()
    pair.app.release.set()
    await first
    rest = await reader.read()
    assert rest.index(b"b'later'") < rest.index(b"b'next'")
    for each in (writer, writer_two):
        each.close()


@pytest.mark.parametrize(
    "sent",
    [
        post(LATER, more=CLOSE),
        post(LATER, version="1.0"),
        CHUNKED.replace(b"hello", LATER),
        post(LATER) + post() + post(LATER) + post(LATER) + post(more=CLOSE),
        post() + post(LATER) + post(b"x" * 40_000) + post(LATER, more=CLOSE),
    ],
)
@pytest.mark.parametrize("pieces", [1, 7])
async def test_an_answer_that_is_waited_for_is_the_ordinary_one_on_the_wire(
    patient: Pair, sent: bytes, pieces: int
) -> None:
    patient.app.release.set()
    one, two = await patient.both(sent, pieces)
    assert one == two
    assert one.count(b"HTTP/1.1 200") == sent.count(b"POST")


async def test_a_connection_goes_on_after_an_answer_that_was_waited_for() -> None:
    idle_s = 2.0
    async with listeners(Bounds(idle_s=idle_s)) as pair:
        reader, writer = await asyncio.open_connection("127.0.0.1", pair.ports[0])
        for body in (LATER, b"next", LATER):
            pair.app.release.clear()
            writer.write(post(body))
            if body == LATER:
                await pair.app.waiting.wait()
                pair.app.waiting.clear()
                began = asyncio.get_running_loop().time()
                pair.app.release.set()
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.findall(rb"content-length: (\d+)", head)[0])
            assert repr(body).encode() in await reader.readexactly(length)
        assert await reader.read() == b""
        # A timer may be some milliseconds early.
        assert asyncio.get_running_loop().time() - began >= idle_s - 0.1, "it was idle, and closed for that"
        writer.close()


async def test_a_bug_while_an_answer_is_waited_for_closes_its_connection_and_no_other(pair: Pair) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.ports[0])
    writer.write(post(LATER + b" broken"))
    pair.app.release.set()
    assert await reader.read() == b""
    writer.close()
    one, two = await pair.both(post(more=CLOSE))
    assert one == two


async def test_a_client_that_leaves_while_its_answer_is_waited_for_harms_nobody(pair: Pair) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", pair.ports[0])
    writer.write(post(LATER))
    await writer.drain()
    writer.transport.abort()
    pair.app.release.set()
    one, two = await pair.both(post(more=CLOSE))
    assert one == two


async def _late(pair: Pair, sent: bytes) -> tuple[bytes, float]:
    began = asyncio.get_running_loop().time()
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.ports[0])
    writer.write(sent)
    heard = await reader.read()
    writer.close()
    return heard, asyncio.get_running_loop().time() - began


@pytest.mark.parametrize(
    ("cut", "least_s"),
    [
        (lambda: post()[:-1], BODY_S),
        (lambda: post()[:-30], HEADER_S),
        (lambda: post() + post()[:-1], BODY_S),
        (lambda: post() + post()[:-30], HEADER_S),
    ],
)
async def test_a_request_that_never_ends_is_closed_in_time(
    pair: Pair, cut: Callable[[], bytes], least_s: float
) -> None:
    heard, took = await _late(pair, cut())
    assert b"HTTP/1.1 408 " in heard
    assert took >= least_s
    assert heard.count(b"HTTP/1.1 200") == cut().count(b"POST") - 1


@pytest.mark.parametrize("sent", [post(), CHUNKED], ids=["held", "parsed"])
async def test_the_end_of_the_server_waits_for_a_request_that_is_being_read(sent: bytes) -> None:
    app, listener = App(), listen("127.0.0.1", 0)
    server = HttpServer(app, listener, answers={"/": app.at_once})
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
    writer.write(sent[:-2])
    await writer.drain()
    while not any(connection._held or connection._answer for connection in server.server_state.connections):
        await asyncio.sleep(0)
    stopping = asyncio.create_task(server.stop())
    while any(connection._held or connection._answer for connection in server.server_state.connections):
        await asyncio.sleep(0)
    writer.write(sent[-2:])
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    await stopping


async def test_the_end_of_the_server_waits_for_an_answer() -> None:
    app, listener = App(), listen("127.0.0.1", 0)
    server = HttpServer(app, listener, answers={"/": app.at_once})
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
    writer.write(post(LATER))
    await app.waiting.wait()
    stopping = asyncio.create_task(server.stop())
    while any(connection.cycle.keep_alive for connection in server.server_state.connections):
        await asyncio.sleep(0)  # until it was told that it ends
    app.release.set()
    heard = await reader.read()
    assert heard.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in heard
    writer.close()
    await stopping
