"""The delivery queues as they lie in SQL; every change of a delivery's state is here."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from roomtape.callbacks.bodies import encode
from roomtape.callbacks.schedule import Outcome
from roomtape.callbacks.signing import sign
from roomtape.events.outbox import TOPIC, URLS
from roomtape.secret import Secret
from roomtape.state.database import announce
from roomtape.state.schema import applications, attempts, deliveries, events
from roomtape.state.sealing import Sealer
from roomtape.state.statement import Statement

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
_NEW_KEYS = Statement(
    sa.select(deliveries.c.sdk_app_id, deliveries.c.url, deliveries.c.queue)
    .where(_PENDING, deliveries.c.id > sa.bindparam("after", type_=sa.BigInteger()))
    .distinct()
)
_NEWEST = Statement(sa.select(sa.func.max(deliveries.c.id).label("id")))
_OF_QUEUE = (
    sa.select(*_COLUMNS)
    .where(
        _PENDING,
        deliveries.c.sdk_app_id == sa.bindparam("app"),
        deliveries.c.url == sa.bindparam("of_url"),
        deliveries.c.queue == sa.bindparam("of_queue"),
    )
    .limit(1)
)
_OLDEST = Statement(_OF_QUEUE.order_by(deliveries.c.id))
_DUE_FIRST = Statement(_OF_QUEUE.order_by(deliveries.c.next_at_ms, deliveries.c.id))
_EVENT = Statement(
    sa.select(events.c.group_id, events.c.type, events.c.fact, events.c.at_ms).where(
        events.c.id == sa.bindparam("event")
    )
)
_KEY = Statement(
    sa.select(applications.c.callback_key_sealed).where(applications.c.sdk_app_id == sa.bindparam("app"))
)
_THIS = sa.update(deliveries).where(deliveries.c.id == sa.bindparam("of_id"))
_MADE_HEAD = Statement(_THIS.returning(*_COLUMNS), *("state", "head_ms", "next_at_ms", "body", "sign"))
_ATTEMPTED = Statement(
    sa.insert(attempts).inline(),
    *("delivery_id", "sdk_app_id", "number", "started_ms", "duration_ms", "outcome", "status", "error"),
)


def keys_after(conn: sa.Connection, last_id: int) -> tuple[set[QueueKey], int]:
    """Queues that hold a pending delivery newer than `last_id`, and the newest delivery's id."""
    rows = _NEW_KEYS.rows(conn, {"after": last_id})
    (newest,) = _NEWEST.rows(conn, {})
    return {QueueKey(*row) for row in rows}, int(newest.id or 0)


def head(conn: sa.Connection, key: QueueKey) -> Delivery | None:
    """Whose turn it is: the oldest one, in a slow queue the one that is due first."""
    first = _DUE_FIRST if key.queue == SLOW else _OLDEST
    row = first.first(conn, {"app": key.sdk_app_id, "of_url": key.url, "of_queue": key.queue})
    return None if row is None else Delivery(*row)


def head_and_url(conn: sa.Connection, key: QueueKey) -> tuple[Delivery, str] | None:
    """Whose turn it is, and where it goes at present; None: the queue is empty."""
    delivery = head(conn, key)
    return None if delivery is None else (delivery, url_now(conn, delivery))


def url_now(conn: sa.Connection, delivery: Delivery) -> str:
    """The URL the application has for this kind of event at present; empty when it has none."""
    application = URLS[delivery.slot].first(conn, {"app": delivery.sdk_app_id})
    return "" if application is None else str(application[0] or "")


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
    (event,) = _EVENT.rows(conn, {"event": delivery.event_id})
    body = encode(event.group_id, event.type, event.fact, at_ms=event.at_ms, sent_ms=now_ms)
    key = callback_key(conn, delivery.sdk_app_id, sealer)
    signature = "" if key is None else sign(key, body)
    values = {"state": "head", "head_ms": now_ms, "next_at_ms": now_ms, "body": body, "sign": signature}
    (changed,) = _MADE_HEAD.rows(conn, {"of_id": delivery.id, **values})
    return Delivery(*changed)


def callback_key(conn: sa.Connection, sdk_app_id: int, sealer: Sealer) -> Secret | None:
    """The application's callback key, None when it has none (then nothing is signed)."""
    application = _KEY.first(conn, {"app": sdk_app_id})
    sealed = None if application is None else application.callback_key_sealed
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
    _ATTEMPTED.count(
        conn,
        {
            "delivery_id": delivery.id,
            "sdk_app_id": delivery.sdk_app_id,
            "number": delivery.tries + 1,
            "started_ms": attempt.started_ms,
            "duration_ms": attempt.duration_ms,
            "outcome": attempt.outcome,
            "status": attempt.status,
            "error": attempt.error,
        },
    )
    values = {"tries": delivery.tries + 1, "last_status": attempt.status, "last_error": attempt.error}
    values.update(changes)
    _changing(*values).count(conn, {"of_id": delivery.id, **values})


@functools.cache
def _changing(*columns: str) -> Statement:
    """The update of these columns of one delivery: one of the few sets an attempt may end in."""
    return Statement(_THIS, *columns)


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
