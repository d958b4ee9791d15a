"""The egress proxy against real sockets: whom it lets in, whom it dials, and what a tenant's server can make of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog

from roomtape.fetching.guard import Guard
from roomtape.fetching.proxy import EgressProxy, ProxyLimits
from roomtape.secret import Secret
from roomtape.storage.s3 import AWS, S3Place, S3Stores
from roomtape.storage.stores import StoreError
from tests.integration.fetching.test_guard import Lying

OK = b"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Far:
    """A server on loopback, and what it was sent."""

    port: int = 0
    host: str = "127.0.0.1"
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    answer: bytes = OK
    after: Script | None = None


@asynccontextmanager
async def listening(host: str = "127.0.0.1") -> AsyncIterator[Far]:
    far = Far(host=host)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                far.heads.append(head)
                length = next(
                    (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")),
                    0,
                )
                far.bodies.append(await reader.readexactly(length))
                writer.write(far.answer)
                await writer.drain()
                if far.after is not None:
                    await far.after(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    far.port = server.sockets[0].getsockname()[1]
    yield far
    server.close()


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    async with listening() as server:
        yield server


@asynccontextmanager
async def proxy(guard: Guard | None = None, **options: object) -> AsyncIterator[EgressProxy]:
    running = EgressProxy(guard or Guard(allow_loopback=True), **options)  # type: ignore[arg-type]
    await running.start()
    try:
        yield running
    finally:
        await running.close()


def port_of(running: EgressProxy) -> int:
    return int(running.url.reveal().rsplit(":", 1)[1])


def credential(running: EgressProxy) -> str:
    user = running.url.reveal().split("//")[1].split("@")[0]
    return f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}\r\n"


async def say(running: EgressProxy, raw: str, *, known: bool = True, more: bytes = b"") -> bytes:
    """Send a request (without its end) and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(running))
    writer.write((raw + (credential(running) if known else "") + "\r\n").encode() + more)
    try:
        async with asyncio.timeout(8):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


# --- who may use it --------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", "Proxy-Authorization: Basic cm9vbXRhcGU6eA==\r\n", "Proxy-Authorization: Bearer x\r\n"])
async def test_nobody_but_this_server_may_use_it(far: Far, header: str) -> None:
    async with proxy() as running:
        for line in (f"GET http://127.0.0.1:{far.port}/ HTTP/1.1", f"CONNECT 127.0.0.1:{far.port} HTTP/1.1"):
            assert status(await say(running, f"{line}\r\n{header}", known=False)) == 407
    assert far.connections == 0


async def test_each_start_has_a_credential_of_its_own() -> None:
    async with proxy() as one, proxy() as two:
        assert one.url.reveal().split("@")[0] != two.url.reveal().split("@")[0]
        assert len(one.url.reveal()) > 50
        assert status(await say(two, f"CONNECT 127.0.0.1:8080 HTTP/1.1\r\n{credential(one)}", known=False)) == 407


async def test_it_listens_on_loopback_only() -> None:
    async with proxy() as running:
        others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for address in others - {"127.0.0.1"}:
            with socket.socket() as probe:
                assert probe.connect_ex((address, port_of(running))) != 0


# --- what it carries -------------------------------------------------------------------------------


async def test_a_request_goes_on_without_what_is_the_proxys(far: Far) -> None:
    async with proxy() as running:
        body = b"x" * 300_000
        head = (
            f"PUT http://127.0.0.1:{far.port}/b/k%20%2B?x=1&y HTTP/1.1\r\nHost: evil.test\r\nX-A: 1\r\n"
            f"Connection: keep-alive, X-A\r\nContent-Length: {len(body)}\r\n"
        )
        answer = await say(running, head, more=body)
    assert answer.endswith(b"\r\n\r\nok")
    assert b"Connection: close" in answer
    assert b"keep-alive" not in answer
    (got,) = far.heads
    assert got.startswith(f"PUT /b/k%20%2B?x=1&y HTTP/1.1\r\nHost: 127.0.0.1:{far.port}\r\n".encode())
    assert b"authorization" not in got.lower()
    assert b"evil" not in got
    assert far.bodies == [body]


async def test_a_tunnel_carries_bytes_both_ways(far: Far) -> None:
    async with proxy() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(running))
        writer.write(f"CONNECT 127.0.0.1:{far.port} HTTP/1.1\r\n{credential(running)}\r\n".encode())
        assert status(await reader.readuntil(b"\r\n\r\n")) == 200
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await reader.readexactly(len(OK)) == OK
        writer.close()
    assert far.connections == 1


async def test_the_next_request_of_a_connection_is_not_carried_unseen(far: Far) -> None:
    """What follows the first request's body would reach the far server with no check at all."""
    async with proxy() as running, listening() as other:
        second = f"GET http://127.0.0.1:{other.port}/ HTTP/1.1\r\n{credential(running)}\r\n".encode()
        answer = await say(running, f"GET http://127.0.0.1:{far.port}/ HTTP/1.1\r\n", more=second)
        assert answer.count(b"HTTP/1.1") == 1
        assert other.connections == 0
    assert len(far.heads) == 1


