"""What an operator does with callbacks: look at them, send one again, try a URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from roomtape.callbacks import queue as rows
from roomtape.callbacks.bodies import encode
from roomtape.callbacks.poster import Poster, PostFailed
from roomtape.callbacks.schedule import TIMEOUT_S
from roomtape.callbacks.signing import sign
from roomtape.clock import Clock, within
from roomtape.errors import DomainError
from roomtape.events.outbox import SLOTS
from roomtape.state.database import Database
from roomtape.state.schema import applications, attempts, deliveries, events
from roomtape.state.sealing import Sealer

PAGE = 200
KEEP_MS = 15 * 24 * 3600 * 1000

_TEST_ROOM = {"room_type": "s", "room_id": "roomtape-test"}
_TEST_TASK = {**_TEST_ROOM, "user_id": "roomtape-test", "task_id": "roomtape-test"}
_TEST_EVENTS: Mapping[str, tuple[int, int, Mapping[str, Any]]] = {  # what is sent to try a URL
    "room": (1, 101, {**_TEST_ROOM, "user_id": "roomtape-test"}),
    "media": (2, 203, {**_TEST_ROOM, "user_id": "roomtape-test"}),
    "record": (3, 301, {**_TEST_TASK, "payload": {"status": 0}}),
    "relay": (
        4,
        401,
        {**_TEST_TASK, "payload": {"url": "rtmp://test", "status": 0, "error_code": 0, "error_msg": ""}},
    ),
    "ingest": (7, 702, {"task_id": "roomtape-test", "status": 0}),
}


class DeliveryNotFound(DomainError):
    """There is no such delivery."""


class NotReplayable(DomainError):
    """The delivery is still being tried, or its application has no URL for it now."""


class NoCallbackUrl(DomainError):
    """The application has no URL for this kind of callback."""


class CallbackService:
    """The verbs behind `roomtape callback`."""

    def __init__(self, db: Database, clock: Clock, poster: Poster, sealer: Sealer) -> None:
        self._db = db
        self._clock = clock
        self._poster = poster
        self._sealer = sealer

    async def list(
        self,
        sdk_app_id: int | None = None,
        *,
        state: str | None = None,
        task_id: str | None = None,
        before: int | None = None,
        limit: int = PAGE,
    ) -> Sequence[Mapping[str, Any]]:
        """Deliveries, newest first; `before` is the id of the last one of the page before."""
        query = (
            sa.select(
                deliveries.c.id,
                deliveries.c.sdk_app_id,
                deliveries.c.event_id,
                events.c.group_id,
                events.c.type,
                events.c.task_id,
                events.c.task_event_no,
                deliveries.c.slot,
                deliveries.c.url,
                deliveries.c.queue,
                deliveries.c.state,
                deliveries.c.tries,
                deliveries.c.last_status,
                deliveries.c.last_error,
                events.c.at_ms,
                deliveries.c.head_ms,
                deliveries.c.next_at_ms,
                deliveries.c.done_ms,
                deliveries.c.replay_of,
            )
            .join(events, events.c.id == deliveries.c.event_id)
            .order_by(deliveries.c.id.desc())
            .limit(min(limit, PAGE))
        )
        if sdk_app_id is not None:
            query = query.where(deliveries.c.sdk_app_id == sdk_app_id)
        if state is not None:
            query = query.where(deliveries.c.state == state)
        if task_id is not None:
            query = query.where(events.c.task_id == task_id)
        if before is not None:
            query = query.where(deliveries.c.id < before)
        return await self._rows(query)

    async def attempts(self, delivery_id: int) -> Sequence[Mapping[str, Any]]:
        """The log of one delivery, oldest attempt first. Raises DeliveryNotFound."""
        columns = [attempts.c[name] for name in ("number", "started_ms", "duration_ms", "outcome")]
        query = sa.select(*columns, attempts.c.status, attempts.c.error)
        found = await self._rows(query.where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.id))
        if not found:
            await self._state(delivery_id)
        return found

    async def replay(self, delivery_id: int) -> int:
        """Send a finished delivery's event again, behind what waits; returns the new delivery's id.

        Raises:
            DeliveryNotFound, NotReplayable.
        """
        state = await self._state(delivery_id)
        now_ms = self._clock.now_ms()
        made = await self._db.run(lambda conn: rows.replay(conn, [delivery_id], now_ms))
        if not made:
            raise NotReplayable(f"delivery {delivery_id} is {state}, or there is no URL for it now")
        return made[0]

    async def replay_dead(self, sdk_app_id: int, since_ms: int = 0) -> int:
        """Send an application's dead letters again, in their order; returns how many.

        A dead letter that was replayed before is left out.
        """
        again = sa.select(deliveries.c.replay_of).where(deliveries.c.replay_of.is_not(None))
        now_ms = self._clock.now_ms()

        def write(conn: sa.Connection) -> int:
            dead = conn.scalars(
                sa.select(deliveries.c.id)
                .where(
                    deliveries.c.sdk_app_id == sdk_app_id,
                    deliveries.c.state == "dead",
                    deliveries.c.done_ms >= since_ms,
                    deliveries.c.id.not_in(again),
                )
                .order_by(deliveries.c.id)
            )
            return len(rows.replay(conn, list(dead), now_ms))

        return await self._db.run(write)

    async def test(self, sdk_app_id: int, kind: str = "room") -> dict[str, Any]:
        """Post a signed sample event to one URL of an application now, once; nothing is stored.

        Returns url, status (None: no answer), error, took_ms.

        Raises:
            NoCallbackUrl: none is set. ValueError: no such kind.
        """
        if kind not in _TEST_EVENTS:
            raise ValueError(f"no sample event for {kind!r}; there are {', '.join(_TEST_EVENTS)}")
        column = applications.c[f"{kind}_url"]
        url, key = await self._db.ask(
            lambda conn: (
                conn.scalar(sa.select(column).where(applications.c.sdk_app_id == sdk_app_id)),
                rows.callback_key(conn, sdk_app_id, self._sealer),
            )
        )
        if not url:
            raise NoCallbackUrl(f"application {sdk_app_id} has no {kind} URL")
        group, type, fact = _TEST_EVENTS[kind]
        now_ms, began_ns = self._clock.now_ms(), self._clock.monotonic_ns()
        body = encode(group, type, fact, at_ms=now_ms, sent_ms=now_ms)
        headers = {"Content-Type": "application/json", "SdkAppId": str(sdk_app_id), "X-Event-Id": "test"}
        if key is not None:
            headers["Sign"] = sign(key, body)
        status, error = None, ""
        try:
            status = await within(self._clock, TIMEOUT_S, self._poster.post(url, body, headers))
        except TimeoutError:
            error = f"no answer in {TIMEOUT_S:g} s"
        except PostFailed as failed:
            error = str(failed)
        took_ms = (self._clock.monotonic_ns() - began_ns) // 1_000_000
        return {"url": url, "status": status, "error": error, "took_ms": took_ms}

    async def prune(self) -> int:
        """Forget what was delivered or buried 15 days ago; returns how many deliveries."""
        before_ms = self._clock.now_ms() - KEEP_MS
        old = sa.select(deliveries.c.id).where(deliveries.c.done_ms < before_ms)
        kept = sa.select(deliveries.c.event_id)

        def write(conn: sa.Connection) -> int:
            conn.execute(attempts.delete().where(attempts.c.delivery_id.in_(old)))
            gone = conn.execute(deliveries.delete().where(deliveries.c.id.in_(old)))
            conn.execute(events.delete().where(events.c.at_ms < before_ms, events.c.id.not_in(kept)))
            return gone.rowcount

        return await self._db.run(write)

    async def _state(self, delivery_id: int) -> str:
        query = sa.select(deliveries.c.state).where(deliveries.c.id == delivery_id)
        state = await self._db.ask(lambda conn: conn.scalar(query))
        if state is None:
            raise DeliveryNotFound(f"there is no delivery {delivery_id}")
        return str(state)

    async def _rows(self, query: sa.Select[Any]) -> Sequence[Mapping[str, Any]]:
        return await self._db.ask(lambda conn: [dict(row) for row in conn.execute(query).mappings()])


assert set(_TEST_EVENTS) <= set(SLOTS.values())
