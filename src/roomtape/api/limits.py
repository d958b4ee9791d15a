"""Token buckets: how often a key of any kind may do something."""

from __future__ import annotations

from collections.abc import Hashable

from roomtape.clock import Clock

_MAX_KEYS = 20_000


class Buckets:
    """A bucket per key, filled at that key's rate, holding at most one second's worth (at least 1)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state: dict[Hashable, tuple[float, int]] = {}  # tokens left, at this monotonic ns

    def take(self, key: Hashable, rate: float) -> bool:
        """Take one token; False when there is none. `rate` is per second."""
        now = self._clock.monotonic_ns()
        capacity = max(rate, 1.0)
        tokens, then = self._state.get(key, (capacity, now))
        tokens = min(capacity, tokens + (now - then) * rate / 1e9)
        if len(self._state) >= _MAX_KEYS and key not in self._state:
            self._drop_full(now)
        if tokens < 1.0:
            self._state[key] = (tokens, now)
            return False
        self._state[key] = (tokens - 1.0, now)
        return True

    def _drop_full(self, now: int) -> None:
        """Forget keys that were quiet for a minute, or all: a full bucket is what a new key gets."""
        self._state = {k: v for k, v in self._state.items() if now - v[1] < 60_000_000_000}
        if len(self._state) >= _MAX_KEYS:
            self._state.clear()
