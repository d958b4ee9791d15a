"""The picture of one stream: frames of a track in, H.264 access units on the task's time line out.

`KeptPicture` passes H.264 on as it came; `TranscodedPicture` turns VP8 into H.264 of the same size and
the same frame times. Neither puts out anything before a key frame.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any, Protocol

import av

from roomtape.media import h264
from roomtape.media.clocks import PICTURE_HZ, PictureClock
from roomtape.media.fill import BLACK_AFTER, BLACK_EVERY, black_idr, x264
from roomtape.media.frames import KEY, PREROLL, Coded, TapFrame, Track

FRAME_TICKS = PICTURE_HZ // 30  # taken for the last picture of a batch when there is nothing to tell by
MAX_FRAME_TICKS = PICTURE_HZ


class Picture(Protocol):
    """What the driver of a recording needs of either kind. Positions are 1/90000 s of task time."""

    size: tuple[int, int]
    awaits_key: bool
    last: int | None  # dts of the last access unit

    def begin(self, track: Track, *, resume: bool = False) -> None:
        """What follows is of this track: wait for its key frame. `resume`: go on with the restored clock."""

    def push(self, frames: list[TapFrame], task0_ns: int, sound_error_ns: int = 0) -> list[Coded]: ...

    def flush(self) -> list[Coded]: ...

    def fill_black(self, pos: int, *, gone: bool) -> list[Coded]:
        """Black up to `pos`, at once if the track is `gone`, else where it sent nothing for 2 s."""

    def hold(self, pos: int, picture: bytes) -> list[Coded]:
        """One IDR of ours at `pos` that shows what is held."""

    def not_before(self, pos: int) -> None:
        """No access unit to come has an earlier dts than `pos`."""

    @property
    def dropped(self) -> int:
        """Frames thrown away because no key frame came before them."""

    @property
    def resyncs(self) -> int:
        """How often its track was placed anew because its clock jumped."""

    @property
    def skew_ms(self) -> float:
        """Sound minus picture of the last access unit, in ms; 0 where there is none."""

    def state(self) -> dict[str, Any]: ...


class _Timed:
    """What both kinds share: the clock, the size, waiting for a key frame."""

    how = ""

    def __init__(self) -> None:
        self.size = (0, 0)
        self.awaits_key = True
        self.last: int | None = None
        self._clock: PictureClock | None = None
        self._frame_ticks = FRAME_TICKS
        self._dropped = 0
        self._black_at: int | None = None  # where the next black picture goes while it is black

    @property
    def dropped(self) -> int:
        return self._dropped

    @property
    def resyncs(self) -> int:
        return self._clock.resyncs if self._clock else 0

    @property
    def skew_ms(self) -> float:
        return self._clock.error / 90 if self._clock else 0.0

    def not_before(self, pos: int) -> None:
        self.last = pos - 1 if self.last is None else max(self.last, pos - 1)

    def fill_black(self, pos: int, *, gone: bool) -> list[Coded]:
        if self.last is None or self.size == (0, 0):
            return []
        at = self._black_at
        if at is None:
            at = self.last + (self._frame_ticks if gone else BLACK_AFTER)
        out: list[Coded] = []
        while at < pos:
            out += self.hold(at, black_idr(*self.size))
            at += BLACK_EVERY
            self._black_at = at
        return out

    def hold(self, pos: int, picture: bytes) -> list[Coded]:
        at = pos if self.last is None else max(pos, self.last + 1)
        self.last = at
        self.awaits_key = True  # what refers to pictures before ours cannot follow it
        return [Coded(at, at, BLACK_EVERY, picture, key=True)]

    def begin(self, track: Track, *, resume: bool = False) -> None:
        if self._clock is None or not resume:
            self._clock = PictureClock(track.time_base_den, last_out=self.last)
            self.awaits_key = True

    def state(self) -> dict[str, Any]:
        return {
            "how": self.how,
            "size": list(self.size),
            "awaits_key": self.awaits_key,
            "last": self.last,
            "frame_ticks": self._frame_ticks,
            "black_at": self._black_at,
            "clock": self._clock.state() if self._clock else None,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        width, height = state["size"]
        self.size = (width, height)
        self.awaits_key, self.last = state["awaits_key"], state["last"]
        self._frame_ticks, self._black_at = state["frame_ticks"], state["black_at"]
        if state["clock"]:
            self._clock = PictureClock.restore(state["clock"])

    def _wanted(self, frame: TapFrame) -> bool:
        if self.awaits_key and not frame.flags & KEY:
            self._dropped += 1
            return False
        self.awaits_key = False
        self._black_at = None
        return True

    def _place(self, frame: TapFrame, task0_ns: int, sound_error_ns: int) -> tuple[int, int]:
        assert self._clock is not None
        self._join(self._clock)
        pts, dts = self._clock.place(frame.pts, frame.dts, frame.capture_ns - task0_ns, sound_error_ns)
        self.last = dts
        return pts, dts

    def _join(self, clock: PictureClock) -> None:
        """What comes now lies after all that was put out, whoever made it."""
        if self.last is not None:
            clock.last_out = max(clock.last_out or self.last, self.last)

    def _lengths(self, coded: list[Coded]) -> None:
        """A picture lasts until the next one; the last of a batch as long as the one before it."""
        for one, following in pairwise(coded):
            one.duration = self._frame_ticks = min(following.dts - one.dts, MAX_FRAME_TICKS)
        if coded:
            coded[-1].duration = self._frame_ticks


class KeptPicture(_Timed):
    """H.264 passed on byte for byte. A key frame of another size begins after a discontinuity."""

    how = "kept"

    def push(self, frames: list[TapFrame], task0_ns: int, sound_error_ns: int = 0) -> list[Coded]:
        frames = self._from_key(frames)
        if not frames:
            return []
        assert self._clock is not None
        self._join(self._clock)
        times = [(frame.pts, frame.dts, frame.capture_ns - task0_ns) for frame in frames]
        places = self._clock.place_all(times, sound_error_ns)
        self.last = places[-1][1]
        out = []
        for frame, (pts, dts) in zip(frames, places, strict=True):
            key = bool(frame.flags & KEY)
            out.append(Coded(pts, dts, 0, frame.data, key, key and self._resized(frame.data)))
        self._lengths(out)
        return out

    def _from_key(self, frames: list[TapFrame]) -> list[TapFrame]:
        """Those that are wanted: while a key frame is awaited, from the first one on."""
        fresh = [frame for frame in frames if not frame.flags & PREROLL]
        if self.awaits_key:
            first = next((i for i, frame in enumerate(fresh) if frame.flags & KEY), len(fresh))
            self._dropped += first
            fresh = fresh[first:]
        if fresh:
            self.awaits_key = False
            self._black_at = None
        return fresh

    def flush(self) -> list[Coded]:
        return []

    @classmethod
    def restore(cls, state: dict[str, Any]) -> KeptPicture:
        self = cls()
        self._restore(state)
        return self

    def _resized(self, data: bytes) -> bool:
        size = h264.size(data)
        if size is None or size == self.size:
            return False
        changed = self.size != (0, 0)
        self.size = size
        return changed


class TranscodedPicture(_Timed):
    """VP8 to H.264 without any frame held back, so that what was read is what was written.

    A restored one decodes the frames before its position again (flagged PREROLL) and begins with an IDR.
    """

    how = "vp8"

    def __init__(self) -> None:
        super().__init__()
        self._decoder = _vp8_decoder()
        self._encoder: av.VideoCodecContext | None = None

    def begin(self, track: Track, *, resume: bool = False) -> None:
        super().begin(track, resume=resume)
        self._decoder = _vp8_decoder()

    def push(self, frames: list[TapFrame], task0_ns: int, sound_error_ns: int = 0) -> list[Coded]:
        out: list[Coded] = []
        for frame in frames:
            preroll = bool(frame.flags & PREROLL)
            if not preroll and not self._wanted(frame):
                continue
            try:
                pictures = self._decoder.decode(av.Packet(frame.data))
            except av.FFmpegError:
                pictures = []
            if preroll or not pictures:
                continue
            _pts, dts = self._place(frame, task0_ns, sound_error_ns)
            out += self._encode(pictures[-1], dts, bool(frame.flags & KEY))
        self._lengths(out)
        return out

    def flush(self) -> list[Coded]:
        return []

    @classmethod
    def restore(cls, state: dict[str, Any]) -> TranscodedPicture:
        self = cls()
        self._restore(state)
        return self

    def _encode(self, picture: av.VideoFrame, at: int, key: bool) -> list[Coded]:
        size = (picture.width, picture.height)
        resized = size != self.size and self.size != (0, 0)
        if self._encoder is None or size != self.size:
            self._encoder = x264(*size)
            self.size = size
            key = True
        picture.pts = at
        picture.time_base = Fraction(1, PICTURE_HZ)
        picture.pict_type = av.video.frame.PictureType.I if key else av.video.frame.PictureType.NONE
        return [
            Coded(at, at, 0, bytes(packet), packet.is_keyframe, resized)
            for packet in self._encoder.encode(picture)
        ]


def restore_picture(state: dict[str, Any]) -> Picture:
    return KeptPicture.restore(state) if state["how"] == "kept" else TranscodedPicture.restore(state)


def _vp8_decoder() -> av.VideoCodecContext:
    decoder = av.CodecContext.create("vp8", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    return decoder
