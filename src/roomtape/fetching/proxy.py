"""A forward proxy on loopback for clients that dial by themselves: it dials for them, by the guard's rules.

The object store client resolves and connects on its own; given this proxy it can reach nothing but what
the guard allows: every address of the name is checked, and the connection goes to a checked address.
Speaks CONNECT and absolute-form requests (RFC 9112 3.2), one request per connection. Only who knows the
credential of this start may use it. It follows nothing: a redirect is the client's to ask for again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import ipaddress
import re
import secrets
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver
from yarl import URL

from roomtape.fetching.guard import AddressRefused, Guard, GuardedResolver, check_port
from roomtape.secret import Secret

log = structlog.get_logger(__name__)

USER = "roomtape"
HEAD_LIMIT_BYTES = 32 * 1024
CHUNK_BYTES = 64 * 1024
TROUBLES_KEPT = 1000
LINGER_S = 2.0
ASK_BYTES = 1 << 20
_METHOD = re.compile(r"[A-Z]{1,16}")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"upgrade"}
)


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """Seconds and bytes of one connection through the proxy."""

    head_s: float = 10.0  # for our client's request head
    connect_s: float = 10.0  # to resolve and connect, over all addresses of a name
    idle_s: float = 60.0  # without a byte in either direction
    life_s: float = 3600.0
    down_bytes: int = 64 << 20  # from the far side: answers are short, reading back is done in ranges


@dataclass(frozen=True, slots=True)
class _Head:
    """A request or response head, parsed strictly."""

    first: bytes
    fields: list[tuple[bytes, bytes]]

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]


class _Refused(Exception):
    """Answered with a status instead of a connection; the text holds no address."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class EgressProxy:
    """`start` before use; `url` is what a client is configured with, and is a secret."""

    def __init__(
        self,
        guard: Guard,
        *,
        resolver: AbstractResolver | None = None,
        limits: ProxyLimits | None = None,
    ) -> None:
        self._guard = guard
        self._resolver = GuardedResolver(guard, resolver)
        self._limits = limits or ProxyLimits()
        self._token = Secret(secrets.token_urlsafe(32))
        self._expected = Secret(_basic(self._token))
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.Task[None]] = set()
        self._troubles: OrderedDict[tuple[str, int], tuple[bool, str]] = OrderedDict()

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_LIMIT_BYTES)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._resolver.close()

    @property
    def url(self) -> Secret:
        """The proxy's URL with its credential."""
        return Secret(f"http://{USER}:{self._token.reveal()}@127.0.0.1:{self._port}")

    def trouble(self, host: str, port: int) -> tuple[bool, str] | None:
        """Why the last connection to that place could not be made; None after one that was.

        True: the guard refused it. The text may be shown to a tenant.
        """
        return self._troubles.get((host.lower(), port))

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], ca_pem: bytes = b""
    ) -> tuple[int, bytes]:
        """Make one request without a body by the same rules; returns status and body.

        At most `ASK_BYTES` are read, nothing is followed. Raises OSError, a TimeoutError among them.
        """
        context = await asyncio.to_thread(_tls, ca_pem) if url.startswith("https:") else True
        limits = self._limits
        try:
            async with (
                asyncio.timeout(limits.connect_s + limits.idle_s),
                aiohttp.ClientSession(
                    connector=self._guard.connector(), trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
                ) as session,
                session.request(
                    method, URL(url, encoded=True), headers=headers, allow_redirects=False, ssl=context
                ) as answer,
            ):
                return answer.status, await answer.content.read(ASK_BYTES)
        except (aiohttp.ClientError, ValueError) as error:
            raise OSError(type(error).__name__) from error

    # --- one connection ---------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            async with asyncio.timeout(self._limits.life_s):
                await self._serve(reader, writer)
        except _Refused as refused:
            log.info("egress_refused", status=refused.status, reason=str(refused))
            await _answer(reader, writer, refused)
        except asyncio.CancelledError:
            pass  # `close`; the streams' own callback does not expect a cancelled task
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # one side is gone or too slow: cutting the connection is the answer
        finally:
            await _close(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._limits.head_s):
            head = await _read_head(reader)
        given = head.all(b"proxy-authorization")
        if len(given) != 1 or not hmac.compare_digest(given[0], self._expected.reveal_bytes()):
            raise _Refused(407, "no credential of this start")
        method, target, http = _request_line(head.first)
        if method == "CONNECT":
            host, port = _authority(target)
            async with self._dial(host, port) as (far_reader, far_writer):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await self._both_ways(reader, writer, far_reader, far_writer)
            return
        scheme, host, port, rest, authority = _absolute(target)
        if scheme != "http" or http != "HTTP/1.1":
            raise _Refused(400, "neither CONNECT nor an http URL")
        length = _body_length(head)
        async with self._dial(host, port) as (far_reader, far_writer):
            far_writer.write(_rewritten(method, rest, authority, head))
            await self._exchange(reader, writer, far_reader, far_writer, length, method)

    # --- dialling ---------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _dial(
        self, host: str, port: int
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        key = (host.lower(), port)
        try:
            async with asyncio.timeout(self._limits.connect_s):
                reader, writer = await self._connect(host, port)
        except AddressRefused as error:
            self._note(key, (True, str(error)))
            raise _Refused(403, str(error)) from None
        except TimeoutError:
            self._note(key, (False, "it does not answer"))
            raise _Refused(504, "it does not answer") from None
        except OSError as error:
            text = _reason(error)
            self._note(key, (False, text))
            raise _Refused(502, text) from None
        self._troubles.pop(key, None)
        try:
            yield reader, writer
        finally:
            await _close(writer)

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first address that answers, of a name whose addresses are all allowed."""
        literal = f"[{host}]" if ":" in host else host
        self._guard.check_url(f"http://{literal}:{port}/")  # odd spellings of addresses end here
        check_port(port)
        if port == self._port and _is_loopback(host):
            raise AddressRefused("the address is the proxy's own")
        failed: OSError = OSError("the host name has no address")
        for address, family in await self._addresses(host, port):
            connection = socket.socket(family, socket.SOCK_STREAM)
            connection.setblocking(False)
            try:
                self._guard.check(ipaddress.ip_address(address))  # the very address that is dialled
                await asyncio.get_running_loop().sock_connect(connection, (address, port))
                return await asyncio.open_connection(sock=connection, limit=HEAD_LIMIT_BYTES)
            except OSError as error:
                connection.close()
                failed = error
            except BaseException:
                connection.close()
                raise
        raise failed

    async def _addresses(self, host: str, port: int) -> list[tuple[str, socket.AddressFamily]]:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            found = await self._resolver.resolve(host, port, socket.AF_UNSPEC)
            return [(result["host"], socket.AddressFamily(result["family"])) for result in found]
        self._guard.check(address)
        return [(host, socket.AF_INET6 if address.version == 6 else socket.AF_INET)]

    def _note(self, key: tuple[str, int], why: tuple[bool, str]) -> None:
        self._troubles[key] = why
        self._troubles.move_to_end(key)
        if len(self._troubles) > TROUBLES_KEPT:
            self._troubles.popitem(last=False)

    # --- carrying ---------------------------------------------------------------------------------

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        """A tunnel, until one side ends, nothing moves for too long, or too much has come down."""
        moved = _Moved(self._limits.idle_s)
        async with asyncio.TaskGroup() as group:
            up = group.create_task(_carry(reader, far_writer, moved))
            down = group.create_task(_carry(far_reader, writer, moved, self._limits.down_bytes))
            quiet = group.create_task(moved.until_quiet())
            await asyncio.wait({up, down, quiet}, return_when=asyncio.FIRST_COMPLETED)
            for task in (up, down, quiet):
                task.cancel()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
        length: int,
        method: str,
    ) -> None:
        """One request and its answer; an answer that comes before the whole request ends both."""
        moved = _Moved(self._limits.idle_s)
        async with asyncio.TaskGroup() as group:
            up = group.create_task(_carry(reader, far_writer, moved, length, exactly=True))
            down = group.create_task(self._answer_down(far_reader, writer, moved, method))
            quiet = group.create_task(moved.until_quiet())
            await asyncio.wait({down, quiet}, return_when=asyncio.FIRST_COMPLETED)
            for task in (up, down, quiet):
                task.cancel()
        await _linger(reader, writer)

    async def _answer_down(
        self, far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moved: _Moved, method: str
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, _Refused):
            while True:
                head = await _read_head(far_reader)
                fields = [(k, v) for k, v in head.fields if k.lower() not in _HOP_BY_HOP]
                interim = head.first.split(b" ")[1:2] == [b"100"]
                if not interim:
                    fields.append((b"Connection", b"close"))  # the next request is checked anew
                writer.write(_joined(head.first, fields))
                if not interim:
                    break
            most = self._limits.down_bytes
            await _carry(far_reader, writer, moved, min(most, _answer_length(head, method, most)))


class _Moved:
    """When bytes last moved in a connection."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._last_s = self._loop.time()

    def now(self) -> None:
        self._last_s = self._loop.time()

    async def until_quiet(self) -> None:
        while (left := self._last_s + self._idle_s - self._loop.time()) > 0:
            await asyncio.sleep(left)


