"""The guarded connector against real sockets, with resolvers that lie."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from roomtape.fetching.guard import AddressRefused, Guard, GuardedResolver


class Lying(AbstractResolver):
    """Answers with the given addresses, one list per question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        return None


@pytest.fixture
async def server() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A loopback port, and what arrived there."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1], seen
    listener.close()
    await listener.wait_closed()


def _connector(guard: Guard, resolver: AbstractResolver) -> aiohttp.TCPConnector:
    connector = guard.connector()
    connector._resolver = GuardedResolver(guard, resolver)
    return connector


async def _get(connector: aiohttp.TCPConnector, url: str) -> int:
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
        return response.status


async def _refused(connector: aiohttp.TCPConnector, url: str) -> None:
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await _get(connector, url)
    assert isinstance(caught.value.os_error, AddressRefused)


async def test_a_name_of_loopback_is_refused_before_a_connection(server: tuple[int, list[bytes]]) -> None:
    port, seen = server
    await _refused(_connector(Guard(), Lying(["127.0.0.1"])), f"http://x.test:{port}/")
    assert seen == []


async def test_one_forbidden_address_among_others_refuses_the_name(server: tuple[int, list[bytes]]) -> None:
    port, seen = server
    await _refused(_connector(Guard(), Lying(["93.184.216.34", "127.0.0.1"])), f"http://x.test:{port}/")
    assert seen == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
async def test_literals_and_system_names_are_checked_too(server: tuple[int, list[bytes]], host: str) -> None:
    """aiohttp resolves no literal; the check on the socket's address sees it all the same."""
    port, seen = server
    await _refused(Guard().connector(), f"http://{host}:{port}/")
    assert seen == []


async def test_a_resolver_that_is_bypassed_changes_nothing(server: tuple[int, list[bytes]]) -> None:
    """As if the checked answer and the dialled one differed (rebinding): the socket check still holds."""
    port, seen = server
    guard = Guard()
    connector = guard.connector()
    connector._resolver = Lying(["127.0.0.1"])
    await _refused(connector, f"http://x.test:{port}/")
    assert seen == []


async def test_development_reaches_loopback(server: tuple[int, list[bytes]]) -> None:
    port, seen = server
    assert await _get(Guard(allow_loopback=True).connector(), f"http://127.0.0.1:{port}/x") == 200
    assert seen == [b"GET /x HTTP/1.1\r\n"]
