"""What callback tests share: an application with URLs, a scripted receiver, a driven clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from roomtape.callbacks.dispatcher import CallbackSettings, Dispatcher
from roomtape.callbacks.poster import PostFailed
from roomtape.clock import ManualClock
from roomtape.events.outbox import emit, room_queue, task_queue
from roomtape.secret import Secret
from roomtape.state.database import Database
from roomtape.state.schema import accounts, applications, tasks
from roomtape.state.sealing import Sealer

APP = 1400000001
KEY = Secret("callbackKey1")
URL = "http://receiver.test/hook"

Answer = int | Literal["never"] | PostFailed


@dataclass(frozen=True, slots=True)
class Post:
    """One request as the scripted receiver got it."""

    at_s: float  # seconds since the receiver was made
    url: str
    body: bytes
    headers: dict[str, str]

    @property
    def event_id(self) -> int:
        return int(self.headers["X-Event-Id"])


@dataclass
class ScriptedPoster:
    """A receiver that answers by a rule, on the test's clock; "never" holds the request open."""

    clock: ManualClock
    answer: Callable[[Post], Answer] = lambda _post: 200
    posts: list[Post] = field(default_factory=list)
    _began_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self._began_ns = self.clock.monotonic_ns()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        at_s = (self.clock.monotonic_ns() - self._began_ns) / 1e9
        post = Post(at_s, url, body, dict(headers))
        self.posts.append(post)
        answer = self.answer(post)
        if answer == "never":
            await asyncio.get_running_loop().create_future()
        if isinstance(answer, PostFailed):
            raise answer
        return int(answer)

    async def close(self) -> None:
        return None

    def starts_s(self, url: str | None = None) -> list[float]:
        """When each attempt started."""
        return [post.at_s for post in self.posts if url in (None, post.url)]


def sealer() -> Sealer:
    return Sealer([b"k" * 32])


async def make_app(db: Database, sdk_app_id: int = APP, *, key: Secret | None = KEY, **urls: str) -> None:
    """An application; `urls` are columns of `applications`, by default one URL for rooms and media."""
    async with db.write() as conn:
        await conn.execute(accounts.insert().values(uin=sdk_app_id, created_ms=0))
        await conn.execute(
            applications.insert().values(
                sdk_app_id=sdk_app_id,
                uin=sdk_app_id,
                created_ms=0,
                callback_key_sealed=None if key is None else sealer().seal(key, f"callback_key/{sdk_app_id}"),
                **(urls or {"room_url": URL, "media_url": URL}),
            )
        )


async def make_task(db: Database, task_id: str, sdk_app_id: int = APP) -> None:
    async with db.write() as conn:
        await conn.execute(
            tasks.insert().values(
                task_id=task_id,
                sdk_app_id=sdk_app_id,
                kind="recording",
                room_type="s",
                room_id="r",
                robot_user_id="rec",
                spec={},
                created_ms=0,
            )
        )


async def room_event(
    db: Database, user: str, *, room: str = "r", type: int = 101, sdk_app_id: int = APP
) -> int:
    """Emit a room event that its body can be told by: the user's name."""
    fact = {"room_type": "s", "room_id": room, "user_id": user, "role": 20, "reason": 1}
    async with db.write() as conn:
        return await conn.run_sync(
            emit,
            sdk_app_id=sdk_app_id,
            group=type // 100,
            type=type,
            queue=room_queue(sdk_app_id, "s", room),
            fact=fact,
            at_ms=db.clock.now_ms(),
        )


async def task_event(db: Database, task_id: str, type: int, payload: dict[str, Any]) -> int:
    fact = {"room_type": "s", "room_id": "r", "user_id": "rec", "task_id": task_id, "payload": payload}
    async with db.write() as conn:
        return await conn.run_sync(
            emit,
            sdk_app_id=APP,
            group=3,
            type=type,
            queue=task_queue(task_id),
            fact=fact,
            at_ms=db.clock.now_ms(),
        )


@asynccontextmanager
async def dispatching(
    db: Database, clock: ManualClock, poster: ScriptedPoster, *, give_up_after_s: float = 86_400
) -> AsyncIterator[Dispatcher]:
    """A running dispatcher; at the end it is stopped as a server stops it."""
    dispatcher = Dispatcher(db, clock, poster, sealer(), CallbackSettings(give_up_after_s))
    dispatcher.watch(clock.poke)
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def drain(clock: ManualClock, dispatcher: Dispatcher) -> None:
    """Move the clock from one sleep to the next until everything is delivered or dead."""
    await drive(clock, dispatcher, lambda: False)


async def drive(clock: ManualClock, dispatcher: Dispatcher, until: Callable[[], bool]) -> None:
    """As `drain`, but stop once `until()` holds.

    The clock moves only while every queue sleeps on it, each in a pause or in an open request.
    """
    drained = asyncio.create_task(dispatcher.drained())
    drained.add_done_callback(lambda _task: clock.poke())

    def still() -> bool:
        return drained.done() or 0 < dispatcher.waiting() <= clock.sleeping()

    try:
        while True:
            await clock.until(still)
            step_s = clock.next_wake_s()
            if drained.done() or until():
                return
            assert step_s is not None  # somebody sleeps
            await clock.advance(step_s)
    finally:
        drained.cancel()
        await asyncio.gather(drained, return_exceptions=True)
