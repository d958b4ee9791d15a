"""WHIP and WHEP as a client sees them: statuses, headers, resources."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from roomtape.state.schema import watches
from tests.integration.server.conftest import Door


async def test_a_publisher_is_let_in_and_out(door: Door) -> None:
    entered = await door.offer(door.pub())
    assert entered.status == 201
    assert entered.headers["Content-Type"] == "application/sdp"
    assert entered.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    assert "Location" in entered.headers["Access-Control-Expose-Headers"]
    assert (await entered.text()).startswith("v=0")
    assert door.server.rooms.anchors(door.server.room()) == ["amy"]
    peer = next(iter(door.server.core.peers.values()))
    assert (peer.room, peer.user, peer.seat, peer.kind) == (door.server.room().key, "amy", "main", "publish")

    ended = await door.ask("DELETE", door.url + entered.headers["Location"])
    assert ended.status == 200
    assert door.server.core.peers == {}
    assert door.server.rooms.room(door.server.room()) is None
    again = await door.ask("DELETE", door.url + entered.headers["Location"])
    assert again.status == 404


async def test_a_room_of_numbers_and_the_substream(door: Door) -> None:
    assert (await door.offer(door.pub(room="7", RoomIdType="1"))).status == 201
    assert (await door.offer(door.pub(room="7", RoomIdType="1", stream="aux"))).status == 201
    assert [p.seat for p in door.server.core.peers.values()] == ["main", "aux"]
    assert door.server.rooms.anchors(door.server.room("i", "7")) == ["amy"]


async def test_a_viewer_sees_the_first_publisher_or_whom_he_names(door: Door) -> None:
    await door.offer(door.pub())
    await door.offer(door.pub("bob"), user="bob")
    assert (await door.offer(door.sub(), user="eve")).status == 201
    assert (await door.offer(door.sub(), user="eve")).status == 201
    named = door.sub() + "&user=bob&stream=aux"
    assert (await door.offer(named, user="eve")).status == 201
    watched = [(p.watch_user, p.watch_stream) for p in door.server.core.peers.values() if p.kind == "play"]
    assert watched == [("bob", "aux")]  # the same seat: each offer took the place of the one before
    assert door.server.rooms.anchors(door.server.room()) == ["amy", "bob"]
    await door.server.rooms_ledger.settled()
    async with door.server.db.read() as conn:
        rows = (await conn.execute(sa.select(watches).order_by(watches.c.id))).all()
    assert [(row.user_id, row.peer_id, row.stream, row.ended_ms is None) for row in rows] == [
        ("eve", "amy", "main", False),
        ("eve", "amy", "main", False),
        ("eve", "bob", "aux", True),
    ]


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ({}, {"Content-Type": "text/plain"}, 415),
        ({}, {"Authorization": ""}, 401),
        ({}, {"Authorization": "Basic eDp5"}, 401),
        ({"app": "1"}, {}, 404),
        ({"app": "none"}, {}, 404),
        ({"room": "a%22b"}, {}, 400),
        ({"RoomIdType": "1"}, {}, 400),
        ({"RoomIdType": "2"}, {}, 400),
    ],
)
async def test_what_is_refused(
    door: Door, query: dict[str, str], headers: dict[str, str], status: int
) -> None:
    refused = await door.offer(door.pub(**query), **headers)
    assert refused.status == status
    assert refused.headers["Access-Control-Allow-Origin"] == "*"
    assert set(await refused.json()) == {"code", "message"}
    assert door.server.core.peers == {}


async def test_who_is_refused(door: Door) -> None:
    stranger = await door.offer(door.pub(), sig=door.server.sig("somebody").reveal())
    assert (stranger.status, (await stranger.json())["code"]) == (403, -100018)
    nameless = await door.offer(f"{door.url}/v2/pub/{door.server.sdk_app_id}/class")
    assert nameless.status == 400
    await door.server.access.set_permission_control(door.server.sdk_app_id, True)
    without = await door.offer(door.pub())
    assert (without.status, (await without.json())["code"]) == (403, -100006)


async def test_f11_offers_that_make_no_session(door: Door) -> None:
    assert (await door.offer(door.pub(), body="no sdp")).status == 400
    assert (await door.offer(door.pub(), body="v=0" + "x" * 70_000)).status == 400
    assert (await door.offer(door.sub(), user="eve")).status == 404  # nobody publishes
    door.server.core.refuse_offers = ("no_codec", "no usable codec")
    refused = await door.offer(door.pub())
    assert (refused.status, (await refused.json())["message"]) == (400, "no usable codec")
    assert door.server.rooms.room(door.server.room()) is None


async def test_a_second_substream_is_a_conflict(door: Door) -> None:
    await door.offer(door.pub(stream="aux"))
    second = await door.offer(door.pub("bob", stream="aux"), user="bob")
    assert (second.status, (await second.json())["code"]) == (409, -102016)


async def test_a_user_who_offers_too_often_waits(door: Door) -> None:
    statuses = [(await door.offer(door.pub())).status for _ in range(21)]
    assert statuses == [201] * 20 + [429]
    assert (await door.offer(door.pub("bob"), user="bob")).status == 201
    await door.server.clock.advance(10)
    assert (await door.offer(door.pub())).status == 201


async def test_candidates_and_restarts_reach_the_peer(door: Door) -> None:
    entered = await door.offer(door.pub())
    resource = door.url + entered.headers["Location"]
    kind = {"Content-Type": "application/trickle-ice-sdpfrag"}
    more = await door.ask("PATCH", resource, data="a=candidate:1", headers=kind)
    assert more.status == 204
    etag = {"If-Match": entered.headers["ETag"]}
    restart = await door.ask("PATCH", resource, data="a=ice-ufrag:x", headers={**kind, **etag})
    assert (restart.status, await restart.text()) == (200, "a=ice-ufrag:new\r\n")
    other = await door.ask("PATCH", resource, data="a=candidate:2", headers={**kind, "If-Match": '"other"'})
    assert other.status == 412
    assert (await door.ask("PATCH", resource, data="x", headers={"Content-Type": "text/plain"})).status == 415
    assert len(door.server.core.patches) == 2


async def test_a_resource_cannot_be_guessed_from_another(door: Door) -> None:
    entered = await door.offer(door.pub())
    location = door.url + entered.headers["Location"]
    assert (await door.ask("DELETE", location[:-3] + "xyz")).status == 404
    assert (await door.ask("DELETE", location.rpartition("/")[0] + "/not-a-number")).status == 404
    assert len(door.server.core.peers) == 1


async def test_browsers_may_ask_first(door: Door) -> None:
    for url in (door.pub(), door.sub(), door.pub().partition("?")[0] + "/1-x"):
        asked = await door.ask("OPTIONS", url)
        assert asked.status == 204
        assert asked.headers["Access-Control-Allow-Origin"] == "*"
        assert {"POST", "PATCH", "DELETE"} <= set(asked.headers["Access-Control-Allow-Methods"].split(", "))
        assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]


async def test_a_signature_is_never_printed(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    sig = door.server.sig("somebody").reveal()
    await door.offer(door.pub(), sig=sig)
    await door.offer(door.pub())
    printed = capsys.readouterr()
    assert sig not in printed.out + printed.err
    assert door.server.sig("amy").reveal() not in printed.out + printed.err
