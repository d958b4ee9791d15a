"""What the demo's files really hold: every frame decoded, counted, and measured against flash and beep."""

from __future__ import annotations

import io
import statistics
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
import numpy.typing as npt

from roomtape.cli import demo_media

BRIGHT = 150  # mean luma of a flash lies above, of every other picture below
LOUD = 0.08  # of full scale; coding noise stays below
QUIET_S = 0.05
NEAR_S = 0.4
EARLY_S, LATE_S = 0.040, 0.060  # sound before and after picture, EBU R37
MEDIAN_S = 0.040
RUN_S = 1.5  # a file may differ from the time between start and stop by so much


@dataclass(slots=True)
class Held:
    """One file, measured. Times are seconds of its own time line."""

    name: str
    size: int
    pictures: int = 0
    missing: int = 0  # numbers between the first and the last picture that are not there
    repeated: int = 0
    samples: int = 0
    rate: int = 0
    begin_s: float = 0.0
    end_s: float = 0.0
    flashes_s: list[float] = field(default_factory=list)
    beeps_s: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def tracks(self) -> str:
        names = (("H.264", self.pictures), ("AAC", self.samples))
        return " + ".join(name for name, count in names if count) or "none"

    @property
    def duration_s(self) -> float:
        return self.end_s - self.begin_s

    @property
    def offsets_s(self) -> list[float]:
        """Beep minus flash, for each beep that has a flash near it."""
        pairs = []
        for beep in self.beeps_s:
            near = min(self.flashes_s, key=lambda flash: abs(flash - beep), default=None)
            if near is not None and abs(near - beep) < NEAR_S:
                pairs.append(beep - near)
        return pairs

    @property
    def offset_s(self) -> float:
        return statistics.median(self.offsets_s) if self.offsets_s else float("nan")

    def faults(self, wanted_s: float) -> list[str]:
        """What is wrong with it; nothing when all is right."""
        faults = list(self.complaints[:3])
        if not self.pictures:
            faults.append("no picture")
        elif self.pictures < (wanted_s - RUN_S) * demo_media.FPS:
            faults.append(f"only {self.pictures} pictures in {wanted_s:.1f} s")
        if not self.samples:
            faults.append("no sound")
        if self.missing:
            faults.append(f"{self.missing} pictures missing")
        if self.repeated:
            faults.append(f"{self.repeated} pictures twice")
        if abs(self.duration_s - wanted_s) > RUN_S:
            faults.append(f"{self.duration_s:.2f} s instead of {wanted_s:.1f}")
        offsets = self.offsets_s
        if len(offsets) < int(wanted_s) - 2:
            faults.append(f"only {len(offsets)} flashes with a beep")
        elif abs(self.offset_s) > MEDIAN_S or min(offsets) < -EARLY_S or max(offsets) > LATE_S:
            faults.append(f"not lip-synced: {min(offsets) * 1000:.0f} to {max(offsets) * 1000:.0f} ms")
        return faults


def measure(path: Path) -> Held:
    """Decode a `.mp4` or the pieces a `.m3u8` names, and measure."""
    if path.suffix == ".m3u8":
        lines = path.read_text().splitlines()
        data = b"".join((path.parent / line).read_bytes() for line in lines if line and line[0] != "#")
        container = "mpegts"
    else:
        data, container = path.read_bytes(), "mp4"
    held = Held(path.name, len(data))
    level = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as log, av.open(io.BytesIO(data), format=container) as file:
            _decode(file, held)
        held.complaints = [f"{name}: {text.strip()}" for severity, name, text in log if severity <= 24]
    finally:
        av.logging.set_level(level)
    return held


def _decode(file: Any, held: Held) -> None:
    streams = [*file.streams.video[:1], *file.streams.audio[:1]]
    numbers: list[int] = []
    bright: list[tuple[float, bool]] = []
    chunks: list[tuple[float, npt.NDArray[np.float32]]] = []
    spans: list[tuple[float, float]] = []
    for packet in file.demux(*streams):
        for frame in packet.decode():
            if frame.pts is None or frame.time_base is None:
                held.complaints.append("a frame without time")
                continue
            at = float(frame.pts * frame.time_base)
            if isinstance(frame, av.VideoFrame):
                luma = frame.to_ndarray().astype(np.uint8)[: frame.height]  # yuv420p: the upper two thirds
                numbers.append(demo_media.number_of(luma))
                bright.append((at, float(luma[: -demo_media.BITS_H * 2].mean()) > BRIGHT))
                spans.append((at, at + 1 / demo_media.FPS))
            elif isinstance(frame, av.AudioFrame):
                samples = frame.to_ndarray().astype(np.float32)
                held.rate = frame.sample_rate
                held.samples += frame.samples
                chunks.append((at, np.abs(samples).reshape(-1, frame.samples).max(axis=0)))
                spans.append((at, at + frame.samples / frame.sample_rate))
    held.pictures = len(numbers)
    if numbers:
        held.missing = max(numbers) - min(numbers) + 1 - len(set(numbers))
        held.repeated = len(numbers) - len(set(numbers))
    held.begin_s = min((begin for begin, _ in spans), default=0.0)
    held.end_s = max((end for _, end in spans), default=0.0)
    held.flashes_s = _rises(sorted(bright))
    held.beeps_s = _beeps(chunks, held.rate)


def _rises(states: list[tuple[float, bool]]) -> list[float]:
    """Times at which the picture turns bright, but for the first one, which may be cut."""
    return [at for (_, before), (at, now) in pairwise(states) if now and not before]


def _beeps(chunks: list[tuple[float, npt.NDArray[np.float32]]], rate: int) -> list[float]:
    beeps, last = [], 0.0
    for at, samples in sorted(chunks, key=lambda chunk: chunk[0]):
        for index in np.flatnonzero(samples > LOUD):
            loud = at + float(index) / rate
            if loud - last > QUIET_S and last:
                beeps.append(loud)
            last = loud
    return beeps
