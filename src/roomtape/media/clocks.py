"""Where a track's media lies on the task's time line.

A track counts in its own `pts`; the core stamps each frame with the instant of its capture, which jumps
when a sender report arrives and drifts with the sender's crystal. These maps turn both into one rising
position: sound is the master and moves against capture time by at most 0.5 %, a picture follows its
user's sound by at most 5 % of the time that passes. Only a disagreement of a second and more moves a
track at once (counted): its sender reset its clock, or stood still.

Both are plain state: `state()` is JSON, and a map restored from it goes on exactly where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from roomtape.media.frames import NS, PREROLL, TapFrame

LATE_S = 0.5  # sound this much later than its pts says was not sent in time: what is missing is silence
EARLY_S = 1.0  # and this much earlier: its pts jumped
BEGIN_SLEW_S = 0.005  # below this nobody can tell; above it the map begins to move ...
END_SLEW_S = 0.001  # ... and stops here
SMOOTHING = 0.05  # per packet, 0.4 s for 20 ms packets: reports jitter, clocks do not
SOUND_SLEW = 0.005
PICTURE_SLEW = 0.05
KEPT_SLEW = 0.0005  # sound that is kept as it came can only be relabelled
HISTORY_S = 0.6  # what a restarted decoder and coder may be fed again (TAPE: 400 ms of sound are kept)
PICTURE_HZ = 90_000
NEVER = -(1 << 62)


@dataclass(slots=True, frozen=True)
class Placed:
    """`length` samples of task time from `pos` on belong to this packet, less its first `skip` samples."""

    pos: int
    length: int
    skip: int = 0  # that much of it lies in time that was filled meanwhile


@dataclass(slots=True)
class SoundClock:
    """Positions of one sound track in samples of task time.

    rate: samples per second of the output; tick_den: ticks of `pts` per second.
    """

    rate: int
    tick_den: int
    last_pts: int | None = None  # of the packet placed last
    since: int = 0  # samples of the track's own time from there to `end`
    end: int = NEVER  # position after the last sample placed
    error: float = 0.0  # smoothed capture minus position, samples
    slewing: bool = False
    most: float = SOUND_SLEW  # samples it may move per sample that passes
    credit: float = 0.0  # samples it may move now
    marks: list[list[int]] = field(default_factory=list)  # [pts, pos] from which on positions run with pts
    resyncs: int = 0

    def place(self, pts: int, length: int, capture: int) -> Placed | None:
        """The place of a packet of `length` samples captured at position `capture`; None: it came too late.

        A place never begins before the one before it ended.
        """
        if self.last_pts is None:
            return self._anchor(pts, length, max(capture, self.end))
        gap = self._samples(pts - self.last_pts) - self.since
        if abs(gap) <= self._tolerance():
            gap = 0
        error = capture - (self.end + gap)
        if error > LATE_S * self.rate or error < -EARLY_S * self.rate:
            self.resyncs += 1
            return self._anchor(pts, length, max(capture, self.end))
        if gap < 0:
            return self._trim(pts, length, -gap)
        pos = self.end + gap
        self.error += (error - self.error) * SMOOTHING
        stretched = length + self._step(length)
        if gap or stretched != length or self.tick_den != self.rate:
            self._mark(pts, pos)
        self.end = pos + stretched
        self.last_pts, self.since = pts, length
        if stretched != length:
            self._mark(pts + self._ticks(length), self.end)
        return Placed(pos, stretched)

    def recall(self, pts: int) -> int | None:
        """The position `pts` was given; None when that is further back than the map remembers."""
        for mark_pts, pos in reversed(self.marks):
            if mark_pts <= pts:
                return pos + self._samples(pts - mark_pts)
        return None

    def skip_to(self, pos: int) -> None:
        """The time line up to `pos` was filled meanwhile: what belonged there comes too late."""
        if pos > self.end:
            self.since += pos - self.end
        self.end = max(self.end, pos)

    @property
    def error_ns(self) -> int:
        """How far positions are behind (or before) capture time, smoothed."""
        return round(self.error * NS / self.rate)

    def state(self) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "tick_den": self.tick_den,
            "last_pts": self.last_pts,
            "since": self.since,
            "end": self.end,
            "error": self.error,
            "slewing": self.slewing,
            "most": self.most,
            "credit": self.credit,
            "marks": [list(mark) for mark in self.marks],
            "resyncs": self.resyncs,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Self:
        return cls(**state)

    def _trim(self, pts: int, length: int, skip: int) -> Placed | None:
        if skip >= length:
            return None
        pos = self.end
        self._mark(pts, pos - skip)
        self.end = pos + length - skip
        self.last_pts, self.since = pts, length
        return Placed(pos, length - skip, skip)

    def _anchor(self, pts: int, length: int, pos: int) -> Placed:
        self.error = 0.0
        self.slewing = False
        self._mark(pts, pos)
        self.end = pos + length
        self.last_pts, self.since = pts, length
        return Placed(pos, length)

    def _mark(self, pts: int, pos: int) -> None:
        oldest = pts - int(HISTORY_S * self.tick_den)
        keep = [m for m in self.marks if m[0] < pts]
        while len(keep) > 1 and keep[1][0] <= oldest:
            keep.pop(0)
        self.marks = [*keep, [pts, pos]]

    def _step(self, length: int) -> int:
        off = abs(self.error) / self.rate
        if self.slewing:
            self.slewing = off > END_SLEW_S
        else:
            self.slewing = off > BEGIN_SLEW_S
        if not self.slewing:
            return 0
        allowed = max(1.0, length * self.most)
        self.credit = min(self.credit + length * self.most, allowed)
        step = int(self.credit) if off > 4 * BEGIN_SLEW_S else min(1, int(self.credit))
        self.credit -= step
        return step if self.error > 0 else -step

    def _tolerance(self) -> int:
        """A time base coarser than a sample (RTMP: 1 ms) rounds each pts."""
        return 0 if self.tick_den >= self.rate else 2 * self.rate // self.tick_den

    def _samples(self, ticks: int) -> int:
        return ticks * self.rate // self.tick_den

    def _ticks(self, samples: int) -> int:
        return samples * self.tick_den // self.rate


@dataclass(slots=True)
class KeptSoundClock(SoundClock):
    """The clock of sound that is kept as it came: nothing of it is decoded again, so nothing is recalled."""

    most: float = KEPT_SLEW

    def run(self, frames: Sequence[TapFrame], first: int, length: int, task0_ns: int) -> list[int]:
        """The positions of frames of `length` samples from index `first` on that follow without a seam.

        What `place` would say of them, one after the other. The frame after them, if there is one, is for
        `place`. `task0_ns`: the monotonic instant of task time 0.
        """
        if self.last_pts is None or self.since != length:
            return []
        last_pts, rate, den, tolerance = self.last_pts, self.rate, self.tick_den, self._tolerance()
        late, early, allowed = LATE_S * rate, -EARLY_S * rate, max(1.0, length * self.most)
        end, smoothed, slewing, credit = self.end, self.error, self.slewing, self.credit
        places = []
        for frame in frames[first:] if first else frames:
            pts = frame.pts
            error = (frame.capture_ns - task0_ns) * rate // NS - end
            if (
                error > late
                or error < early
                or abs((pts - last_pts) * rate // den - length) > tolerance
                or frame.flags & PREROLL
            ):
                break
            smoothed += (error - smoothed) * SMOOTHING
            last_pts = pts
            places.append(end)
            end += length
            off = abs(smoothed) / rate
            slewing = off > (END_SLEW_S if slewing else BEGIN_SLEW_S)
            if slewing:
                credit = min(credit + length * self.most, allowed)
                step = int(credit) if off > 4 * BEGIN_SLEW_S else min(1, int(credit))
                credit -= step
                end += step if smoothed > 0 else -step
        self.end, self.error, self.last_pts = end, smoothed, last_pts
        self.slewing, self.credit = slewing, credit
        return places

    def _mark(self, pts: int, pos: int) -> None:
        pass


@dataclass(slots=True)
class PictureClock:
    """Positions of one picture track in 1/90000 s of task time, always rising in dts."""

    tick_den: int
    offset: int | None = None  # position minus pts, 1/90000 s
    last_in: int = 0  # dts of the source, in 1/90000 s
    last_out: int | None = None
    slewing: bool = False
    resyncs: int = 0
    error: int = 0  # how far the last picture lies before where its sound is, 1/90000 s

    def place(self, pts: int, dts: int, capture_ns: int, sound_error_ns: int = 0) -> tuple[int, int]:
        """(pts, dts) of a picture captured at task time `capture_ns` whose user's sound is off by that much.

        `sound_error_ns`: capture minus position of the sound; the picture takes the same error.
        """
        (place,) = self.place_all([(pts, dts, capture_ns)], sound_error_ns)
        return place

    def place_all(
        self, times: Iterable[tuple[int, int, int]], sound_error_ns: int = 0
    ) -> list[tuple[int, int]]:
        """`place` for one (pts, dts, capture_ns) after another."""
        den, offset, last_in, last_out = self.tick_den, self.offset, self.last_in, self.last_out
        error, slewing, jump = self.error, self.slewing, EARLY_S * PICTURE_HZ
        places = []
        for pts, dts, capture_ns in times:
            pts90, dts90 = pts * PICTURE_HZ // den, dts * PICTURE_HZ // den
            target = (capture_ns - sound_error_ns) * PICTURE_HZ // NS
            if offset is None:
                offset = target - pts90
            error = target - pts90 - offset
            off = abs(error)
            if off > jump:
                self.resyncs += 1
                offset += error
            else:
                slewing = off / PICTURE_HZ > (END_SLEW_S if slewing else BEGIN_SLEW_S)
                if slewing:
                    step = min(off, int(max(0, dts90 - last_in) * PICTURE_SLEW))
                    offset += step if error > 0 else -step
            error = target - pts90 - offset
            last_in = dts90
            out = dts90 + offset
            if last_out is not None and out <= last_out:
                out = last_out + 1
            last_out = out
            pts90 += offset
            places.append((pts90 if pts90 > out else out, out))
        self.offset, self.last_in, self.last_out = offset, last_in, last_out
        self.error, self.slewing = error, slewing
        return places

    def state(self) -> dict[str, Any]:
        return {
            "tick_den": self.tick_den,
            "offset": self.offset,
            "last_in": self.last_in,
            "last_out": self.last_out,
            "slewing": self.slewing,
            "resyncs": self.resyncs,
            "error": self.error,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> PictureClock:
        return cls(**state)
