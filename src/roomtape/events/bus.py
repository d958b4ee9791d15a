"""A lossy bus: wake-ups and live views, never state.

Whoever needs to be sure reads SQL; a message only says that looking is worth it now. `InProcessBus` is
the embedded one; subjects follow NATS (`a.b.c`, `*` one word, `>` the rest), so that a NATS core
connection can take its place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol, final

QUEUE_LIMIT = 1024  # messages a slow subscriber may be behind before it loses the oldest


class BusMessage(NamedTuple):
    subject: str
    payload: bytes


class Subscription(Protocol):
    """Messages of one subscriber, oldest first; iteration ends when it is closed."""

    dropped: int

    def __aiter__(self) -> AsyncIterator[BusMessage]: ...

    def close(self) -> None: ...


class Bus(Protocol):
    """Publish and subscribe. Publishing never blocks and never fails."""

    def publish(self, subject: str, payload: bytes = b"") -> None: ...

    def subscribe(self, pattern: str) -> Subscription: ...


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject falls under a pattern; `>` needs at least one word."""
    wanted, words = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(words) > index
        if index >= len(words) or token not in ("*", words[index]):
            return False
    return len(words) == len(wanted)


@final
class InProcessSubscription:
    """A bounded queue between the bus and one reader."""

    def __init__(self, bus: InProcessBus, pattern: str) -> None:
        self._bus = bus
        self.pattern = pattern
        self.dropped = 0
        self._waiting: deque[BusMessage] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    def push(self, message: BusMessage) -> None:
        if len(self._waiting) >= QUEUE_LIMIT:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(message)
        self._arrived.set()

    def close(self) -> None:
        self._closed = True
        self._bus.forget(self)
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[BusMessage]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()


@final
class InProcessBus:
    """The bus inside one server process. Not for use from other threads."""

    def __init__(self) -> None:
        self._subscriptions: list[InProcessSubscription] = []

    def publish(self, subject: str, payload: bytes = b"") -> None:
        for subscription in self._subscriptions:
            if matches(subscription.pattern, subject):
                subscription.push(BusMessage(subject, payload))

    def subscribe(self, pattern: str) -> InProcessSubscription:
        subscription = InProcessSubscription(self, pattern)
        self._subscriptions.append(subscription)
        return subscription

    def forget(self, subscription: InProcessSubscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
