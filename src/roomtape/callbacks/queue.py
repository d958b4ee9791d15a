"""The delivery queues as they lie in SQL; every change of a delivery's state is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

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


def keys_after(conn: sa.Connection, last_id: int) -> tuple[set[QueueKey], int]:
    """Queues that hold a pending delivery newer than `last_id`, and the newest delivery's id."""
    columns = (deliveries.c.sdk_app_id, deliveries.c.url, deliveries.c.queue)
    rows = conn.execute(sa.select(*columns).where(_PENDING, deliveries.c.id > last_id).distinct())
    newest = conn.scalar(sa.select(sa.func.max(deliveries.c.id)))
    return {QueueKey(*row) for row in rows}, int(newest or 0)


def head(conn: sa.Connection, key: QueueKey) -> Delivery | None:
    """Whose turn it is: the oldest one, in a slow queue the one that is due first."""
    order = [deliveries.c.next_at_ms, deliveries.c.id] if key.queue == SLOW else [deliveries.c.id]
    found = conn.execute(
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


def head_and_url(conn: sa.Connection, key: QueueKey) -> tuple[Delivery, str] | None:
    """Whose turn it is, and where it goes at present; None: the queue is empty."""
    delivery = head(conn, key)
    return None if delivery is None else (delivery, url_now(conn, delivery))


def url_now(conn: sa.Connection, delivery: Delivery) -> str:
    """The URL the application has for this kind of event at present; empty when it has none."""
    column = applications.c[f"{delivery.slot}_url"]
    url = conn.scalar(sa.select(column).where(applications.c.sdk_app_id == delivery.sdk_app_id))
    return str(url or "")


def follow(conn: sa.Connection, delivery: Delivery, url: str, now_ms: int) -> None:
    """The application's URL was changed: what waits for the old one goes to the new one, or nowhere."""
    values: dict[str, Any] = {"url": url, "next_at_ms": now_ms, "refused_ms": None}
    if not url:
        values = {"state": "dead", "done_ms": now_ms, "last_error": "the application has no URL for it now"}
    conn.execute(
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


def make_head(conn: sa.Connection, delivery: Delivery, sealer: Sealer, now_ms: int) -> Delivery:
    """Fix the body and its signature: from now on every attempt sends these bytes.

    Raises:
        KeyError, ValueError: the event's fact does not make a body.
        SealError: the application's callback key cannot be opened.
    """
    columns = (events.c.group_id, events.c.type, events.c.fact, events.c.at_ms)
    event = (conn.execute(sa.select(*columns).where(events.c.id == delivery.event_id))).one()
    body = encode(event.group_id, event.type, event.fact, at_ms=event.at_ms, sent_ms=now_ms)
    key = callback_key(conn, delivery.sdk_app_id, sealer)
    signature = "" if key is None else sign(key, body)
    conn.execute(
        deliveries.update()
        .where(deliveries.c.id == delivery.id)
        .values(state="head", head_ms=now_ms, next_at_ms=now_ms, body=body, sign=signature)
    )
    changed = conn.execute(sa.select(*_COLUMNS).where(deliveries.c.id == delivery.id))
    return Delivery(*changed.one())


def callback_key(conn: sa.Connection, sdk_app_id: int, sealer: Sealer) -> Secret | None:
    """The application's callback key, None when it has none (then nothing is signed)."""
    sealed = conn.scalar(
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


def record(conn: sa.Connection, delivery: Delivery, attempt: Attempt, **changes: Any) -> None:
    """Log an attempt and change the delivery's row with it."""
    conn.execute(
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
    conn.execute(
        deliveries.update()
        .where(deliveries.c.id == delivery.id)
        .values(tries=delivery.tries + 1, last_status=attempt.status, last_error=attempt.error, **changes)
    )


def bury(conn: sa.Connection, delivery: Delivery, error: str, now_ms: int) -> None:
    """Make a dead letter of what cannot even be tried."""
    conn.execute(
        deliveries.update()
        .where(deliveries.c.id == delivery.id)
        .values(state="dead", done_ms=now_ms, last_error=error)
    )


def replay(conn: sa.Connection, ids: Sequence[int], now_ms: int) -> list[int]:
    """Queue finished deliveries again, each to its application's present URL; returns the new ids.

    The event keeps its id; its body is made anew when its turn comes. An unfinished or unknown one, and
    one whose application has no URL for it now, is left out.
    """
    made: list[int] = []
    for delivery_id in ids:
        found = conn.execute(
            sa.select(*_COLUMNS, events.c.queue.label("origin"))
            .join(events, events.c.id == deliveries.c.event_id)
            .where(deliveries.c.id == delivery_id, deliveries.c.done_ms.is_not(None))
        )
        row = found.one_or_none()
        if row is None:
            continue
        url = url_now(conn, Delivery(*row[:-1]))
        if not url:
            continue
        new_id = conn.scalar(
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
