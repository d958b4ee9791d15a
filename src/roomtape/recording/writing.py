"""The batches of one task: packets and the checkpoint that belongs to them, acknowledged once written."""

from __future__ import annotations

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
        self._marks: list[tuple[Outlet, Mark]] = []
        self._written_until: dict[int, int] = {}  # per stream, task time of its last packet's end
        self._acks: dict[int, int] = {}  # to be told once the batch in hand is written
        self._acked: dict[int, int] = {}
        self._flowing = False
        self._last_packet_ns = 0

    def write(self, made: Made) -> None:
        """One batch: packets and the checkpoint that belongs to them; acknowledged once it is written."""
        for outlet, strand, coded in self._in_time(made):
            picture = strand.kind == "video"
            flags = (KEY if coded.key else 0) | (DISCONTINUITY if coded.discontinuity or outlet.hole else 0)
            at = ticks_to_ns(coded.dts, strand.time_base_den)
            self._written_until[strand.stream] = at + coded.duration * NS // strand.time_base_den
            if outlet.hole:
                outlet.hole = False
                for other in outlet.strands:  # nothing goes before the mark
                    other.not_before(at)
            self._packets.append(
                Packet(strand.stream, flags, coded.pts, coded.dts, coded.duration, coded.data)
            )
            self._marks.append((outlet, Mark(at, picture, coded.key, bool(flags & DISCONTINUITY))))
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
            self._desk.journal.append(self._packets, self._desk.checkpoint().to_dict())
        except DiskFull as error:
            self.blocked = True
            self._desk.full(error)
            self._make_room()
            return False
        self.blocked = False
        self._desk.disk_ok()
        faults.reach("before-ack")
        self._acknowledge()
        for outlet, mark in self._marks:
            if mark.dts_ns >= outlet.from_ns:
                outlet.cutter.add(mark)
            else:
                self._desk.note("late", f"a packet of a piece that is closed, in {outlet.type}")
        if self._packets:
            self._last_packet_ns = self._desk.now
            if not self._flowing:
                self._flow(True)
        self._packets, self._marks = [], []
        self._pieces.cut()
        return True

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
        return self._written_until.get(stream)

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

    def _in_time(self, made: Made) -> list[tuple[Outlet, Strand, Coded]]:
        rows = []
        for strand, all_coded in made:
            for outlet in self._desk.outlets_of(strand):
                rows += [(outlet, strand, coded) for coded in all_coded]
        rows.sort(key=lambda row: ticks_to_ns(row[2].dts, row[1].time_base_den))
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
            to_come = [mark.dts_ns for owner, mark in self._marks if owner is outlet]
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
