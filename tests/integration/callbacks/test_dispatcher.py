"""Delivery on the test's clock, over both databases: schedule, order, isolation, restarts."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from roomtape.access.service import Access
from roomtape.callbacks.poster import PostFailed
from roomtape.callbacks.signing import is_signed
from roomtape.clock import ManualClock
from roomtape.secret import Secret
from roomtape.state.database import Database
from roomtape.state.schema import attempts, deliveries, events
from tests.support.callbacks import (
    APP,
    KEY,
    URL,
    Post,
    ScriptedPoster,
    dispatching,
    drain,
    drive,
    make_app,
    make_task,
    room_event,
    sealer,
    task_event,
)

OTHER = "http://other.test/hook"


async def _states(db: Database) -> list[str]:
    async with db.read() as conn:
        return list(await conn.scalars(sa.select(deliveries.c.state).order_by(deliveries.c.id)))


def _user(post: Post) -> str:
    return str(json.loads(post.body)["EventInfo"]["UserId"])


async def test_an_event_is_posted_once_with_the_documented_headers(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    async with dispatching(db, clock, receiver) as dispatcher:
        event_id = await room_event(db, "alice")
        await dispatcher.drained()
    (post,) = receiver.posts
    assert post.url == URL
    assert {k: v for k, v in post.headers.items() if k != "Sign"} == {
        "Content-Type": "application/json",
        "SdkAppId": str(APP),
        "X-Event-Id": str(event_id),
    }
    assert is_signed(KEY, post.body, post.headers["Sign"])
    assert json.loads(post.body)["CallbackTs"] == clock.now_ms()
    assert await _states(db) == ["delivered"]


async def test_without_a_callback_key_there_is_no_sign_header(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db, key=None)
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "alice")
        await dispatcher.drained()
    assert "Sign" not in receiver.posts[0].headers


async def test_a_key_set_by_the_operator_signs_from_then_on(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    await Access(db, sealer(), clock).set_callbacks(APP, {}, "another1")
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "alice")
        await dispatcher.drained()
    assert is_signed(Secret("another1"), receiver.posts[0].body, receiver.posts[0].headers["Sign"])


async def test_an_application_without_a_url_gets_nothing(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db, media_url=URL)
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "alice", type=101)
        await room_event(db, "alice", type=203)
        await dispatcher.drained()
    assert [json.loads(post.body)["EventType"] for post in receiver.posts] == [203]


@pytest.mark.parametrize(
    ("answer", "starts"),
    [(500, [0, 0, 10, 20, 30, 40, 50, 60]), ("never", [0, 5, 20, 35, 50])],
    ids=["instant-refusal", "never-answers"],
)
async def test_r_cb_3_the_published_minute(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, answer: int, starts: list[float]
) -> None:
    """Both rows of the vendor's timeline; with give_up_after = 60 s nothing follows it."""
    await make_app(db)
    receiver.answer = lambda _post: answer
    async with dispatching(db, clock, receiver, give_up_after_s=60) as dispatcher:
        await room_event(db, "alice")
        await drain(clock, dispatcher)
    assert receiver.starts_s() == starts
    assert await _states(db) == ["dead"]
    async with db.read() as conn:
        logged = list(await conn.scalars(sa.select(attempts.c.number).order_by(attempts.c.id)))
    assert logged == list(range(1, len(starts) + 1))


@pytest.mark.parametrize("answer", [PostFailed("refused"), 503, 429, "never", 500, 404, 302])
async def test_every_attempt_sends_the_same_bytes_and_signature(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, answer: int
) -> None:
    await make_app(db)
    receiver.answer = lambda _post: answer if len(receiver.posts) < 5 else 200
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "alice")
        await drain(clock, dispatcher)
    assert len(receiver.posts) == 5
    assert (
        len({(post.body, post.headers["Sign"], post.headers["X-Event-Id"]) for post in receiver.posts}) == 1
    )
    assert await _states(db) == ["delivered"]


@pytest.mark.parametrize("up_at_s", [30.0, 600.0, 7200.0], ids=["30 s", "10 min", "2 h"])
async def test_g10_r_cb_2_while_the_receiver_is_down_the_head_blocks_and_order_is_kept(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, up_at_s: float
) -> None:
    await make_app(db)
    receiver.answer = lambda post: 200 if post.at_s >= up_at_s else 503
    async with dispatching(db, clock, receiver) as dispatcher:
        for number in range(5):
            await room_event(db, f"u{number}")
        await drain(clock, dispatcher)
    assert {_user(post) for post in receiver.posts if post.at_s < up_at_s} == {"u0"}
    taken = [_user(post) for post in receiver.posts if post.at_s >= up_at_s]
    assert taken == ["u0", "u1", "u2", "u3", "u4"]
    assert await _states(db) == ["delivered"] * 5


