"""Delivers events: one queue per (application, URL, room or task), each by a coroutine of its own.

All state is in SQL; a coroutine holds only what a row says, and the monotonic instants of its head, so
that a step of the wall clock moves no attempt. Killed anywhere, the dispatcher goes on from the rows
and sends the same bytes again: delivery is at least once.

Source: page 647/39558 (timeout, first minute), read 2026-11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import structlog

from roomtape.access.service import CHANGED as ACCESS_CHANGED
from roomtape.callbacks import queue as rows
from roomtape.callbacks.poster import Poster, PostFailed
from roomtape.callbacks.queue import SLOW, Attempt, Delivery, QueueKey
from roomtape.callbacks.schedule import (
    BACKOFF_MAX_S,
    MINUTE_S,
    POISON_S,
    RETRY_S,
    TIMEOUT_S,
    judge,
    next_start,
)
from roomtape.clock import NS_PER_S, Clock, sleep_unless, within
from roomtape.events.outbox import TOPIC
from roomtape.state.database import Database, DatabaseUnavailable
from roomtape.state.sealing import Sealer, SealError

log = structlog.get_logger(__name__)

DATABASE_RETRY_S = 1.0
AFTER_BUG_S = 5.0
PER_URL = 64  # requests to one URL at a time; no limit is shared by two URLs


@dataclass(slots=True)
class CallbackSettings:
    """May be changed while the dispatcher runs; a change holds from the next attempt on."""

    give_up_after_s: float = 86_400.0


@dataclass(slots=True)
class _Instants:
    """Monotonic nanoseconds of one delivery."""

    head_ns: int
    due_ns: int  # its next attempt
    refused_ns: int | None = None  # the receiver answers, but does not take it, since
    ended_ns: int | None = None  # its last attempt ended without an answer that helps: receiver down


@dataclass(slots=True)
class _Queue:
    """One running queue."""

    key: QueueKey
    kick: asyncio.Event = field(default_factory=asyncio.Event)  # something changed: look at the row again
    task: asyncio.Task[None] | None = None
    holding: bool = False  # it has a head: new events behind it are no news
    instants: dict[int, _Instants] = field(default_factory=dict)  # by delivery


class Dispatcher:
    """Run `run()` in a task; end it by cancelling the task."""

    def __init__(
        self, db: Database, clock: Clock, poster: Poster, sealer: Sealer, settings: CallbackSettings
    ) -> None:
        self._db = db
        self._clock = clock
        self._poster = poster
        self._sealer = sealer
        self.settings = settings
        self._queues: dict[QueueKey, _Queue] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._watchers: list[Callable[[], None]] = []
        self._seen = 0  # id of the newest delivery that was looked at
        self._rescan = False  # old rows were moved to another queue
        self._looking = False
        self.counts = {"delivered": 0, "down": 0, "refused": 0, "poison": 0, "dead": 0}
        db.on_commit(TOPIC, self.wake)
        db.on_commit(ACCESS_CHANGED, self.wake_all)

    def wake(self) -> None:
        """Deliveries were added."""
        self._idle.clear()
        self._woken.set()

    def wake_all(self) -> None:
        """URLs may have changed: every queue looks again at its head and where it goes."""
        for queue in self._queues.values():
            queue.kick.set()
        self.wake()

    async def drained(self) -> None:
        """Wait until nothing is left to deliver."""
        await self._idle.wait()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` whenever queues may have begun or one has ended."""
        self._watchers.append(watcher)

    def waiting(self) -> int:
        """How many queues have something to deliver."""
        return len(self._queues)

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                self._woken.clear()
                await self._discover()
                self._changed()
                await self._woken.wait()
        finally:
            tasks = [queue.task for queue in self._queues.values() if queue.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._queues.clear()

    async def _discover(self) -> None:
        """Start a coroutine for each queue that got something and has none."""
        self._looking = True
        while True:
            after, self._rescan = (0 if self._rescan else self._seen), False
            try:
                keys, self._seen = await self._db.ask(partial(rows.keys_after, last_id=after))
                break
            except DatabaseUnavailable:
                self._rescan = self._rescan or after == 0
                await self._clock.sleep(DATABASE_RETRY_S)
        self._looking = False
        for key in keys:
            self._start(key)

    def _start(self, key: QueueKey) -> None:
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(key)
            queue.task = asyncio.create_task(self._serve(queue), name=f"callbacks {key.queue}")
        elif key.queue == SLOW or not queue.holding:
            queue.kick.set()

    def _changed(self) -> None:
        """Queues were looked for, or one has ended."""
        if not self._queues and not self._looking and not self._woken.is_set():
            self._idle.set()
        for watcher in self._watchers:
            watcher()

    async def _serve(self, queue: _Queue) -> None:
        """Work through one queue until it is empty."""
        while True:
            queue.kick.clear()
            try:
                more = await self._step(queue)
            except DatabaseUnavailable:
                await self._clock.sleep(DATABASE_RETRY_S)
                continue
            except Exception:
                log.exception("callback_queue_broke", queue=queue.key.queue)
                await self._clock.sleep(AFTER_BUG_S)
                continue
            # Nothing may be awaited between the look at `kick` and the removal: an event committed
            # meanwhile either kicked this queue or finds it gone and starts it anew.
            if not more and not queue.kick.is_set():
                del self._queues[queue.key]
                self._changed()
                return

    async def _step(self, queue: _Queue) -> bool:
        """One attempt, or one wait, or one change of URL. False: the queue is empty."""
        queue.holding = False
        found = await self._db.ask(partial(rows.head_and_url, key=queue.key))
        if found is None:
            return False
        delivery, url = found
        queue.holding = True
        if url != delivery.url:
            await self._follow(delivery, url)
            return True
        instants = self._instants(queue, delivery)
        if not await self._wait(queue, instants):
            return True
        async with self._slots.setdefault(queue.key.url, asyncio.Semaphore(PER_URL)):
            if delivery.body is None:
                made = await self._make_head(delivery, instants)
                if made is None:
                    return True
                delivery = made
            attempt = await self._attempt(delivery)
        await self._settle(queue, delivery, instants, attempt)
        return True

    async def _follow(self, delivery: Delivery, url: str) -> None:
        now_ms = self._clock.now_ms()
        await self._db.run(lambda conn: rows.follow(conn, delivery, url, now_ms))
        self._rescan = True
        self.wake()

    def _instants(self, queue: _Queue, delivery: Delivery) -> _Instants:
        """Those held, or (a new head, or after a restart) made of the row's wall times."""
        known = queue.instants.get(delivery.id)
        if known is None:
            now_ns, now_ms = self._clock.monotonic_ns(), self._clock.now_ms()

            def instant(wall_ms: int | None) -> int:
                return now_ns if wall_ms is None else now_ns + (wall_ms - now_ms) * 1_000_000

            refused = None if delivery.refused_ms is None else min(instant(delivery.refused_ms), now_ns)
            # A wall clock set back must not put an attempt off: no wait is longer than the longest pause.
            due_ns = min(instant(delivery.next_at_ms), now_ns + round(BACKOFF_MAX_S * NS_PER_S))
            known = _Instants(min(instant(delivery.head_ms), now_ns), due_ns, refused)
            queue.instants[delivery.id] = known
        return known

    async def _wait(self, queue: _Queue, instants: _Instants) -> bool:
        """Wait until the attempt is due. False: kicked before."""
        left_ns = instants.due_ns - self._clock.monotonic_ns()
        if left_ns <= 0:
            return True
        await sleep_unless(self._clock, left_ns / NS_PER_S, queue.kick)
        return not queue.kick.is_set()

    async def _make_head(self, delivery: Delivery, instants: _Instants) -> Delivery | None:
        """Fix body and signature; None: no body can be made of it, it is a dead letter now."""
        now_ms = self._clock.now_ms()
        try:
            made = await self._db.run(lambda conn: rows.make_head(conn, delivery, self._sealer, now_ms))
        except (KeyError, ValueError, TypeError, SealError) as error:
            log.error("callback_without_body", event_id=delivery.event_id, exc_info=error)
            reason = f"no body: {type(error).__name__}"
            await self._db.run(lambda conn: rows.bury(conn, delivery, reason, now_ms))
            self.counts["dead"] += 1
            return None
        instants.head_ns = self._clock.monotonic_ns()
        return made

    async def _attempt(self, delivery: Delivery) -> Attempt:
        """Send it once. Nothing but cancellation is raised."""
        started_ms, started_ns = self._clock.now_ms(), self._clock.monotonic_ns()
        status: int | None = None
        error = ""
        try:
            status = await within(self._clock, TIMEOUT_S, self._poster.post(*request(delivery)))
        except TimeoutError:
            error = f"no answer in {TIMEOUT_S:g} s"
        except PostFailed as failed:
            error = str(failed)
        except Exception as bug:
            log.exception("callback_not_sent", event_id=delivery.event_id)
            error = type(bug).__name__
        duration_ms = (self._clock.monotonic_ns() - started_ns) // 1_000_000
        outcome = "down" if status is None else judge(status)
        if outcome != "delivered" and not error:
            error = f"answered {status}"
        return Attempt(started_ms, duration_ms, outcome, status, error)

    async def _settle(self, queue: _Queue, delivery: Delivery, instants: _Instants, attempt: Attempt) -> None:
        """Write down how it went and what follows from it."""
        changes = self._verdict(queue, delivery, instants, attempt)
        while True:
            try:
                await self._db.run(lambda conn: rows.record(conn, delivery, attempt, **changes))
                break
            except DatabaseUnavailable:  # what was sent is not sent again only because this failed
                await self._clock.sleep(DATABASE_RETRY_S)
        state = changes.get("state", "head")
        if state != "head":
            queue.instants.pop(delivery.id, None)
        if state == "slow" and queue.key.queue != SLOW:
            self._start(QueueKey(delivery.sdk_app_id, delivery.url, SLOW))
        if attempt.outcome == "delivered":
            self._hurry(delivery.url)
        log.info(
            "callback_attempt",
            event_id=delivery.event_id,
            sdk_app_id=delivery.sdk_app_id,
            host=urlsplit(delivery.url).netloc,
            number=delivery.tries + 1,
            outcome=attempt.outcome,
            status=attempt.status,
            error=attempt.error,
            duration_ms=attempt.duration_ms,
            state=state,
        )

    def _verdict(
        self, queue: _Queue, delivery: Delivery, instants: _Instants, attempt: Attempt
    ) -> dict[str, Any]:
        """The new values of the delivery's row."""
        now_ns, now_ms = self._clock.monotonic_ns(), self._clock.now_ms()
        self.counts[attempt.outcome] += 1
        if attempt.outcome == "delivered":
            return {"state": "delivered", "done_ms": now_ms}
        if attempt.outcome == "refused":
            began_ns = now_ns - attempt.duration_ms * 1_000_000
            instants.refused_ns = began_ns if instants.refused_ns is None else instants.refused_ns
            instants.ended_ns = None
        else:
            instants.refused_ns = None
            instants.ended_ns = now_ns
        age_s = (now_ns - instants.head_ns) / NS_PER_S
        start_s = next_start(delivery.tries + 1, age_s, self.settings.give_up_after_s)
        if start_s is None:
            self.counts["dead"] += 1
            return {"state": "dead", "done_ms": now_ms}
        changes: dict[str, Any] = {}
        if instants.refused_ns is not None and queue.key.queue != SLOW:
            poison_ns = instants.refused_ns + round(POISON_S * NS_PER_S)
            if now_ns >= poison_ns:
                self.counts["poison"] += 1
                changes = {"state": "slow", "queue": SLOW}
            else:
                start_s = min(start_s, (poison_ns - instants.head_ns) / NS_PER_S)
        instants.due_ns = instants.head_ns + round(start_s * NS_PER_S)
        refused_ms = None
        if instants.refused_ns is not None:
            refused_ms = now_ms - (now_ns - instants.refused_ns) // 1_000_000
        return {
            **changes,
            "next_at_ms": now_ms + (instants.due_ns - now_ns) // 1_000_000,
            "refused_ms": refused_ms,
        }

    def _hurry(self, url: str) -> None:
        """The receiver is up: queues that wait out a long pause for it try again now.

        The first minute's schedule is left alone, and nobody tries more often than each 10 s.
        """
        now_ns = self._clock.monotonic_ns()
        for queue in self._queues.values():
            for instants in queue.instants.values() if queue.key.url == url else ():
                if instants.ended_ns is None or now_ns - instants.head_ns <= MINUTE_S * NS_PER_S:
                    continue
                soon_ns = max(now_ns, instants.ended_ns + round(RETRY_S * NS_PER_S))
                if soon_ns < instants.due_ns:
                    instants.due_ns = soon_ns
                    queue.kick.set()


def request(delivery: Delivery) -> tuple[str, bytes, dict[str, str]]:
    """URL, body and headers of an attempt."""
    assert delivery.body is not None  # it is head
    headers = {
        "Content-Type": "application/json",
        "SdkAppId": str(delivery.sdk_app_id),
        "X-Event-Id": str(delivery.event_id),
    }
    if delivery.sign:
        headers["Sign"] = delivery.sign
    return delivery.url, delivery.body, headers
