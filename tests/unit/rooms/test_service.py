"""Memberships, seats, roles and their ends, with the events that tell of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from roomtape.clock import ManualClock
from roomtape.rooms import record
from roomtape.rooms.errors import RoomFull, RoomNotFound, SubstreamTaken
from roomtape.rooms.media import CoreEvents
from roomtape.rooms.model import MAX_PUBLISHERS, Scene, Session
from roomtape.state.database import Database
from roomtape.state.schema import rooms, stays, track_sizes, tracks
from tests.support.stage import Stage, stage

NAME = "class"


def whip(handle: int, seat: str = "main") -> Session:
    return Session("aux" if seat == "aux" else "main", "whip", handle, resource=f"{handle}-x")


def whep(handle: int) -> Session:
    return Session("play", "whep", handle, resource=f"{handle}-x")


async def told(server: Stage) -> list[tuple[object, ...]]:
    """The room's events so far: type, user, and the reason or role that matters."""
    await server.rooms_ledger.settled()
    found: list[tuple[object, ...]] = []
    for row in await server.events():
        fact = row.fact
        match row.type:
            case 104:
                found.append((104, fact["user_id"], fact["reason"]))
            case 105:
                found.append((105, fact["user_id"], fact["role"]))
            case 102:
                found.append((102,))
            case _:
                found.append((row.type, fact["user_id"]))
    return found


async def test_the_first_user_opens_the_room_and_the_last_anchor_closes_it(server: Stage) -> None:
    amy, bob = whip(1), whip(2)
    server.rooms.enter(server.room(), "amy", amy)
    server.rooms.enter(server.room(), "bob", bob)
    assert server.rooms.anchors(server.room()) == ["amy", "bob"]
    server.rooms.leave(amy)
    server.rooms.leave(bob)
    assert await told(server) == [
        (101, "amy"),
        (103, "amy"),
        (103, "bob"),
        (104, "amy", 1),
        (104, "bob", 1),
        (102,),
    ]
    assert server.rooms.room(server.room()) is None
    assert await server.count(rooms, rooms.c.destroyed_ms.is_not(None)) == 1
    assert await server.count(stays, stays.c.left_ms.is_not(None)) == 2


async def test_the_facts_of_an_entry(server: Stage) -> None:
    server.rooms.enter(server.room(), "amy", whip(1))
    server.rooms.enter(server.room(), "eve", whep(2))
    await server.rooms_ledger.settled()
    entries = [row.fact for row in await server.events() if row.type == 103]
    common = {"room_type": "s", "room_id": NAME, "terminal_type": 100, "user_type": 1, "reason": 1}
    assert entries == [
        {**common, "user_id": "amy", "role": 20},
        {**common, "user_id": "eve", "role": 21},
    ]


async def test_a_live_room_outlives_its_last_viewer_by_ten_minutes(server: Stage, clock: ManualClock) -> None:
    amy, eve = whip(1), whep(2)
    server.rooms.enter(server.room(), "amy", amy)
    server.rooms.enter(server.room(), "eve", eve)
    server.rooms.leave(amy)
    server.rooms.leave(eve)
    await clock.advance(599)
    assert (102,) not in await told(server)
    await clock.advance(1)
    assert (await told(server))[-1] == (102,)


async def test_an_entry_ends_the_linger_without_a_new_101(server: Stage, clock: ManualClock) -> None:
    eve = whep(1)
    server.rooms.enter(server.room(), "eve", eve)
    server.rooms.leave(eve)
    await clock.advance(500)
    server.rooms.enter(server.room(), "amy", whip(2))
    await clock.advance(500)
    assert [event[0] for event in await told(server)] == [101, 103, 104, 103]


async def test_a_call_closes_with_its_last_user(server: Stage) -> None:
    eve = whep(1)
    server.rooms.enter(server.room(), "eve", eve, scene=Scene.VIDEO_CALL)
    server.rooms.leave(eve)
    assert (await told(server))[-1] == (102,)


async def test_a_lost_user_leaves_after_ninety_seconds_and_the_empty_room_closes(
    server: Stage, clock: ManualClock
) -> None:
    amy = whip(1)
    server.rooms.enter(server.room(), "amy", amy)
    server.rooms.lost(amy)
    await clock.advance(89)
    assert server.rooms.anchors(server.room()) == ["amy"]
    assert [event[0] for event in await told(server)] == [101, 103]
    await clock.advance(1)
    assert (await told(server))[2:] == [(104, "amy", 2), (102,)]


async def test_whoever_is_back_in_time_was_never_away(server: Stage, clock: ManualClock) -> None:
    amy, again = whip(1), whip(2)
    server.rooms.enter(server.room(), "amy", amy)
    server.rooms.lost(amy)
    await clock.advance(60)
    server.rooms.found(amy)
    await clock.advance(100)
    server.rooms.lost(amy)
    await clock.advance(60)
    server.rooms.enter(server.room(), "amy", again)  # a new session, of the same membership
    await clock.advance(100)
    assert await told(server) == [(101, "amy"), (103, "amy")]
    assert await server.count(stays) == 1


