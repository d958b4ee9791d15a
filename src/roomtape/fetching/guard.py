"""Which addresses the server dials for a tenant: global ones, and what the operator allows.

A name is resolved once, every address it has must be permitted, and the connection goes to exactly the
address that was checked (the check is made again on the socket's own address, after all resolving), so
that a name that answers differently the second time gains nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from roomtape.errors import DomainError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_LIMIT = 2083

# Global by the registry, but a way to other addresses or never a receiver.
_NEVER: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT; clouds put their metadata service at 100.100.100.200
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "240.0.0.0/4",
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64: reaches IPv4
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fec0::/10",
    )
)
_LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_NUMERIC_HOST = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)


# Web ports, and the unprivileged ones but those browsers do not dial either (Fetch standard, "bad port"):
# mail, chat and telephony servers take commands that a request can be made to look like.
_BAD_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
)


class AddressRefused(DomainError, OSError):
    """The URL names an address that this server does not dial for tenants."""


class Guard:
    """The rules. `allow` are networks of the operator's choice; `allow_loopback` is for development."""

    def __init__(
        self,
        allow: Iterable[str] = (),
        *,
        allow_loopback: bool = False,
        own: Iterable[str] = (),
    ) -> None:
        """`own` are global addresses of this server itself, refused like loopback.

        Raises:
            ValueError: something in `allow` or `own` is not a network or address.
        """
        self._allow: list[Network] = [ipaddress.ip_network(text, strict=False) for text in allow]
        self._own: set[Address] = {ipaddress.ip_address(text) for text in own}
        if allow_loopback:
            self._allow += _LOOPBACK

    def check_url(self, url: str, schemes: frozenset[str] = frozenset({"http", "https"})) -> None:
        """What can be said of a URL without resolving its host. Raises AddressRefused."""
        if len(url) > URL_LIMIT:
            raise AddressRefused(f"the URL has more than {URL_LIMIT} characters")
        if any(character <= " " or character == "\x7f" for character in url):
            raise AddressRefused("the URL holds a space or control character")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise AddressRefused("the URL is malformed") from None
        if parts.scheme not in schemes:
            raise AddressRefused(f"the URL must begin with {' or '.join(sorted(s + '://' for s in schemes))}")
        if parts.username is not None or parts.password is not None:
            raise AddressRefused("the URL must not hold a user name or password")
        if not host:
            raise AddressRefused("the URL has no host")
        address = _literal(host)
        if address is not None:
            self.check(address)
        elif _NUMERIC_HOST.fullmatch(host):
            raise AddressRefused("the URL's address is not written as four plain decimal numbers")

    def check(self, address: Address) -> None:
        """Raises AddressRefused unless this address may be dialled."""
        real = _unmapped(address)
        if any(real in network for network in self._allow if network.version == real.version):
            return
        permitted = (
            real.is_global
            and not real.is_multicast
            and not any(real in network for network in _NEVER if network.version == real.version)
            and real not in self._own
        )
        if not permitted:
            raise AddressRefused("the address is not a public one")

    def connector(self) -> aiohttp.TCPConnector:
        """A connector for aiohttp that keeps the rules, whatever URL it is given.

        Connections are not kept: one that the other side closed meanwhile would fail a POST that
        nobody refused. No limit is shared between hosts.
        """
        return aiohttp.TCPConnector(
            resolver=GuardedResolver(self),
            socket_factory=self._socket,
            use_dns_cache=False,
            force_close=True,
            limit=0,
        )

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Called with the very address that is going to be dialled."""
        family, kind, protocol, _, destination = info
        self.check(ipaddress.ip_address(destination[0].split("%")[0]))
        return socket.socket(family, kind, protocol)


def check_port(port: int) -> None:
    """Raises AddressRefused for a port that no web server of a tenant is on."""
    if port not in (80, 443) and (not 1024 <= port <= 65535 or port in _BAD_PORTS):
        raise AddressRefused("the port is not one of a web server")


class GuardedResolver(AbstractResolver):
    """Resolves by the system; one forbidden address among the answers refuses the name."""

    def __init__(self, guard: Guard, inner: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._inner = inner or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for result in found:
            self._guard.check(ipaddress.ip_address(result["host"].split("%")[0]))
        return found

    async def close(self) -> None:
        await self._inner.close()


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return None


def _unmapped(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped IPv6 one, which the system would dial."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
