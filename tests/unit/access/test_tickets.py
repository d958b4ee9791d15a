"""PrivateMapKey against the vectors of the official libraries, and everything that must fail."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomtape.access import tickets, usersig
from roomtape.access.errors import TicketRefused
from roomtape.access.tickets import Block, Right, RoomType

K1 = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
K2 = "key-for-tests-0123456789"


class Vector(NamedTuple):
    app: int
    user: str
    time_s: int
    expire_s: int
    key: str
    room_type: RoomType
    room: str
    rights: int
    userbuf: str
    signature: str
    ticket: str


P1 = Vector(
    *(1400000000, "xiaojun", 1700000000, 86400, K1, "i", "10000", 255),
    "AAAHeGlhb2p1blNyTgAAACcQZVVCgAAAAP8AAAAA",
    "m5WPLBP4ZpMhjE/+GSzmHQEKbLMxsvWih1uhJTQ0sPw=",
    "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkKjIT87NK82CSxSnZiQUFmSlAKUMTAyiAyqVWFGQWpQJlLMxM4IIlmbkgIUNz"
    "NMWlxalFSaVpICscHR09Ut1zMpKMCgyTcvwqQ9KBIs7JgVFhYc4gpmOABYh0hLshMx2kLdc0PMDHKcAkqsA3I8tVX9s9uCrXI9DVO8nH"
    "t6K4LDwzw7A0wysk0KA4oNxWqRYAOOdEog__",
)
P2 = Vector(
    *(1400000000, "xiaojun", 1700000000, 86400, K1, "s", "adbjkl", 42),
    "AQAHeGlhb2p1blNyTgAAAAAAZVVCgAAAACoAAAAAAAZhZGJqa2w=",
    "srKkR+D9Gj1W6IZmuCGDMFuJoPTGGka3eAu9yyFWHT8=",
    "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkKjIT87NK82CSxSnZiQUFmSlAKUMTAyiAyqVWFGQWpQJlLMxM4IIlmbkgIUNz"
    "NMWlxalFSaVpICscAx09Ut1zMpKMCgyTcvwqQ9IdwSAqLMwZzHTOd4SKZES5exUmGpXbwt2TmQ4yorjIOztI28XSPcsw3MwzKrfU2d3F"
    "163UKz8gxN09O9E41bHUsrLSLdwjxMJWqRYAk-dIFw__",
)
P3 = Vector(
    *(20000123, "user_A-1", 1750000000, 300, K2, "i", "4294967294", 22),
    "AAAIdXNlcl9BLTEBMS17/////mhO4qwAAAAWAAAAAA==",
    "tS8z2sEEhhcGkFQD0zKrb4kC1WHncHr0iNvmi53tQv4=",
    "eJw9js0KgkAURl8lZl02o0Y-4GIsy8gKUbBdpI55UcNGszB69xy1zvIc7sd9I9dypIpxtBggWcJoOGgNhOxWQgRdeBSMn*mI-GoRJpc8"
    "h7BpMm4gstIX9sqBs8YrGPeqhEwIMp3gjt6LUf8RiX1K6TY8HdIgneuWa*h7h0zHgiw*qvdnk6lHWzTt-wNcxWnpzGq5MIw4DjbJ2l7h"
    "esd9NVkSz7wFJsdwqDKYKKVdqRr6fAEFZEPQ",
)
P4 = Vector(
    *(20000123, "user_A-1", 1750000000, 300, K2, "s", "room #1@x", 63),
    "AQAIdXNlcl9BLTEBMS17AAAAAGhO4qwAAAA/AAAAAAAJcm9vbSAjMUB4",
    "RC5bLrVQRXXU68txITjZSjVUa/RtPzN046an65wwVMU=",
    "eJw9jksLgkAURv*KzLpyfPaAFmNEFFrpqEib0BxrTMXMVIr*e05aZ3U5Bz7uC9g6HlWkADMOiCMIBtzX0JBkJY1oFx53UhzRUPjVe3j1"
    "85yGbRNhiyBKfSFNTgvSegnCXpU0ZUIYK7Cj92w0eERsH5loHXrb5JRMNd1eagYWxoixuuzkW80uHnVsTum0CjCKDUeT---QM5uxFkqg"
    "F65peZ6jTspmbccHHLuOz1vl-rmFsupnqlLXruHMwfsDaHVHrw__",
)
VECTORS = {"P1": P1, "P2": P2, "P3": P3, "P4": P4}


@pytest.mark.parametrize("name", VECTORS)
def test_the_librarys_ticket_grants_what_it_says(name: str) -> None:
    v = VECTORS[name]
    content = usersig.parse(v.ticket)
    assert (content.userbuf, content.signature) == (v.userbuf, v.signature)
    rights = tickets.verify(
        v.ticket, [v.key], v.app, v.user, v.room_type, v.room, now_s=v.time_s + v.expire_s
    )
    assert rights == v.rights


@pytest.mark.parametrize("name", VECTORS)
def test_ours_holds_the_same_block_and_signature(name: str) -> None:
    v = VECTORS[name]
    ours = tickets.issue(
        v.key, v.app, v.user, v.room_type, v.room, time_s=v.time_s, expire_s=v.expire_s, rights=v.rights
    )
    assert usersig.parse(ours) == usersig.parse(v.ticket)


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("change", ["room", "type", "user", "app", "key", "expired", "usersig"])
def test_refused_outside_what_it_was_made_for(name: str, change: str) -> None:
    v = VECTORS[name]
    now_s = v.time_s
    if change == "room":
        v = v._replace(room="7")
    elif change == "type":  # room 10000 and room "10000" are two rooms
        v = v._replace(room_type="i" if v.room_type == "s" else "s")
    elif change == "user":
        v = v._replace(user="other")
    elif change == "app":
        v = v._replace(app=1)
    elif change == "key":
        v = v._replace(key="other")
    elif change == "expired":
        now_s = v.time_s + v.expire_s + 1
    else:
        v = v._replace(ticket=usersig.issue(v.key, v.app, v.user, time_s=v.time_s))
    with pytest.raises(TicketRefused) as refused:
        tickets.verify(v.ticket, [v.key], v.app, v.user, v.room_type, v.room, now_s=now_s)
    assert refused.value.code == -100006


def granted(block: bytes) -> Right:
    ticket = usersig.issue("k", 1, "u", time_s=0, expire_s=1000, userbuf=block)
    return tickets.verify(ticket, ["k"], 1, "u", "i", "7", now_s=10)


BLOCK = Block("u", 1, "i", "7", 500, Right(3))


def test_the_block_is_bound_like_the_ticket_around_it() -> None:
    assert granted(tickets.pack(BLOCK)) == Right.CREATE | Right.ENTER
    for wrong in (
        Block("v", 1, "i", "7", 500, Right(3)),
        Block("u", 2, "i", "7", 500, Right(3)),
        Block("u", 1, "i", "8", 500, Right(3)),
        Block("u", 1, "s", "7", 500, Right(3)),
        Block("u", 1, "i", "7", 9, Right(3)),
        Block("u", 1, "i", "0", 500, Right(3)),  # no wildcard
    ):
        with pytest.raises(TicketRefused):
            granted(tickets.pack(wrong))


@pytest.mark.parametrize("broken", [b"", b"\x00", tickets.pack(BLOCK) + b"\0", tickets.pack(BLOCK)[:-1]])
def test_a_block_of_another_length_is_refused(broken: bytes) -> None:
    with pytest.raises(TicketRefused):
        granted(broken)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(TicketRefused):
        granted(b"\x02" + tickets.pack(BLOCK)[1:])


def test_bits_above_the_eighth_are_ignored() -> None:
    assert granted(tickets.pack(Block("u", 1, "i", "7", 500, Right(0x102)))) == Right.ENTER


@pytest.mark.parametrize(
    ("right", "code"),
    [
        (Right.CREATE, -102010),
        (Right.ENTER, -102011),
        (Right.SEND_VIDEO, -102013),
        (Right.SEND_AUDIO, -102013),
        (Right.SEND_SUBSTREAM, -102015),
        (Right.RECEIVE_VIDEO, -102019),
    ],
)
def test_a_missing_right_has_its_own_code(right: Right, code: int) -> None:
    tickets.require(tickets.ALL_RIGHTS, right)
    with pytest.raises(TicketRefused) as refused:
        tickets.require(tickets.ALL_RIGHTS & ~right, right)
    assert refused.value.code == code


@given(
    user=st.text(max_size=40).filter(lambda t: t.encode("utf-8", "ignore").decode() == t),
    room=st.text(max_size=64).filter(lambda t: t.encode("utf-8", "ignore").decode() == t),
    rights=st.integers(0, 255),
)
def test_a_packed_block_reads_back(user: str, room: str, rights: int) -> None:
    block = Block(user, 20000123, "s", room, 4_000_000_000, Right(rights))
    assert tickets.unpack(tickets.pack(block)) == block


@given(st.binary(max_size=80))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        block = tickets.unpack(data)
    except ValueError:
        return
    assert tickets.unpack(tickets.pack(block)) == block
