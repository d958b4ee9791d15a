"""Token buckets: how often a key of any kind may do something."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from roomtape.clock import Clock

_MAX_KEYS = 20_000


class Buckets:
    """A bucket per key, filled at that key's rate, holding at most one second's worth (at least 1)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state: dict[Hashable, list[Any]] = {}  # tokens left, at this monotonic ns, of this rate

    def take(self, key: Hashable, rate: float) -> bool:
        """Take one token; False when there is none. `rate` is per second."""
        now = self._clock.monotonic_ns()
        capacity = rate if rate > 1.0 else 1.0
        held = self._state.get(key)
        if held is None:
            if len(self._state) >= _MAX_KEYS:
                self._drop_full(now)
            self._state[key] = [capacity - 1.0, now, rate]
            return True
        tokens = held[0] + (now - held[1]) * rate / 1e9
        if tokens > capacity:
            tokens = capacity
        held[1], held[2] = now, rate
        if tokens < 1.0:
            held[0] = tokens
            return False
        held[0] = tokens - 1.0
        return True

    def _drop_full(self, now: int) -> None:
        """Forget the buckets that are full again, which is what a new key gets.

        So nobody's bucket is forgotten before that because somebody else comes from many addresses. All go
        only if half of them are not full, which nobody can cause but by as many calls in an instant.
        """
        self._state = {
            key: held
            for key, held in self._state.items()
            if held[0] + (now - held[1]) * held[2] / 1e9 < max(held[2], 1.0)
        }
        if len(self._state) > _MAX_KEYS // 2:
            self._state.clear()
