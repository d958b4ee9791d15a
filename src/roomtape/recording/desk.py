"""What the parts of one recorder share: the plan, the journal, the ways out, and how far time has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from roomtape.control import messages as say
from roomtape.media.tap import TapPort
from roomtape.recording.checkpoint import Checkpoint
from roomtape.recording.cutting import Cutter
from roomtape.recording.journal import Journal
from roomtape.recording.outlet import Outlet
from roomtape.recording.poison import Suspects
from roomtape.recording.strand import Strand

RETRY_NS = 1_000_000_000
MS = 1_000_000


class Place(NamedTuple):
    """Where one task's files are, and what its reader is called."""

    spool: Path
    boot_id: str
    reader: int


@dataclass(slots=True)
class Desk:
    """One task at work. `now`, `watermark` and `stop_at` are monotonic ns; nothing here reads a clock."""

    assign: say.Assign
    journal: Journal
    tap: TapPort
    tell: Callable[[say.ToServer], None]
    place: Place
    strands: dict[tuple[str, str, str], Strand] = field(default_factory=dict)  # user, media, kind
    reading: dict[int, Strand] = field(default_factory=dict)  # by track
    outlets: dict[str, Outlet] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)  # tracks that were read to their end
    suspects: Suspects | None = None
    now: int = 0
    watermark: int = 0  # the room has been read up to this
    stop_at: int | None = None
    retry_at: int = 0  # when a full disk is tried again
    disk_full: bool = False

    @property
    def plan(self) -> say.RecordingPlan:
        return self.assign.plan

    @property
    def task0(self) -> int:
        """The monotonic instant of task time 0."""
        return self.assign.plan.clock_mono_ns

    @property
    def pieces(self) -> Path:
        return self.place.spool / "pieces"

    def outlet(self, key: str, user: str, media: str, what: str) -> Outlet:
        """The output of that key, made if it is not there."""
        if key not in self.outlets:
            cutter = Cutter(self.plan.piece_ms * MS, self.plan.max_piece_ms * MS)
            self.outlets[key] = Outlet(key, user, media, what, cutter)
        return self.outlets[key]

    def outlets_of(self, strand: Strand) -> list[Outlet]:
        return [outlet for outlet in self.outlets.values() if strand in outlet.strands]

    def checkpoint(self, ended: str = "") -> Checkpoint:
        """All a successor needs to go on from here."""
        return Checkpoint(
            boot_id=self.place.boot_id,
            watermark_ns=self.watermark,
            strands=[strand.state() for strand in self.strands.values()],
            outlets=[outlet.state() for outlet in self.outlets.values()],
            done=self.done,
            ended=ended,
        )

    def note(self, kind: str, text: str, count: int = 1) -> None:
        self.tell(
            say.Note(task_id=self.assign.task_id, epoch=self.assign.epoch, kind=kind, text=text, count=count)
        )

    def full(self, error: OSError) -> None:
        """The disk has taken something not; it is tried again after `RETRY_NS`, and told once."""
        self.retry_at = self.now + RETRY_NS
        if not self.disk_full:
            self.disk_full = True
            self.note("disk_full", str(error))

    def disk_ok(self) -> None:
        if self.disk_full:
            self.disk_full = False
            self.note("disk_ok", "writing again")