async def test_callback_ts_and_the_schedule_count_from_the_turn_not_from_the_event(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    fails = {"first": 3, "second": 3}

    def answer(post: Post) -> int:
        fails[_user(post)] -= 1
        return 500 if fails[_user(post)] >= 0 else 200

    receiver.answer = answer
    began_ms = clock.now_ms()
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "first")
        await room_event(db, "second")
        await drain(clock, dispatcher)
    assert receiver.starts_s() == [0, 0, 10, 20, 20, 20, 30, 40]
    sent = {_user(post): json.loads(post.body)["CallbackTs"] - began_ms for post in receiver.posts}
    assert sent == {"first": 0, "second": 20_000}


async def test_r_cb_2_a_refused_event_is_poison_after_ten_minutes_and_the_rest_goes_on(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    receiver.answer = lambda post: 400 if _user(post) == "bad" and post.at_s < 3000 else 200
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "bad")
        await room_event(db, "good")
        await drive(clock, dispatcher, lambda: _user(receiver.posts[-1]) == "good")
        assert await _states(db) == ["slow", "delivered"]
        assert receiver.posts[-1].at_s == 600  # exactly ten minutes after the first refusal
        await drain(clock, dispatcher)
    assert await _states(db) == ["delivered", "delivered"]
    assert [_user(post) for post in receiver.posts].count("good") == 1
    assert receiver.posts[-1].at_s >= 3000


async def test_a_receiver_that_is_down_now_and_then_makes_no_poison(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    """Ten minutes of refusal must be without a break."""
    await make_app(db)
    receiver.answer = lambda post: 200 if post.at_s > 2000 else 503 if len(receiver.posts) % 3 == 0 else 500
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "a")
        await room_event(db, "b")
        await drain(clock, dispatcher)
        assert dispatcher.counts["poison"] == 0
    assert [_user(post) for post in receiver.posts if post.at_s > 2000] == ["a", "b"]


