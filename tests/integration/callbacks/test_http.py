"""F-8: the real poster against receivers that misbehave, each over a real loopback socket."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from roomtape.callbacks.poster import REPLY_LIMIT_BYTES, HttpPoster, PostFailed
from roomtape.clock import ManualClock, SystemClock, within
from roomtape.fetching.guard import Guard

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Receiver:
    """A raw server: `handle` answers each connection after the request was read."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            self.requests.append(head + await reader.readexactly(length))
            await self._handle(reader, writer)
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


@asynccontextmanager
async def receiving(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver(handle)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    receiver.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}/hook?a=b"
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()


def answer(text: str, body: bytes = b"") -> Handler:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {text}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return handle


@pytest.fixture
async def poster() -> AsyncIterator[HttpPoster]:
    made = HttpPoster(SystemClock(), Guard(allow_loopback=True).connector())
    yield made
    await made.close()


async def test_the_request_is_the_documented_one_to_the_byte(poster: HttpPoster) -> None:
    body = '{"房":1}'.encode()
    headers = {"Content-Type": "application/json", "SdkAppId": "7", "Sign": "abc=", "X-Event-Id": "9"}
    async with receiving(answer("200 OK", b'{"code":0}')) as receiver:
        assert await poster.post(receiver.url, body, headers) == 200
    head, _, sent = receiver.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /hook?a=b HTTP/1.1"
    assert {b"Content-Type: application/json", b"SdkAppId: 7", b"Sign: abc=", b"X-Event-Id: 9"} <= set(lines)
    assert not any(line.lower().startswith((b"cookie", b"authorization")) for line in lines)
    assert sent == body


@pytest.mark.parametrize("status", [200, 204, 404, 429, 500, 503])
async def test_the_status_is_what_counts(poster: HttpPoster, status: int) -> None:
    async with receiving(answer(f"{status} X")) as receiver:
        assert await poster.post(receiver.url, b"{}", {}) == status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_f8_no_redirect_is_followed(poster: HttpPoster, status: int) -> None:
    async with receiving(answer("200 OK")) as target:
        async with receiving(answer(f"{status} Moved\r\nLocation: {target.url}")) as receiver:
            assert await poster.post(receiver.url, b"{}", {}) == status
        assert target.requests == []


async def test_f8_of_an_endless_reply_little_is_read(poster: HttpPoster) -> None:
    """The receiver's write fails once the connection is cut; buffers of both ends lie between."""
    cut = asyncio.Event()
    written = 0

    async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                written += 65536
        finally:
            cut.set()

    async with receiving(endless) as receiver:
        assert await poster.post(receiver.url, b"{}", {}) == 200
        await cut.wait()
    assert written < REPLY_LIMIT_BYTES + 16 * 1024 * 1024  # what the kernel may hold on loopback


async def test_f8_a_reply_that_drips_holds_nobody_up_and_is_cut() -> None:
    clock = ManualClock()
    poster = HttpPoster(clock, Guard(allow_loopback=True).connector())
    ended = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        await writer.drain()
        with suppress(ConnectionError):
            await reader.read()  # until the poster cuts it
        ended.set()

    async with receiving(drip) as receiver:
        assert await poster.post(receiver.url, b"{}", {}) == 200
        await clock.sleepers(1)
        assert not ended.is_set()
        await clock.advance(1)
        await ended.wait()
    await poster.close()


async def test_f8_silence_is_ended_by_cancelling(poster: HttpPoster) -> None:
    clock = ManualClock()
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    async with receiving(silent) as receiver:
        attempt = asyncio.create_task(within(clock, 5, poster.post(receiver.url, b"{}", {})))
        await clock.sleepers(1)
        await clock.advance(4.999)
        assert not attempt.done()
        await clock.advance(0.001)
        with pytest.raises(TimeoutError):
            await attempt
        await ended.wait()  # the connection is closed, not leaked


async def test_f8_a_closed_port_is_told_as_such(poster: HttpPoster) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(PostFailed, match="cannot connect"):
            await poster.post(f"http://127.0.0.1:{reserved.getsockname()[1]}/", b"{}", {})


async def test_f8_a_name_that_does_not_exist(poster: HttpPoster) -> None:
    with pytest.raises(PostFailed, match="cannot be resolved"):
        await poster.post("http://no-such-host.invalid/", b"{}", {})


async def test_an_address_of_ours_is_refused_and_told_without_detail() -> None:
    poster = HttpPoster(SystemClock(), Guard().connector())
    async with receiving(answer("200 OK")) as receiver:
        with pytest.raises(PostFailed, match=r"^the address is not a public one$"):
            await poster.post(receiver.url, b"{}", {})
    assert receiver.requests == []
    await poster.close()


@pytest.mark.parametrize(
    "reply", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"]
)
async def test_what_is_not_http_is_no_answer(poster: HttpPoster, reply: bytes) -> None:
    async def garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()

    async with receiving(garbage) as receiver:
        with pytest.raises(PostFailed):
            await poster.post(receiver.url, b"{}", {})


@pytest.mark.parametrize("url", ["", "http://", "nonsense", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"])
async def test_a_url_that_is_none(poster: HttpPoster, url: str) -> None:
    with pytest.raises(PostFailed):
        await poster.post(url, b"{}", {})


def _certificate(directory: Path, days: int) -> Path:
    """A self-signed certificate for 127.0.0.1 that ends so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path = directory / "tls.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize("days", [-1, 30], ids=["expired", "unknown-issuer"])
async def test_f8_a_certificate_that_proves_nothing_is_refused(
    poster: HttpPoster, tmp_path: Path, days: int
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path, days))
    async with receiving(answer("200 OK"), context) as receiver:
        with pytest.raises(PostFailed, match="certificate"):
            await poster.post(receiver.url, b"{}", {})
    assert receiver.requests == []
