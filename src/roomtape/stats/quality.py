"""Samples of 5 seconds of every track: what quality questions are answered from later.

The media core tells of each track once a second; five of those make a row. Measuring must not harm: one
write in 5 seconds for all tracks together, and samples are dropped, counted, while the database is away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog

from roomtape.clock import Clock
from roomtape.state import facts
from roomtape.state.database import Database, DatabaseUnavailable
from roomtape.state.schema import track_sizes, tracks

log = structlog.get_logger(__name__)

SPAN_S = 5.0

Second = tuple[int, int, int, int, float]  # core's track, packets, bytes, lost, jitter in ms


@dataclass(slots=True)
class _Sum:
    packets: int = 0
    bytes: int = 0
    lost: int = 0
    jitter_ms: float = 0.0  # the worst of the span


class QualitySampler:
    """`add` takes what the core tells; `run` writes until cancelled."""

    def __init__(self, db: Database, clock: Clock, boot_id: str) -> None:
        self._db = db
        self._clock = clock
        self._boot_id = boot_id
        self._sums: dict[int, _Sum] = {}
        self.dropped = 0  # track samples that could not be stored

    def add(self, seconds: Iterable[Second]) -> None:
        """One second of every track."""
        for track, packets, size, lost, jitter_ms in seconds:
            total = self._sums.setdefault(track, _Sum())
            total.packets += packets
            total.bytes += size
            total.lost += lost
            total.jitter_ms = max(total.jitter_ms, jitter_ms)

    async def run(self) -> None:
        began_ns = self._clock.monotonic_ns()
        while True:
            await self._clock.sleep(SPAN_S)
            now_ns = self._clock.monotonic_ns()
            sums, self._sums = self._sums, {}
            span_ms, began_ns = (now_ns - began_ns) // 1_000_000, now_ns
            if not sums:
                continue
            try:
                await self._db.run(partial(self._write, sums, span_ms))
            except DatabaseUnavailable:
                self.dropped += len(sums)
                log.warning("quality_samples_dropped", tracks=len(sums))

    def _write(self, sums: dict[int, _Sum], span_ms: int, conn: sa.Connection) -> None:
        facts.add_quality(conn, self._rows(conn, sums, span_ms))

    def _rows(self, conn: sa.Connection, sums: dict[int, _Sum], span_ms: int) -> list[dict[str, Any]]:
        """A row for each track that is known; one that began a moment ago may not be yet."""
        known = conn.execute(
            sa.select(tracks).where(tracks.c.boot_id == self._boot_id, tracks.c.core_track.in_(sums))
        )
        found = known.all()
        sizes = conn.execute(
            sa.select(track_sizes.c.track_id, track_sizes.c.width, track_sizes.c.height)
            .where(track_sizes.c.track_id.in_([row.id for row in found]))
            .order_by(track_sizes.c.id)
        )
        size = {track: (width, height) for track, width, height in sizes}  # the last one stands
        now_ms = self._clock.now_ms()
        rows = []
        for row in found:
            total = sums[row.core_track]
            width, height = size.get(row.id, (None, None))
            rows.append(
                {
                    "sdk_app_id": row.sdk_app_id,
                    "room_life": row.room_life,
                    "user_id": row.user_id,
                    "peer_id": "",  # upstream
                    "kind": row.kind,
                    "at_ms": now_ms,
                    "span_ms": span_ms,
                    "packets": total.packets,
                    "bytes": total.bytes,
                    "lost": total.lost,
                    "jitter_ms": round(total.jitter_ms),
                    "width": width,
                    "height": height,
                }
            )
        return rows
