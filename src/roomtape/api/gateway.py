"""The API's one HTTP endpoint: reads a request, walks the chain, writes the envelope.

A plain ASGI application, so that a request meets nothing but this. Whatever happens, the answer is HTTP
200 with `Content-Type: application/json` and a RequestId: official clients read errors nowhere else.
"""

from __future__ import annotations

import io
import ipaddress
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec
import structlog
from prometheus_client import REGISTRY
from starlette.routing import Route
from starlette.types import ASGIApp

import roomtape.api.actions.ingest
import roomtape.api.actions.quality
import roomtape.api.actions.recording
import roomtape.api.actions.relay
import roomtape.api.actions.rooms
import roomtape.api.actions.usage  # noqa: F401  (they register their actions)
from roomtape.api import signing, steps
from roomtape.api.call import Call, request_id
from roomtape.api.dispatch import ACTIONS, PLANNED
from roomtape.api.errors import ApiError, Family, of_fault
from roomtape.api.messages import Text
from roomtape.api.services import Services
from roomtape.api.steps import Chain
from roomtape.api.tally import Tally
from roomtape.config import Config
from roomtape.loglines import Often
from roomtape.serving import Answer, AtOnce, counted_as, plain_address

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Step = Callable[[Chain, Call], Awaitable[None] | None]
# The order of checks; the first failure ends the request.
STEPS: tuple[Step, ...] = (
    steps.method,
    steps.size,
    steps.address_throttle,
    steps.credentials,
    steps.version_and_action,
    steps.time_window,
    steps.secret_id,
    steps.signature,
    steps.token,
    steps.address_policy,
    steps.region,
    steps.policy,
    steps.throttle,
    steps.parameters,
    steps.ownership,
    steps.behaviour,
)

DISCARD_LIMIT = 64 * 1024 * 1024  # of a body that is too large: read on, so that the client reads the answer
RESPONSE_LIMIT = 10 * 1024 * 1024
MAX_TRACE_ID = 256
KNOWN = ACTIONS.keys() | PLANNED.keys()
_ENCODER = msgspec.json.Encoder()

log = structlog.get_logger("roomtape.api")

_MEMBERS = (
    *("action", "code", "request_id", "secret_id", "sdk_app_id", "address", "client", "trace_id"),
    *("replayed", "ms", "bytes_in", "bytes_out"),
)
_tell = Often("api", *_MEMBERS)

TALLY = Tally()
REGISTRY.register(TALLY)


