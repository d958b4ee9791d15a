"""HTTP listeners: uvicorn with bounds of ours, because it has none for a slow or a greedy client.

A header must be complete in `header_s` and within `MAX_HEADER_BYTES`, a body in `body_s`; what is late is
answered 408 when nothing was answered yet, and closed. A connection may be idle between two requests for
`idle_s`, and a WebSocket must answer a ping. Of an answer that waits in memory a client must take
`MIN_TAKEN_BYTES` in `write_s`, or the rest; else its connection is cut, and meanwhile it is not read from.
One address holds so many connections, and all together so many; one more is told 503 and closed before it
is read. Requests are not logged here: URLs can hold UserSigs, the gateway and the doors log what may be
logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import prometheus_client
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from roomtape._core import header_texts, plain_request

MAX_HEADER_BYTES = 64 * 1024
AT_ONCE_BYTES = 16 * 1024  # of body; a larger request takes the ordinary way
MIN_TAKEN_BYTES = 64 * 1024  # per `write_s`, of an answer that does not fit the system's buffers
GRACE_S = 3  # for requests that are under way when the server ends

REFUSED = prometheus_client.Counter("roomtape_http_refused", "Connections ended by a bound", ["bound"])
for _bound in (
    *("too_many", "too_many_in_all", "late_header", "late_body", "large_header"),
    *("silent_websocket", "slow_reader"),
):
    REFUSED.labels(_bound)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one listener puts up with. Times are seconds."""

    header_s: float = 10.0
    body_s: float = 30.0
    idle_s: float = 30.0  # between two requests of a connection
    write_s: float = 60.0  # for a client to take some more of an answer
    ping_s: float = 20.0  # between two pings of a WebSocket
    pong_s: float = 20.0  # for its answer
    per_address: int = 1000  # connections at once; 0: no bound
    in_all: int = 10_000  # connections at once; 0: no bound
    proxies: Sequence[str] = ()  # addresses and networks many clients come from: not counted


class NoPlace(Exception):
    """A connection is one too many; the text names the bound."""


@dataclass(slots=True)
class Places:
    """How many connections there are, and each address holds. Of an IPv6 host its network is counted."""

    bounds: Bounds
    taken: int = 0  # in all
    _held: Counter[str] = field(default_factory=Counter)
    _networks: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._networks = [ipaddress.ip_network(text) for text in self.bounds.proxies]

    def take(self, transport: asyncio.BaseTransport) -> str:
        """A place for this peer, to be given back by its name. Raises NoPlace."""
        if self.bounds.in_all and self.taken >= self.bounds.in_all:
            raise NoPlace("too_many_in_all")
        name = self._name(transport)
        if name and self._held[name] >= self.bounds.per_address:
            raise NoPlace("too_many")
        if name:
            self._held[name] += 1
        self.taken += 1
        return name

    def give_back(self, name: str) -> None:
        self.taken -= 1
        if not name:
            return
        self._held[name] -= 1
        if not self._held[name]:
            del self._held[name]

    def _name(self, transport: asyncio.BaseTransport) -> str:
        """Whom a connection counts for; nobody when there is no bound or a proxy stands between."""
        peer = transport.get_extra_info("peername")
        if not self.bounds.per_address or not peer:
            return ""
        plain = plain_address(peer[0].partition("%")[0])
        try:
            address = ipaddress.ip_address(plain)
        except ValueError:
            return ""
        if any(address in network for network in self._networks):
            return ""
        return counted_as(plain)


# Of a response 200: header lines (each with its end; content-length among them), and body.
Answer = tuple[bytes, bytes]


def plain_address(address: str) -> str:
    """An address as rules and logs write it: a listener on `::` sees IPv4 as `::ffff:192.0.2.1`."""
    return address[7:] if address[:7].lower() == "::ffff:" and "." in address else address