async def _carry(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    moved: _Moved,
    most: int | None = None,
    *,
    exactly: bool = False,
) -> None:
    """Copy until the source ends or `most` bytes were copied. A broken side ends the copying."""
    left = most
    with contextlib.suppress(OSError):
        while left is None or left > 0:
            chunk = await source.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
            if not chunk:
                if exactly:
                    target.transport.abort()  # a request cut short must not look like a whole one
                return
            moved.now()
            target.write(chunk)
            await target.drain()
            moved.now()
            if left is not None:
                left -= len(chunk)


# --- the little HTTP this needs --------------------------------------------------------------------


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw[:-4].split(b"\r\n")
    fields = []
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise _Refused(400, "a malformed header")
        fields.append((match[1], match[2]))
    return _Head(first, fields)


def _request_line(line: bytes) -> tuple[str, str, str]:
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 3 or not _METHOD.fullmatch(parts[0]):
        raise _Refused(400, "a malformed request line")
    return parts[0], parts[1], parts[2]


def _authority(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _Refused(400, "a malformed authority") from None
    if not host or port is None or parts.path or "@" in text:
        raise _Refused(400, "a malformed authority")
    return host, port


def _absolute(target: str) -> tuple[str, str, int, str, str]:
    """Scheme, host, port, origin form and authority of an absolute-form target."""
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _Refused(400, "a malformed target") from None
    if not host or "@" in parts.netloc or parts.fragment:
        raise _Refused(400, "a malformed target")
    rest = target[len(parts.scheme) + len("://") + len(parts.netloc) :]
    if not rest.startswith("/"):
        rest = "/" + rest
    return parts.scheme, host, 80 if port is None else port, rest, parts.netloc


def _body_length(head: _Head) -> int:
    if head.all(b"transfer-encoding"):
        raise _Refused(411, "a body without a length")
    lengths = head.all(b"content-length")
    if len(lengths) > 1 or any(not value.isdigit() or len(value) > 15 for value in lengths):
        raise _Refused(400, "a malformed length")
    return int(lengths[0]) if lengths else 0


def _answer_length(head: _Head, method: str, unknown: int) -> int:
    """Bytes of the body that follows an answer's head; `unknown` when only its end says so."""
    if method == "HEAD" or head.first.split(b" ")[1:2] in ([b"204"], [b"304"]):
        return 0
    if head.all(b"transfer-encoding") or not head.all(b"content-length"):
        return unknown
    return _body_length(head)


def _rewritten(method: str, rest: str, authority: str, head: _Head) -> bytes:
    fields = [(k, v) for k, v in head.fields if k.lower() not in _HOP_BY_HOP and k.lower() != b"host"]
    fields = [(b"Host", authority.encode("latin-1")), *fields, (b"Connection", b"close")]
    return _joined(f"{method} {rest} HTTP/1.1".encode("latin-1"), fields)


def _joined(first: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"\r\n".join([first, *(name + b": " + value for name, value in fields), b"", b""])


def _basic(token: Secret) -> bytes:
    return b"Basic " + base64.b64encode(f"{USER}:{token.reveal()}".encode())


def _tls(ca_pem: bytes) -> ssl.SSLContext:
    """What the machine trusts, and these authorities besides. Reads files: for a thread."""
    context = ssl.create_default_context()
    if ca_pem:
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno is None:
        return "the host name cannot be resolved"
    return "it takes no connection"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, refused: _Refused) -> None:
    body = f"egress: {refused}"
    head = f"HTTP/1.1 {refused.status} Refused\r\nContent-Length: {len(body)}\r\nConnection: close"
    writer.write(f"{head}\r\n\r\n{body}".encode())
    await _linger(reader, writer)


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say that this was all, and let the client finish: what it still sends must not reset what it reads."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(LINGER_S):
            await writer.drain()
            writer.write_eof()
            while await reader.read(CHUNK_BYTES):
                pass


async def _close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        writer.close()
        async with asyncio.timeout(1):
            await writer.wait_closed()
