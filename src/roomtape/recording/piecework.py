"""The pieces of one task: cut where it is certain, made from the journal, told until they are answered."""

from __future__ import annotations

import zlib

from roomtape.control import messages as say
from roomtape.recording.desk import RETRY_NS, Desk
from roomtape.recording.journal import Cut, DiskFull, JournalBroken
from roomtape.recording.outlet import Due, Outlet
from roomtape.recording.pieces import MadePiece, PieceBroken, make_piece, set_aside
from roomtape.recording.strand import BEGIN

MOST_TRIES = 3  # of a piece that is found broken
FILL_LAG_NS = 600_000_000  # what is missing counts as missing this long after its time


def is_sample(task_id: str, output: str, piece_no: int, every: int) -> bool:
    """Whether this piece is the one of `every` that FFmpeg takes apart, too.

    Each output begins to count elsewhere: of many short recordings one piece in `every` is taken as well.
    """
    return (zlib.crc32(f"{task_id}{output}".encode()) + piece_no) % every == 0


class Piecework:
    """Cuts go into the journal first: whoever reads it makes the same pieces."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # --- cutting --------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Close what can be closed by now, and make it."""
        desk = self._desk
        settled_by_time = desk.watermark - FILL_LAG_NS - desk.task0
        for outlet in desk.outlets.values():
            picture_comes = any(strand.live for strand in outlet.pictures)
            while True:
                settled = outlet.settled_ns(settled_by_time, desk.watermark, black=desk.plan.fill_type == 1)
                at = outlet.cutter.next_cut(settled, picture=picture_comes)
                if at is None or not self.cut_at(outlet, at, last=False):
                    break
            if not outlet.live and outlet.dormant_ns is None and outlet.strands:
                self.go_dormant(outlet)
        self.make_due()

    def cut_at(self, outlet: Outlet, at_ns: int, *, last: bool) -> bool:
        """Write the cut and close the piece. False while the disk is full."""
        after_hole = outlet.cutter.is_after_hole(at_ns)
        try:
            self._desk.journal.cut(outlet.key, outlet.piece_no + 1, at_ns, discontinuity=after_hole)
        except DiskFull as error:
            self._desk.full(error)
            return False
        self.close_piece(outlet, at_ns, last=last or after_hole)
        return True

    def close_piece(self, outlet: Outlet, at_ns: int, *, last: bool) -> None:
        """The open piece ends at `at_ns`, as the journal already says."""
        start = outlet.cutter.start_ns
        if start is not None and start < at_ns:
            hole = outlet.cutter.begins_after_hole
            outlet.due.append(Due(outlet.piece_no, start, at_ns, last, hole))
        outlet.cutter.drop_before(at_ns)
        outlet.piece_no += 1
        outlet.from_ns = at_ns

    def close_at_end(self, outlet: Outlet) -> bool:
        """Close the open piece where its media end, if it has any. False while the disk is full."""
        return not outlet.cutter.marks or self.cut_at(outlet, outlet.end_ns(), last=True)

    def go_dormant(self, outlet: Outlet) -> None:
        """All its media are gone: the open piece is closed without waiting for more."""
        if self.close_at_end(outlet):
            outlet.dormant_ns = outlet.end_ns()
            self.make_due()

    # --- making ---------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether a piece is cut that is not made."""
        return any(outlet.due for outlet in self._desk.outlets.values())

    @property
    def owed(self) -> bool:
        """Whether a piece is not made, or not committed."""
        return any(outlet.due or outlet.unanswered for outlet in self._desk.outlets.values())

    def make_due(self) -> None:
        for outlet in self._desk.outlets.values():
            while outlet.due and outlet.due[0].retry_ns <= self._desk.now:
                try:
                    settled = self._make(outlet, outlet.due[0])
                except OSError as error:
                    self._desk.full(error)
                    return
                self._desk.disk_ok()
                if settled:
                    outlet.due.pop(0)

    def _make(self, outlet: Outlet, due: Due) -> bool:
        """Make a piece and tell of it, or leave it out for good; False: to be tried again. Raises OSError."""
        desk = self._desk
        discontinuity = due.discontinuity or outlet.after_broken
        demux = is_sample(desk.assign.task_id, outlet.key, due.piece_no, desk.plan.check_every)
        try:
            made = self._made(outlet, due, discontinuity=discontinuity, demux=demux)
        except (PieceBroken, JournalBroken, ValueError) as error:
            due.tries += 1
            if due.tries < MOST_TRIES:
                due.retry_ns = desk.now + (RETRY_NS << due.tries - 1)
                desk.note("broken", f"piece {due.piece_no}, {outlet.type} of {outlet.user}: {error}")
                return False
            made = self._despite(outlet, due, error, discontinuity=discontinuity)
            if made is None:
                return True
        if made is None:  # all that was in it was left out when the journal was opened
            self._leave_out(outlet)
            return True
        self._tell_ready(outlet, due, made, discontinuity=discontinuity)
        return True

    def _despite(
        self, outlet: Outlet, due: Due, error: Exception, *, discontinuity: bool
    ) -> MadePiece | None:
        """What can be had of a piece that stays broken; its part of the journal is kept aside for good.

        It is made without the batches that the journal does not hold any more as they were written. One that
        holds what was meant, and that only FFmpeg reads otherwise, is a piece: most others are never shown to
        FFmpeg. Any other is left out whole. Raises OSError.
        """
        desk = self._desk
        what = f"piece {due.piece_no}, {outlet.type} of {outlet.user}"
        kept = set_aside(desk.journal, outlet.key, due.from_ns, due.to_ns, desk.place.spool)
        whole = len(desk.journal.entries(outlet.key, due.from_ns, due.to_ns))
        try:
            lost = desk.journal.leave_out(outlet.key, due.from_ns, due.to_ns)
            made = self._made(outlet, due, discontinuity=discontinuity, demux=False)
        except (PieceBroken, JournalBroken, ValueError):
            made = None
        if made is None:
            self._leave_out(outlet)
            desk.note("gap_broken", f"{what} is left out, its journal is in {kept}: {error}", max(1, whole))
        elif lost:
            text = f"{lost} packets of {what} cannot be read back, what is left of them is in {kept}: {error}"
            desk.note("gap_broken", text, lost)
        else:
            desk.note("broken", f"{what} is kept as it is, its journal also in {kept}: {error}")
        return made

    def _leave_out(self, outlet: Outlet) -> None:
        """The piece that is due first will be none: those after it take its number, which has to be there.

        Said in the journal, so that whoever reads it makes the same pieces. Raises OSError.
        """
        said = {cut.piece_no: cut.discontinuity for cut in self._desk.journal.cuts[outlet.key]}
        self._desk.journal.cut_again(
            outlet.key,
            [
                Cut(outlet.key, due.piece_no, due.to_ns, n == 0 or said.get(due.piece_no + 1, False))
                for n, due in enumerate(outlet.due)
            ],
        )
        for due in outlet.due[1:]:
            due.piece_no -= 1
        outlet.piece_no -= 1
        outlet.after_broken = True

    def _made(self, outlet: Outlet, due: Due, *, discontinuity: bool, demux: bool) -> MadePiece | None:
        desk, plan = self._desk, self._desk.plan
        return make_piece(
            desk.journal,
            outlet.key,
            due.piece_no,
            due.from_ns,
            due.to_ns,
            {} if discontinuity else outlet.counters,
            directory=desk.pieces,
            sdk_app_id=plan.sdk_app_id,
            room_in_names=plan.room_in_names,
            clock_wall_ms=plan.clock_wall_ms,
            hole_follows=due.last,
            demux=demux,
        )

    def _tell_ready(self, outlet: Outlet, due: Due, made: MadePiece, *, discontinuity: bool) -> None:
        desk = self._desk
        outlet.after_broken = False
        outlet.counters = made.counters
        outlet.ends[due.piece_no] = due.to_ns
        ready = say.PieceReady(
            task_id=desk.assign.task_id,
            epoch=desk.assign.epoch,
            output=outlet.key,
            user=outlet.user,
            media=outlet.media,
            type=outlet.type,
            piece_no=due.piece_no,
            name=made.name,
            size=made.size,
            md5=made.md5,
            sha256=made.sha256,
            start_ms=made.start_ms,
            start_ns=made.start_ns,
            end_ns=made.end_ns,
            duration_us=made.duration_us,
            discontinuity=discontinuity and due.piece_no > 0,
            counters=made.counters,
            priming=outlet.priming if due.piece_no == 0 else b"",
            width=made.width,
            height=made.height,
            channels=made.channels,
            sample_rate=made.sample_rate,
        )
        outlet.unanswered[due.piece_no] = ready
        desk.tell(ready)

    # --- answers --------------------------------------------------------------------------------------

    def committed(self, output: str, piece_no: int) -> None:
        """The server keeps the piece now: the journal under it may go."""
        outlet = self._desk.outlets.get(output)
        if outlet is None:
            return
        outlet.unanswered.pop(piece_no, None)
        outlet.covered_ns = max(outlet.covered_ns, outlet.ends.pop(piece_no, BEGIN))
        self._desk.journal.forget({o.key: o.covered_ns for o in self._desk.outlets.values()})

    def repeat(self) -> None:
        """Say again what was not answered."""
        for outlet in self._desk.outlets.values():
            for ready in outlet.unanswered.values():
                self._desk.tell(ready)
