"""The outbox: an event is a row in the transaction of the state it tells of.

So no event is ever sent for what was rolled back, and none is lost for what was committed. Domains emit
facts in snake case; their wire shape is made when a delivery's turn comes (`callbacks.bodies`).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from roomtape.state.database import announce, origin
from roomtape.state.schema import applications, deliveries, events, tasks
from roomtape.state.statement import Statement

TOPIC = "deliveries"  # announced whenever a delivery was added

SLOTS = {  # group -> which URL of the application gets it (spec/callbacks.md 1.6 and 2)
    1: "room",
    2: "media",
    3: "record",
    4: "relay",
    7: "ingest",
    8: "web_record",
    9: "ai",
    10: "slice",
    11: "moderation",
}

_EVENT = Statement(
    sa.insert(events).returning(events.c.id),
    *("sdk_app_id", "group_id", "type", "queue", "task_id", "task_event_no", "fact", "at_ms"),
    *("node_id", "boot_id", "epoch"),
)
URLS = {  # slot -> the application's URL for it, by `app`
    slot: Statement(
        sa.select(applications.c[f"{slot}_url"]).where(applications.c.sdk_app_id == sa.bindparam("app"))
    )
    for slot in SLOTS.values()
}
_DELIVERY = Statement(
    sa.insert(deliveries).inline(), *("sdk_app_id", "event_id", "slot", "url", "queue", "created_ms")
)
_NUMBER = Statement(
    sa.update(tasks)
    .where(tasks.c.task_id == sa.bindparam("of_task"))
    .values(next_event_no=tasks.c.next_event_no + 1)
    .returning(tasks.c.next_event_no)
)


def room_queue(sdk_app_id: int, room_type: str, room_id: str) -> str:
    """The queue of a room's events; `room_type` is "s" or "i"."""
    return f"room:{sdk_app_id}/{room_type}/{room_id}"


def task_queue(task_id: str) -> str:
    """The queue of a task's events."""
    return f"task:{task_id}"


def emit(
    conn: sa.Connection,
    *,
    sdk_app_id: int,
    group: int,
    type: int,
    queue: str,
    fact: dict[str, Any],
    at_ms: int,
    epoch: int = 0,
) -> int:
    """Record an event in the caller's transaction and, if its URL is set, queue it for delivery.

    `queue` is `room_queue(...)` or `task_queue(...)`; inside one, events are delivered in the order of
    their emission. `at_ms` becomes EventMsTs. Returns the event's global id.

    Raises:
        LookupError: the queue names a task without a row.
    """
    slot = SLOTS[group]
    task_id = queue.removeprefix("task:") if queue.startswith("task:") else None
    node_id, boot_id = origin(conn)
    (event,) = _EVENT.rows(
        conn,
        {
            "sdk_app_id": sdk_app_id,
            "group_id": group,
            "type": type,
            "queue": queue,
            "task_id": task_id,
            "task_event_no": None if task_id is None else _next_number(conn, task_id),
            "fact": fact,
            "at_ms": at_ms,
            "node_id": node_id,
            "boot_id": boot_id,
            "epoch": epoch,
        },
    )
    event_id = int(event.id)
    application = URLS[slot].first(conn, {"app": sdk_app_id})
    if application is not None and application[0]:
        _DELIVERY.count(
            conn,
            {
                "sdk_app_id": sdk_app_id,
                "event_id": event_id,
                "slot": slot,
                "url": application[0],
                "queue": queue,
                "created_ms": at_ms,
            },
        )
        announce(conn, TOPIC)
    return event_id


def _next_number(conn: sa.Connection, task_id: str) -> int:
    task = _NUMBER.first(conn, {"of_task": task_id})
    if task is None:
        raise LookupError(f"no task {task_id!r} to number an event of")
    return int(task.next_event_no) - 1
