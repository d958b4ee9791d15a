"""The operator's verbs: look, replay, try a URL, forget."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from roomtape.callbacks.poster import PostFailed
from roomtape.callbacks.service import (
    KEEP_MS,
    CallbackService,
    DeliveryNotFound,
    NoCallbackUrl,
    NotReplayable,
)
from roomtape.callbacks.signing import is_signed
from roomtape.clock import ManualClock
from roomtape.state.database import Database
from roomtape.state.schema import applications, attempts, deliveries, events
from tests.support.callbacks import (
    APP,
    KEY,
    URL,
    ScriptedPoster,
    dispatching,
    drain,
    make_app,
    make_task,
    room_event,
    sealer,
    task_event,
)


@pytest.fixture
def service(db: Database, clock: ManualClock, receiver: ScriptedPoster) -> CallbackService:
    return CallbackService(db, clock, receiver, sealer())


async def _dead(db: Database, clock: ManualClock, receiver: ScriptedPoster, *users: str) -> None:
    """Events that were given up."""
    receiver.answer = lambda _post: 503
    async with dispatching(db, clock, receiver, give_up_after_s=60) as dispatcher:
        for user in users:
            await room_event(db, user)
        await drain(clock, dispatcher)
    receiver.posts.clear()
    receiver.answer = lambda _post: 200


async def test_every_attempt_is_in_the_log(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, service: CallbackService
) -> None:
    await make_app(db)
    answers = [PostFailed("cannot connect: refused"), "never", 500, 200]
    receiver.answer = lambda _post: answers[len(receiver.posts) - 1]
    began_ms = clock.now_ms()
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "a")
        await drain(clock, dispatcher)
    (delivery,) = await service.list(APP)
    assert (delivery["state"], delivery["tries"], delivery["type"]) == ("delivered", 4, 101)
    log = await service.attempts(delivery["id"])
    assert [
        (a["number"], a["started_ms"] - began_ms, a["duration_ms"], a["outcome"], a["status"], a["error"])
        for a in log
    ] == [
        (1, 0, 0, "down", None, "cannot connect: refused"),
        (2, 0, 5000, "down", None, "no answer in 5 s"),
        (3, 15_000, 0, "refused", 500, "answered 500"),
        (4, 25_000, 0, "delivered", 200, ""),
    ]


async def test_a_dead_letter_is_replayed_with_its_event_id_behind_what_waits(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, service: CallbackService
) -> None:
    await make_app(db)
    await _dead(db, clock, receiver, "a")
    (dead,) = await service.list(state="dead")
    await room_event(db, "b")
    new_id = await service.replay(dead["id"])
    async with dispatching(db, clock, receiver) as dispatcher:
        await dispatcher.drained()
    assert [json.loads(post.body)["EventInfo"]["UserId"] for post in receiver.posts] == ["b", "a"]
    assert receiver.posts[1].event_id == dead["event_id"]
    newest = (await service.list(limit=1))[0]
    assert (newest["id"], newest["replay_of"], newest["state"]) == (new_id, dead["id"], "delivered")


async def test_all_dead_letters_are_replayed_once_in_their_order(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, service: CallbackService
) -> None:
    await make_app(db)
    await _dead(db, clock, receiver, "a", "b", "c")
    assert await service.replay_dead(APP) == 3
    assert await service.replay_dead(APP) == 0
    async with dispatching(db, clock, receiver) as dispatcher:
        await dispatcher.drained()
    assert [json.loads(post.body)["EventInfo"]["UserId"] for post in receiver.posts] == ["a", "b", "c"]


async def test_what_cannot_be_replayed_says_why(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, service: CallbackService
) -> None:
    await make_app(db)
    await room_event(db, "waits")
    (waiting,) = await service.list()
    with pytest.raises(NotReplayable, match="waiting"):
        await service.replay(waiting["id"])
    with pytest.raises(DeliveryNotFound):
        await service.replay(12345)
    with pytest.raises(DeliveryNotFound):
        await service.attempts(12345)
    async with dispatching(db, clock, receiver) as dispatcher:
        await dispatcher.drained()
    async with db.write() as conn:
        await conn.execute(applications.update().values(room_url="", media_url=""))
    with pytest.raises(NotReplayable, match="no URL"):
        await service.replay(waiting["id"])


async def test_the_list_is_filtered_and_paged_newest_first(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, service: CallbackService
) -> None:
    await make_app(db, room_url=URL, record_url=URL)
    await make_task(db, "T")
    for user in "ab":
        await room_event(db, user)
    await task_event(db, "T", 301, {"status": 0})
    rows = await service.list()
    assert [row["type"] for row in rows] == [301, 101, 101]
    assert [row["id"] for row in await service.list(before=rows[0]["id"], limit=1)] == [rows[1]["id"]]
    assert [row["task_event_no"] for row in await service.list(task_id="T")] == [1]
    assert await service.list(APP + 1) == []
    assert await service.list(state="dead") == []


@pytest.mark.parametrize("kind", ["room", "media", "record", "relay", "ingest"])
async def test_a_test_event_is_signed_and_told_of(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, service: CallbackService, kind: str
) -> None:
    await make_app(db, **{f"{kind}_url": URL})
    assert await service.test(APP, kind) == {"url": URL, "status": 200, "error": "", "took_ms": 0}
    (post,) = receiver.posts
    assert is_signed(KEY, post.body, post.headers["Sign"])
    receiver.answer = lambda _post: PostFailed("cannot connect: refused")
    assert (await service.test(APP, kind))["error"] == "cannot connect: refused"
    async with db.read() as conn:
        assert await conn.scalar(sa.select(sa.func.count()).select_from(events)) == 0


async def test_a_test_needs_a_url_and_a_known_kind(db: Database, service: CallbackService) -> None:
    await make_app(db, room_url=URL)
    with pytest.raises(NoCallbackUrl):
        await service.test(APP, "record")
    with pytest.raises(ValueError, match="room"):
        await service.test(APP, "nonsense")


async def test_what_is_done_is_forgotten_after_fifteen_days_and_what_waits_never(
    db: Database, clock: ManualClock, receiver: ScriptedPoster, service: CallbackService
) -> None:
    await make_app(db)
    async with dispatching(db, clock, receiver) as dispatcher:
        await room_event(db, "old")
        await dispatcher.drained()
    await room_event(db, "waits")
    await clock.advance(KEEP_MS / 1000)
    assert await service.prune() == 0
    await clock.advance(0.001)
    assert await service.prune() == 1
    assert [row["state"] for row in await service.list()] == ["waiting"]
    async with db.read() as conn:
        counts = [
            await conn.scalar(sa.select(sa.func.count()).select_from(table))
            for table in (deliveries, attempts, events)
        ]
    assert counts == [1, 0, 1]
