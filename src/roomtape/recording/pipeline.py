"""The driver of one recording task: frames of a tap in, journal batches and pieces out.

It owns the elements and the journal and knows the order everything happens in: consume, encode, write one
batch, then acknowledge; cut where it is certain, make pieces, tell the server until it answers. It reads
no clock and no socket: times and messages are arguments, so that a test can run it faster than life.
A new one made from the journal of a dead one goes on without a hole and without a frame twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from roomtape.control import messages as say
from roomtape.media.clocks import PICTURE_HZ
from roomtape.media.fill import BLACK_AFTER, held_idr
from roomtape.media.frames import NS, Coded, TapFrame, Track
from roomtape.media.tap import BatchRead, GapRead, Opened, TapError, TapMessage, TapPort, TrackEvent
from roomtape.recording import faults, subscription
from roomtape.recording.checkpoint import STOPPED, STRETCH, Checkpoint
from roomtape.recording.cutting import Cutter, Mark
from roomtape.recording.journal import (
    DISCONTINUITY,
    KEY,
    DiskFull,
    Journal,
    Packet,
    StreamHead,
    ticks_to_ns,
)
from roomtape.recording.outlet import Due, Outlet
from roomtape.recording.pieces import make_piece, remove_leftovers
from roomtape.recording.poison import Suspects, remove_records
from roomtape.recording.strand import BEGIN, Strand, sound_for

FILL_LAG_NS = 600_000_000  # what is missing counts as missing this long after its time
STOP_WAIT_NS = NS
KEY_EVERY_NS = 500_000_000
REPEAT_NS = 2 * NS
IDLE_AFTER_NS = 5 * NS
PRIMING_WAIT_NS = 2 * NS  # for what a restored element should be given again
MOST_DONE = 100  # tracks that were read out are remembered; the log forgets them after 10 s
READ_OUT_NS = 2 * NS  # a stopped track whose last frames do not come is given up after this
RETRY_NS = NS
LEAST_PIECE_NS = NS  # a full disk closes no piece shorter than this


class Place(NamedTuple):
    """Where one task's files are, and what its reader is called."""

    spool: Path
    boot_id: str
    reader: int


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
        self._tap = tap
        self._tell = tell
        self._place = place
        self._pieces = place.spool / "pieces"
        self._task0 = self.plan.clock_mono_ns
        self._lists = self.plan.subscription
        self._tracks: dict[int, Track] = {}  # all of the room that may be recorded
        self._strands: dict[tuple[str, str, str], Strand] = {}
        self._reading: dict[int, Strand] = {}
        self._outlets: dict[str, Outlet] = {}
        self._resume: dict[
            int, tuple[Strand, int]
        ] = {}  # track of the checkpoint: its strand, from which frame
        self._declined: set[int] = set()
        self._written_until: dict[int, int] = {}  # per stream, task time of its last packet's end
        self._done: list[int] = []  # tracks that were read to their end
        self._next_stream = 1
        self._undeclared = False
        self._watermark = 0
        self._stop_at: int | None = assign.stop_at_ns
        self._stop_seen: int | None = None
        self._heard_at = 0  # when frames came last
        self._packets: list[Packet] = []  # not written yet, with their marks
        self._marks: list[tuple[Outlet, Mark]] = []
        self._blocked_by_disk = False  # they could not be written
        self._ending = ""
        self._opened = False
        self._backlog: deque[BatchRead] = deque()
        self._acks: dict[int, int] = {}  # to be told once the batch in hand is written
        self._acked: dict[int, int] = {}
        self._flowing = False
        self._last_packet_ns = 0
        self._asked_key: dict[int, int] = {}
        self._repeat_at = 0
        self._retry_at = 0
        self._disk_full = False
        self._late = 0
        self._counted: dict[str, int] = {}
        self._now = 0
        self._suspects: Suspects | None = None

    # --- life -----------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        """Take up what an earlier writer left, make the pieces it did not, and open the reader."""
        self._now = now_ns
        self._pieces.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self._pieces)
        self._suspects = Suspects(self._place.spool, self._place.boot_id)
        ended = self._recover()
        if ended == STOPPED or (self._stop_at is not None and self._broken_off(ended)):
            self._close_stretch()
            self._finish()
            return
        if self._broken_off(ended):
            self._close_stretch()
        self._make_due()
        self._opened = True
        self._tap.open(self._place.reader, self.assign.task_id, self.plan.room, flush_ms=self.plan.flush_ms)
        if self._stop_at is not None:
            self._stop_seen = self._heard_at = now_ns

    def on_tap(self, message: TapMessage, now_ns: int) -> None:
        self._now = now_ns
        if self.stopped or self._ending:
            return
        match message:
            case Opened():
                self._on_opened(message)
            case TrackEvent():
                self._on_track(message)
            case BatchRead():
                self._backlog.append(message)
                self._work()
            case GapRead():
                self._on_gap(message)
            case TapError():
                self._note("error", f"tap: {message.message}")
            case _:
                pass

    def on_control(self, message: say.ToWorker, now_ns: int) -> None:
        self._now = now_ns
        match message:
            case say.Stop():
                self._on_stop(message.at_ns)
            case say.Modify():
                self._on_modify(message.subscription)
            case say.PieceCommitted():
                self._on_committed(message.output, message.piece_no)
            case say.StoppedCommitted():
                self._on_stopped_committed()
            case _:
                pass

    def tick(self, now_ns: int) -> None:
        """Once a second or more often: repeat what was not answered, retry a full disk, end a stop."""
        self._now = now_ns
        if self._blocked_by_disk and now_ns >= self._retry_at:
            self._work()
        if any(outlet.due for outlet in self._outlets.values()) and now_ns >= self._retry_at:
            self._make_due()
        if not self.stopped:
            self._ask_keys()
            if self._flowing and now_ns - self._last_packet_ns > IDLE_AFTER_NS:
                self._flow(False)
            if self._ending and now_ns >= self._retry_at:
                self._try_to_end()
            elif self._stop_seen is not None and now_ns - self._heard_at >= STOP_WAIT_NS:
                self._end_input(STOPPED)
        if now_ns >= self._repeat_at:
            self._repeat_at = now_ns + REPEAT_NS
            self._repeat()

    def close(self) -> None:
        """Let go of the files; nothing is written."""
        self.journal.close()
        if self._suspects is not None:
            self._suspects.close()
            self._suspects = None

    def close_stretch(self, now_ns: int) -> None:
        """The media core is going: write what the coders hold and END, so that nothing read is lost.

        The open pieces are closed by whoever opens the journal next.
        """
        self._now = now_ns
        if not self.stopped:
            self._end_input(STRETCH)
        self.done = True

    @property
    def watermark_ns(self) -> int:
        """The monotonic instant up to which the room has been read."""
        return self._watermark

    @property
    def caught_up(self) -> bool:
        """Whether each track has given what it held when it was asked for."""
        return self._opened and all(strand.caught_up for strand in self._reading.values())

    # --- taking up an earlier journal -----------------------------------------------------------------

    def _recover(self) -> str:
        recovered = self.journal.recovered
        if recovered is None:
            return ""
        checkpoint = Checkpoint.from_dict(recovered.checkpoint)
        by_stream: dict[int, Strand] = {}
        for state in checkpoint.strands:
            strand = Strand.restore(state, pre_create=self.plan.pre_create == "gop")
            by_stream[state.stream] = strand
            self._strands[state.user, state.media, state.kind] = strand
            if state.track is not None and checkpoint.boot_id == self._place.boot_id:
                self._resume[state.track] = (strand, state.next_seq)
        self._next_stream = max(recovered.streams, default=0) + 1
        states = {state.key: state for state in checkpoint.outlets}
        committed = {piece.output: piece for piece in self.assign.committed}
        for key, head in recovered.outputs.items():
            outlet = self._outlet(key, head.user, head.media, head.type)
            outlet.strands = [by_stream[stream] for stream in head.streams if stream in by_stream]
            outlet.old_streams = [stream for stream in head.streams if stream not in by_stream]
            if known := states.get(key):
                outlet.dormant_ns, outlet.hole, outlet.priming = known.dormant_ns, known.hole, known.priming
            self._take_up(outlet, committed.get(key))
        self._watermark = checkpoint.watermark_ns
        if checkpoint.boot_id == self._place.boot_id:
            self._done = checkpoint.done
        return checkpoint.ended if recovered.ended else ""

    def _take_up(self, outlet: Outlet, committed: say.CommittedPiece | None) -> None:
        """The open piece of an output and those that were cut but are not committed."""
        cuts = {cut.piece_no: cut for cut in self.journal.cuts.get(outlet.key, [])}
        if committed is not None:
            outlet.piece_no = committed.piece_no + 1
            begin = cuts.get(outlet.piece_no)
            outlet.from_ns = committed.end_ns if begin is None else begin.at_ns
            outlet.counters = dict(committed.counters)
            outlet.covered_ns = outlet.from_ns
        entries = self.journal.entries(outlet.key, outlet.from_ns, None)
        pictures = {s.stream for s in outlet.strands if s.kind == "video"}
        pictures |= {s.id for s in self.journal.streams.values() if s.kind == "video"}
        for entry in entries:
            flags = entry.flags
            outlet.cutter.add(
                Mark(entry.dts_ns, entry.stream in pictures, bool(flags & KEY), bool(flags & DISCONTINUITY))
            )
        while (cut := cuts.get(outlet.piece_no + 1)) is not None:
            last = cut.discontinuity or self._hole_after(outlet, cut.at_ns)
            self._close_piece(outlet, cut.at_ns, last=last)

    def _hole_after(self, outlet: Outlet, at_ns: int) -> bool:
        """Whether no packet lies exactly where the next piece begins, as after every normal cut."""
        return all(mark.dts_ns != at_ns for mark in outlet.cutter.marks)

    def _broken_off(self, ended: str) -> bool:
        """Whether what an earlier writer left is of another life of the media core."""
        recovered = self.journal.recovered
        if recovered is None:
            return False
        boot = recovered.checkpoint.get("boot_id", "")
        return self.assign.new_stretch or ended == STRETCH or boot != self._place.boot_id

    def _close_stretch(self) -> None:
        """Turn the open pieces into closed ones; whatever comes later comes after a hole."""
        self._resume.clear()
        for outlet in self._outlets.values():
            self._close_at_end(outlet)
            outlet.dormant_ns = outlet.end_ns()
            self._after_hole(outlet)
        for strand in self._strands.values():
            strand.leave()

    # --- what the core says ---------------------------------------------------------------------------

    def _on_opened(self, message: Opened) -> None:
        self._heard_at = self._now
        self._tell(say.Started(task_id=self.assign.task_id, epoch=self.assign.epoch))
        for track in message.tracks:
            if self._is_mine(track):
                self._tracks[track.track] = track
            else:
                self._decline(track)
        gone = [track for track in self._resume if track not in self._tracks]
        for track_id in gone:  # read to its end, and then forgotten by the log
            strand, _next = self._resume.pop(track_id)
            self._leave(strand)
        self._subscribe()
        if self._stop_at is not None:
            self._tap.flush(self._place.reader)

    def _is_mine(self, track: Track) -> bool:
        """Whether a track of the room may be recorded at all; one that is over must belong to this task."""
        if track.derived_from is not None or track.track in self._done:
            return False
        return track.live or track.track in self._resume or track.started_ns >= self.plan.created_ns

    def _on_track(self, message: TrackEvent) -> None:
        track = message.track
        if track.derived_from is not None:
            return
        if message.event == "start":
            self._tracks[track.track] = track
            self._subscribe()
        elif message.event == "stop":
            self._on_track_stop(track, message.cause)
        elif message.event == "config":
            self._on_config(track)

    def _on_track_stop(self, track: Track, cause: str) -> None:
        known = self._tracks.pop(track.track, None)
        self._declined.discard(track.track)
        strand = self._reading.get(track.track)
        if strand is not None:
            strand.final_seq = track.next_seq
            strand.stopped_since = self._watermark
            if cause == "blocked":
                strand.blocked_until = self._watermark + self.plan.max_idle_ms * 1_000_000
            self._advance_and_write()
        elif known is not None:
            for other in self._strands.values():
                other.waiting = [t for t in other.waiting if t.track != track.track]
        self._subscribe()

    def _on_config(self, track: Track) -> None:
        self._tracks[track.track] = track
        strand = self._reading.get(track.track)
        if strand is None or strand.kind != "audio":
            return
        self._advance_and_write()
        next_seq = strand.next_seq
        self._new_stream(strand)
        strand.begin(track)
        self._go_on_after(strand)
        strand.next_seq, strand.started = next_seq, next_seq >= 0

    def _on_gap(self, message: GapRead) -> None:
        self._note(f"gap_{message.reason}", f"track {message.track}", message.last - message.first)
        strand = self._reading.get(message.track)
        if strand is None:
            return
        strand.next_seq = max(strand.next_seq, message.last)
        if strand.picture is not None:
            strand.picture.awaits_key = True
        self._acks[message.track] = strand.next_seq
        self._advance_and_write()

    # --- whom it takes --------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        """Read what the lists take and is published; leave what they do not take any more."""
        if self._stop_at is not None and not self._resume:
            return
        publishing = [
            (subscription.Presence(track.user, track.entered_ns), track.kind)
            for track in self._tracks.values()
        ]
        take = subscription.chosen(
            publishing,
            self._lists,
            stream_type=self.plan.stream_type,
            media_id=self.plan.media_id,
            max_users=self.plan.max_users,
        )
        for track in sorted(self._tracks.values(), key=lambda t: (t.started_ns, t.track)):
            if (track.user, track.kind) not in take:
                self._decline(track)
            elif track.track not in self._reading:
                self._want(track)
        for strand in list(self._reading.values()):
            read = strand.track
            if read is not None and strand.final_seq is None and (read.user, read.kind) not in take:
                self._unsubscribe(strand)

    def _decline(self, track: Track) -> None:
        """Tell the log once that nothing of it need be kept, nor any watermark held back for it."""
        if track.track not in self._reading and track.track not in self._declined:
            self._declined.add(track.track)
            self._tap.unread(self._place.reader, track.track)

    def _want(self, track: Track) -> None:
        media = "aux" if track.kind == "aux" else "main"
        kind = "audio" if track.kind == "audio" else "video"
        strand = self._strands.get((track.user, media, kind))
        if strand is None:
            strand = self._new_strand(track.user, media, kind)
        if track.track in self._declined:  # taken in only now, whatever the log still holds
            self._declined.discard(track.track)
            strand.since_ns = self._now
        resume = self._resume.pop(track.track, None)
        if resume is not None and resume[1] >= 0:
            self._read(strand, track, resume[1])
        elif strand.track is None:
            self._read(strand, track, None)
        elif all(waiting.track != track.track for waiting in strand.waiting):
            strand.waiting.append(track)

    def _read(self, strand: Strand, track: Track, resume_seq: int | None) -> None:
        if strand.kind == "audio" and strand.sound is not None and resume_seq is None:
            self._fit_sound(strand, track)
        strand.begin(track, resume_seq=resume_seq)
        if resume_seq is None:
            self._go_on_after(strand)
        strand.suspects = self._suspects
        self._reading[track.track] = strand
        preroll_ms = strand.sound.preroll_ms if strand.sound is not None and resume_seq is not None else 0
        self._undeclared = True
        from_seq = -1 if resume_seq is None else resume_seq
        self._tap.read(self._place.reader, track.track, from_seq, preroll_ms)
        if strand.picture is not None and resume_seq is None and track.started_ns < strand.since_ns:
            self._ask_key(track.track)

    def _fit_sound(self, strand: Strand, track: Track) -> None:
        """A track that needs another element than the strand had begins a new stream of the same output."""
        new = sound_for(track)
        old = strand.sound
        assert old is not None
        if (type(new), new.rate, new.channels) != (type(old), old.rate, old.channels):
            self._new_stream(strand)

    def _new_stream(self, strand: Strand) -> None:
        """The strand goes on as another journal stream, after a mark: its configuration has changed."""
        for outlet in self._outlets_of(strand):
            self._flush_sound(strand)
            outlet.old_streams.append(strand.stream)
            outlet.hole = True
        strand.stream = self._next_stream
        self._next_stream += 1
        strand.sound = None
        self._undeclared = True

    def _go_on_after(self, strand: Strand) -> None:
        """Nothing of a new track goes before what is written of the one before it."""
        own = strand.stream
        for outlet in self._outlets_of(strand):
            if outlet.old_streams and self._written_until.get(own) is None:
                strand.not_before(max(self._written_until.get(old, BEGIN) for old in outlet.old_streams))

    def _new_strand(self, user: str, media: str, kind: str) -> Strand:
        strand = Strand(
            user,
            media,
            kind,
            self._next_stream,
            self.plan.created_ns,
            self.plan.pre_create == "gop",
        )
        self._next_stream += 1
        self._strands[user, media, kind] = strand
        merged = self._merged and media == "main"
        what = "audiovideo" if merged else kind
        outlet = self._outlet(f"{user}\x1f{media}\x1f{what}", user, media, what)
        outlet.strands.append(strand)
        self._undeclared = True
        return strand

    @property
    def _merged(self) -> bool:
        return self.plan.av_merge == 1 and self.plan.stream_type == subscription.BOTH

    def _outlet(self, key: str, user: str, media: str, what: str) -> Outlet:
        if key not in self._outlets:
            cutter = Cutter(self.plan.piece_ms * 1_000_000, self.plan.max_piece_ms * 1_000_000)
            self._outlets[key] = Outlet(key, user, media, what, cutter)
        return self._outlets[key]

    def _outlets_of(self, strand: Strand) -> list[Outlet]:
        return [outlet for outlet in self._outlets.values() if strand in outlet.strands]

    def _unsubscribe(self, strand: Strand) -> None:
        assert strand.track is not None
        self._tap.unread(self._place.reader, strand.track.track)
        self._leave(strand)
        strand.waiting.clear()
        strand.since_ns = 1 << 62  # not wanted now; `_on_modify` says when it is again
        self._advance_and_write()
        for outlet in self._outlets_of(strand):
            if not outlet.live:
                outlet.wanted = False
                self._go_dormant(outlet)
                self._tell(
                    say.OutputEnded(task_id=self.assign.task_id, epoch=self.assign.epoch, output=outlet.key)
                )

    def _on_modify(self, lists: say.Subscription) -> None:
        self._lists = lists
        if self.stopped:
            return
        for strand in self._strands.values():
            if not strand.live:
                strand.since_ns = self._now
        self._subscribe()

    # --- one batch ------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Take the batches that wait, unless the disk does not take the one before them."""
        if self._blocked_by_disk and not self._write_pending():
            return
        while self._backlog and not self.stopped and not self._ending and not self._blocked_by_disk:
            message = self._backlog.popleft()
            self._take(message.batch.frames, message.batch.watermark_ns)

    def _take(self, frames: dict[int, list[TapFrame]], watermark_ns: int) -> None:
        made: list[tuple[Strand, list[Coded]]] = []
        tracks = sorted(frames, key=lambda t: t not in self._reading or self._reading[t].kind != "audio")
        for track in tracks:  # sound first: the picture follows its clock
            strand = self._reading.get(track)
            if strand is None:
                continue
            self._return(strand, frames[track])
            coded = strand.take(frames[track], self._task0, self._stop_at, self._sound_error(strand))
            made.append((strand, coded))
        self._watermark = max(self._watermark, watermark_ns)
        for strand in self._reading.values():
            if strand.read_since is None:
                strand.read_since = self._watermark
        self._advance(made)
        self._write(made)
        self._tell_skipped()
        if any(frames.values()):
            self._heard_at = self._now
        self._end_if_read()

    def _tell_skipped(self) -> None:
        if self._suspects is not None and self._suspects.skipped:
            for track, seq in self._suspects.skipped:
                self._note("gap_poison", f"frame {seq} of track {track} killed its decoder")
            self._suspects.skipped.clear()

    def _advance_and_write(self) -> None:
        made: list[tuple[Strand, list[Coded]]] = []
        self._advance(made)
        self._write(made)

    def _advance(self, made: list[tuple[Strand, list[Coded]]]) -> None:
        """What time alone brings: beginnings, silence, ends."""
        for strand in list(self._reading.values()):
            if not strand.started and strand.held:
                self._return(strand, strand.held)
                made.append(
                    (strand, strand.choose_start(self._watermark, self._task0, self._sound_error(strand)))
                )
        for strand in list(self._reading.values()):
            if strand.read_out() or (
                strand.stopped_since is not None and self._watermark >= strand.stopped_since + READ_OUT_NS
            ):
                if strand.track is not None:
                    self._done = [*self._done[-MOST_DONE:], strand.track.track]
                    self._tracks.pop(strand.track.track, None)
                self._leave(strand)
        for strand in self._strands.values():
            if strand.blocked_until is not None and self._watermark >= strand.blocked_until:
                strand.blocked_until = None
        for outlet in self._outlets.values():
            if outlet.live and outlet.dormant_ns is None:
                made += self._fill(outlet, self._watermark - FILL_LAG_NS)
        for outlet in self._outlets.values():
            if not outlet.live and outlet.dormant_ns is None:
                made += self._let_go(outlet)

    def _let_go(self, outlet: Outlet) -> list[tuple[Strand, list[Coded]]]:
        """All its media are gone: its sound ends no sooner than its picture, and is put out whole."""
        made: list[tuple[Strand, list[Coded]]] = []
        end_ns = outlet.end_ns()
        for strand in outlet.sounds:
            assert strand.sound is not None
            made.append((strand, strand.sound.fill_to(end_ns * strand.sound.rate // NS)))
            made.append((strand, strand.sound.flush()))
        return made

    def _fill(self, outlet: Outlet, until_ns: int) -> list[tuple[Strand, list[Coded]]]:
        """What stands for media that are missing while their user is there."""
        made = [(strand, self._fill_picture(outlet, strand, until_ns)) for strand in outlet.pictures]
        for strand in outlet.sounds:
            assert strand.sound is not None
            if not self._is_primed(strand):
                continue
            pos = (until_ns - self._task0) * strand.sound.rate // NS
            made.append((strand, strand.sound.fill_to(pos)))
        return made

    def _fill_picture(self, outlet: Outlet, strand: Strand, until_ns: int) -> list[Coded]:
        """Black where that is asked for; otherwise the last picture lasts, but not past a piece's bound."""
        picture = strand.picture
        if picture is None or picture.last is None or (strand.track and not self._is_primed(strand)):
            return []
        strand.not_before(outlet.from_ns)
        pos = (until_ns - self._task0) * PICTURE_HZ // NS
        if self.plan.fill_type == 1:
            return picture.fill_black(pos, gone=strand.track is None)
        start = outlet.cutter.start_ns
        if start is None or pos - picture.last < BLACK_AFTER:
            return []
        bound = -(-(start + outlet.cutter.most_ns) * PICTURE_HZ // NS)
        if picture.last >= bound or pos < bound:
            return []
        units: list[bytes] = []
        for packet in self.journal.window(outlet.key, start, None):
            if packet.stream == strand.stream:
                units = [packet.data] if packet.flags & KEY else [*units, packet.data]
        held = held_idr(units)
        return [] if held is None else picture.hold(bound, held)

    def _is_primed(self, strand: Strand) -> bool:
        """Whether what a restored coder should be fed again has come, or will not come."""
        strand.primed = strand.primed or self._is_quiet(strand)
        return strand.primed

    def _is_quiet(self, strand: Strand) -> bool:
        """Whether its track is read for so long that nothing old can come any more."""
        return strand.read_since is not None and self._watermark >= strand.read_since + PRIMING_WAIT_NS

    def _sound_error(self, strand: Strand) -> int:
        """How far the sound of the same user lies from its capture time."""
        sound = self._strands.get((strand.user, "main", "audio"))
        if strand.media != "main" or sound is None or sound.sound is None or not sound.live:
            return 0
        return sound.sound.error_ns

    def _return(self, strand: Strand, frames: Sequence[TapFrame]) -> None:
        """The first frames of a track whose output had nothing: continue it, or begin after a hole."""
        for outlet in self._outlets_of(strand):
            if not strand.started:
                strand.not_before(outlet.from_ns)
            if outlet.dormant_ns is None or not frames:
                continue
            away_ns = frames[0].capture_ns - self._task0 - outlet.dormant_ns
            if len(outlet.strands) == 1 or away_ns > self.plan.max_idle_ms * 1_000_000:
                self._after_hole(outlet)
            outlet.dormant_ns = None
            outlet.wanted = True

    def _after_hole(self, outlet: Outlet) -> None:
        outlet.hole = True
        for strand in outlet.sounds:
            assert strand.sound is not None
            strand.sound.restart()

    def _leave(self, strand: Strand) -> None:
        """Its track is read out. The next one of the same stream may begin."""
        if strand.track is not None:
            self._reading.pop(strand.track.track, None)
            self._acked.pop(strand.track.track, None)
            self._acks[strand.track.track] = strand.next_seq
        strand.leave()
        waiting = [track for track in strand.waiting if track.track in self._tracks]
        strand.waiting = []
        if waiting:
            self._read(strand, waiting[0], None)
            strand.waiting = waiting[1:]

    def _flush_sound(self, strand: Strand) -> None:
        if strand.sound is not None:
            self._write([(strand, strand.sound.flush())])

    # --- writing --------------------------------------------------------------------------------------

    def _write(self, made: list[tuple[Strand, list[Coded]]]) -> None:
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
        for outlet in self._outlets.values():
            for strand in outlet.sounds:
                if strand.sound is not None and not outlet.priming:
                    outlet.priming = strand.sound.priming
        for track, strand in self._reading.items():
            if strand.started and self._acked.get(track) != strand.next_seq:
                self._acks[track] = strand.next_seq
        self._write_pending()

    def _in_time(self, made: list[tuple[Strand, list[Coded]]]) -> list[tuple[Outlet, Strand, Coded]]:
        rows = []
        for strand, all_coded in made:
            for outlet in self._outlets_of(strand):
                rows += [(outlet, strand, coded) for coded in all_coded]
        rows.sort(key=lambda row: ticks_to_ns(row[2].dts, row[1].time_base_den))
        return rows

    def _write_pending(self) -> bool:
        """Write the batch in hand. False while the disk is full; it is tried again each second."""
        if not self._packets and not self._acks and not self._undeclared:
            self._cut()
            return True
        try:
            if self._undeclared:
                self._declare()
            self.journal.append(self._packets, self._checkpoint("").to_dict())
        except DiskFull as error:
            self._blocked_by_disk = True
            self._full(error)
            self._make_room()
            return False
        self._blocked_by_disk = False
        self._disk_ok()
        faults.reach("before-ack")
        if self._acks:
            self._tap.ack(self._place.reader, sorted(self._acks.items()))
            self._acked = {t: s for t, s in (self._acked | self._acks).items() if t in self._reading}
            self._acks.clear()
        for outlet, mark in self._marks:
            if mark.dts_ns >= outlet.from_ns:
                outlet.cutter.add(mark)
            else:
                self._note("late", f"a packet of a piece that is closed, in {outlet.type}")
        if self._packets:
            self._last_packet_ns = self._now
            if not self._flowing:
                self._flow(True)
        self._packets, self._marks = [], []
        self._cut()
        return True

    def _declare(self) -> None:
        streams = []
        for strand in self._strands.values():
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
        self.journal.declare(
            streams, [outlet.head(self.plan.piece_ms * 1_000_000) for outlet in self._outlets.values()]
        )
        self._undeclared = False

    def _checkpoint(self, ended: str) -> Checkpoint:
        return Checkpoint(
            boot_id=self._place.boot_id,
            watermark_ns=self._watermark,
            strands=[strand.state() for strand in self._strands.values()],
            outlets=[outlet.state() for outlet in self._outlets.values()],
            done=self._done,
            ended=ended,
        )

    def _full(self, error: OSError) -> None:
        self._retry_at = self._now + RETRY_NS
        if not self._disk_full:
            self._disk_full = True
            self._note("disk_full", str(error))

    def _make_room(self) -> None:
        """Close the open pieces: their part of the journal may go once they are committed."""
        for outlet in self._outlets.values():
            start = outlet.cutter.start_ns
            to_come = [mark.dts_ns for owner, mark in self._marks if owner is outlet]
            at = min(to_come, default=outlet.end_ns())
            if (
                start is not None
                and at - start >= LEAST_PIECE_NS
                and not self._cut_at(outlet, at, last=False)
            ):
                break
        self._make_due()

    def _disk_ok(self) -> None:
        if self._disk_full:
            self._disk_full = False
            self._note("disk_ok", "writing again")

    # --- pieces ---------------------------------------------------------------------------------------

    def _cut(self) -> None:
        settled_by_time = self._watermark - FILL_LAG_NS - self._task0
        for outlet in self._outlets.values():
            picture_comes = any(strand.live for strand in outlet.pictures)
            while True:
                settled = outlet.settled_ns(settled_by_time, self._is_quiet, black=self.plan.fill_type == 1)
                at = outlet.cutter.next_cut(settled, picture=picture_comes)
                if at is None or not self._cut_at(outlet, at, last=False):
                    break
            if not outlet.live and outlet.dormant_ns is None and outlet.strands:
                self._go_dormant(outlet)
        self._make_due()

    def _cut_at(self, outlet: Outlet, at_ns: int, *, last: bool) -> bool:
        after_hole = any(m.dts_ns == at_ns and m.discontinuity for m in outlet.cutter.marks)
        try:
            self.journal.cut(outlet.key, outlet.piece_no + 1, at_ns, discontinuity=after_hole)
        except DiskFull as error:
            self._full(error)
            return False
        self._close_piece(outlet, at_ns, last=last or after_hole)
        return True

    def _close_piece(self, outlet: Outlet, at_ns: int, *, last: bool) -> None:
        start = outlet.cutter.start_ns
        if start is not None and start < at_ns:
            hole = outlet.cutter.begins_after_hole
            outlet.due.append(Due(outlet.piece_no, start, at_ns, last, hole))
        outlet.cutter.drop_before(at_ns)
        outlet.piece_no += 1
        outlet.from_ns = at_ns

    def _close_at_end(self, outlet: Outlet) -> bool:
        """Close the open piece where its media end, if it has any. False while the disk is full."""
        return not outlet.cutter.marks or self._cut_at(outlet, outlet.end_ns(), last=True)

    def _go_dormant(self, outlet: Outlet) -> None:
        if self._close_at_end(outlet):
            outlet.dormant_ns = outlet.end_ns()
            self._make_due()

    def _make_due(self) -> None:
        for outlet in self._outlets.values():
            while outlet.due:
                if not self._make(outlet, outlet.due[0]):
                    return
                outlet.due.pop(0)

    def _make(self, outlet: Outlet, due: Due) -> bool:
        every = self.plan.check_every
        try:
            made = make_piece(
                self.journal,
                outlet.key,
                due.piece_no,
                due.from_ns,
                due.to_ns,
                {} if due.discontinuity else outlet.counters,
                directory=self._pieces,
                sdk_app_id=self.plan.sdk_app_id,
                room_in_names=self.plan.room_in_names,
                clock_wall_ms=self.plan.clock_wall_ms,
                hole_follows=due.last,
                demux=every > 0 and due.piece_no % every == 0,
            )
        except OSError as error:
            self._full(error)
            return False
        self._disk_ok()
        if made is None:
            return True
        outlet.counters = made.counters
        outlet.ends[due.piece_no] = due.to_ns
        ready = say.PieceReady(
            task_id=self.assign.task_id,
            epoch=self.assign.epoch,
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
            discontinuity=due.discontinuity and due.piece_no > 0,
            counters=made.counters,
            priming=outlet.priming if due.piece_no == 0 else b"",
            width=made.width,
            height=made.height,
            channels=made.channels,
            sample_rate=made.sample_rate,
        )
        outlet.unanswered[due.piece_no] = ready
        self._tell(ready)
        return True

    def _on_committed(self, output: str, piece_no: int) -> None:
        outlet = self._outlets.get(output)
        if outlet is None:
            return
        outlet.unanswered.pop(piece_no, None)
        outlet.covered_ns = max(outlet.covered_ns, outlet.ends.pop(piece_no, BEGIN))
        covered = {o.key: o.covered_ns for o in self._outlets.values()}
        self.journal.forget(covered)
        self._say_stopped()

    # --- ending ---------------------------------------------------------------------------------------

    def _on_stop(self, at_ns: int) -> None:
        if self._stop_at is not None:
            self._say_stopped()
            return
        self._stop_at = at_ns
        self._stop_seen = self._now
        self._heard_at = self._now
        self._tap.flush(self._place.reader)
        self._end_if_read()

    def _end_if_read(self) -> None:
        """End when everything up to the stop has been read: the watermark says so, and each track too."""
        if self._stop_at is None or self._watermark < self._stop_at or self._blocked_by_disk:
            return
        if self.caught_up:
            self._end_input(STOPPED)

    def _end_input(self, how: str) -> None:
        """No frame is taken any more: flush, END, and close every piece."""
        if self._ending or self.stopped:
            return
        made: list[tuple[Strand, list[Coded]]] = []
        until = self._watermark if self._stop_at is None else min(self._stop_at, self._watermark)
        for outlet in self._outlets.values():
            if outlet.live and outlet.dormant_ns is None:
                made += self._fill(outlet, until)
            for strand in outlet.sounds:
                assert strand.sound is not None
                made.append((strand, strand.sound.flush()))
        self._ending = how
        self._write(made)
        self._try_to_end()

    def _try_to_end(self) -> None:
        """The rest of an end; again from `tick` while the disk is full."""
        if self._packets and not self._write_pending():
            return
        if self._ending == STOPPED and not all(self._close_at_end(o) for o in self._outlets.values()):
            return
        try:
            self.journal.end(self._checkpoint(self._ending).to_dict())
        except DiskFull as error:
            self._full(error)
            return
        for strand in list(self._reading.values()):
            strand.leave()
        self._reading.clear()
        self.stopped = True
        if self._ending == STOPPED:
            self._finish()

    def _finish(self) -> None:
        self.stopped = True
        self._make_due()
        if self._flowing:
            self._flow(False)
        if self._opened:
            self._tap.close_reader(self._place.reader)
        self._say_stopped()

    def _say_stopped(self) -> None:
        """Stopped, once every piece is committed."""
        if self.stopped and not self.done and not self._owed:
            self._tell(say.Stopped(task_id=self.assign.task_id, epoch=self.assign.epoch))

    @property
    def _owed(self) -> bool:
        return any(outlet.due or outlet.unanswered for outlet in self._outlets.values())

    def _on_stopped_committed(self) -> None:
        if not self.stopped:
            return
        self.done = True
        self.close()
        for path in self.journal.directory.glob("*.j"):
            path.unlink(missing_ok=True)
        remove_records(self._place.spool)

    def _repeat(self) -> None:
        for outlet in self._outlets.values():
            for ready in outlet.unanswered.values():
                self._tell(ready)
        if not any(outlet.due for outlet in self._outlets.values()):
            self._say_stopped()

    # --- small matters --------------------------------------------------------------------------------

    def _ask_keys(self) -> None:
        for track, strand in self._reading.items():
            if strand.awaits_key and strand.final_seq is None:
                self._ask_key(track)
        for outlet in self._outlets.values():
            start = outlet.cutter.start_ns
            if start is None or self._watermark - self._task0 - start < outlet.cutter.piece_ns:
                continue
            for strand in outlet.pictures:
                if strand.track is not None and strand.final_seq is None:
                    self._ask_key(strand.track.track)

    def _ask_key(self, track: int) -> None:
        if self._now - self._asked_key.get(track, -KEY_EVERY_NS) >= KEY_EVERY_NS:
            self._asked_key[track] = self._now
            self._tap.keyframe(self._place.reader, track)

    def _flow(self, flowing: bool) -> None:
        self._flowing = flowing
        self._tell(
            say.Flow(task_id=self.assign.task_id, epoch=self.assign.epoch, flowing=flowing, at_ns=self._now)
        )

    def _note(self, kind: str, text: str, count: int = 1) -> None:
        self._tell(
            say.Note(task_id=self.assign.task_id, epoch=self.assign.epoch, kind=kind, text=text, count=count)
        )
