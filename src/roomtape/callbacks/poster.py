"""One HTTP POST to a receiver: no redirects, no cookies, little read of the reply."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol, final

import aiohttp

from roomtape.clock import Clock, within
from roomtape.fetching.guard import AddressRefused

REPLY_LIMIT_BYTES = 64 * 1024
DRAIN_S = 1.0  # how long the rest of a reply may take before the connection is cut


class PostFailed(Exception):
    """No HTTP status was received; the message says why and is shown to the application's owner."""


class Poster(Protocol):
    """Sends a request and returns the reply's status. The caller limits the time by cancelling."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Raises PostFailed."""
        ...

    async def close(self) -> None: ...


@final
class HttpPoster:
    """The real one. `connector` decides which addresses may be dialled (`fetching.guard`)."""

    def __init__(self, clock: Clock, connector: aiohttp.BaseConnector) -> None:
        self._clock = clock
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers={"User-Agent": "roomtape"},
        )
        self._drains: set[asyncio.Task[None]] = set()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        try:
            response = await self._session.post(url, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PostFailed(_reason(error)) from error
        # The status decides; the body is read aside, only so that the receiver may finish writing it.
        drain = asyncio.create_task(self._drain(response))
        self._drains.add(drain)
        drain.add_done_callback(self._drains.discard)
        return response.status

    async def close(self) -> None:
        for drain in list(self._drains):
            drain.cancel()
        await asyncio.gather(*self._drains, return_exceptions=True)
        await self._session.close()

    async def _drain(self, response: aiohttp.ClientResponse) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            await within(self._clock, DRAIN_S, _read(response))
        response.close()


async def _read(response: aiohttp.ClientResponse) -> None:
    """Read and forget, at most the limit."""
    left = REPLY_LIMIT_BYTES
    while left > 0:
        chunk = await response.content.read(min(left, 8192))
        if not chunk:
            return
        left -= len(chunk)


def _reason(error: Exception) -> str:
    """A short text without addresses of ours."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"certificate refused: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefused):
        return str(error.os_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.InvalidURL):
        return "not a valid URL"
    return f"{type(error).__name__}: {error}"
