"""The WHIP and WHEP doors: one POST lets a client in, its resource's DELETE lets it out.

    POST /v2/pub/<SdkAppId>/<room>?SessionID=<UserId>     Authorization: Bearer <UserSig>
    POST /v2/sub/<SdkAppId>/<room>?SessionID=<UserId>

Members of ours: `RoomIdType=1` an integer room, `stream=aux` the substream, `user=` whom to watch,
`PrivateMapKey=` the ticket. The bearer token is a secret and never logged.
Source: RFC 9725 (WHIP), draft-ietf-wish-whep; OBS WHIP page, read 2026-11; status codes are our choice.
"""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roomtape.access.errors import BadUserSig, TicketRefused, UnknownApp
from roomtape.clock import Clock
from roomtape.errors import DomainError
from roomtape.media.core import MediaCore, OfferRefused
from roomtape.rooms.entry import PUBLISH, SHARE, WATCH, BadName, Entrant, Guard, check
from roomtape.rooms.errors import NobodyPublishing, RoomFull, SubstreamTaken
from roomtape.rooms.model import Seat, Session
from roomtape.rooms.names import RoomName
from roomtape.rooms.service import Rooms
from roomtape.secret import Secret

log = structlog.get_logger(__name__)

MAX_SDP_BYTES = 64 * 1024
SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
OFFERS_PER_WINDOW = 20
WINDOW_NS = 10_000_000_000
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location, ETag, Accept-Patch, Retry-After",
}
PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Max-Age": "86400",
    "Accept-Post": SDP,
    "Accept-Patch": FRAGMENT,
}
_REFUSED = {"bad_sdp": 400, "no_codec": 400, "nobody": 404, "internal": 503}


