"""What `/metrics` tells: read from the parts when it is asked for, so that nobody counts in two places.

`docs/metrics.md` says what each is good for. Times are seconds, sizes bytes; what the workers count
survives their deaths, not the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import sqlalchemy as sa
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from roomtape.clock import Clock
from roomtape.control import counters
from roomtape.state.database import Database, DatabaseUnavailable
from roomtape.state.schema import deliveries, uploads

LAG_WINDOW = 600  # measurements, ten a second
SUPERVISOR_S = 1.0  # how long the supervisor may take to answer

Second = tuple[int, int, int, int, float]  # core's track, packets, bytes, lost, jitter in ms


class Lag:
    """The lateness of the event loop over the last minute."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=LAG_WINDOW)

    def add(self, seconds: float) -> None:
        self._last.append(seconds)

    @property
    def p99(self) -> float:
        """Seconds that 99 of 100 measurements did not exceed; 0 before the first one."""
        ordered = sorted(self._last)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] if ordered else 0.0


@dataclass(slots=True)
class Sources:
    """Where the numbers are; wired by the composition root."""

    db: Database
    clock: Clock
    spool: Path
    supervisor: Path  # its socket
    core: Callable[[], Mapping[str, object]]
    worker_counters: Callable[[], Mapping[str, int]]
    gauges: Mapping[str, tuple[str, Callable[[], float]]]  # name: (what it is, how many now)
    lag: Lag = field(default_factory=Lag)


class Metrics(Collector):
    """`refresh` asks what must be waited for, `collect` puts it together."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._packets_lost = 0
        self._backlog = (0, 0, 0.0)
        self._deliveries = 0
        self._journal_bytes = 0
        self._restarts: dict[tuple[str, str], int] = {}

    def heard(self, seconds: Iterable[Second]) -> None:
        """One second of every track, as the core tells it."""
        self._packets_lost += sum(row[3] for row in seconds)

    async def refresh(self) -> None:
        """Ask database, disk and supervisor; what does not answer keeps its last number."""
        with contextlib.suppress(DatabaseUnavailable):  # `/readyz` says that
            await self._ask_database()
        self._journal_bytes = await asyncio.to_thread(_journal_bytes, self._sources.spool)
        with contextlib.suppress(OSError, TimeoutError, ValueError):  # a server under test has none
            async with asyncio.timeout(SUPERVISOR_S):
                await self._ask_supervisor()

    async def _ask_database(self) -> None:
        waiting = uploads.c.state.in_(("ready", "uploading"))
        async with self._sources.db.read() as conn:
            row = (
                await conn.execute(
                    sa.select(
                        sa.func.count(),
                        sa.func.coalesce(sa.func.sum(uploads.c.size), 0),
                        sa.func.min(uploads.c.created_ms),
                    ).where(waiting)
                )
            ).one()
            queued = await conn.scalar(
                sa.select(sa.func.count()).select_from(deliveries).where(deliveries.c.done_ms.is_(None))
            )
        oldest_s = 0.0 if row[2] is None else max(0.0, (self._sources.clock.now_ms() - row[2]) / 1000)
        self._backlog = (int(row[0]), int(row[1]), oldest_s)
        self._deliveries = int(queued or 0)

    async def _ask_supervisor(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._sources.supervisor))
        try:
            writer.write(b'{"cmd": "restarts"}\n')
            rows = json.loads(await reader.readline())
        finally:
            writer.close()
        self._restarts = {(row["role"], row["cause"]): int(row["count"]) for row in rows}

    def collect(self) -> Iterator[Metric]:
        sources = self._sources
        for name, (what, read) in sources.gauges.items():
            yield GaugeMetricFamily(name, what, read())
        yield from self._of_core()
        yield from self._of_workers()
        files, size, oldest_s = self._backlog
        yield GaugeMetricFamily("roomtape_upload_backlog_files", "Objects not stored yet", files)
        yield GaugeMetricFamily("roomtape_upload_backlog_bytes", "Their size", size)
        yield GaugeMetricFamily("roomtape_upload_backlog_oldest_seconds", "Age of the oldest one", oldest_s)
        yield GaugeMetricFamily("roomtape_callback_queue", "Callbacks not delivered yet", self._deliveries)
        yield GaugeMetricFamily("roomtape_journal_bytes", "Journals in the spool", self._journal_bytes)
        yield GaugeMetricFamily(
            "roomtape_loop_lag_p99_seconds",
            "99th percentile of the loop's lateness, last minute",
            sources.lag.p99,
        )
        restarts = CounterMetricFamily(
            "roomtape_process_restarts", "Processes started again", labels=["role", "cause"]
        )
        for (role, cause), count in sorted(self._restarts.items()):
            restarts.add_metric([role, cause], count)
        yield restarts

    def _of_core(self) -> Iterator[Metric]:
        stats = self._sources.core()
        lanes = cast(list[dict[str, int]], stats.get("lanes", []))
        log = cast(dict[str, int], stats.get("log", {}))
        for name, what in (("peers", "WebRTC connections"), ("tracks", "Tracks of WebRTC publishers")):
            yield GaugeMetricFamily(f"roomtape_{name}", what, sum(lane[name] for lane in lanes))
        yield CounterMetricFamily(
            "roomtape_datagrams_dropped", "Datagrams of no peer", sum(lane["dropped"] for lane in lanes)
        )
        yield GaugeMetricFamily("roomtape_log_bytes", "Frames not written yet", log.get("bytes", 0))
        yield GaugeMetricFamily("roomtape_log_readers", "Readers of the frame log", log.get("readers", 0))
        yield CounterMetricFamily(
            "roomtape_packets_lost", "RTP packets that publishers sent and nobody got", self._packets_lost
        )

    def _of_workers(self) -> Iterator[Metric]:
        counted = self._sources.worker_counters()
        lost = CounterMetricFamily(
            "roomtape_frames_lost", "Frames that are in no recording", labels=["cause"]
        )
        for cause in counters.LOST:
            lost.add_metric([cause], counted.get(counters.lost(cause), 0))
        yield lost
        buckets, below = [], 0
        for edge in (*counters.SKEW_EDGES_MS, None):
            below += counted.get(counters.skew_bucket(edge), 0)
            buckets.append(("+Inf" if edge is None else f"{edge / 1000:g}", below))
        what = "Sound minus picture of each recorded user, each second"
        # No sum: the format has none where values may be negative.
        yield HistogramMetricFamily("roomtape_lip_sync_seconds", what, buckets=buckets, sum_value=None)


def _journal_bytes(spool: Path) -> int:
    total = 0
    for path in spool.glob("*/*.j"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # covered and deleted meanwhile
    return total