async def test_poison_events_do_not_wait_for_each_other(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    receiver.answer = lambda post: 400 if _user(post) == "x" or post.at_s < 1500 else 200
    async with dispatching(db, clock, receiver, give_up_after_s=4000) as dispatcher:
        await room_event(db, "x")
        await room_event(db, "y")
        await drain(clock, dispatcher)
    assert await _states(db) == ["dead", "delivered"]


async def test_an_event_is_given_up_at_its_age_and_the_queue_moves_on(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    receiver.answer = lambda post: 503 if _user(post) == "a" else 200
    async with dispatching(db, clock, receiver, give_up_after_s=1000) as dispatcher:
        await room_event(db, "a")
        await room_event(db, "b")
        await drain(clock, dispatcher)
    assert receiver.starts_s()[-2:] == [1000, 1000]  # the last attempt, and the next event
    assert await _states(db) == ["dead", "delivered"]


async def test_r_cb_3_one_url_never_waits_for_another(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    """The first URL holds every request open; the second is served while time stands still."""
    await make_app(db, room_url=URL, media_url=OTHER)
    receiver.answer = lambda post: "never" if post.url == URL else 200
    async with dispatching(db, clock, receiver) as dispatcher:
        for room in range(100):  # more than are sent to one URL at a time
            await room_event(db, "u", room=f"r{room}")
        await room_event(db, "u", type=203)
        await clock.until(lambda: OTHER in {post.url for post in receiver.posts})
        assert dispatcher.waiting() >= 100
    assert receiver.starts_s(OTHER) == [0]


async def test_rooms_of_one_url_do_not_wait_for_each_other(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    receiver.answer = lambda post: 500 if _user(post) == "bad" else 200
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "bad", room="one")
        await room_event(db, "good", room="two")
        await drive(clock, dispatcher, lambda: "good" in map(_user, receiver.posts))
    assert "good" in map(_user, receiver.posts)


async def test_events_of_a_room_keep_their_order_over_two_url_slots_with_one_url(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    async with dispatching(db, clock, receiver) as dispatcher:
        for type in (101, 203, 201, 204, 104, 102):
            await room_event(db, "u", type=type)
        await dispatcher.drained()
    assert [json.loads(post.body)["EventType"] for post in receiver.posts] == [101, 203, 201, 204, 104, 102]


async def test_killed_in_the_middle_it_goes_on_with_the_same_bytes_and_schedule(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    receiver.answer = lambda post: 200 if post.at_s >= 40 else 503
    await room_event(db, "a")
    await room_event(db, "b")
    for stop_at_s in (0, 10, 20):
        async with dispatching(db, clock, receiver) as dispatcher:
            reached = stop_at_s
            await drive(clock, dispatcher, lambda reached=reached: receiver.starts_s()[-1:] == [reached])  # type: ignore[misc]
    async with dispatching(db, clock, receiver) as dispatcher:
        await drain(clock, dispatcher)
    assert receiver.starts_s() == [0, 0, 10, 20, 30, 40, 40]
    assert len({post.body for post in receiver.posts if _user(post) == "a"}) == 1
    assert [_user(post) for post in receiver.posts[-2:]] == ["a", "b"]


async def test_killed_while_a_request_is_open_it_is_sent_again(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    receiver.answer = lambda _post: "never"
    await room_event(db, "a")
    async with dispatching(db, clock, receiver):
        await clock.sleepers(1)  # the timeout of the open request
    receiver.answer = lambda _post: 200
    async with dispatching(db, clock, receiver) as dispatcher:
        await dispatcher.drained()
    first, second = receiver.posts
    assert first.body == second.body
    assert await _states(db) == ["delivered"]


@pytest.mark.parametrize("shift_s", [3600, -3600, 300, -300])
async def test_f_9_a_step_of_the_wall_clock_moves_no_attempt(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, shift_s: int
) -> None:
    await make_app(db)
    receiver.answer = lambda _post: 503
    async with dispatching(db, clock, receiver, give_up_after_s=60) as dispatcher:
        await room_event(db, "a")
        await drive(clock, dispatcher, lambda: len(receiver.posts) == 4)
        clock.shift_wall(shift_s * 1000)
        await drain(clock, dispatcher)
    assert receiver.starts_s() == [0, 0, 10, 20, 30, 40, 50, 60]
    async with db.read() as conn:
        durations = list(await conn.scalars(sa.select(attempts.c.duration_ms)))
    assert min(durations) >= 0


async def test_a_receiver_that_is_back_gets_its_other_queues_within_ten_seconds(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    """Both rooms are in pauses of minutes; the first delivered event wakes the other queue."""
    await make_app(db)
    receiver.answer = lambda post: 200 if post.at_s >= 3000 else 503
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "a", room="one")
        await drive(clock, dispatcher, lambda: receiver.posts[-1].at_s >= 100)
        await room_event(db, "b", room="two")
        await drive(clock, dispatcher, lambda: receiver.posts[-1].at_s >= 3000)
        await drain(clock, dispatcher)
    first, second = [post.at_s for post in receiver.posts if post.at_s >= 3000]
    assert second - first <= 10


async def test_a_changed_url_gets_what_waits_for_the_old_one(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db, room_url=URL)
    receiver.answer = lambda post: 503 if post.url == URL else 200
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "a")
        await room_event(db, "b")
        await drive(clock, dispatcher, lambda: len(receiver.posts) == 3)
        await Access(db, sealer(), clock).set_callbacks(APP, {"room": OTHER})
        await dispatcher.drained()
    assert [(post.url, _user(post)) for post in receiver.posts[3:]] == [(OTHER, "a"), (OTHER, "b")]


async def test_a_removed_url_ends_what_waits_for_it(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db, room_url=URL)
    receiver.answer = lambda _post: 503
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "a")
        await drive(clock, dispatcher, lambda: len(receiver.posts) == 3)
        await Access(db, sealer(), clock).set_callbacks(APP, {"room": ""})
        await dispatcher.drained()
    assert len(receiver.posts) == 3
    assert await _states(db) == ["dead"]


async def test_an_event_without_a_body_is_a_dead_letter_and_blocks_nothing(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    async with dispatching(db, clock, receiver) as dispatcher:
        event_id = await room_event(db, "a")
        await dispatcher.drained()
        async with db.write() as conn:
            await conn.execute(events.update().where(events.c.id == event_id).values(fact={}))
            await conn.execute(deliveries.update().values(state="waiting", body=None, done_ms=None))
        await room_event(db, "b")
        dispatcher._rescan = True  # the row put back is an old one
        dispatcher.wake()
        await dispatcher.drained()
    assert [_user(post) for post in receiver.posts] == ["a", "b"]
    assert await _states(db) == ["dead", "delivered"]


async def test_task_events_are_numbered_from_one_without_holes(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db, record_url=URL)
    await make_task(db, "T")
    async with dispatching(db, clock, receiver) as dispatcher:
        for type, payload in ((301, {"status": 0}), (303, {"status": 0}), (302, {"leave_code": 0})):
            await task_event(db, "T", type, payload)
        await dispatcher.drained()
    async with db.read() as conn:
        numbers = list(await conn.scalars(sa.select(events.c.task_event_no).order_by(events.c.id)))
    assert numbers == [1, 2, 3]
    assert [json.loads(post.body)["EventType"] for post in receiver.posts] == [301, 303, 302]


async def test_r_cb_1_an_event_of_a_rolled_back_transaction_is_never_sent(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db, record_url=URL)
    with pytest.raises(LookupError):
        await task_event(db, "no such task", 301, {"status": 0})
    async with dispatching(db, clock, receiver) as dispatcher:
        await dispatcher.drained()
    assert receiver.posts == []


async def test_r_cb_4_nothing_is_dropped_for_the_length_of_a_queue(
    db: Database, clock: ManualClock, receiver: ScriptedPoster
) -> None:
    await make_app(db)
    receiver.answer = lambda post: 200 if post.at_s >= 60 else 503
    async with dispatching(db, clock, receiver) as dispatcher:
        for number in range(300):
            await room_event(db, str(number))
        await drain(clock, dispatcher)
    taken = [_user(post) for post in receiver.posts if post.at_s >= 60]
    assert taken == [str(number) for number in range(300)]
