"""Plain values that travel between a tap, the elements and a journal. Media time is always an integer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KEY = 1  # a decoder may start here
PREROLL = 2  # before the position that was asked for: decode it, put nothing out for it
GAP = 4  # something is missing before this frame

NS = 1_000_000_000

Samples = NDArray[np.float32]


class TapFrame(NamedTuple):
    """One encoded frame as the media core stamped it."""

    track: int
    seq: int  # without holes per track
    flags: int  # KEY | PREROLL | GAP
    pts: int  # in the track's time base, 64 bit, rising
    dts: int
    capture_ns: int  # CLOCK_MONOTONIC instant at which it was captured, as far as the core can tell
    data: bytes


@dataclass(slots=True, frozen=True)
class Track:
    """One user's sound, main or aux picture, as the core describes it."""

    track: int
    user: str
    kind: str  # audio, video or aux
    codec: str  # h264, vp8, opus or aac
    time_base_den: int
    sample_rate: int = 0
    channels: int = 0
    extradata: bytes = b""  # AAC: AudioSpecificConfig
    entered_ns: int = 0  # when its user's membership began
    started_ns: int = 0
    life: int = 0
    derived_from: int | None = None
    width: int = 0
    height: int = 0
    next_seq: int = 0
    oldest_seq: int = 0
    live: bool = True
    cause: str = ""  # why it stopped, if it is not live: closed, lost, blocked, replaced or dismissed


@dataclass(slots=True)
class Pcm:
    """Decoded sound: float32 of shape (channels, n); `pos` counts samples on the task's time line."""

    pos: int
    samples: Samples

    @property
    def end(self) -> int:
        return self.pos + int(self.samples.shape[1])


@dataclass(slots=True)
class Coded:
    """One encoded packet of a stream; times in the stream's time base, task time."""

    pts: int
    dts: int
    duration: int
    data: bytes
    key: bool = False
    discontinuity: bool = False


@dataclass(slots=True)
class Size:
    """Picture size in pixels."""

    width: int = 0
    height: int = 0


@dataclass(slots=True)
class Batch:
    """What a reader got at once: frames grouped by track, and what will not come any more."""

    watermark_ns: int  # no frame captured before this instant will follow on any track of the room
    frames: dict[int, list[TapFrame]] = field(default_factory=dict)
