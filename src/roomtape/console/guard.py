"""Who may see operator pages: in `dev` the machine itself, elsewhere who knows the operator's password."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from starlette.requests import Request
from starlette.responses import Response

from roomtape.config import Config

Handler = Callable[[Request], Awaitable[Response]]
CHALLENGE = {"WWW-Authenticate": 'Basic realm="roomtape console", charset="UTF-8"'}


def plain_host(handler: Handler) -> Handler:
    """Refuse a request whose Host is neither an address nor localhost: a name that somebody rebound."""

    async def guarded(request: Request) -> Response:
        if not is_plain_host(request.headers.get("host", "")):
            return Response("open this page by address, or as localhost", 403)
        return await handler(request)

    return guarded


def operator(handler: Handler, config: Config) -> Handler:
    """Let an operator through: without a login in `dev` while it is bound to loopback, else by password."""
    if config.dev:
        if is_loopback(config.server.http_host):
            return plain_host(handler)
        return _closed("the console of dev opens while it is bound to loopback only (--http 127.0.0.1:8080)")
    if not config.admin.password_hash:
        return _closed("set admin.password_hash to what `roomtape config password` prints")
    return _by_password(handler, config.admin.password_hash)


def _closed(why: str) -> Handler:
    async def refuse(request: Request) -> Response:
        return Response(f"the console is closed: {why}", 403)

    return refuse


def _by_password(handler: Handler, password_hash: str) -> Handler:
    one_at_a_time = asyncio.Lock()  # a guess costs a core some 50 ms: guessing must not cost all of them

    async def guarded(request: Request) -> Response:
        password = _password(request.headers.get("authorization", ""))
        if password is None:
            return Response("operators only", 401, CHALLENGE)
        async with one_at_a_time:
            known = await asyncio.to_thread(is_password, password, password_hash)
        if not known:
            return Response("operators only", 401, CHALLENGE)
        return await handler(request)

    return guarded


def is_password(password: str, password_hash: str) -> bool:
    """Whether the password is the one of that argon2 hash; False for a hash that is none."""
    try:
        return PasswordHasher().verify(password_hash, password)
    except (Argon2Error, InvalidHashError):
        return False


def _password(header: str) -> str | None:
    """The password of a Basic Authorization header; the user's name does not matter. Source: RFC 7617."""
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_plain_host(host: str) -> bool:
    """Whether a Host header is an IP address or localhost, with or without a port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
