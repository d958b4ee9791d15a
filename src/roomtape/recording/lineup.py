"""Whom one recording takes and what it reads of them: the room's tracks, and the strands they feed."""

from __future__ import annotations

from collections.abc import Sequence

from roomtape.control import messages as say
from roomtape.media.frames import GAP, NS, PREROLL, TapFrame, Track
from roomtape.recording import filling, subscription
from roomtape.recording.desk import MS, Desk
from roomtape.recording.piecework import FILL_LAG_NS, Piecework
from roomtape.recording.strand import BEGIN, Strand, sound_for
from roomtape.recording.writing import Made, Writer

KEY_EVERY_NS = 500_000_000
MOST_DONE = 100  # tracks that were read out are remembered; the log forgets them after 10 s
READ_OUT_NS = 60 * NS  # a stopped track of which the log says nothing more is given up after this


class Lineup:
    """Tracks come and go; a strand outlives them, so that who comes back goes on in the same output."""

    def __init__(self, desk: Desk, writer: Writer, pieces: Piecework) -> None:
        self.resume: dict[int, tuple[Strand, int]] = {}  # track of the checkpoint: strand, from which frame
        self.next_stream = 1
        self._desk = desk
        self._writer = writer
        self._pieces = pieces
        self._lists = desk.plan.subscription
        self._tracks: dict[int, Track] = {}  # all of the room that may be recorded
        self._declined: set[int] = set()
        self._asked_key: dict[int, int] = {}
        # nothing is taken until `take_up_again`; 0: since before this worker had the task
        self._paused_since: int | None = 0 if desk.assign.paused else None

    # --- what the core says ---------------------------------------------------------------------------

    def opened(self, tracks: Sequence[Track]) -> None:
        """The reader is open, and these are the tracks the log knows."""
        for track in tracks:
            if self._is_mine(track):
                self._tracks[track.track] = track
            else:
                self._decline(track)
        paused = self._paused_since is not None
        gone = [track for track in self.resume if paused or track not in self._tracks]
        for track_id in gone:  # read to its end, and then forgotten by the log
            strand, _next = self.resume.pop(track_id)
            self._leave(strand)
        self.subscribe()

    def track_started(self, track: Track) -> None:
        """Somebody publishes. What is made of other tracks is nobody's, and must not be waited for."""
        if track.derived_from is not None:
            self._decline(track)
            return
        self._tracks[track.track] = track
        self.subscribe()

    def track_read_out(self, track: Track, cause: str) -> None:
        """It has stopped, and all that the log will ever give of it was taken."""
        strand = self._desk.reading.get(track.track)
        if strand is not None:
            strand.all_came = True
        self.track_stopped(track, cause)

    def track_forgotten(self, track: int) -> None:
        """It was asked for, and the log has it no more."""
        strand = self._desk.reading.get(track)
        if strand is None:
            return
        lost = 0 if strand.final_seq is None else strand.final_seq - max(strand.next_seq, 0)
        self._desk.note("gap_overrun", f"track {track} had left the log before it was read", max(1, lost))
        strand.all_came = True
        self._advance_and_write()

    def track_stopped(self, track: Track, cause: str) -> None:
        known = self._tracks.pop(track.track, None)
        declined = track.track in self._declined
        self._declined.discard(track.track)
        strand = self._desk.reading.get(track.track)
        if strand is not None:
            strand.final_seq = track.next_seq
            strand.asked_ns = self._desk.now
            if cause == "blocked":
                self._note_blocked(strand)
            self._advance_and_write()
        elif known is not None:
            # One that waits for its turn keeps it: the log holds what it sent until it is read.
            for other in self._desk.strands.values():
                kept = [t for t in other.waiting if not (declined and t.track == track.track)]
                other.waiting = [track if t.track == track.track else t for t in kept]
        self.subscribe()

    def _note_blocked(self, strand: Strand) -> None:
        """Its user was silenced, and counts as publishing for MaxIdleTime."""
        if strand.blocked_until is None:
            strand.blocked_until = self._desk.watermark + self._desk.plan.max_idle_ms * MS

    def track_configured(self, track: Track) -> None:
        """Its next frame is of another sample rate or number of channels."""
        if track.track in self._tracks:
            self._tracks[track.track] = track
        strand = self._desk.reading.get(track.track)
        if strand is None or strand.kind != "audio":
            return
        self._advance_and_write()
        next_seq = strand.next_seq
        self._new_stream(strand)
        strand.begin(track)
        self._go_on_after(strand)
        strand.next_seq, strand.started = next_seq, next_seq >= 0

    def gap(self, track: int, first: int, last: int, reason: str) -> None:
        """The frames from `first` up to `last` are lost."""
        self._desk.note(f"gap_{reason}", f"track {track}", last - first)
        strand = self._desk.reading.get(track)
        if strand is None:
            return
        strand.next_seq = max(strand.next_seq, last)
        if strand.picture is not None:
            strand.picture.awaits_key = True
        self._writer.acknowledge_later(track, strand.next_seq)
        self._advance_and_write()

    def _is_mine(self, track: Track) -> bool:
        """Whether a track of the room may be recorded at all; one that is over must belong to this task."""
        if track.derived_from is not None or track.track in self._desk.done:
            return False
        return track.live or track.track in self.resume or track.started_ns >= self._desk.plan.created_ns

    # --- whom it takes --------------------------------------------------------------------------------

    def modify(self, lists: say.Subscription) -> None:
        """Other lists hold from now on."""
        self._lists = lists
        self._take_in()

    def _take_in(self) -> None:
        """From now on everything the lists take is wanted."""
        for strand in self._desk.strands.values():
            if not strand.live:
                strand.since_ns = self._desk.now
        self.subscribe()

    # --- a disk that is nearly full -------------------------------------------------------------------

    def pause(self) -> None:
        """Take nothing for now, and close the open pieces, so that they can be uploaded and leave."""
        if self._paused_since is not None:
            return
        self._paused_since = self._desk.now
        for strand in list(self._desk.reading.values()):
            strand.waiting.clear()
            self._put_down(strand)
        self._declined.update(self._tracks)
        self._advance_and_write()  # closes what is not live any more, now or when the disk takes it

    def take_up_again(self) -> None:
        """The end of a pause: what was missed is a gap."""
        if self._paused_since is None:
            return
        away_s = (self._desk.now - self._paused_since) / NS if self._paused_since else 0
        self._paused_since = None
        self._desk.note("gap_disk", f"nothing was written for {away_s:.0f} s", max(1, len(self._tracks)))
        self._take_in()

    def subscribe(self) -> None:
        """Read what the lists take and is published; leave what they do not take any more."""
        stop_at = self._desk.stop_at
        if stop_at is not None:  # a worker that is behind hears of tracks from before the stop after it
            for track in [track for track in self._tracks.values() if track.started_ns >= stop_at]:
                if track.track not in self.resume:
                    self._decline(self._tracks.pop(track.track))
        if self._paused_since is not None:
            for track in self._tracks.values():
                self._decline(track)
            return
        publishing = [
            (subscription.Presence(track.user, track.entered_ns), track.kind)
            for track in self._tracks.values()
        ]
        plan = self._desk.plan
        take = subscription.chosen(
            publishing,
            self._lists,
            stream_type=plan.stream_type,
            media_id=plan.media_id,
            max_users=plan.max_users,
        )
        for track in sorted(self._tracks.values(), key=lambda t: (t.started_ns, t.track)):
            if (track.user, track.kind) not in take:
                self._decline(track)
            elif track.track not in self._desk.reading:
                self._want(track)
        for strand in list(self._desk.reading.values()):
            read = strand.track
            if read is not None and strand.final_seq is None and (read.user, read.kind) not in take:
                self._unsubscribe(strand)

    def _decline(self, track: Track) -> None:
        """Tell the log once that nothing of it need be kept, nor any watermark held back for it."""
        if track.track not in self._desk.reading and track.track not in self._declined:
            self._declined.add(track.track)
            self._desk.tap.unread(self._desk.place.reader, track.track)

    def _want(self, track: Track) -> None:
        media = "aux" if track.kind == "aux" else "main"
        kind = "audio" if track.kind == "audio" else "video"
        strand = self._desk.strands.get((track.user, media, kind))
        if strand is None:
            strand = self._new_strand(track.user, media, kind)
        if track.track in self._declined:  # taken in only now, whatever the log still holds
            self._declined.discard(track.track)
            strand.since_ns = self._desk.now
        resume = self.resume.pop(track.track, None)
        if resume is not None and resume[1] >= 0:
            self._read(strand, track, resume[1])
        elif strand.track is None:
            self._read(strand, track, None)
        elif all(waiting.track != track.track for waiting in strand.waiting):
            strand.waiting.append(track)

    def _unsubscribe(self, strand: Strand) -> None:
        desk = self._desk
        self._put_down(strand)
        self._advance_and_write()
        for outlet in desk.outlets_of(strand):
            if not outlet.live:
                outlet.wanted = False
                self._pieces.go_dormant(outlet)
                desk.tell(
                    say.OutputEnded(task_id=desk.assign.task_id, epoch=desk.assign.epoch, output=outlet.key)
                )

    def _put_down(self, strand: Strand) -> None:
        """Read its track no more; the log keeps nothing of it for us."""
        assert strand.track is not None
        self._desk.tap.unread(self._desk.place.reader, strand.track.track)
        self._leave(strand)
        strand.waiting.clear()
        strand.since_ns = 1 << 62  # not wanted now; `_take_in` says when it is again

    # --- strands --------------------------------------------------------------------------------------

    def _new_strand(self, user: str, media: str, kind: str) -> Strand:
        plan = self._desk.plan
        strand = Strand(user, media, kind, self.next_stream, plan.created_ns, plan.pre_create == "gop")
        self.next_stream += 1
        self._desk.strands[user, media, kind] = strand
        merged = plan.av_merge == 1 and plan.stream_type == subscription.BOTH and media == "main"
        what = "audiovideo" if merged else kind
        outlet = self._desk.outlet(f"{user}\x1f{media}\x1f{what}", user, media, what)
        outlet.strands.append(strand)
        self._writer.undeclared = True
        return strand

    def _read(self, strand: Strand, track: Track, resume_seq: int | None) -> None:
        desk = self._desk
        if strand.kind == "audio" and strand.sound is not None and resume_seq is None:
            self._fit_sound(strand, track)
        strand.begin(track, resume_seq=resume_seq)
        if not track.live and track.cause == "blocked":
            self._note_blocked(strand)
        if resume_seq is None:
            self._go_on_after(strand)
        strand.suspects = desk.suspects
        strand.asked_ns = desk.now
        desk.reading[track.track] = strand
        preroll_ms = strand.sound.preroll_ms if strand.sound is not None and resume_seq is not None else 0
        self._writer.undeclared = True
        from_seq = -1 if resume_seq is None else resume_seq
        desk.tap.read(desk.place.reader, track.track, from_seq, preroll_ms)
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
        for outlet in self._desk.outlets_of(strand):
            self._writer.flush_sound(strand)
            outlet.old_streams.append(strand.stream)
            outlet.hole = True
        strand.stream = self.next_stream
        self.next_stream += 1
        strand.sound = None
        self._writer.undeclared = True

    def _go_on_after(self, strand: Strand) -> None:
        """Nothing of a new track goes before what is written of the one before it."""
        ended_at = self._writer.ended_at
        for outlet in self._desk.outlets_of(strand):
            if outlet.old_streams and ended_at(strand.stream) is None:
                ends = (ended_at(old) for old in outlet.old_streams)
                strand.not_before(max(BEGIN if end is None else end for end in ends))

    def _leave(self, strand: Strand) -> None:
        """Its track is read out. The next one of the same stream may begin."""
        if strand.track is not None:
            self._desk.reading.pop(strand.track.track, None)
            self._writer.forget(strand.track.track)
            self._writer.acknowledge_later(strand.track.track, strand.next_seq)
        strand.leave()
        waiting = [track for track in strand.waiting if track.track not in self._declined]
        strand.waiting = []
        if waiting:
            self._read(strand, waiting[0], None)
            strand.waiting = waiting[1:]

    # --- what time brings -----------------------------------------------------------------------------

    def take(self, frames: dict[int, list[TapFrame]]) -> Made:
        """What the strands make of frames."""
        made: Made = []
        desk, reading = self._desk, self._desk.reading
        tracks = sorted(frames, key=lambda t: t not in reading or reading[t].kind != "audio")
        for track in tracks:  # sound first: the picture follows its clock
            strand = reading.get(track)
            if strand is None:
                continue
            self._return(strand, frames[track])
            self._note_holes(strand, frames[track])
            coded = strand.take(frames[track], desk.task0, desk.stop_at, self._sound_error(strand))
            made.append((strand, coded))
            if count := strand.new_resyncs():
                desk.note("resync", f"the clock of track {track} ({strand.kind}) jumped", count)
        return made

    def _note_holes(self, strand: Strand, frames: Sequence[TapFrame]) -> None:
        """Tell of pictures that were lost between a publisher and us, with all that referred to them."""
        if strand.picture is None or strand.picture.awaits_key or not strand.started:
            return
        holes = sum(frame.flags & (GAP | PREROLL) == GAP for frame in frames)
        if holes and strand.track is not None:
            text = f"pictures of track {strand.track.track} did not arrive, or what they refer to"
            self._desk.note("gap_network", text, holes)

    def advance(self, made: Made) -> None:
        """What time alone brings is added to `made`: beginnings, silence, ends."""
        desk = self._desk
        self.begin(made, desk.watermark)
        for strand in list(desk.reading.values()):
            given_up = strand.final_seq is not None and desk.now >= strand.asked_ns + READ_OUT_NS
            if strand.read_out() or given_up:
                if strand.track is not None:
                    desk.done = [*desk.done[-MOST_DONE:], strand.track.track]
                    self._tracks.pop(strand.track.track, None)
                self._leave(strand)
        for strand in desk.strands.values():
            if strand.blocked_until is not None and desk.watermark >= strand.blocked_until:
                strand.blocked_until = None
        for outlet in desk.outlets.values():
            if outlet.live and outlet.dormant_ns is None:
                made += filling.fill(desk, outlet, desk.watermark - FILL_LAG_NS)
        for outlet in desk.outlets.values():
            if not outlet.live and outlet.dormant_ns is None:
                made += filling.let_go(outlet)

    def begin(self, made: Made, waited_until_ns: int) -> None:
        """Let tracks begin of which it is clear by then where."""
        desk = self._desk
        for strand in list(desk.reading.values()):
            if not strand.started and strand.held:
                self._return(strand, strand.held)
                coded = strand.choose_start(waited_until_ns, desk.task0, self._sound_error(strand))
                made.append((strand, coded))

    def _advance_and_write(self) -> None:
        made: Made = []
        self.advance(made)
        self._writer.write(made)

    def _sound_error(self, strand: Strand) -> int:
        """How far the sound of the same user lies from its capture time."""
        sound = self._desk.strands.get((strand.user, "main", "audio"))
        if strand.media != "main" or sound is None or sound.sound is None or not sound.live:
            return 0
        return sound.sound.error_ns

    def _return(self, strand: Strand, frames: Sequence[TapFrame]) -> None:
        """The first frames of a track whose output had nothing: continue it, or begin after a hole."""
        for outlet in self._desk.outlets_of(strand):
            if not strand.started:
                strand.not_before(outlet.from_ns)
            if outlet.dormant_ns is None or not frames:
                continue
            away_ns = frames[0].capture_ns - self._desk.task0 - outlet.dormant_ns
            if len(outlet.strands) == 1 or away_ns > self._desk.plan.max_idle_ms * MS:
                outlet.begin_after_hole()
            outlet.dormant_ns = None
            outlet.wanted = True

    # --- key frames -----------------------------------------------------------------------------------

    def ask_keys(self) -> None:
        """Ask for the key frames that a beginning or a cut waits for."""
        desk = self._desk
        for track, strand in desk.reading.items():
            if strand.awaits_key and strand.final_seq is None:
                self._ask_key(track)
        for outlet in desk.outlets.values():
            start = outlet.cutter.start_ns
            if start is None or desk.watermark - desk.task0 - start < outlet.cutter.piece_ns:
                continue
            for strand in outlet.pictures:
                if strand.track is not None and strand.final_seq is None:
                    self._ask_key(strand.track.track)

    def _ask_key(self, track: int) -> None:
        if self._desk.now - self._asked_key.get(track, -KEY_EVERY_NS) >= KEY_EVERY_NS:
            self._asked_key[track] = self._desk.now
            self._desk.tap.keyframe(self._desk.place.reader, track)