def counted_as(address: str) -> str:
    """Whom the limits of an address count: of IPv6 a network of /64, all of which one host may have."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


class AtOnce(Protocol):
    """Answers a whole POST to a path: without waiting when it can, else it gives what to wait for.

    Headers are by lower-case name, of a repeated one the first; `peer` is an address, "" when unknown.
    """

    def __call__(
        self, path: str, headers: dict[str, str], body: bytes, peer: str
    ) -> Answer | Coroutine[Any, Any, Answer]: ...


class _Awaited:
    """A request whose answer is waited for, as uvicorn looks at one: those that follow it queue behind it."""

    response_started = response_complete = disconnected = False
    message_event = asyncio.Event()  # it is all there; nobody waits for more

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive


class _Guarded(HttpToolsProtocol):
    """One connection; subclasses carry the bounds of their listener."""

    bounds: Bounds
    places: Places
    answers: Mapping[str, AtOnce]  # by target

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._due: tuple[str, float] | None = None  # a deadline that is armed when all that came is read
        self._reading = False
        self._answer: AtOnce | None = None  # for the request that is being read
        self._body = b""  # of such a one
        self._peer = ""
        self._at_rest = True  # the parser is between two messages
        self._held = b""  # the beginning of a plain request, which the parser has not seen
        self._default: tuple[object, bytes] = (None, b"")  # uvicorn's headers, and their lines
        self._in_header = True
        self._header_bytes = 0
        self._idle: asyncio.TimerHandle | None = None  # after an answer at once; it is not stopped in between
        self._slow: asyncio.TimerHandle | None = None  # while an answer waits for its reader
        self._idle_at = 0.0  # when the connection has been idle for long enough; 0: it is not idle
        self._place: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client:
            self.client = (plain_address(self.client[0]), self.client[1])
        self._peer = self.client[0] if self.client else ""
        try:
            self._place = self.places.take(transport)
        except NoPlace as refused:
            self._refuse(str(refused), b"503 Service Unavailable")
            return
        self._arm("late_header", self.bounds.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._stop_timers()
        self._leave()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._slow is not None and not self.transport.is_closing():
            self._slow.cancel()
            self._slow = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_last_words()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_last_words()

    def _watch_last_words(self) -> None:
        """A connection that closes does so when all of its answer is taken: that has its time, too."""
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._watch_reader()

    def _watch_reader(self) -> None:
        if self._slow is None:
            left = self.transport.get_write_buffer_size()
            self._slow = self.loop.call_later(self.bounds.write_s, self._reader_late, left)

    def _reader_late(self, left: int) -> None:
        """Cut a connection whose client takes nothing, or next to nothing, of what waits for it."""
        self._slow = None
        now_left = self.transport.get_write_buffer_size()
        if not now_left:
            return
        if left - now_left >= MIN_TAKEN_BYTES:
            self._watch_reader()
        else:
            REFUSED.labels("slow_reader").inc()
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._at_rest and self.answers:
            data = self._held + data
            if len(data) <= AT_ONCE_BYTES and self._took(data):
                return
            self._held = b""
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Let the parser read on."""
        if self._in_header:
            self._header_bytes += len(data)
            if b"pgrade" in data:
                data = _without_upgrade(data)
        self._idle_at = 0.0
        self._reading = True
        super().data_received(data)
        self._reading = False
        if self._due is not None:
            self._arm(*self._due)
        if self._in_header and self._header_bytes:
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse("large_header", b"431 Request Header Fields Too Large")
            elif self._deadline is None:
                # Empty lines before a request begin no message; they stop the idle timer, though.
                self._arm("late_header", self.bounds.header_s)

    def shutdown(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._parse(held)
        if self._answer is not None:
            self._ordinary_way()  # it waits for what is under way
        super().shutdown()

    def on_message_begin(self) -> None:
        self._unset_keepalive_if_required()  # an answer in the middle of what is being read has armed it
        self._idle_at = 0.0
        super().on_message_begin()
        self._at_rest = False
        self._arm("late_header", self.bounds.header_s)

    def on_headers_complete(self) -> None:
        self._in_header = False
        self._arm("late_body", self.bounds.body_s)
        self._answer = self._at_once()
        if self._answer is None:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._answer is None:
            super().on_body(body)
            return
        self._body += body
        if len(self._body) > AT_ONCE_BYTES:
            self._ordinary_way()

    def on_message_complete(self) -> None:
        self._due = None
        if self._deadline is not None:
            self._disarm()
        self._in_header = True  # of the next request, should one follow
        self._header_bytes = 0
        self._at_rest = not self.parser.should_upgrade()
        if self._answer is None:
            super().on_message_complete()
            return
        answer, body = self._answer, self._body
        self._answer, self._body = None, b""
        keep = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        self._ask(answer, self.url.decode("ascii"), header_texts(self.headers), body, keep)

    def _at_once(self) -> AtOnce | None:
        """What may answer the request at once whose head has been parsed."""
        if (
            not self._is_free()
            or self.parser.get_method() != b"POST"
            or self.expect_100_continue
            or self.parser.should_upgrade()
        ):
            return None
        return self.answers.get(self.url.decode("latin-1"))

    def _is_free(self) -> bool:
        """Whether nothing is between a request and its answer: no other answer, no full buffer."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _ordinary_way(self) -> None:
        """Hand what has come of the request to the application, as if it had been from the beginning."""
        body, self._answer, self._body = self._body, None, b""
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _took(self, data: bytes) -> bool:
        """Whether `data` is a plain request for an answer at once, as most are: the parser does not see it.

        Many clients send the head alone: it is held until the body is there.
        """
        if not self._is_free() or (request := plain_request(data)) is None:
            return False
        if (answer := self.answers.get(request[0])) is None:
            return False
        if len(request) == 2:
            return self._hold(data, request[1])
        target, headers, body, keep = request
        self._begin_plain()
        if self._deadline is not None:
            self._disarm()
        self._held = b""
        self._ask(answer, target, headers, body, keep)
        return True

    def _hold(self, data: bytes, length: int) -> bool:
        """Keep a request that will have `length` bytes, if that is little; its body has its time from now."""
        if length > AT_ONCE_BYTES:
            return False
        self._begin_plain()
        if not self._held:
            self._arm("late_body", self.bounds.body_s)
        self._held = data
        return True

    def _begin_plain(self) -> None:
        self._unset_keepalive_if_required()
        self._idle_at = 0.0
        self._header_bytes = 0  # of empty lines before it

    def _ask(self, answer: AtOnce, path: str, headers: dict[str, str], body: bytes, keep: bool) -> None:
        """Write the answer now or when it is there."""
        try:
            answered = answer(path, headers, body, self._peer)
        except Exception:
            self._broken()
            return
        if not isinstance(answered, tuple):
            cycle = _Awaited(keep)
            self.cycle = cycle  # type: ignore[assignment]
            task = self.loop.create_task(self._write_later(answered, cycle))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return
        self._write(answered, keep)
        if keep:
            # As uvicorn's `on_response_complete` for a connection that has nothing else under way.
            self.server_state.total_requests += 1
            self._idle_at = self.loop.time() + self.bounds.idle_s
            if self._idle is None:
                self._idle = self.loop.call_later(self.bounds.idle_s, self._idle_over)
        else:
            self.on_response_complete()

    async def _write_later(self, waiting: Awaitable[Answer], cycle: _Awaited) -> None:
        try:
            answered = await waiting
        except Exception:
            self._broken()
            return
        if self.transport.is_closing():
            return  # nobody is there to read it
        self._write(answered, cycle.keep_alive)
        cycle.response_complete = True
        self.on_response_complete()

    def _write(self, answer: Answer, keep: bool) -> None:
        end = b"\r\n" if keep else b"connection: close\r\n\r\n"
        self.transport.write(b"HTTP/1.1 200 OK\r\n%b%b%b%b" % (self._lines(), answer[0], end, answer[1]))
        if not keep:
            self.transport.close()

    def _broken(self) -> None:
        """Say that an application raised, and end its connection."""
        self.logger.exception("Exception in ASGI application\n")
        self.transport.close()

    def _lines(self) -> bytes:
        """Those of the headers that uvicorn gives every answer; they are a new list once a second."""
        default = self.server_state.default_headers
        if default is not self._default[0]:
            self._default = (default, b"".join([b"%b: %b\r\n" % header for header in default]))
        return self._default[1]

    def _idle_over(self) -> None:
        """Close what was idle for `idle_s`. One timer serves many answers, and looks when the last was."""
        self._idle = None
        if not self._idle_at:
            return  # a request is under way
        left = self._idle_at - self.loop.time()
        if left > 0:
            self._idle = self.loop.call_later(left, self._idle_over)
        else:
            self.timeout_keep_alive_handler()

    def _should_upgrade(self) -> bool:
        return bool(super()._should_upgrade()) and self.parser.get_method() == b"GET"

    def handle_websocket_upgrade(self) -> None:
        self._disarm()
        self._stop_timers()
        self._leave()  # the WebSocket takes it
        super().handle_websocket_upgrade()

    def _stop_timers(self) -> None:
        for timer in (self._idle, self._slow):
            if timer is not None:
                timer.cancel()
        self._idle = self._slow = None

    def _leave(self) -> None:
        if self._place is not None:
            self.places.give_back(self._place)
            self._place = None

    def _arm(self, bound: str, seconds: float) -> None:
        if self._deadline is not None:
            self._disarm()
        if self._reading:
            self._due = (bound, seconds)  # most requests are complete in what is being read
            return
        self._due = None
        self._deadline = self.loop.call_later(seconds, self._refuse, bound, b"408 Request Timeout")

    def _disarm(self) -> None:
        self._due = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, bound: str, status: bytes) -> None:
        self._disarm()
        if self.transport.is_closing():
            return
        REFUSED.labels(bound).inc()
        cycle = self.cycle
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if not answering:
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
        self.transport.close()
        self._watch_last_words()


_UPGRADE = re.compile(rb"\r\nupgrade(:[ \t]*)(websocket\b)?", re.IGNORECASE)


def _without_upgrade(data: bytes) -> bytes:
    """What a connection begins a request with, an `Upgrade` that is not followed made another header.

    To go over to HTTP/2, as Java's own client asks in each request, may be declined by doing nothing; the
    parser would take the body for the other protocol. A WebSocket is opened by GET alone.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    get = head.startswith(b"GET ")

    def renamed(found: re.Match[bytes]) -> bytes:
        return found[0] if get and found[2] else b"\r\nIgnored" + found[1] + (found[2] or b"")

    return _UPGRADE.sub(renamed, head) + end + body


class _GuardedSocket(WebSocketsSansIOProtocol):
    """One WebSocket. It took its connection's place, and is closed when a ping goes unanswered."""

    places: Places

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._place: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._place = self.places.take(transport)  # the one its connection has just given back
        self.loop.call_soon(self._close_unless_begun)

    def _close_unless_begun(self) -> None:
        """The request it was made for has been read by now, or is one that it will wait for without end."""
        if not self.handshake_initiated:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._place is not None:
            self.places.give_back(self._place)
            self._place = None
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        REFUSED.labels("silent_websocket").inc()
        self.transport.abort()  # a peer that is gone reads no closing frame either


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
        bounds: Bounds | None = None,
        *,
        answers: Mapping[str, AtOnce] | None = None,
        tls_cert: str = "",
        tls_key: str = "",
    ) -> None:
        self._bounds = bounds = bounds or Bounds()
        places = Places(bounds)
        super().__init__(
            uvicorn.Config(
                app,
                http=type(
                    "Guarded", (_Guarded,), {"bounds": bounds, "places": places, "answers": answers or {}}
                ),
                ws=type("GuardedSocket", (_GuardedSocket,), {"places": places}),
                ws_ping_interval=bounds.ping_s,
                ws_ping_timeout=bounds.pong_s,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=bounds.idle_s,  # type: ignore[arg-type]  # any number of seconds will do
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
        """As uvicorn's for a socket that is there, and a TLS handshake is as bounded as a header."""
        await self.lifespan.startup()
        config = self.config

        def connection() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        server = await asyncio.get_running_loop().create_server(
            connection,
            sock=self._listener,
            backlog=config.backlog,
            ssl=config.ssl,
            ssl_handshake_timeout=self._bounds.header_s if config.ssl else None,
        )
        self.servers = [server]
        self.started = True
        self._up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