async def test_an_early_answer_reaches_a_client_that_still_sends(far: Far) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(early, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with proxy() as running:
        head = f"PUT http://127.0.0.1:{port}/ HTTP/1.1\r\nContent-Length: 3000000\r\n"
        assert status(await say(running, head, more=b"x" * 3_000_000)) == 403
    server.close()


@pytest.mark.parametrize(
    "line",
    [
        "GET / HTTP/1.1",
        "GET http://{far}/ HTTP/1.0",
        "GET https://{far}/ HTTP/1.1",
        "GET ftp://{far}/ HTTP/1.1",
        "GET http://user:pw@{far}/ HTTP/1.1",
        "GET http://{far}/#x HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "get http://{far}/ HTTP/1.1",
        "GET  http://{far}/ HTTP/1.1",
        "CONNECT http://{far} HTTP/1.1",
        "CONNECT user@{far} HTTP/1.1",
        "CONNECT 127.0.0.1 HTTP/1.1",
        "CONNECT 127.0.0.1:99999 HTTP/1.1",
        "GET http://{far}/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
        "GET http://{far}/ HTTP/1.1\r\nContent-Length: -1",
        "GET http://{far}/ HTTP/1.1\r\nTransfer-Encoding: chunked",
        "GET http://{far}/ HTTP/1.1\r\nA : b",
        "GET http://{far}/ HTTP/1.1\r\n folded",
    ],
)
async def test_what_is_not_plainly_a_request_goes_nowhere(far: Far, line: str) -> None:
    async with proxy() as running:
        answer = await say(running, line.format(far=f"127.0.0.1:{far.port}") + "\r\n")
        assert status(answer) in (400, 411)
    assert far.connections == 0


# --- whom it dials ---------------------------------------------------------------------------------

FORMS = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "0", "0.0.0.0"),
    *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    *("[::]", "[fe80::1]", "[fe80::1%25lo]", "[fd00::1]", "[0:0:0:0:0:0:0:1]", "localhost", "LOCALHOST", "localhost."),
    *("169.254.169.254", "100.100.100.200", "10.0.0.1", "192.168.0.1", "[fd00:ec2::254]"),
]


@pytest.mark.parametrize("form", FORMS)
async def test_no_spelling_of_a_private_address_is_dialled(far: Far, form: str) -> None:
    async with proxy(Guard()) as running:
        for line in (f"GET http://{form}:{far.port}/ HTTP/1.1", f"CONNECT {form}:{far.port} HTTP/1.1"):
            assert status(await say(running, f"{line}\r\n")) in (400, 403, 502)
    assert far.connections == 0


