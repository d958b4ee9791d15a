"""Addresses and URLs that are dialled for a tenant, and those that never are."""

from __future__ import annotations

import ipaddress

import pytest

from roomtape.fetching.guard import AddressRefused, Guard

PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "0.0.0.0",
    "0.1.2.3",
    "192.0.0.8",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_dialled(text: str) -> None:
    Guard().check(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PRIVATE)
def test_no_other_address_is(text: str) -> None:
    with pytest.raises(AddressRefused):
        Guard().check(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PRIVATE)
def test_development_adds_loopback_and_nothing_else(text: str) -> None:
    guard = Guard(allow_loopback=True)
    address = ipaddress.ip_address(text)
    if text in ("127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"):
        guard.check(address)
    else:
        with pytest.raises(AddressRefused):
            guard.check(address)


def test_an_operator_may_allow_networks() -> None:
    guard = Guard(["10.1.0.0/16", "fd00::/8"])
    guard.check(ipaddress.ip_address("10.1.2.3"))
    guard.check(ipaddress.ip_address("::ffff:10.1.2.3"))
    guard.check(ipaddress.ip_address("fd00::5"))
    with pytest.raises(AddressRefused):
        guard.check(ipaddress.ip_address("10.2.0.1"))


def test_the_servers_own_addresses_are_refused() -> None:
    with pytest.raises(AddressRefused):
        Guard(own=["93.184.216.34"]).check(ipaddress.ip_address("93.184.216.34"))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://example.com:8443/a/b?c=d&e=%20",
        "http://93.184.216.34:80/x",
        "http://[2606:4700:4700::1111]/",
    ],
)
def test_ordinary_urls_pass(url: str) -> None:
    Guard().check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/x",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://example.com:99999/",
        "http://example.com:x/",
        "http://exa mple.com/",
        "http://example.com/\r\nX: y",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "http://[::1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://010.8.8.8/",
        "http://1.1.1.1./",
        "http://example.com/" + "a" * 2083,
    ],
)
def test_odd_and_forbidden_urls_do_not(url: str) -> None:
    with pytest.raises(AddressRefused):
        Guard().check_url(url)
