"""One stream of a recording: the track it reads now, its element, and when it begins.

A strand is (user, main or aux, audio or video). It outlives its tracks: a user who comes back goes on in
the same strand, with another track.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from roomtape.media.aac_source import AacSource
from roomtape.media.adts import SAMPLE_RATES, BadAac
from roomtape.media.clocks import PICTURE_HZ
from roomtape.media.frames import KEY, NS, PREROLL, Coded, TapFrame, Track
from roomtape.media.picture import KeptPicture, Picture, TranscodedPicture, restore_picture
from roomtape.media.sound import GridSound, KeptSound, Sound, restore_sound
from roomtape.recording.checkpoint import StrandState
from roomtape.recording.poison import Suspects

WAIT_KEY_NS = NS  # how long a picture published before Create may take to bring an IDR of its own
PRIMING_WAIT_NS = 2 * NS  # for what a restored element should be given again
OPUS_RATE = 48_000
BEGIN = -(1 << 62)  # task time before everything


@dataclass(slots=True, eq=False)
class Strand:
    """`user`, `media` ("main", "aux") and `kind` ("audio", "video") name it; `stream` is its journal id."""

    user: str
    media: str
    kind: str
    stream: int
    since_ns: int  # wanted from this monotonic instant on (Create, or the Modify that took it in)
    pre_create: bool = True  # may begin with the last IDR from before that
    sound: Sound | None = None
    picture: Picture | None = None
    track: Track | None = None  # being read
    next_seq: int = -1
    given: int = 0  # after the last frame of its track that came, recorded or not
    final_seq: int | None = None  # the track has stopped; this is after its last frame
    all_came: bool = False  # the log has said that nothing more of the track will come
    asked_ns: int = 0  # when the track was asked for, or its stop was heard
    blocked_until: int | None = None  # stopped by SetUserBlocked: counts as published so long
    read_since: int | None = None  # watermark of the first batch after its track was asked for
    waiting: list[Track] = field(default_factory=list)  # tracks that begin when this one is read out
    started: bool = False  # this track's first frame has been chosen
    primed: bool = True  # what a restored element must be given again has come
    held: list[TapFrame] = field(default_factory=list)  # before that choice
    suspects: Suspects | None = None  # guards what is given to a decoder
    skipped: int = 0  # frames a source gave no sequence number for
    resyncs_told: int = 0  # of its track

    @property
    def live(self) -> bool:
        """Whether this stream is published now."""
        return self.track is not None or self.blocked_until is not None

    @property
    def time_base_den(self) -> int:
        return self.sound.rate if self.sound else 90_000

    def begin(self, track: Track, *, resume_seq: int | None = None) -> None:
        """Read `track` from now on. `resume_seq`: the restored element's own track, from that frame on."""
        resume = resume_seq is not None
        if self.kind == "audio":
            if self.sound is None:
                self.sound = sound_for(track)
            self.sound.begin(track, resume=resume)
        else:
            if self.picture is None:
                self.picture = KeptPicture() if track.codec == "h264" else TranscodedPicture()
            self.picture.begin(track, resume=resume)
        self.track = track
        self.resyncs_told = self._resyncs
        self.next_seq = -1 if resume_seq is None else resume_seq
        self.given = 0
        self.started = resume
        self.primed = not resume
        self.final_seq = None if track.live else track.next_seq
        self.all_came = False
        self.read_since = None
        if not resume:
            self.blocked_until = None
        self.held = []

    def quiet_at(self, watermark_ns: int) -> bool:
        """Whether its track is read for so long that nothing old can come any more."""
        return self.read_since is not None and watermark_ns >= self.read_since + PRIMING_WAIT_NS

    def primed_by(self, watermark_ns: int) -> bool:
        """Whether what a restored coder should be fed again has come, or will not come."""
        self.primed = self.primed or self.quiet_at(watermark_ns)
        return self.primed

    def read_out(self) -> bool:
        """Whether its track has stopped and every frame of it was taken."""
        return self.all_came or (self.final_seq is not None and max(self.next_seq, 0) >= self.final_seq)

    @property
    def caught_up(self) -> bool:
        """Whether it has been given all that its track held when it was asked for."""
        if self.track is None or self.all_came:
            return True
        last = max(self.given, self.next_seq)
        return last >= self.track.next_seq or (self.final_seq is not None and last >= self.final_seq)

    def leave(self) -> None:
        self.track = None
        self.final_seq = None
        self.all_came = False
        self.held = []
        self.next_seq, self.given = -1, 0

    def new_resyncs(self) -> int:
        """How often its track was placed anew since this was asked last."""
        fresh, self.resyncs_told = self._resyncs - self.resyncs_told, self._resyncs
        return fresh

    @property
    def _resyncs(self) -> int:
        element = self.sound or self.picture
        return 0 if element is None else element.resyncs

    def not_before(self, task_ns: int) -> None:
        """What is put out first lies at or after this: the piece before it is closed."""
        if task_ns <= BEGIN:
            return
        if self.sound is not None:
            self.sound.not_before(-(-task_ns * self.sound.rate // NS))
        if self.picture is not None:
            self.picture.not_before(-(-task_ns * PICTURE_HZ // NS))

    def take(
        self, frames: list[TapFrame], task0_ns: int, until_ns: int | None, sound_error_ns: int
    ) -> list[Coded]:
        """Frames of its track in; those captured at or after `until_ns` are left out."""
        if frames:
            self.given = max(self.given, frames[-1].seq + 1)
        if until_ns is not None:
            frames = [frame for frame in frames if frame.capture_ns < until_ns]
        if not self.started:
            self.held += frames
            return []
        return self._push(frames, task0_ns, sound_error_ns)

    def choose_start(self, watermark_ns: int, task0_ns: int, sound_error_ns: int) -> list[Coded]:
        """Begin, if it is clear where. Source: the timing rules for tracks published before Create."""
        if self.started or not self.held or self.track is None:
            return []
        start = self._start(watermark_ns)
        if start is None:
            return []
        frames, self.held = self.held[start:], []
        self.started = True
        if frames:
            self.next_seq = frames[0].seq
        return self._push(frames, task0_ns, sound_error_ns)

    @property
    def awaits_key(self) -> bool:
        """Whether a key frame would help now."""
        if self.picture is None or self.track is None:
            return False
        return not self.started or self.picture.awaits_key

    def state(self) -> StrandState:
        element = self.sound.state() if self.sound else self.picture.state() if self.picture else None
        return StrandState(
            user=self.user,
            media=self.media,
            kind=self.kind,
            stream=self.stream,
            track=self.track.track if self.track else None,
            next_seq=self.next_seq if self.started else -1,
            element=element,
            since_ns=self.since_ns,
            blocked_until=self.blocked_until,
        )

    @classmethod
    def restore(cls, state: StrandState, *, pre_create: bool) -> Strand:
        self = cls(state.user, state.media, state.kind, state.stream, state.since_ns, pre_create)
        self.blocked_until = state.blocked_until
        if state.element is not None:
            if state.kind == "audio":
                self.sound = restore_sound(state.element)
            else:
                self.picture = restore_picture(state.element)
        return self

    def _push(self, frames: list[TapFrame], task0_ns: int, sound_error_ns: int) -> list[Coded]:
        if not frames:
            return []
        fresh = self._fresh(frames)
        if not fresh:
            return []
        self.primed = True
        if self.suspects is None or not self._decodes:
            return self._give(fresh, task0_ns, sound_error_ns)
        out: list[Coded] = []
        for part in self.suspects.parts(fresh[0].track, fresh):
            out += self._give(part, task0_ns, sound_error_ns)
        return out

    def _fresh(self, frames: list[TapFrame]) -> list[TapFrame]:
        """Those not taken before, and preroll; a hole in their numbers is counted."""
        first, last = frames[0], frames[-1]
        if first.seq == self.next_seq and last.seq - first.seq == len(frames) - 1:
            self.next_seq = last.seq + 1
            return frames
        fresh = []
        for frame in frames:
            if not frame.flags & PREROLL:
                if frame.seq < self.next_seq:
                    continue
                if frame.seq > self.next_seq >= 0:
                    self.skipped += frame.seq - self.next_seq
                self.next_seq = frame.seq + 1
            fresh.append(frame)
        return fresh

    @property
    def _decodes(self) -> bool:
        return isinstance(self.sound, GridSound) or isinstance(self.picture, TranscodedPicture)

    def _give(self, frames: list[TapFrame], task0_ns: int, sound_error_ns: int) -> list[Coded]:
        if self.sound is not None:
            return self.sound.push(frames, task0_ns)
        assert self.picture is not None
        return self.picture.push(frames, task0_ns, sound_error_ns)

    def _start(self, watermark_ns: int) -> int | None:
        """Index of the held frame to begin with."""
        assert self.track is not None
        before = self.track.started_ns < self.since_ns
        if self.kind == "audio":
            if not before:
                return 0
            late = (i for i, frame in enumerate(self.held) if frame.capture_ns >= self.since_ns)
            first = next(late, None)
            if first is None:
                self.next_seq = self.held[-1].seq + 1
                self.held = []
            return first
        keys = [i for i, frame in enumerate(self.held) if frame.flags & KEY]
        for index in keys:
            if not before or self.held[index].capture_ns >= self.since_ns:
                return index
        waited = watermark_ns >= self.since_ns + WAIT_KEY_NS or self.final_seq is not None
        if keys and self.pre_create and waited:
            return keys[-1]
        return None


def sound_for(track: Track) -> Sound:
    """The element for a track's codec: AAC-LC is kept, everything else is decoded and put on a grid."""
    if track.codec != "aac":
        return GridSound(OPUS_RATE, track.channels if track.channels in (1, 2) else 2)
    try:
        source = AacSource.parse(track.extradata)
    except BadAac:
        return GridSound(track.sample_rate or OPUS_RATE, 1 if track.channels == 1 else 2)
    if source.plain and source.channels <= 2:
        return KeptSound(source.sample_rate, source.channels)
    rate = source.sample_rate if source.sample_rate in SAMPLE_RATES else OPUS_RATE
    return GridSound(rate, min(source.channels, 2))