@pytest.mark.parametrize("form", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"])
async def test_development_reaches_loopback(far: Far, form: str) -> None:
    async with proxy() as running:
        assert status(await say(running, f"GET http://{form}:{far.port}/ HTTP/1.1\r\n")) == 200


async def test_an_operator_may_allow_a_network(far: Far) -> None:
    async with proxy(Guard(["127.0.0.0/30"])) as running:
        assert status(await say(running, f"GET http://127.0.0.1:{far.port}/ HTTP/1.1\r\n")) == 200
        assert status(await say(running, f"GET http://127.0.0.5:{far.port}/ HTTP/1.1\r\n")) == 403


@pytest.mark.parametrize(
    "answers",
    [
        [["127.0.0.1"]],
        [["93.184.216.34", "127.0.0.1"]],
        [["127.0.0.1", "93.184.216.34"]],
        [["::1"]],
        [["::ffff:127.0.0.1"]],
        [["2606:4700:4700::1111", "fe80::1"]],
        [["169.254.169.254"]],
    ],
)
async def test_a_name_with_one_forbidden_address_is_not_dialled(far: Far, answers: list[list[str]]) -> None:
    async with proxy(Guard(), resolver=Lying(*answers)) as running:
        assert status(await say(running, f"GET http://store.test:{far.port}/ HTTP/1.1\r\n")) == 403
        assert status(await say(running, f"CONNECT store.test:{far.port} HTTP/1.1\r\n")) == 403
        assert running.trouble("store.test", far.port) == (True, "the address is not a public one")
    assert far.connections == 0


async def test_a_rebinding_name_is_dialled_where_it_was_checked(far: Far) -> None:
    """Public when it is checked, private when it is asked for again: it is asked for once per connection."""
    resolver = Lying(["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1"])
    async with proxy(resolver=resolver) as running:
        line = f"GET http://store.test:{far.port}/ HTTP/1.1\r\n"
        assert [status(await say(running, line)) for _ in range(3)] == [200, 403, 200]
    assert far.connections == 2


async def test_the_object_store_client_cannot_be_rebound(far: Far, tmp_path: Path) -> None:
    """The real client, and a name that is private from its second connection on: the proxy alone resolves."""
    path = tmp_path / "x"
    path.write_bytes(b"x")
    far.answer = OK.replace(b'"x"', hashlib.md5(b"x").hexdigest().encode())
    async with proxy(resolver=Lying(["127.0.0.1"], ["10.0.0.1"])) as running:
        where = S3Place(AWS, "us-east-1", "bkt", Secret("AK"), Secret("SK"), f"http://store.test:{far.port}")
        store = S3Stores(running).open(where)
        put = {"size": 1, "md5": hashlib.md5(b"x").hexdigest(), "content_type": "video/mp2t"}
        assert (await store.put("k", path, **put)).method == "etag"
        with pytest.raises(StoreError) as refused:
            await store.put("k", path, **put)
    assert (refused.value.code, refused.value.tell_at_once) == ("EndpointNotAllowed", True)
    assert far.connections == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(far: Far, tmp_path: Path, code: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    async with proxy() as running, listening() as other:
        far.answer = (
            f"HTTP/1.1 {code} Elsewhere\r\nLocation: http://127.0.0.1:{other.port}/\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        where = S3Place(AWS, "us-east-1", "bkt", Secret("AK"), Secret("SK"), f"http://127.0.0.1:{far.port}")
        store = S3Stores(running).open(where)
        for work in (
            lambda: store.put("k", path, size=1, md5=hashlib.md5(b"x").hexdigest(), content_type=""),
            lambda: store.exists("k"),
            lambda: store.delete("k"),
        ):
            with pytest.raises(StoreError):
                await work()
        assert other.connections == 0
    assert far.connections == 3


@pytest.mark.parametrize("port", [22, 25, 53, 110, 143, 445, 465, 587, 993, 1, 81, 2049, 6000, 6667, 10080])
async def test_ports_that_are_no_web_servers_are_not_dialled(port: int) -> None:
    async with proxy() as running:
        assert status(await say(running, f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n")) == 403
        assert running.trouble("127.0.0.1", port) == (True, "the port is not one of a web server")


async def test_it_does_not_dial_itself() -> None:
    async with proxy() as running:
        for name in ("127.0.0.1", "localhost", "[::1]"):
            assert status(await say(running, f"CONNECT {name}:{port_of(running)} HTTP/1.1\r\n")) == 403


async def test_an_address_that_does_not_answer_is_passed_over(far: Far) -> None:
    async with proxy(Guard(["127.0.0.0/8"]), resolver=Lying(["127.0.0.77", "127.0.0.1"])) as running:
        assert status(await say(running, f"GET http://store.test:{far.port}/ HTTP/1.1\r\n")) == 200
        assert running.trouble("store.test", far.port) is None


# --- limits ----------------------------------------------------------------------------------------


async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


@pytest.mark.parametrize("line", ["GET http://{far}/ HTTP/1.1", "CONNECT {far} HTTP/1.1"])
async def test_so_many_bytes_come_down_and_no_more(far: Far, line: str) -> None:
    far.answer, far.after = ENDLESS, flood
    async with proxy(limits=ProxyLimits(down_bytes=1_000_000)) as running:
        request = line.format(far=f"127.0.0.1:{far.port}") + "\r\n"
        answer = await say(running, request, more=b"GET / HTTP/1.1\r\n\r\n" if "CONNECT" in line else b"")
    assert 900_000 < len(answer) < 1_001_000


async def test_what_follows_an_answers_body_is_not_carried(far: Far) -> None:
    far.after = flood
    async with proxy() as running:
        answer = await say(running, f"GET http://127.0.0.1:{far.port}/ HTTP/1.1\r\n")
        assert answer.endswith(b"\r\n\r\nok")
        answer = await say(running, f"HEAD http://127.0.0.1:{far.port}/ HTTP/1.1\r\n")
        assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("line", ["GET http://{far}/ HTTP/1.1", "CONNECT {far} HTTP/1.1"])
async def test_a_connection_in_which_nothing_moves_is_cut(far: Far, line: str) -> None:
    silent = asyncio.Event()

    async def wait(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await silent.wait()

    far.after, far.answer = wait, b""
    async with proxy(limits=ProxyLimits(idle_s=0.3)) as running:
        request = line.format(far=f"127.0.0.1:{far.port}") + "\r\n"
        answer = await say(running, request, more=b"GET / HTTP/1.1\r\n\r\n" if "CONNECT" in line else b"")
    assert b"ok" not in answer
    silent.set()


async def test_a_client_that_says_nothing_is_cut() -> None:
    async with proxy(limits=ProxyLimits(head_s=0.2)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(running))
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_lives_only_so_long(far: Far) -> None:
    far.answer, far.after = ENDLESS, flood
    async with proxy(limits=ProxyLimits(life_s=0.3, down_bytes=1 << 40)) as running:
        await say(running, f"GET http://127.0.0.1:{far.port}/ HTTP/1.1\r\n")


async def test_nothing_secret_is_logged(far: Far) -> None:
    async with proxy(Guard()) as running:
        with structlog.testing.capture_logs() as logs:
            head = f"PUT http://127.0.0.1:{far.port}/bucket/key?X-Amz-Signature=abc HTTP/1.1\r\nAuthorization: AWS4 topsecret\r\n"
            await say(running, head)
            await say(running, head, known=False)
        token = running.url.reveal().split(":")[2].split("@")[0]
    assert len(logs) == 2
    for hidden in ("topsecret", "abc", "bucket", token):
        assert hidden not in str(logs)
