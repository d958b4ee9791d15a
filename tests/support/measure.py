"""What a recording really holds: decode a file and say when it flashes, beeps, and how long it is.

    seen = measure(path)                    # .ts, .mp4, .aac, or .m3u8 (its segments read in order)
    assert seen.warnings == []              # nothing FFmpeg complained of while decoding every frame
    assert seen.flashes_s == approx([0, 1, 2], abs=1 / 30)
    assert max(map(abs, seen.av_offsets_s)) < 0.045

Times are seconds of the container's time line minus `origin_s`, which is the first packet's time in a
transport stream and 0 in an MP4 or ADTS file, unless the caller gives one.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import av.logging
import numpy as np
import numpy.typing as npt

from tests.support.publisher import read_number

QUIET_S = 0.03  # a beep begins when sound rises after at least this much quiet
LOUD = 0.08  # a quarter of the signal's amplitude lies above what coding noise reaches
BRIGHT = 128  # luma
WARNING = av.logging.WARNING


@dataclass(frozen=True)
class Picture:
    """One decoded frame: its time, size, mean luma (16 black to 235 white) and the number drawn into it."""

    time_s: float
    width: int
    height: int
    luma: float
    key: bool
    number: int


@dataclass
class Measured:
    """See the module's text; lists are in the order of time."""

    origin_s: float
    duration_s: float = 0.0  # from origin to the end of the last frame of either kind
    video_s: tuple[float, float] | None = None  # first and last picture's time
    audio_s: tuple[float, float] | None = None  # first sample, end of the last one
    pictures: list[Picture] = field(default_factory=list)
    flashes_s: list[float] = field(default_factory=list)
    beeps_s: list[float] = field(default_factory=list)
    av_offsets_s: list[float] = field(default_factory=list)  # beep minus nearest flash within 0.4 s
    audio_gaps_s: list[tuple[float, float]] = field(default_factory=list)  # (where, how long), over 2 ms
    sample_rate: int = 0
    channels: int = 0
    container_duration_s: float | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The picture sizes in the order they come, each run once."""
        runs: list[tuple[int, int]] = []
        for picture in self.pictures:
            if not runs or runs[-1] != (picture.width, picture.height):
                runs.append((picture.width, picture.height))
        return runs


def measure(path: Path | str, *, origin_s: float | None = None) -> Measured:
    """Decode every frame of `path` in one thread and measure it. Raises av.FFmpegError if it is no media."""
    path = Path(path)
    if path.suffix == ".m3u8":
        return measure_bytes(playlist_bytes(path), "mpegts", origin_s=origin_s)
    container = {".ts": "mpegts", ".aac": "aac"}.get(path.suffix, "mp4")
    return measure_bytes(path.read_bytes(), container, origin_s=origin_s)


def playlist_bytes(path: Path) -> bytes:
    """The segments of a local playlist, one after the other."""
    names = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return b"".join((path.parent / name).read_bytes() for name in names)


def measure_bytes(data: bytes, container: str, *, origin_s: float | None = None) -> Measured:
    """As `measure`, of bytes in the named FFmpeg format."""
    previous = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as log, av.open(io.BytesIO(data), format=container) as file:
            seen = _decode(file, container, origin_s)
        seen.warnings = [
            f"{name}: {text.strip()}"
            for level, name, text in log
            if level <= WARNING and "Estimating duration from bitrate" not in text  # said of every .aac
        ]
        return seen
    finally:
        av.logging.set_level(previous)


def _decode(file: av.container.InputContainer, container: str, origin_s: float | None) -> Measured:
    seen = Measured(0.0)
    if container == "mp4" and file.duration is not None:
        seen.container_duration_s = file.duration / 1_000_000
    streams = [*file.streams.video[:1], *file.streams.audio[:1]]
    for stream in streams:
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
    pictures: list[Picture] = []
    sound: _Sound | None = None
    last_frame_s = 0.0
    for packet in file.demux(*streams):
        for frame in packet.decode():
            assert frame.pts is not None
            assert frame.time_base is not None
            time_s = float(frame.pts * frame.time_base)
            if isinstance(frame, av.VideoFrame):
                plane = np.frombuffer(frame.planes[0], np.uint8)
                gray = plane.reshape(-1, frame.planes[0].line_size)[:, : frame.width]
                luma, number = float(gray.mean()), read_number(gray)
                key = bool(frame.key_frame)
                pictures.append(Picture(time_s, frame.width, frame.height, luma, key, number))
                last_frame_s = float((frame.duration or 0) * frame.time_base)
            elif isinstance(frame, av.AudioFrame):
                seen.channels = len(frame.layout.channels)
                samples = frame.to_ndarray().astype(np.float32)
                if not frame.format.is_planar:
                    samples = samples.reshape(-1, seen.channels).T
                sound = sound or _Sound(frame.sample_rate, time_s, time_s)
                sound.hear(time_s, np.abs(samples).max(axis=0))
    firsts = [p.time_s for p in pictures] + ([sound.start_s] if sound else [])
    if origin_s is None:
        origin_s = min(firsts, default=0.0) if container == "mpegts" else 0.0
    seen.origin_s = origin_s
    pictures.sort(key=lambda p: p.time_s)
    seen.pictures = [replace(p, time_s=p.time_s - origin_s) for p in pictures]
    if pictures:
        seen.video_s = seen.pictures[0].time_s, seen.pictures[-1].time_s
        seen.duration_s = seen.video_s[1] + last_frame_s
        seen.flashes_s = _flashes(seen.pictures)
    if sound:
        seen.sample_rate = sound.rate
        seen.beeps_s = [at - origin_s for at in sound.beeps_s]
        seen.audio_gaps_s = [(at - origin_s, length) for at, length in sound.gaps_s]
        seen.audio_s = sound.start_s - origin_s, sound.end_s - origin_s
        seen.duration_s = max(seen.duration_s, seen.audio_s[1])
    seen.av_offsets_s = [
        beep - flash
        for beep in seen.beeps_s
        for flash in [nearest(seen.flashes_s, beep)]
        if flash is not None
    ]
    return seen


def _flashes(pictures: list[Picture]) -> list[float]:
    """Times at which the picture turns bright; a bright first picture counts."""
    flashes, bright = [], False
    for picture in pictures:
        if picture.luma > BRIGHT and not bright:
            flashes.append(picture.time_s)
        bright = picture.luma > BRIGHT
    return flashes


@dataclass
class _Sound:
    """Beeps, gaps and extent of the sound heard so far. A gap counts as quiet."""

    rate: int
    start_s: float
    end_s: float
    beeps_s: list[float] = field(default_factory=list)
    gaps_s: list[tuple[float, float]] = field(default_factory=list)
    loud_s: float = -1e9

    def hear(self, time_s: float, samples: npt.NDArray[np.float32]) -> None:
        if abs(time_s - self.end_s) > 0.002:
            self.gaps_s.append((self.end_s, time_s - self.end_s))
        self.end_s = time_s + samples.shape[0] / self.rate
        loud = time_s + np.flatnonzero(samples > LOUD) / self.rate
        if loud.size:
            begins = np.diff(loud, prepend=self.loud_s) > QUIET_S
            self.beeps_s += [float(at) for at in loud[begins]]
            self.loud_s = float(loud[-1])


def nearest(times: list[float], time: float, within: float = 0.4) -> float | None:
    """Of rising times the one that is nearest, None where none is within that."""
    place = bisect_left(times, time)
    near = [t for t in times[max(0, place - 1) : place + 1] if abs(t - time) <= within]
    return min(near, key=lambda t: abs(t - time), default=None)
