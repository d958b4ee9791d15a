"""Who may push by RTMP, and what a refused client is told."""

from __future__ import annotations

import pytest

from roomtape.rooms.media import CoreEvents
from roomtape.rooms.rtmp import BadStreamKey, RtmpDoor, parse
from tests.support.stage import Stage


def test_the_address_of_the_documentation() -> None:
    who = parse("push", "class_7?sdkappid=1400000001&userid=amy&usersig=eJw*-_x")
    assert (who.name.key, who.user_id, who.user_sig.reveal()) == ("1400000001/s/class_7", "amy", "eJw*-_x")
    assert who.ticket is None


def test_order_is_free_and_the_rest_is_read_too() -> None:
    who = parse("push/", "123?usersig=s&use_number_room_id=1&userid=a%2Bb&private_map_key=k&sdkappid=7")
    assert (who.name.key, who.user_id) == ("7/i/123", "a+b")
    assert who.ticket is not None
    assert who.ticket.reveal() == "k"


def test_a_number_without_the_switch_is_a_string_room() -> None:
    assert parse("push", "22998?sdkappid=7&userid=a&usersig=s").name.key == "7/s/22998"


@pytest.mark.parametrize(
    ("app", "key", "told"),
    [
        ("live", "r?sdkappid=7&userid=a&usersig=s", "rtmp://host/push/"),
        ("push", "r", "sdkappid, userid, usersig missing"),
        ("push", "r?sdkappid=7&userid=a", "usersig missing"),
        ("push", "r?sdkappid=x&userid=a&usersig=s", "not a number"),
        ("push", "a-b?sdkappid=7&userid=a&usersig=s", "1 to 64 characters"),
        ("push", "?sdkappid=7&userid=a&usersig=s", "1 to 64 characters"),
        ("push", "r?sdkappid=7&userid=a&usersig=s&use_number_room_id=1", "4294967295"),
    ],
)
def test_an_address_that_is_none(app: str, key: str, told: str) -> None:
    with pytest.raises(BadStreamKey, match=told):
        parse(app, key)


def _key(server: Stage, user: str, sig: str | None = None) -> str:
    signature = server.sig(user).reveal() if sig is None else sig
    return f"class?sdkappid={server.sdk_app_id}&userid={user}&usersig={signature}"


class Doorway:
    """The door wired to the twin, as the server wires it."""

    def __init__(self, server: Stage) -> None:
        self.server = server
        self.events = CoreEvents(server.rooms)
        self.door = RtmpDoor(server.access, server.rooms, server.core)
        self.events.open_rtmp(self.door)

    async def settle(self) -> None:
        """Handle what the core says and wait for the door's answers."""
        for event in self.server.core.poll():
            self.events.handle(event)
        await self.door.settled()


async def test_a_push_enters_as_an_anchor_and_leaves_with_its_connection(server: Stage) -> None:
    doorway = Doorway(server)
    conn = server.core.push(_key(server, "bob"))
    await doorway.settle()
    assert server.core.pushes == {conn: (server.room().key, "bob")}
    assert server.rooms.anchors(server.room()) == ["bob"]
    server.core.end_push(conn)
    await doorway.settle()
    await server.rooms_ledger.settled()
    assert [row.type for row in await server.events()] == [101, 103, 104, 102]
    entry = next(row.fact for row in await server.events() if row.type == 103)
    assert (entry["user_type"], entry["terminal_type"], entry["role"]) == (3, 100, 20)


async def test_a_refused_push_is_told_why_and_never_shown_its_signature(
    server: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    doorway = Doorway(server)
    sig = server.sig("somebody").reveal()
    server.core.push(_key(server, "bob", sig))
    await doorway.settle()
    server.core.push(f"class?sdkappid=1&userid=bob&usersig={sig}")
    await doorway.settle()
    first, second = (text for _, text in server.core.refused)
    assert first.startswith("UserSig refused:")
    assert second == "no such application: sdkappid=1"
    assert server.core.pushes == {}
    assert server.rooms.room(server.room()) is None
    printed = capsys.readouterr()
    assert sig not in printed.out + printed.err + first


async def test_a_push_that_goes_while_it_is_asked_about_leaves_nobody_behind(server: Stage) -> None:
    doorway = Doorway(server)
    conn = server.core.push(_key(server, "bob"))
    for event in server.core.poll():
        doorway.events.handle(event)
    doorway.door.closed(conn)
    await doorway.settle()
    assert server.rooms.room(server.room()) is None


async def test_permission_control_asks_for_a_ticket(server: Stage) -> None:
    await server.access.set_permission_control(server.sdk_app_id, True)
    doorway = Doorway(server)
    server.core.push(_key(server, "bob"))
    await doorway.settle()
    assert server.core.refused[0][1].startswith("private_map_key refused:")


@pytest.mark.parametrize(
    ("reason", "event"),
    [("B-frames: set bf=0", "rtmp_refused"), ("chunk stream 9 is too long", "rtmp_refused"),
     ("closed", "rtmp_closed"), ("ordered", "rtmp_closed")],
)  # fmt: skip
async def test_why_a_push_ended_is_said_once(
    server: Stage, reason: str, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    doorway = Doorway(server)
    conn = server.core.push(_key(server, "bob"))
    await doorway.settle()
    doorway.events.handle(("rtmp_closed", conn, server.room().key, "bob", reason))
    lines = [line for line in capsys.readouterr().out.splitlines() if reason in line and "rtmp_" in line]
    assert len(lines) == 1
    assert event in lines[0]
    assert server.room().key in lines[0]
    assert "bob" in lines[0]
    assert server.rooms.anchors(server.room()) == []
