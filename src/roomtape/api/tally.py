"""Requests counted for `/metrics`: plain numbers, because each request pays for it.

The client library's own counters take a lock per number, three per request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, float("inf"))
_BOUND_NAMES = [*(str(bound) for bound in BOUNDS_S[:-1]), "+Inf"]


class Tally(Collector):
    """Requests by action and code, their seconds by action. Counts on the event loop, is read anywhere."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], int] = {}
        self._counts: dict[str, list[int]] = {}  # by action: how many up to each bound, and above the former
        self._sums: dict[str, float] = {}

    def count(self, action: str, code: str, seconds: float) -> None:
        """One more request that was answered `code`."""
        requests, key = self._requests, (action, code)
        requests[key] = requests.get(key, 0) + 1
        counts = self._counts.get(action)
        if counts is None:
            counts = self._counts[action] = [0] * len(BOUNDS_S)
            self._sums[action] = 0.0
        counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sums[action] += seconds

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "roomtape_api_requests", "Requests by action and code (OK for success)", labels=["action", "code"]
        )
        for labels, number in list(self._requests.items()):
            requests.add_metric(labels, number)
        seconds = HistogramMetricFamily(
            "roomtape_api_request_seconds", "Time from first byte to answer", labels=["action"]
        )
        for action, counts in list(self._counts.items()):
            up_to, buckets = 0, []
            for name, count in zip(_BOUND_NAMES, list(counts), strict=True):
                up_to += count
                buckets.append((name, up_to))
            seconds.add_metric([action], buckets, self._sums[action])
        return [requests, seconds]
