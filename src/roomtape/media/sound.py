"""The sound of one stream: packets of a track in, AAC packets on the task's time line out.

`GridSound` decodes (Opus, or AAC that cannot be kept), makes the sound continuous and encodes it on a
grid. `KeptSound` passes AAC-LC on as it came. Both fill what is missing with silence when they are told
how far time has come; neither ever lets a packet begin before the one before it ended.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Protocol

import av
import numpy as np

from roomtape.media.aac_coder import FRAME, AacCoder, GridPacket, silent_frame
from roomtape.media.clocks import NEVER, KeptSoundClock, SoundClock
from roomtape.media.frames import NS, PREROLL, Coded, Samples, TapFrame, Track

DECODER_PREROLL = 3840  # samples at 48 kHz an Opus decoder needs to forget that it is new (80 ms)
_PACKET_MS = 20  # rounding of a preroll up to whole packets
_RECENT = 8 * FRAME  # what a coder may have to be fed again
_ROUNDING_S = 0.003  # two pts of a 1 ms time base


class Sound(Protocol):
    """What the driver of a recording needs of either kind. Positions are samples of task time at `rate`."""

    rate: int
    channels: int
    end: int | None  # position after the last sample taken; None before the first

    def begin(self, track: Track, *, resume: bool = False) -> None:
        """What follows is of this track; `resume`: the one the restored clock belongs to."""

    def push(self, frames: list[TapFrame], task0_ns: int) -> list[Coded]:
        """`task0_ns`: the monotonic instant of task time 0."""

    def fill_to(self, pos: int) -> list[Coded]:
        """Silence up to `pos`. Nothing before the first sound."""

    def flush(self) -> list[Coded]:
        """All that is held back; what comes later continues the same time line."""

    def restart(self) -> None:
        """Forget the time line: the next sound begins a new one where it is."""

    def not_before(self, pos: int) -> None:
        """A time line that begins later begins at or after `pos`."""

    @property
    def next_pos(self) -> int | None:
        """No packet before this position will come any more."""

    @property
    def preroll_ms(self) -> int:
        """How much sound before the next frame a restored element must be given again."""

    @property
    def error_ns(self) -> int:
        """How far this sound lies from its capture time, for the picture to follow."""

    @property
    def priming(self) -> bytes:
        """The packet before the first of the first time line, or b""."""

    @property
    def dropped(self) -> int:
        """Packets that came too late so far."""

    @property
    def resyncs(self) -> int:
        """How often its track was placed anew because its clock jumped."""

    def state(self) -> dict[str, Any]: ...


class SoundDecoder:
    """Packets in, float32 (channels, n) out; a packet that cannot be decoded is silence."""

    def __init__(self, codec: str, rate: int, channels: int, extradata: bytes = b"") -> None:
        self.rate = rate
        self.channels = channels
        self._length = rate // 50
        decoder = av.CodecContext.create(codec, "r")
        assert isinstance(decoder, av.AudioCodecContext)
        if codec == "opus":
            decoder.sample_rate = rate
            decoder.layout = "stereo" if channels == 2 else "mono"
        if extradata:
            decoder.extradata = extradata
        self._decoder = decoder
        self._resampler: av.AudioResampler | None = None

    def decode(self, data: bytes) -> Samples:
        try:
            frames = self._decoder.decode(av.Packet(data))
        except av.FFmpegError:
            return np.zeros((self.channels, self._length), np.float32)
        parts = [self._planar(frame) for frame in frames]
        pcm = np.concatenate(parts, axis=1) if parts else np.zeros((self.channels, self._length), np.float32)
        self._length = pcm.shape[1] or self._length
        return pcm

    def _planar(self, frame: av.AudioFrame) -> Samples:
        if (
            frame.format.name == "fltp"
            and frame.sample_rate == self.rate
            and frame.layout.nb_channels == self.channels
        ):
            return frame.to_ndarray().astype(np.float32, copy=False)
        if self._resampler is None:
            layout = "stereo" if self.channels == 2 else "mono"
            self._resampler = av.AudioResampler("fltp", layout, self.rate)
        frame.pts = None
        parts = [out.to_ndarray() for out in self._resampler.resample(frame)]
        if not parts:
            return np.zeros((self.channels, 0), np.float32)
        return np.concatenate(parts, axis=1).astype(np.float32, copy=False)


def stretched(pcm: Samples, length: int) -> Samples:
    """The same sound in `length` samples: a few more or fewer, to follow a clock."""
    have = pcm.shape[1]
    if have == length:
        return pcm
    if have == 0:
        return np.zeros((pcm.shape[0], length), np.float32)
    if abs(have - length) > have // 50:  # not a clock's drift: the decoder gave another length
        out = np.zeros((pcm.shape[0], length), np.float32)
        out[:, : min(have, length)] = pcm[:, :length]
        return out
    at = np.linspace(0, have - 1, length)
    return np.stack([np.interp(at, np.arange(have), channel) for channel in pcm]).astype(np.float32)


class GridSound:
    """Decode, fill, encode on a grid anchored at the first sample. See `aac_coder` for the seams."""

    def __init__(self, rate: int = 48_000, channels: int = 2) -> None:
        self.rate = rate
        self.channels = channels
        self.end: int | None = None
        self._t0 = 0
        self._next = -1  # grid index of the next packet to put out
        self._priming = b""
        self._clock: SoundClock | None = None
        self._decoder: SoundDecoder | None = None
        self._coder: AacCoder | None = None
        self._recent = np.zeros((channels, _RECENT), np.float32)  # the samples before `end`
        self._late = 0
        self._floor = NEVER  # where the time line before this one ended

    def begin(self, track: Track, *, resume: bool = False) -> None:
        if self._clock is None or not resume:
            self._clock = SoundClock(self.rate, track.time_base_den)
            self._clock.end = self._floor if self.end is None else self.end
        self._decoder = SoundDecoder(track.codec, self.rate, self.channels, track.extradata)

    def push(self, frames: list[TapFrame], task0_ns: int) -> list[Coded]:
        assert self._clock is not None
        assert self._decoder is not None
        chunks: list[Samples] = []
        for frame in frames:
            pcm = self._decoder.decode(frame.data)
            if frame.flags & PREROLL:
                self._remember(self._clock.recall(frame.pts), pcm)
                continue
            capture = (frame.capture_ns - task0_ns) * self.rate // NS
            placed = self._clock.place(frame.pts, pcm.shape[1], capture)
            if placed is None:
                self._late += 1
                continue
            self._take(chunks, placed.pos, stretched(pcm[:, placed.skip :], placed.length))
        return self._encode(chunks)

    def fill_to(self, pos: int) -> list[Coded]:
        if self.end is None or pos <= self.end:
            return []
        out: list[Coded] = []
        while self.end < pos:
            step = min(pos - self.end, self.rate)
            self.end += step
            out += self._encode([np.zeros((self.channels, step), np.float32)])
        if self._clock is not None:
            self._clock.skip_to(pos)
        return out

    def flush(self) -> list[Coded]:
        if self.end is None or self.end == self._t0 + self._next * FRAME:
            return []
        coder = self._running_coder()
        rest = -(self.end - self._t0) % FRAME
        out = self._coded(coder.flush())
        self._coder = None
        self.end += rest
        if rest:
            self._keep([np.zeros((self.channels, rest), np.float32)])
        if self._clock is not None:
            self._clock.skip_to(self.end)
        return out

    def restart(self) -> None:
        if self.end is not None:
            self._floor = self.end
        self.end = None
        self._t0, self._next = 0, -1
        self._coder = None
        self._recent = np.zeros((self.channels, _RECENT), np.float32)

    def not_before(self, pos: int) -> None:
        if self.end is None:
            self._floor = max(self._floor, pos)
            if self._clock is not None:
                self._clock.end = max(self._clock.end, self._floor)

    @property
    def next_pos(self) -> int | None:
        return None if self.end is None else self._t0 + max(0, self._next) * FRAME

    @property
    def preroll_ms(self) -> int:
        if self.end is None:
            return 0
        again = self.end - self._t0 - AacCoder.first_sample(self._next)
        return (again + DECODER_PREROLL) * 1000 // self.rate + _PACKET_MS

    @property
    def error_ns(self) -> int:
        return self._clock.error_ns if self._clock else 0

    @property
    def priming(self) -> bytes:
        return self._priming

    @property
    def dropped(self) -> int:
        return self._late

    @property
    def resyncs(self) -> int:
        return self._clock.resyncs if self._clock else 0

    def state(self) -> dict[str, Any]:
        return {
            "how": "grid",
            "rate": self.rate,
            "channels": self.channels,
            "end": self.end,
            "floor": self._floor,
            "t0": self._t0,
            "next": self._next,
            "priming": base64.b64encode(self._priming).decode(),
            "clock": self._clock.state() if self._clock else None,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> GridSound:
        self = cls(state["rate"], state["channels"])
        self.end, self._t0, self._next = state["end"], state["t0"], state["next"]
        self._floor = state["floor"]
        self._priming = base64.b64decode(state["priming"])
        self._clock = SoundClock.restore(state["clock"]) if state["clock"] else None
        return self

    def _take(self, chunks: list[Samples], pos: int, pcm: Samples) -> None:
        if self.end is None:
            self._t0 = self.end = pos
        if pos > self.end:
            chunks.append(np.zeros((self.channels, pos - self.end), np.float32))
            self.end = pos
        fresh = pcm[:, self.end - pos :] if pos < self.end else pcm
        chunks.append(fresh)
        self.end += fresh.shape[1]

    def _remember(self, pos: int | None, pcm: Samples) -> None:
        """Put sound that was written before back where it was, for a new coder to begin with."""
        if pos is None or self.end is None:
            return
        first = self.end - _RECENT
        start, stop = max(pos, first), min(pos + pcm.shape[1], self.end)
        if start < stop:
            self._recent[:, start - first : stop - first] = pcm[:, start - pos : stop - pos]

    def _running_coder(self, coming: int = 0) -> AacCoder:
        """The coder; a new one is first fed what lies before, up to `coming` samples before `end`."""
        if self._coder is None:
            assert self.end is not None
            self._coder = AacCoder(self.rate, self.channels, self._next)
            again = self.end - coming - self._t0 - self._coder.fed
            if again:
                self._coder.push(self._recent[:, _RECENT - again :])
        return self._coder

    def _encode(self, chunks: list[Samples]) -> list[Coded]:
        if not chunks:
            return []
        pcm = np.concatenate(chunks, axis=1) if len(chunks) > 1 else chunks[0]
        out = self._coded(self._running_coder(pcm.shape[1]).push(pcm))
        self._keep([pcm])
        return out

    def _keep(self, chunks: list[Samples]) -> None:
        self._recent = np.concatenate([self._recent, *chunks], axis=1)[:, -_RECENT:]

    def _coded(self, packets: Iterable[GridPacket]) -> list[Coded]:
        out = []
        for packet in packets:
            self._next = packet.place + 1
            if packet.place < 0:
                self._priming = self._priming or packet.data
                continue
            pos = self._t0 + packet.place * FRAME
            out.append(Coded(pos, pos, FRAME, packet.data, key=True))
        return out


class KeptSound:
    """AAC-LC as it came: only its times are ours. Silence is a frame made beforehand."""

    def __init__(self, rate: int, channels: int) -> None:
        self.rate = rate
        self.channels = channels
        self.end: int | None = None
        self._clock: KeptSoundClock | None = None
        self._late = 0
        self._floor = NEVER  # where the time line before this one ended

    def begin(self, track: Track, *, resume: bool = False) -> None:
        if self._clock is None or not resume:
            self._clock = KeptSoundClock(self.rate, track.time_base_den)
            self._clock.end = self._floor if self.end is None else self.end

    def push(self, frames: list[TapFrame], task0_ns: int) -> list[Coded]:
        clock = self._clock
        assert clock is not None
        out: list[Coded] = []
        at = 0
        while at < len(frames):
            if self.end == clock.end:  # nothing was filled: what follows without a seam is placed at once
                places = clock.run(frames, at, FRAME, task0_ns)
                upto = at + len(places)
                rows = zip(frames[at:upto], places, strict=True)
                out += [Coded(pos, pos, FRAME, frame.data, True) for frame, pos in rows]
                self.end, at = clock.end, upto
            if at < len(frames):
                self._push(out, frames[at], task0_ns)
                at += 1
        return out

    def _push(self, out: list[Coded], frame: TapFrame, task0_ns: int) -> None:
        assert self._clock is not None
        if frame.flags & PREROLL:
            return
        capture = (frame.capture_ns - task0_ns) * self.rate // NS
        placed = self._clock.place(frame.pts, FRAME, capture)
        if placed is None or placed.skip > FRAME // 2:
            self._late += 1
            return
        pos = placed.pos if self.end is None else self._fill(out, placed.pos)
        out.append(Coded(pos, pos, FRAME, frame.data, key=True))
        self.end = pos + placed.length + placed.skip
        self._clock.end = self.end

    def fill_to(self, pos: int) -> list[Coded]:
        out: list[Coded] = []
        while self.end is not None and self.end + FRAME <= pos:
            out.append(self._silence(self.end))
            self.end += FRAME
        if self._clock is not None and out:
            self._clock.skip_to(self.end or 0)
        return out

    def flush(self) -> list[Coded]:
        return []

    def restart(self) -> None:
        if self.end is not None:
            self._floor = self.end
        self.end = None

    def not_before(self, pos: int) -> None:
        if self.end is None:
            self._floor = max(self._floor, pos)
            if self._clock is not None:
                self._clock.end = max(self._clock.end, self._floor)

    @property
    def next_pos(self) -> int | None:
        return self.end

    @property
    def preroll_ms(self) -> int:
        return 0

    @property
    def error_ns(self) -> int:
        return self._clock.error_ns if self._clock else 0

    @property
    def priming(self) -> bytes:
        return b""

    @property
    def dropped(self) -> int:
        return self._late

    @property
    def resyncs(self) -> int:
        return self._clock.resyncs if self._clock else 0

    def state(self) -> dict[str, Any]:
        return {
            "how": "kept",
            "rate": self.rate,
            "channels": self.channels,
            "end": self.end,
            "floor": self._floor,
            "clock": self._clock.state() if self._clock else None,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> KeptSound:
        self = cls(state["rate"], state["channels"])
        self.end, self._floor = state["end"], state["floor"]
        self._clock = KeptSoundClock.restore(state["clock"]) if state["clock"] else None
        return self

    def _fill(self, out: list[Coded], pos: int) -> int:
        """Silence between `end` and `pos`; gives where the next frame goes, on the grid if that is close."""
        assert self.end is not None
        missing = round((pos - self.end) / FRAME)
        for _ in range(missing):
            out.append(self._silence(self.end))
            self.end += FRAME
        near = abs(pos - self.end) <= _ROUNDING_S * self.rate
        return self.end if missing and near else max(pos, self.end)

    def _silence(self, pos: int) -> Coded:
        return Coded(pos, pos, FRAME, silent_frame(self.rate, self.channels), key=True)


def restore_sound(state: dict[str, Any]) -> Sound:
    return GridSound.restore(state) if state["how"] == "grid" else KeptSound.restore(state)