class Gateway:
    """The ASGI application for the API's paths."""

    def __init__(self, services: Services, config: Config) -> None:
        self._chain = Chain(services, config)
        self._unlogged = 0  # refusals since the last line about one
        self._proxies = [ipaddress.ip_network(text) for text in config.server.trusted_proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = self._of_scope(scope)
        if not await _read_body(call, receive):
            return  # the client went away
        await self._walk_on(call, self._walk(call))
        body = self._body(call)
        lines = _header_lines(call, len(body)).split(b"\r\n")
        headers = [tuple(line.split(b": ", 1)) for line in lines if line]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._note(call, len(body))

    def at_once(
        self, path: str, headers: dict[str, str], body: bytes, peer: str
    ) -> Answer | Coroutine[Any, Any, Answer]:
        """The answer (always 200) to a whole small POST, if it needs no waiting: a `serving.AtOnce`."""
        call = self._begin("POST", path, b"", headers, peer)
        call.body = body
        waiting = self._walk(call)
        return self._answer(call) if waiting is None else self._answer_later(call, waiting)

    async def _answer_later(self, call: Call, waiting: Awaitable[None]) -> Answer:
        await self._walk_on(call, waiting)
        return self._answer(call)

    def _answer(self, call: Call) -> Answer:
        body = self._body(call)
        self._note(call, len(body))
        return _header_lines(call, len(body)), body

    def _walk(self, call: Call) -> Awaitable[None] | None:
        """Take the steps that are left until one has to wait, and for what; None at the end of the way."""
        chain = self._chain
        try:
            for step in call.steps:
                waiting: Awaitable[None] | None = step(chain, call)
                if waiting is not None:
                    return waiting
        except Exception as error:
            return self._fail(call, error)
        return None

    async def _walk_on(self, call: Call, waiting: Awaitable[None] | None) -> None:
        """Wait and walk, in turn, to the end of the way."""
        while waiting is not None:
            try:
                await waiting
            except Exception as error:
                waiting = self._fail(call, error)
            else:
                waiting = self._walk(call)

    def _fail(self, call: Call, error: Exception) -> Awaitable[None] | None:
        """End the way with this error, and say for how long to hold the answer back, if at all."""
        call.steps = iter(())
        if isinstance(error, ApiError):
            # Its frames hold the parsed body, and this one holds it: a cycle, megabytes until the next sweep.
            error.__traceback__ = error.__context__ = error.__cause__ = None
            call.failure = error
        else:
            family = Family.OTHER if call.action is None else call.action.family
            call.failure = of_fault(family, error)
            log.error(
                "action_failed",
                action=call.action_name,
                request_id=call.request_id,
                code=call.failure.code,
                exc_info=error,
            )
        return self._slow_down(call, call.failure)

    def _of_scope(self, scope: Scope) -> Call:
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        path = raw_path.decode("latin-1").partition("?")[0]
        # Names are lower case already (ASGI); of a repeated header the first counts.
        headers = signing.header_texts(scope["headers"])
        peer = (scope.get("client") or ("",))[0]
        return self._begin(scope["method"], path, scope["query_string"], headers, peer)

    def _begin(self, method: str, path: str, query: bytes, headers: dict[str, str], peer: str) -> Call:
        trusted = bool(self._proxies) and self._is_proxy(peer)
        address = peer
        if trusted:
            # From the right, the first hop that is not ours is who the outermost proxy saw.
            for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
                if not (hop := plain_address(hop.strip())):
                    break
                address = hop
                if not self._is_proxy(hop):
                    break
        return Call(
            method,
            path,
            query,
            headers,
            address,
            trusted,
            _trace_id(headers),
            self._chain.services.clock.monotonic_ns(),
            request_id(),
            iter(STEPS),
        )

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)

    def _body(self, call: Call) -> bytes:
        """The envelope of what has come out."""
        if call.failure is None:
            try:
                return _success(call)
            except Exception as error:
                self._fail(call, error)
        assert call.failure is not None
        return _failure(call, call.failure)

    def _slow_down(self, call: Call, failure: ApiError) -> Awaitable[None] | None:
        """Answer failures later once an address makes many of them: guessing signatures gets slow."""
        if not failure.code.startswith("AuthFailure.") or failure.code.endswith(".UnauthorizedOperation"):
            return None
        chain = self._chain
        if chain.buckets.take(("failures", counted_as(call.address)), steps.FAILURES_PER_S):
            return None
        # Spread out, or they would all come back in the same instant.
        return chain.services.clock.sleep(random.uniform(0.5, 1.0))

    def _note(self, call: Call, size: int) -> None:
        """One line and one count per request; nothing in them is secret."""
        failure = call.failure
        code = "OK" if failure is None else failure.code
        action = "unknown" if call.action is None and call.action_name not in KNOWN else call.action_name
        took_ns = self._chain.services.clock.monotonic_ns() - call.started_ns
        TALLY.count(action, code, took_ns / 1e9)
        more: dict[str, int] = {}
        if failure is not None and _is_cheap(call, code):
            # Anybody can cause these at any rate: a few lines show them, the metrics count them.
            if not self._chain.buckets.take("refusals logged", steps.REFUSALS_LOGGED_PER_S):
                self._unlogged += 1
                return
            if self._unlogged:
                more, self._unlogged = {"unlogged_before": self._unlogged}, 0
        members = (
            action,
            code,
            call.request_id,
            call.key.secret_id if call.key else "",
            call.app.sdk_app_id if call.app else 0,
            call.address,
            call.client[:64],
            call.trace_id,
            call.replayed,
            took_ns // 100_000 / 10,
            len(call.body),
            size,
        )
        if more:
            log.info("api", **dict(zip(_MEMBERS, members, strict=True)), **more)
        else:
            _tell(*members)