class Refused(Exception):
    """The request ends with this status; `code` is the client code of the same cause, 0 without one."""

    def __init__(self, status: int, message: str, code: int = 0, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


@dataclass(slots=True)
class Throttle:
    """So many offers of one key within a sliding window."""

    clock: Clock
    _seen: dict[str, deque[int]] = field(default_factory=dict)

    def admit(self, key: str) -> bool:
        now = self.clock.monotonic_ns()
        if len(self._seen) > 10_000:
            self._seen = {k: v for k, v in self._seen.items() if v and now - v[-1] < WINDOW_NS}
        recent = self._seen.setdefault(key, deque())
        while recent and now - recent[0] >= WINDOW_NS:
            recent.popleft()
        if len(recent) >= OFFERS_PER_WINDOW:
            return False
        recent.append(now)
        return True


class WebrtcDoor:
    """The HTTP side of WebRTC sessions."""

    def __init__(self, guard: Guard, rooms: Rooms, core: MediaCore, clock: Clock) -> None:
        self._guard = guard
        self._rooms = rooms
        self._core = core
        self._throttle = Throttle(clock)

    def routes(self) -> list[Route]:
        return [
            Route("/v2/pub/{app}/{stream}", self._publish, methods=["POST", "OPTIONS"]),
            Route("/v2/sub/{app}/{stream}", self._play, methods=["POST", "OPTIONS"]),
            Route(
                "/v2/{door:str}/{app}/{stream}/{resource}",
                self._resource,
                methods=["PATCH", "DELETE", "OPTIONS"],
            ),
        ]

    async def _publish(self, request: Request) -> Response:
        return await _answered(request, self._offer(request, "publish"))

    async def _play(self, request: Request) -> Response:
        return await _answered(request, self._offer(request, "play"))

    async def _resource(self, request: Request) -> Response:
        work = self._end(request) if request.method == "DELETE" else self._patch(request)
        return await _answered(request, work)

    # --- the verbs --------------------------------------------------------------------------------

    async def _offer(self, request: Request, kind: Literal["publish", "play"]) -> Response:
        seat = _seat(request, kind)
        _want(request, SDP)
        who = _entrant(request, seat)
        await check(self._guard, who)
        if not self._throttle.admit(f"{who.name.sdk_app_id}/{who.user_id}"):
            raise Refused(
                429, "Too many sessions of this user in a short time.", headers={"Retry-After": "10"}
            )
        sdp = await _body(request)
        self._rooms.admit(who.name, who.user_id, seat)
        watch_user, watch_stream = self._whom(request, who.name) if kind == "play" else (None, "main")
        answer = await self._core.accept_offer(
            who.name.key,
            who.user_id,
            seat,
            sdp,
            kind=kind,
            watch_user=watch_user,
            watch_stream=watch_stream,
            entered_ns=self._rooms.entered_ns(who.name, who.user_id),
        )
        resource = f"{answer.peer}-{secrets.token_urlsafe(16)}"
        session = Session(
            seat,
            "whip" if kind == "publish" else "whep",
            answer.peer,
            resource,
            watches=watch_user or "",
            stream=watch_stream,
        )
        try:
            self._rooms.enter(
                who.name,
                who.user_id,
                session,
                device_type="WHIP" if kind == "publish" else "WHEP",
                client_ip=request.client.host if request.client is not None else "",
            )
        except DomainError:
            self._core.remove_peer(answer.peer)
            raise
        return Response(
            answer.sdp,
            status_code=201,
            media_type=SDP,
            headers={
                "Location": f"{request.url.path}/{resource}",
                "ETag": f'"{resource}"',
                "Accept-Patch": FRAGMENT,
                **CORS,
            },
        )

    async def _end(self, request: Request) -> Response:
        self._rooms.leave(self._session(request))
        return Response(status_code=200, headers=CORS)

    async def _patch(self, request: Request) -> Response:
        session = self._session(request)
        _want(request, FRAGMENT)
        wanted = request.headers.get("if-match", "*")
        if wanted not in ("*", f'"{session.resource}"'):
            raise Refused(412, "If-Match names another session.")
        fragment = await self._core.patch(session.handle, await _body(request))
        if not fragment:
            return Response(status_code=204, headers=CORS)
        etag = {"ETag": f'"{session.resource}"'}
        return Response(fragment, status_code=200, media_type=FRAGMENT, headers={**etag, **CORS})

    # --- within -----------------------------------------------------------------------------------

    def _whom(self, request: Request, name: RoomName) -> tuple[str | None, str]:
        anchors = self._rooms.anchors(name)
        user = request.query_params.get("user")
        if not anchors or (user and user not in anchors):
            raise NobodyPublishing("Nobody publishes there.")
        return user or anchors[0], "aux" if request.query_params.get("stream") == "aux" else "main"

    def _session(self, request: Request) -> Session:
        """The session of a resource's URL; whoever knows the URL owns it, it cannot be guessed."""
        resource = request.path_params["resource"]
        number = resource.partition("-")[0]
        held = self._rooms.session(int(number[:18]), rtmp=False) if number.isdigit() else None
        if held is None or not hmac.compare_digest(held[2].resource.encode(), resource.encode()):
            raise Refused(404, "There is no such session.")
        return held[2]


async def _answered(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Run a verb and give what it raised its status."""
    if request.method == "OPTIONS":
        work.close()
        return Response(status_code=204, headers={**CORS, **PREFLIGHT})
    try:
        return await work
    except Refused as error:
        return _refusal(error)
    except OfferRefused as error:
        return _refusal(Refused(_REFUSED[error.reason], error.message))
    except DomainError as error:
        return _refusal(_judge(error))


def _judge(error: DomainError) -> Refused:
    text = str(error)
    match error:
        case BadName():
            return Refused(400, text)
        case BadUserSig():
            return Refused(403, text, error.code)
        case TicketRefused():
            return Refused(403, text, error.code)
        case UnknownApp() | NobodyPublishing():
            return Refused(404, text)
        case SubstreamTaken():
            return Refused(409, text, -102016)
        case RoomFull():
            return Refused(403, text, -102052)
        case _:
            return Refused(400, text)


def _refusal(error: Refused) -> Response:
    log.info("session_refused", status=error.status, code=error.code, reason=str(error))
    return JSONResponse(
        {"code": error.code, "message": str(error)},
        status_code=error.status,
        headers={**CORS, **error.headers},
    )


def _seat(request: Request, kind: Literal["publish", "play"]) -> Seat:
    if kind == "play":
        return "play"
    return "aux" if request.query_params.get("stream") == "aux" else "main"


def _entrant(request: Request, seat: Seat) -> Entrant:
    query = request.query_params
    app, stream = request.path_params["app"], request.path_params["stream"]
    if not (app.isascii() and app.isdigit() and len(app) <= 18):
        raise Refused(404, "There is no such application.")
    user_id = query.get("SessionID", "")
    if not user_id:
        raise Refused(400, "SessionID is missing: it is the UserId.")
    if query.get("RoomIdType", "0") not in ("0", "1"):
        raise Refused(400, "RoomIdType is 0 (string room) or 1 (integer room).")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(
            401,
            "Authorization: Bearer <UserSig> is missing.",
            headers={"WWW-Authenticate": 'Bearer realm="roomtape"'},
        )
    ticket = query.get("PrivateMapKey")
    return Entrant(
        name=RoomName(int(app), "i" if query.get("RoomIdType") == "1" else "s", stream),
        user_id=user_id,
        user_sig=Secret(token.strip()),
        ticket=Secret(ticket) if ticket else None,
        needs={"main": PUBLISH, "aux": SHARE, "play": WATCH}[seat],
    )


def _want(request: Request, content_type: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != content_type:
        raise Refused(415, f"Content-Type is {content_type}.")


async def _body(request: Request) -> str:
    """The body as text, up to its limit."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_SDP_BYTES:
                raise Refused(400, f"The body is longer than {MAX_SDP_BYTES} bytes.")
        return body.decode()
    except UnicodeDecodeError:
        raise Refused(400, "The body is not UTF-8.") from None
    except ClientDisconnect:
        raise Refused(400, "The body did not come whole.") from None
