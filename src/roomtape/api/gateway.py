"""The API's one HTTP endpoint: reads a request, walks the chain, writes the envelope.

A plain ASGI application, so that a request meets nothing but this. Whatever happens, the answer is HTTP
200 with `Content-Type: application/json` and a RequestId: official clients read errors nowhere else.
"""

from __future__ import annotations

import functools
import ipaddress
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter, Histogram
from starlette.routing import Route
from starlette.types import ASGIApp

import roomtape.api.actions.ingest
import roomtape.api.actions.quality
import roomtape.api.actions.recording
import roomtape.api.actions.relay
import roomtape.api.actions.rooms
import roomtape.api.actions.usage  # noqa: F401  (they register their actions)
from roomtape.api import steps
from roomtape.api.call import Call
from roomtape.api.dispatch import ACTIONS, PLANNED
from roomtape.api.errors import ApiError, Family, of_fault
from roomtape.api.messages import Language, Text
from roomtape.api.services import Services
from roomtape.api.steps import Chain
from roomtape.config import Config
from roomtape.contract.shapes import Response

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

log = structlog.get_logger("roomtape.api")

REQUESTS = Counter(
    "roomtape_api_requests", "Requests by action and code (OK for success)", ["action", "code"]
)
SECONDS = Histogram("roomtape_api_request_seconds", "Time from first byte to answer", ["action"])


class Gateway:
    """The ASGI application for the API's paths."""

    def __init__(self, services: Services, config: Config) -> None:
        self._chain = Chain(services, config)
        self._unlogged = 0  # refusals since the last line about one
        self._proxies = [ipaddress.ip_network(text) for text in config.server.trusted_proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = self._begin(scope)
        if not await _read_body(call, receive):
            return  # the client went away
        failure: ApiError | None = None
        try:
            for step in STEPS:
                waiting = step(self._chain, call)
                if waiting is not None:
                    await waiting
            body = _success(call.response, call.request_id)
        except ApiError as error:
            # Its frames hold the parsed body, and this one holds it: a cycle, megabytes until the next sweep.
            error.__traceback__ = error.__context__ = error.__cause__ = None
            failure = error
        except Exception as error:
            failure = of_fault(Family.OTHER if call.action is None else call.action.family, error)
            log.exception(
                "action_failed", action=call.action_name, request_id=call.request_id, code=failure.code
            )
        if failure is not None:
            body = _failure(failure, call.language, call.request_id)
            await self._slow_down(call, failure)
        await _respond(send, call, body)
        self._note(call, failure, len(body))

    def _begin(self, scope: Scope) -> Call:
        headers = _headers(scope["headers"])
        peer = (scope.get("client") or ("",))[0]
        trusted = self._is_proxy(peer)
        address = peer
        if trusted:
            # From the right, the first hop that is not ours is who the outermost proxy saw.
            for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
                if not (hop := hop.strip()):
                    break
                address = hop
                if not self._is_proxy(hop):
                    break
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        return Call(
            method=scope["method"],
            path=raw_path.decode("latin-1").partition("?")[0],
            query=scope["query_string"],
            headers=headers,
            address=address,
            trusted=trusted,
            started_ns=self._chain.services.clock.monotonic_ns(),
        )

    def _is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)

    async def _slow_down(self, call: Call, failure: ApiError) -> None:
        """Answer failures later once an address makes many of them: guessing signatures gets slow."""
        if not failure.code.startswith("AuthFailure.") or failure.code.endswith(".UnauthorizedOperation"):
            return
        chain = self._chain
        if not chain.buckets.take(("failures", call.address), steps.FAILURES_PER_S):
            # Spread out, or they would all come back in the same instant.
            await chain.services.clock.sleep(random.uniform(0.5, 1.0))

    def _note(self, call: Call, failure: ApiError | None, size: int) -> None:
        """One line and one count per request; nothing in them is secret."""
        code = "OK" if failure is None else failure.code
        known = call.action_name in ACTIONS or call.action_name in PLANNED
        action = call.action_name if known else "unknown"
        seconds = (self._chain.services.clock.monotonic_ns() - call.started_ns) / 1e9
        _requests(action, code).inc()
        _seconds(action).observe(seconds)
        unlogged = 0
        if _is_cheap(call, code):
            # Anybody can cause these at any rate: a few lines show them, the metrics count them.
            if not self._chain.buckets.take("refusals logged", steps.REFUSALS_LOGGED_PER_S):
                self._unlogged += 1
                return
            unlogged, self._unlogged = self._unlogged, 0
        log.info(
            "api",
            action=action,
            code=code,
            request_id=call.request_id,
            secret_id=call.key.secret_id if call.key else "",
            sdk_app_id=call.app.sdk_app_id if call.app else 0,
            address=call.address,
            client=call.client[:64],
            trace_id=_trace_id(call.headers),
            replayed=call.replayed,
            ms=round(seconds * 1000, 1),
            bytes_in=len(call.body),
            bytes_out=size,
            **({"unlogged_before": unlogged} if unlogged else {}),
        )