def routes(services: Services, config: Config) -> list[Route]:
    """Routes of the API: `/` and the configured prefixes, for any method."""
    gateway = Gateway(services, config)
    prefixes = [prefix.strip("/") for prefix in config.api.path_prefixes]
    # With a slash at its end or without: a redirect would be another request than the one signed.
    paths = ["/", *(path for prefix in prefixes if prefix for path in (f"/{prefix}", f"/{prefix}/"))]
    return [Route(path, gateway) for path in dict.fromkeys(paths)]


class Straight:
    """An application that hands the API's paths over straight and all else to `others`.

    Going through a list of routes costs a request of the API as much as its signature.
    """

    def __init__(self, api: Sequence[Route], others: ASGIApp) -> None:
        self._at = {route.path: route.app for route in api}
        self._others = others
        # Of requests that name a path and nothing more, for a listener that can answer at once.
        self.at_once: dict[str, AtOnce] = {
            route.path: route.app.at_once for route in api if isinstance(route.app, Gateway)
        }

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        found = self._at.get(scope["path"]) if scope["type"] == "http" else None
        await (self._others if found is None else found)(scope, receive, send)


def _is_cheap(call: Call, code: str) -> bool:
    """Whether the request was refused before it was known whose it is, or for its rate."""
    if code == "AuthFailure.UnauthorizedOperation":
        return False
    refused = call.key is None or code.startswith(("AuthFailure.", "RequestLimitExceeded"))
    return refused and code != "InternalError"


async def _read_body(call: Call, receive: Receive) -> bool:
    """Read the body up to its limit, and discard what is beyond; False when the client went away.

    A client that is still sending when the connection closes would see that instead of the answer.
    """
    limit = steps.body_limit(call.method, call.headers.get("content-type", ""))
    declared = call.headers.get("content-length", "")
    length = int(declared) if declared.isascii() and declared.isdigit() and len(declared) <= 18 else 0
    call.too_large = length > limit
    if length > DISCARD_LIMIT:
        return True
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        piece = message.get("body", b"")  # the whole of it
        if not call.too_large and len(piece) <= limit:
            call.body = piece
            return True
    body = io.BytesIO()  # gives its bytes away uncopied: of 10 MB there is one copy, not two
    received = 0
    while True:
        if message["type"] == "http.disconnect":
            return False
        piece = message.get("body", b"")
        received += len(piece)
        if received > limit:
            call.too_large = True
            body = io.BytesIO()
        elif not call.too_large:
            body.write(piece)
        if received > DISCARD_LIMIT or not message.get("more_body", False):
            break
        message = await receive()
    call.body = body.getvalue()
    return True


def _success(call: Call) -> bytes:
    """The envelope of a success. Raises ApiError for one that is too large."""
    fields = b"{}" if call.response is None else _ENCODER.encode(call.response)
    comma = b"" if fields == b"{}" else b","
    body = b'{"Response":%b%b"RequestId":"%b"}}' % (fields[:-1], comma, call.request_id.encode())
    if len(body) > RESPONSE_LIMIT:
        raise ApiError(
            "ResponseSizeLimitExceeded", Text("The answer is above 10 MB; ask for less.", "返回包过大。")
        )
    return body


def _failure(call: Call, error: ApiError) -> bytes:
    # A request that ended before its common parameters were read has said it in its header all the same.
    language = "zh-CN" if call.headers.get("x-tc-language") == "zh-CN" else call.language
    told = {"Code": error.code, "Message": error.text.say(language)}
    return msgspec.json.encode({"Response": {"Error": told, "RequestId": call.request_id}})


def _header_lines(call: Call, size: int) -> bytes:
    """Each with its end; of an answer whose body has `size` bytes."""
    # The type is exactly this: one client compares it for equality before it looks for an error.
    lines = b"content-type: application/json\r\ncontent-length: %d\r\nx-tc-requestid: %b\r\n" % (
        size,
        call.request_id.encode(),
    )
    if call.trace_id:
        lines += b"x-tc-traceid: %b\r\n" % call.trace_id.encode()
    if call.too_large:
        lines += b"connection: close\r\n"
    return lines


def _trace_id(headers: Mapping[str, str]) -> str:
    """The caller's trace id, if it is one that can be echoed."""
    value = headers.get("x-tc-traceid", "")
    return value if len(value) <= MAX_TRACE_ID and value.isascii() and value.isprintable() else ""