async def test_a_new_session_ends_the_one_that_holds_its_seat(server: Stage) -> None:
    old, new = whip(1), whip(2)
    server.rooms.enter(server.room(), "amy", old)
    server.rooms.enter(server.room(), "amy", new)
    assert await told(server) == [(101, "amy"), (103, "amy"), (104, "amy", 3), (103, "amy")]
    server.rooms.leave(old)  # the core tells of the old one's end, later
    assert server.rooms.anchors(server.room()) == ["amy"]


async def test_a_viewer_with_the_publishers_name_does_not_put_him_out(server: Stage) -> None:
    amy, viewer, share = whip(1), whep(2), whip(3, "aux")
    server.rooms.enter(server.room(), "amy", amy)
    server.rooms.enter(server.room(), "amy", viewer)
    server.rooms.enter(server.room(), "amy", share)
    assert await told(server) == [(101, "amy"), (103, "amy")]
    server.rooms.leave(share)
    server.rooms.leave(amy)
    assert (await told(server))[2:] == [(105, "amy", 21)]
    server.rooms.leave(viewer)
    assert (await told(server))[3:] == [(104, "amy", 1)]


async def test_media_given_up_by_one_who_stays_is_told_before_his_role(server: Stage) -> None:
    events = CoreEvents(server.rooms)
    amy, viewer = whip(1), whep(2)
    server.rooms.enter(server.room(), "amy", amy)
    server.rooms.enter(server.room(), "amy", viewer)
    for kind, codec in (("audio", "opus"), ("video", "h264")):
        server.core.publish(server.room().key, "amy", kind, codec)
    for event in server.core.poll():
        events.handle(event)
    server.rooms.leave(amy)
    assert (await told(server))[2:] == [
        (203, "amy"),
        (201, "amy"),
        (204, "amy"),
        (202, "amy"),
        (105, "amy", 21),
    ]


async def test_leaving_tells_only_of_leaving(server: Stage) -> None:
    events = CoreEvents(server.rooms)
    amy = whip(1)
    server.rooms.enter(server.room(), "amy", amy)
    number = server.core.publish(server.room().key, "amy", "video", "h264")
    server.core.resize(number, 640, 360)
    for event in server.core.poll():
        events.handle(event)
    server.rooms.leave(amy)
    for event in server.core.poll():
        events.handle(event)
    assert await told(server) == [
        (101, "amy"),
        (103, "amy"),
        (201, "amy"),
        (104, "amy", 1),
        (102,),
    ]
    assert await server.count(tracks, tracks.c.codec == "h264") == 1
    assert await server.count(track_sizes, track_sizes.c.width == 640) == 1


async def test_only_one_user_of_a_room_shares(server: Stage) -> None:
    server.rooms.enter(server.room(), "amy", whip(1, "aux"))
    with pytest.raises(SubstreamTaken):
        server.rooms.enter(server.room(), "bob", whip(2, "aux"))
    server.rooms.enter(server.room(), "bob", whip(3))
    server.rooms.enter(server.room("s", "other"), "bob", whip(4, "aux"))


async def test_fifty_publish_and_the_fifty_first_may_only_watch(server: Stage) -> None:
    for number in range(MAX_PUBLISHERS):
        server.rooms.enter(server.room(), f"user{number}", whip(number + 1))
    with pytest.raises(RoomFull):
        server.rooms.enter(server.room(), "late", whip(100))
    server.rooms.enter(server.room(), "late", whep(101))
    server.rooms.enter(server.room(), "user0", whip(102))  # who publishes already may publish anew


async def test_a_push_ends_the_same_users_push_elsewhere_in_the_application(server: Stage) -> None:
    first = Session("main", "rtmp", 1)
    server.core.pushes[1] = (server.room("s", "a").key, "amy")
    server.rooms.enter(server.room("s", "a"), "amy", first)
    server.rooms.enter(server.room("s", "b"), "amy", Session("main", "rtmp", 2))
    assert (await told(server))[2:] == [(104, "amy", 3), (102,), (101, "amy"), (103, "amy")]
    assert server.core.pushes == {}


async def test_removed_users_may_come_back(server: Stage) -> None:
    server.rooms.enter(server.room(), "amy", whip(1))
    server.rooms.enter(server.room(), "bob", whip(2))
    await server.rooms.remove_users(server.sdk_app_id, "s", NAME, ["amy", "nobody"])
    assert (await told(server))[3:] == [(104, "amy", 3)]
    server.rooms.enter(server.room(), "amy", whip(3))
    with pytest.raises(RoomNotFound):
        await server.rooms.remove_users(server.sdk_app_id, "s", "elsewhere", ["amy"])
    with pytest.raises(RoomNotFound):
        await server.rooms.remove_users(server.sdk_app_id, "i", "1", ["amy"])