def routes(services: Services, config: Config) -> list[Route]:
    """Routes of the API: `/` and the configured prefixes, for any method."""
    gateway = Gateway(services, config)
    paths = ["/", *(f"/{prefix.strip('/')}" for prefix in config.api.path_prefixes)]
    return [Route(path, gateway) for path in dict.fromkeys(paths)]


def straight(api: Sequence[Route], others: ASGIApp) -> ASGIApp:
    """An application that hands the API's paths over at once and all else to `others`.

    Going through a list of routes costs a request of the API as much as its signature.
    """
    at = {route.path: route.app for route in api}

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        found = at.get(scope["path"]) if scope["type"] == "http" else None
        await (others if found is None else found)(scope, receive, send)

    return app


@functools.cache
def _requests(action: str, code: str) -> Counter:
    return REQUESTS.labels(action, code)


@functools.cache
def _seconds(action: str) -> Histogram:
    return SECONDS.labels(action)


def _is_cheap(call: Call, code: str) -> bool:
    """Whether the request was refused before it was known whose it is, or for its rate."""
    if code == "AuthFailure.UnauthorizedOperation":
        return False
    refused = call.key is None or code.startswith(("AuthFailure.", "RequestLimitExceeded"))
    return refused and code != "InternalError"


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name; of a repeated one the first counts."""
    headers: dict[str, str] = {}
    for name, value in raw:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return headers


async def _read_body(call: Call, receive: Receive) -> bool:
    """Read the body up to its limit, and discard what is beyond; False when the client went away.

    A client that is still sending when the connection closes would see that instead of the answer.
    """
    limit = steps.body_limit(call.method, call.headers.get("content-type", ""))
    declared = call.headers.get("content-length", "")
    length = int(declared) if re.fullmatch(r"[0-9]{1,18}", declared) else 0
    call.too_large = length > limit
    if length > DISCARD_LIMIT:
        return True
    body = bytearray()
    received = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return False
        piece = message.get("body", b"")
        received += len(piece)
        if received > limit:
            call.too_large = True
            body.clear()
        elif not call.too_large:
            body += piece
        if received > DISCARD_LIMIT or not message.get("more_body", False):
            break
    call.body = bytes(body)
    return True


def _success(response: Response | None, request_id: str) -> bytes:
    """The envelope of a success. Raises ApiError for one that is too large."""
    fields: dict[str, Any] = {} if response is None else msgspec.to_builtins(response)
    body = msgspec.json.encode({"Response": {**fields, "RequestId": request_id}})
    if len(body) > RESPONSE_LIMIT:
        raise ApiError(
            "ResponseSizeLimitExceeded", Text("The answer is above 10 MB; ask for less.", "返回包过大。")
        )
    return body


def _failure(error: ApiError, language: Language, request_id: str) -> bytes:
    told = {"Code": error.code, "Message": error.text.say(language)}
    return msgspec.json.encode({"Response": {"Error": told, "RequestId": request_id}})


async def _respond(send: Send, call: Call, body: bytes) -> None:
    headers: list[tuple[bytes, bytes]] = [
        # Exactly this: one client compares it for equality before it looks for an error.
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-tc-requestid", call.request_id.encode()),
    ]
    trace_id = _trace_id(call.headers)
    if trace_id:
        headers.append((b"x-tc-traceid", trace_id.encode("latin-1")))
    if call.too_large:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _trace_id(headers: Mapping[str, str]) -> str:
    """The caller's trace id, if it is one that can be echoed."""
    value = headers.get("x-tc-traceid", "")
    return value if len(value) <= MAX_TRACE_ID and value.isascii() and value.isprintable() else ""
