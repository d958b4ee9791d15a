"""The batches of one task: packets and the checkpoint that belongs to them, acknowledged once written."""

from __future__ import annotations

from operator import itemgetter

from roomtape.control import messages as say
from roomtape.media.frames import NS, Coded
from roomtape.recording import faults
from roomtape.recording.cutting import Mark
from roomtape.recording.desk import MS, Desk
from roomtape.recording.journal import DISCONTINUITY, KEY, DiskFull, Packet, StreamHead, ticks_to_ns
from roomtape.recording.outlet import Outlet
from roomtape.recording.piecework import Piecework
from roomtape.recording.strand import Strand

LEAST_PIECE_NS = NS  # a full disk closes no piece shorter than this
IDLE_AFTER_NS = 5 * NS

Made = list[tuple[Strand, list[Coded]]]


class Writer:
    """Holds the batch in hand: what a full disk did not take is neither lost nor acknowledged."""

    def __init__(self, desk: Desk, pieces: Piecework) -> None:
        self.blocked = False  # the batch in hand could not be written
        self.undeclared = False  # the journal does not know all streams and outputs yet
        self._desk = desk
        self._pieces = pieces
        self._packets: list[Packet] = []  # not written yet, with their marks
        self._marks: dict[str, list[Mark]] = {}  # by outlet
        # per stream: its last packet's task time in ns, its duration, and the time base of that
        self._written_until: dict[int, tuple[int, int, int]] = {}
        self._acks: dict[int, int] = {}  # to be told once the batch in hand is written
        self._acked: dict[int, int] = {}
        self._flowing = False
        self._last_packet_ns = 0

    def write(self, made: Made) -> None:
        """One batch: packets and the checkpoint that belongs to them; acknowledged once it is written."""
        packets, until = self._packets, self._written_until
        for at, outlet, strand, coded in self._in_time(made):
            hole, stream = coded.discontinuity, strand.stream
            if outlet.hole:
                hole, outlet.hole = True, False
                for other in outlet.strands:  # nothing goes before the mark
                    other.not_before(at)
            flags = (KEY if coded.key else 0) | (DISCONTINUITY if hole else 0)
            until[stream] = at, coded.duration, strand.time_base_den
            packets.append(Packet(stream, flags, coded.pts, coded.dts, coded.duration, coded.data))
            self._marks.setdefault(outlet.key, []).append(Mark(at, strand.kind == "video", coded.key, hole))
        for outlet in self._desk.outlets.values():
            for strand in outlet.sounds:
                if strand.sound is not None and not outlet.priming:
                    outlet.priming = strand.sound.priming
        for track, strand in self._desk.reading.items():
            if strand.started and self._acked.get(track) != strand.next_seq:
                self._acks[track] = strand.next_seq
        self.write_pending()

    def write_pending(self) -> bool:
        """Write the batch in hand. False while the disk is full; it is tried again each second."""
        if not self._packets and not self._acks and not self.undeclared:
            self._pieces.cut()
            return True
        try:
            if self.undeclared:
                self._declare()
            self._desk.journal.append(self._packets, self._desk.checkpoint())
        except DiskFull as error:
            self.blocked = True
            self._desk.full(error)
            self._make_room()
            return False
        self.blocked = False
        self._desk.disk_ok()
        faults.reach("before-ack")
        self._acknowledge()
        for key, marks in self._marks.items():
            self._mark(self._desk.outlets[key], marks)
        if self._packets:
            self._last_packet_ns = self._desk.now
            if not self._flowing:
                self._flow(True)
        self._packets, self._marks = [], {}
        self._pieces.cut()
        return True

    def _mark(self, outlet: Outlet, marks: list[Mark]) -> None:
        in_time = [mark for mark in marks if mark.dts_ns >= outlet.from_ns]
        outlet.cutter.add(in_time)
        if late := len(marks) - len(in_time):
            self._desk.note("late", f"a packet of a piece that is closed, in {outlet.type}", late)

    def flushed(self) -> bool:
        """Whether nothing is in hand any more, after one more try."""
        return not self._packets or self.write_pending()

    def flush_sound(self, strand: Strand) -> None:
        if strand.sound is not None:
            self.write([(strand, strand.sound.flush())])

    def acknowledge_later(self, track: int, next_seq: int) -> None:
        """Everything before `next_seq` of a track is done with, once the next batch is written."""
        self._acks[track] = next_seq

    def forget(self, track: int) -> None:
        """The track is not read any more."""
        self._acked.pop(track, None)

    def ended_at(self, stream: int) -> int | None:
        """Task time at which the stream's last packet ends; None: it has none of this writer's."""
        last = self._written_until.get(stream)
        return None if last is None else last[0] + ticks_to_ns(last[1], last[2])

    def note_idle(self) -> None:
        """Tell it when nothing was written for `IDLE_AFTER_NS`."""
        if self._flowing and self._desk.now - self._last_packet_ns > IDLE_AFTER_NS:
            self._flow(False)

    def note_end(self) -> None:
        if self._flowing:
            self._flow(False)

    def _acknowledge(self) -> None:
        if self._acks:
            self._desk.tap.ack(self._desk.place.reader, sorted(self._acks.items()))
            reading = self._desk.reading
            self._acked = {t: s for t, s in (self._acked | self._acks).items() if t in reading}
            self._acks.clear()

    def _in_time(self, made: Made) -> list[tuple[int, Outlet, Strand, Coded]]:
        """What was made, with its task times in ns and in their order."""
        rows = []
        for strand, all_coded in made:
            if all_coded:
                den = strand.time_base_den
                for outlet in self._desk.outlets_of(strand):
                    rows += [(ticks_to_ns(coded.dts, den), outlet, strand, coded) for coded in all_coded]
        rows.sort(key=itemgetter(0))
        return rows

    def _declare(self) -> None:
        streams = []
        for strand in self._desk.strands.values():
            head = StreamHead(
                id=strand.stream,
                user=strand.user,
                media=strand.media,
                kind=strand.kind,
                codec="aac" if strand.kind == "audio" else "h264",
                time_base_den=strand.time_base_den,
                sample_rate=strand.sound.rate if strand.sound else 0,
                channels=strand.sound.channels if strand.sound else 0,
            )
            streams.append(head)
        piece_ns = self._desk.plan.piece_ms * MS
        self._desk.journal.declare(streams, [outlet.head(piece_ns) for outlet in self._desk.outlets.values()])
        self.undeclared = False

    def _make_room(self) -> None:
        """Close the open pieces: their part of the journal may go once they are committed."""
        for outlet in self._desk.outlets.values():
            start = outlet.cutter.start_ns
            to_come = [mark.dts_ns for mark in self._marks.get(outlet.key, [])]
            at = min(to_come, default=outlet.end_ns())
            if (
                start is not None
                and at - start >= LEAST_PIECE_NS
                and not self._pieces.cut_at(outlet, at, last=False)
            ):
                break
        self._pieces.make_due()

    def _flow(self, flowing: bool) -> None:
        self._flowing = flowing
        desk = self._desk
        desk.tell(
            say.Flow(task_id=desk.assign.task_id, epoch=desk.assign.epoch, flowing=flowing, at_ns=desk.now)
        )