async def test_a_dismissed_room_is_empty_and_closed(server: Stage) -> None:
    server.rooms.enter(server.room(), "amy", whip(1))
    server.rooms.enter(server.room(), "eve", whep(2))
    await server.rooms.dismiss(server.sdk_app_id, "s", NAME)
    assert (await told(server))[3:] == [(104, "amy", 3), (104, "eve", 3), (102,)]
    with pytest.raises(RoomNotFound):
        await server.rooms.dismiss(server.sdk_app_id, "s", NAME)


async def test_a_blocked_user_stays_and_his_media_stop(server: Stage) -> None:
    events = CoreEvents(server.rooms)
    amy = whip(1)
    server.rooms.enter(server.room(), "amy", amy)
    key = server.room().key
    server.core.publish(key, "amy", "audio", "opus")
    server.core.publish(key, "amy", "video", "h264")
    for event in server.core.poll():
        events.handle(event)
    await server.rooms.block(server.sdk_app_id, "s", NAME, "amy", audio=False, video=True)
    for event in server.core.poll():
        events.handle(event)
    await server.rooms.block(server.sdk_app_id, "s", NAME, "amy", audio=False, video=False)
    server.core.publish(key, "amy", "video", "h264")
    for event in server.core.poll():
        events.handle(event)
    assert (await told(server))[2:] == [(203, "amy"), (201, "amy"), (202, "amy"), (201, "amy")]
    await server.rooms.block(server.sdk_app_id, "s", NAME, "amy", audio=True, video=True)
    server.rooms.leave(amy)
    assert server.core.blocked[(key, "amy")] == (False, False)  # a block ends with the membership


async def test_a_loss_and_return_tell_nothing_of_the_tracks(server: Stage, clock: ManualClock) -> None:
    events = CoreEvents(server.rooms)
    answer = server.core
    answer.accept_offer(1, server.room().key, "amy", "main", "v=0\r\n", kind="publish")
    peer = next(iter(answer.peers))
    server.rooms.enter(server.room(), "amy", whip(peer))
    answer.connect(peer)
    answer.publish(server.room().key, "amy", "audio", "opus")
    answer.go_silent(peer)
    for event in answer.poll():
        events.handle(event)
    await clock.advance(60)
    answer.connect(peer)
    answer.publish(server.room().key, "amy", "audio", "opus")
    for event in answer.poll():
        events.handle(event)
    await clock.advance(60)
    assert await told(server) == [(101, "amy"), (103, "amy"), (203, "amy")]


async def test_a_client_that_says_goodbye_has_left_and_one_that_breaks_was_lost(server: Stage) -> None:
    events = CoreEvents(server.rooms)
    for number, (user, reason) in enumerate((("amy", "closed"), ("bob", "DTLS failed"))):
        server.core.accept_offer(number, server.room().key, user, "main", "v=0\r\n", kind="publish")
        peer = max(server.core.peers)
        server.rooms.enter(server.room(), user, whip(peer))
        server.core.hang_up(peer, reason)
    for event in server.core.poll():
        events.handle(event)
    assert (await told(server))[3:] == [(104, "amy", 1), (104, "bob", 2), (102,)]


async def test_f2_r_sfu_1_after_a_restart_members_may_return_for_ninety_seconds(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with stage(db, clock, tmp_path) as before:
        events = CoreEvents(before.rooms)
        before.rooms.enter(before.room(), "amy", whip(1))
        before.rooms.enter(before.room(), "bob", whip(2))
        before.rooms.enter(before.room(), "eve", whep(3))
        before.core.publish(before.room().key, "amy", "audio", "opus")
        for event in before.core.poll():
            events.handle(event)
        await before.rooms_ledger.settled()
        entered = before.rooms.entered_ns(before.room(), "amy")
        app = (before.sdk_app_id, before.app_key)
    async with stage(db, clock, tmp_path, boot_id="boot-2", app=app) as after:
        assert await record.take_back(db, after.rooms, clock, "node-1") == 1
        assert after.rooms.anchors(after.room()) == ["amy", "bob"]
        assert after.rooms.entered_ns(after.room(), "amy") == entered
        await clock.advance(60)
        after.rooms.enter(after.room(), "amy", whip(11))
        events = CoreEvents(after.rooms)
        after.core.publish(after.room().key, "amy", "audio", "opus")
        for event in after.core.poll():
            events.handle(event)
        await clock.advance(30)
        assert (await told(after))[4:] == [(203, "amy"), (104, "bob", 2), (104, "eve", 2)]
        async with db.read() as conn:
            stopped = await conn.scalars(sa.select(tracks.c.stop_cause).where(tracks.c.stopped_ms > 0))
            assert list(stopped) == ["lost"]
