"""The driver of one recording task: frames of a tap in, journal batches and pieces out.

It knows the order everything happens in: consume, encode, write one batch, then acknowledge; cut where it
is certain, make pieces, tell the server until it answers. Its parts are the lineup (whom it takes, and the
elements), the writer (batches) and the piecework (cuts and pieces); they meet at the desk. None of them
reads a clock or a socket: times and messages are arguments, so that a test can run it faster than life.
A new one made from the journal of a dead one goes on without a hole and without a frame twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from roomtape.control import messages as say
from roomtape.media.frames import NS, TapFrame
from roomtape.media.tap import BatchRead, GapRead, Opened, TapError, TapMessage, TapPort, TrackEvent
from roomtape.recording import filling, recovery
from roomtape.recording.checkpoint import STOPPED, STRETCH
from roomtape.recording.desk import Desk, Place
from roomtape.recording.journal import DiskFull, Journal
from roomtape.recording.lineup import Lineup
from roomtape.recording.pieces import remove_leftovers
from roomtape.recording.piecework import Piecework
from roomtape.recording.poison import Suspects, remove_records
from roomtape.recording.writing import Made, Writer

__all__ = ["Place", "Recorder"]

STOP_WAIT_NS = NS
REPEAT_NS = 2 * NS
FOREVER_NS = 1 << 62


class Recorder:
    """One task. The caller feeds `on_tap`, `on_control` and `tick`, in any order; `done` ends it."""

    def __init__(
        self,
        assign: say.Assign,
        journal: Journal,
        tap: TapPort,
        tell: Callable[[say.ToServer], None],
        place: Place,
    ) -> None:
        self.assign = assign
        self.plan = assign.plan
        self.journal = journal
        self.done = False  # the server has answered Stopped, or the stretch is closed
        self.stopped = False  # nothing more is read
        self._desk = Desk(assign, journal, tap, tell, place, stop_at=assign.stop_at_ns)
        self._pieces = Piecework(self._desk)
        self._writer = Writer(self._desk, self._pieces)
        self._lineup = Lineup(self._desk, self._writer, self._pieces)
        self._opened = False
        self._backlog: deque[BatchRead | TrackEvent] = deque()
        self._stop_seen: int | None = None
        self._quiet_since: int | None = None  # first tick after frames; None: they came since the last one
        self._ending = ""
        self._repeat_at = 0

    # --- life -----------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        """Take up what an earlier writer left, make the pieces it did not, and open the reader."""
        desk = self._desk
        desk.now = now_ns
        desk.pieces.mkdir(parents=True, exist_ok=True)
        remove_leftovers(desk.pieces)
        desk.suspects = Suspects(desk.place.spool, desk.place.boot_id)
        recovery.tell_damage(desk)
        ended = recovery.take_up(desk, self._lineup, self._pieces)
        broken_off = recovery.is_broken_off(desk, ended)
        over = ended == STOPPED or (desk.stop_at is not None and broken_off)
        if over or broken_off:
            recovery.close_stretch(desk, self._lineup, self._pieces)
        if over:
            self._finish()
            return
        self._pieces.make_due()
        self._opened = True
        desk.tap.open(desk.place.reader, self.assign.task_id, self.plan.room, flush_ms=self.plan.flush_ms)
        if desk.stop_at is not None:
            self._stop_seen = now_ns

    def on_tap(self, message: TapMessage, now_ns: int) -> None:
        self._desk.now = now_ns
        if self.stopped or self._ending:
            return
        match message:
            case Opened():
                self._on_opened(message)
            case BatchRead() | TrackEvent(event="read_out"):
                self._backlog.append(message)
                self._work()
            case TrackEvent():
                self._on_track(message)
            case GapRead():
                self._lineup.gap(message.track, message.first, message.last, message.reason)
            case TapError(track=int(track)):
                self._lineup.track_forgotten(track)
            case TapError():
                self._desk.note("error", f"tap: {message.message}")
            case _:
                pass

    def on_control(self, message: say.ToWorker, now_ns: int) -> None:
        self._desk.now = now_ns
        match message:
            case say.Stop():
                self._on_stop(message.at_ns)
            case say.Modify():
                if not self.stopped:
                    self._lineup.modify(message.subscription)
            case say.Pause():
                if not self.stopped and not self._ending:
                    self._backlog.clear()
                    self._lineup.pause()
            case say.Resume():
                if not self.stopped and not self._ending:
                    self._lineup.take_up_again()
            case say.PieceCommitted():
                self._pieces.committed(message.output, message.piece_no)
                self._say_stopped()
            case say.StoppedCommitted():
                self._on_stopped_committed()
            case _:
                pass

    def tick(self, now_ns: int) -> None:
        """Once a second or more often: repeat what was not answered, retry a full disk, end a stop."""
        desk = self._desk
        desk.now = now_ns
        if self._writer.blocked and now_ns >= desk.retry_at:
            self._work()
        if self._pieces.waiting and now_ns >= desk.retry_at:
            self._pieces.make_due()
        if not self.stopped:
            self._lineup.ask_keys()
            self._writer.note_idle()
            if self._ending and now_ns >= desk.retry_at:
                self._try_to_end()
            elif self._stop_seen is not None and self._is_quiet(now_ns):
                self._end_input(STOPPED)
        if now_ns >= self._repeat_at:
            self._repeat_at = now_ns + REPEAT_NS
            self._pieces.repeat()
            if not self._pieces.waiting:
                self._say_stopped()

    def _is_quiet(self, now_ns: int) -> bool:
        """Whether nothing came for a while. Counted between ticks: a worker that is slow is not deaf."""
        if self._quiet_since is None:
            self._quiet_since = now_ns
        return now_ns - self._quiet_since >= STOP_WAIT_NS

    def close(self) -> None:
        """Let go of the files; nothing is written."""
        self.journal.close()
        if self._desk.suspects is not None:
            self._desk.suspects.close()
            self._desk.suspects = None

    def close_stretch(self, now_ns: int) -> None:
        """The media core is going: write what the coders hold and END, so that nothing read is lost.

        The open pieces are closed by whoever opens the journal next.
        """
        self._desk.now = now_ns
        if not self.stopped:
            self._end_input(STRETCH)
        self.done = True

    @property
    def watermark_ns(self) -> int:
        """The monotonic instant up to which the room has been read."""
        return self._desk.watermark

    @property
    def caught_up(self) -> bool:
        """Whether each track has given what it held when it was asked for."""
        return self._opened and all(strand.caught_up for strand in self._desk.reading.values())

    def skews_ms(self) -> list[float]:
        """Sound minus picture of each user who sends both now."""
        strands = self._desk.strands
        pairs = [
            (strand, strands.get((user, "main", "audio")))
            for (user, media, kind), strand in strands.items()
            if (media, kind) == ("main", "video") and strand.track and strand.started
        ]
        return [
            picture.picture.skew_ms
            for picture, sound in pairs
            if picture.picture and sound and sound.track and sound.started
        ]

    # --- what the core says ---------------------------------------------------------------------------

    def _on_opened(self, message: Opened) -> None:
        self._quiet_since = None
        self._desk.tell(say.Started(task_id=self.assign.task_id, epoch=self.assign.epoch))
        self._lineup.opened(message.tracks)
        if self._desk.stop_at is not None:
            self._desk.tap.flush(self._desk.place.reader)

    def _on_track(self, message: TrackEvent) -> None:
        track = message.track
        if message.event == "start":
            self._lineup.track_started(track)
        elif message.event == "stop":
            self._lineup.track_stopped(track, message.cause)
        elif message.event == "config":
            self._lineup.track_configured(track)

    def _work(self) -> None:
        """Take the batches that wait, unless the disk does not take the one before them."""
        if self._writer.blocked and not self._writer.write_pending():
            return
        while self._backlog and not self.stopped and not self._ending and not self._writer.blocked:
            message = self._backlog.popleft()
            if isinstance(message, TrackEvent):
                self._lineup.track_read_out(message.track, message.cause)
            else:
                self._take(message.batch.frames, message.batch.watermark_ns)

    def _take(self, frames: dict[int, list[TapFrame]], watermark_ns: int) -> None:
        desk = self._desk
        made = self._lineup.take(frames)
        desk.watermark = max(desk.watermark, watermark_ns)
        for strand in desk.reading.values():
            if strand.read_since is None:
                strand.read_since = desk.watermark
        self._lineup.advance(made)
        self._writer.write(made)
        self._tell_skipped()
        if any(frames.values()):
            self._quiet_since = None
        self._end_if_read()

    def _tell_skipped(self) -> None:
        suspects = self._desk.suspects
        if suspects is not None and suspects.skipped:
            for track, seq in suspects.skipped:
                self._desk.note("gap_poison", f"frame {seq} of track {track} killed its decoder")
            suspects.skipped.clear()

    # --- ending ---------------------------------------------------------------------------------------

    def _on_stop(self, at_ns: int) -> None:
        desk = self._desk
        if desk.stop_at is not None:
            self._say_stopped()
            return
        desk.stop_at = at_ns
        self._stop_seen, self._quiet_since = desk.now, None
        desk.tap.flush(desk.place.reader)
        self._end_if_read()

    def _end_if_read(self) -> None:
        """End when everything up to the stop has been read: the watermark says so, and each track too."""
        desk = self._desk
        if desk.stop_at is None or desk.watermark < desk.stop_at or self._writer.blocked:
            return
        if self.caught_up:
            self._end_input(STOPPED)

    def _end_input(self, how: str) -> None:
        """No frame is taken any more: flush, END, and close every piece."""
        if self._ending or self.stopped:
            return
        desk = self._desk
        made: Made = []
        if how == STOPPED:
            self._lineup.begin(made, FOREVER_NS)  # no key picture is waited for any more
        until = desk.watermark if desk.stop_at is None else min(desk.stop_at, desk.watermark)
        for outlet in desk.outlets.values():
            if outlet.live and outlet.dormant_ns is None:
                made += filling.fill(desk, outlet, until)
            for strand in outlet.sounds:
                assert strand.sound is not None
                made.append((strand, strand.sound.flush()))
        self._ending = how
        self._writer.write(made)
        self._try_to_end()

    def _try_to_end(self) -> None:
        """The rest of an end; again from `tick` while the disk is full."""
        desk = self._desk
        if not self._writer.flushed():
            return
        if self._ending == STOPPED and not all(self._pieces.close_at_end(o) for o in desk.outlets.values()):
            return
        try:
            self.journal.end(desk.checkpoint(self._ending))
        except DiskFull as error:
            desk.full(error)
            return
        for strand in list(desk.reading.values()):
            strand.leave()
        desk.reading.clear()
        self.stopped = True
        if self._ending == STOPPED:
            self._finish()

    def _finish(self) -> None:
        self.stopped = True
        self._pieces.make_due()
        self._writer.note_end()
        if self._opened:
            self._desk.tap.close_reader(self._desk.place.reader)
        self._say_stopped()

    def _say_stopped(self) -> None:
        """Stopped, once every piece is committed."""
        if self.stopped and not self.done and not self._pieces.owed:
            self._desk.tell(say.Stopped(task_id=self.assign.task_id, epoch=self.assign.epoch))

    def _on_stopped_committed(self) -> None:
        if not self.stopped:
            return
        self.done = True
        self.close()
        for path in self.journal.directory.glob("*.j"):
            path.unlink(missing_ok=True)
        remove_records(self._desk.place.spool)
