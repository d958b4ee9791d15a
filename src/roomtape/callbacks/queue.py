"""The delivery queues as they lie in SQL; every change of a delivery's state is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from roomtape.callbacks.bodies import encode
from roomtape.callbacks.schedule import Outcome
from roomtape.callbacks.signing import sign
from roomtape.events.outbox import TOPIC
from roomtape.secret import Secret
from roomtape.state.database import announce
from roomtape.state.schema import applications, attempts, deliveries, events
from roomtape.state.sealing import Sealer

SLOW = "slow"  # the queue of a URL's poison events


@dataclass(frozen=True, slots=True)
class QueueKey:
    """One queue: events of one room or task of one application, for one URL."""

    sdk_app_id: int
    url: str
    queue: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row of `deliveries`, with the number its event is known by to receivers."""

    id: int
    sdk_app_id: int
    event_id: int
    slot: str
    url: str
    queue: str
    state: str
    head_ms: int | None
    body: bytes | None
    sign: str
    tries: int
    next_at_ms: int | None
    refused_ms: int | None


_COLUMNS = tuple(deliveries.c[name] for name in Delivery.__slots__)
_PENDING = deliveries.c.done_ms.is_(None)


async def keys_after(conn: AsyncConnection, last_id: int) -> tuple[set[QueueKey], int]:
    """Queues that hold a pending delivery newer than `last_id`, and the newest delivery's id."""
    columns = (deliveries.c.sdk_app_id, deliveries.c.url, deliveries.c.queue)
    rows = await conn.execute(sa.select(*columns).where(_PENDING, deliveries.c.id > last_id).distinct())
    newest = await conn.scalar(sa.select(sa.func.max(deliveries.c.id)))
    return {QueueKey(*row) for row in rows}, int(newest or 0)


async def head(conn: AsyncConnection, key: QueueKey) -> Delivery | None:
    """Whose turn it is: the oldest one, in a slow queue the one that is due first."""
    order = [deliveries.c.next_at_ms, deliveries.c.id] if key.queue == SLOW else [deliveries.c.id]
    found = await conn.execute(
        sa.select(*_COLUMNS)
        .where(
            _PENDING,
            deliveries.c.sdk_app_id == key.sdk_app_id,
            deliveries.c.url == key.url,
            deliveries.c.queue == key.queue,
        )
        .order_by(*order)
        .limit(1)
    )
    row = found.one_or_none()
    return None if row is None else Delivery(*row)


async def url_now(conn: AsyncConnection, delivery: Delivery) -> str:
    """The URL the application has for this kind of event at present; empty when it has none."""
    column = applications.c[f"{delivery.slot}_url"]
    url = await conn.scalar(sa.select(column).where(applications.c.sdk_app_id == delivery.sdk_app_id))
    return str(url or "")


async def follow(conn: AsyncConnection, delivery: Delivery, url: str, now_ms: int) -> None:
    """The application's URL was changed: what waits for the old one goes to the new one, or nowhere."""
    values: dict[str, Any] = {"url": url, "next_at_ms": now_ms, "refused_ms": None}
    if not url:
        values = {"state": "dead", "done_ms": now_ms, "last_error": "the application has no URL for it now"}
    await conn.execute(
        deliveries.update()
        .where(
            _PENDING,
            deliveries.c.sdk_app_id == delivery.sdk_app_id,
            deliveries.c.slot == delivery.slot,
            deliveries.c.url == delivery.url,
        )
        .values(**values)
    )
    announce(conn, TOPIC)


async def make_head(conn: AsyncConnection, delivery: Delivery, sealer: Sealer, now_ms: int) -> Delivery:
    """Fix the body and its signature: from now on every attempt sends these bytes.

    Raises:
        KeyError, ValueError: the event's fact does not make a body.
        SealError: the application's callback key cannot be opened.
    """
    columns = (events.c.group_id, events.c.type, events.c.fact, events.c.at_ms)
    event = (await conn.execute(sa.select(*columns).where(events.c.id == delivery.event_id))).one()
    body = encode(event.group_id, event.type, event.fact, at_ms=event.at_ms, sent_ms=now_ms)
    key = await callback_key(conn, delivery.sdk_app_id, sealer)
    signature = "" if key is None else sign(key, body)
    await conn.execute(
        deliveries.update()
        .where(deliveries.c.id == delivery.id)
        .values(state="head", head_ms=now_ms, next_at_ms=now_ms, body=body, sign=signature)
    )
    changed = await conn.execute(sa.select(*_COLUMNS).where(deliveries.c.id == delivery.id))
    return Delivery(*changed.one())


async def callback_key(conn: AsyncConnection, sdk_app_id: int, sealer: Sealer) -> Secret | None:
    """The application's callback key, None when it has none (then nothing is signed)."""
    sealed = await conn.scalar(
        sa.select(applications.c.callback_key_sealed).where(applications.c.sdk_app_id == sdk_app_id)
    )
    return None if sealed is None else sealer.open(sealed, f"callback_key/{sdk_app_id}")  # as access seals it


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt went."""

    started_ms: int
    duration_ms: int
    outcome: Outcome
    status: int | None
    error: str


async def record(conn: AsyncConnection, delivery: Delivery, attempt: Attempt, **changes: Any) -> None:
    """Log an attempt and change the delivery's row with it."""
    await conn.execute(
        attempts.insert().values(
            delivery_id=delivery.id,
            sdk_app_id=delivery.sdk_app_id,
            number=delivery.tries + 1,
            started_ms=attempt.started_ms,
            duration_ms=attempt.duration_ms,
            outcome=attempt.outcome,
            status=attempt.status,
            error=attempt.error,
        )
    )
    await conn.execute(
        deliveries.update()
        .where(deliveries.c.id == delivery.id)
        .values(tries=delivery.tries + 1, last_status=attempt.status, last_error=attempt.error, **changes)
    )


async def bury(conn: AsyncConnection, delivery: Delivery, error: str, now_ms: int) -> None:
    """Make a dead letter of what cannot even be tried."""
    await conn.execute(
        deliveries.update()
        .where(deliveries.c.id == delivery.id)
        .values(state="dead", done_ms=now_ms, last_error=error)
    )


async def replay(conn: AsyncConnection, ids: Sequence[int], now_ms: int) -> list[int]:
    """Queue finished deliveries again, each to its application's present URL; returns the new ids.

    The event keeps its id; its body is made anew when its turn comes. An unfinished or unknown one, and
    one whose application has no URL for it now, is left out.
    """
    made: list[int] = []
    for delivery_id in ids:
        found = await conn.execute(
            sa.select(*_COLUMNS, events.c.queue.label("origin"))
            .join(events, events.c.id == deliveries.c.event_id)
            .where(deliveries.c.id == delivery_id, deliveries.c.done_ms.is_not(None))
        )
        row = found.one_or_none()
        if row is None:
            continue
        url = await url_now(conn, Delivery(*row[:-1]))
        if not url:
            continue
        new_id = await conn.scalar(
            deliveries.insert()
            .values(
                sdk_app_id=row.sdk_app_id,
                event_id=row.event_id,
                slot=row.slot,
                url=url,
                queue=row.origin,
                created_ms=now_ms,
                replay_of=delivery_id,
            )
            .returning(deliveries.c.id)
        )
        assert isinstance(new_id, int)
        made.append(new_id)
    if made:
        announce(conn, TOPIC)
    return made
