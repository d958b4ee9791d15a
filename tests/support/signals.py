"""Test signals: a picture that flashes and a sound that beeps on whole seconds, coded in small sizes.

All signals are functions of media time: picture and sound are "on" for the first `ON_S` of each second from
second 0, "off" otherwise. So a recording can be measured against its plan (see `measure.py`) whatever was
cut out of it, and lip sync is the distance of a beep from the flash of the same second.

    video = h264_flashes(10)              # list[Frame], 90 kHz, Annex B, SPS and PPS before each IDR
    sound = opus_beeps(10)                # list[Frame], 48 kHz, 20 ms packets
    aac = aac_beeps(10)                   # .config, .priming, .frames on the 1024 grid

Encoder look-ahead is taken out: sample n of the decoded Opus or AAC is sample n of the signal, to 1 ms.
Results are cached and must not be changed; `between` and `moved` make parts and copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt

ON_S = 0.1  # how long a flash or a beep lasts
BEEP_HZ = 1000
VIDEO_CLOCK = 90_000
AUDIO_CLOCK = 48_000
OPUS_LOOK_AHEAD = 312  # samples at 48 kHz, libopus at its default application
BLACK, WHITE = 16, 235  # luma, limited range


class Frame(NamedTuple):
    """One coded frame, times in 1/90000 s (picture) or 1/sample_rate s (sound)."""

    pts: int
    dts: int
    duration: int
    key: bool
    data: bytes


@dataclass(frozen=True)
class AacSignal:
    """AAC-LC without ADTS: `config` is the AudioSpecificConfig, `priming` the packet at pts -1024."""

    config: bytes
    sample_rate: int
    channels: int
    priming: bytes
    frames: tuple[Frame, ...]


def is_on(time_s: Fraction | float) -> bool:
    """Whether the signal flashes and beeps at this media time."""
    return time_s >= 0 and float(time_s) % 1 < ON_S - 1e-9


def picture(time_s: Fraction | float, width: int, height: int) -> av.VideoFrame:
    """A grey ramp with one wide field that is white when the signal is on and black when it is off."""
    frame = av.VideoFrame(width, height, "yuv420p")
    luma = WHITE if is_on(time_s) else BLACK
    frame.planes[0].update(bytes([luma]) * (frame.planes[0].line_size * height))
    for plane in frame.planes[1:]:
        plane.update(bytes([128]) * (plane.line_size * (height // 2)))
    return frame


def sound(
    first_sample: int, count: int, sample_rate: int, channels: int, end_sample: int = 1 << 60
) -> npt.NDArray[np.float32]:
    """Samples [first, first + count) of the beeping signal, float32 (channels, count), -6 dB.

    Silent from `end_sample` on, so that a coder cannot let the beep after the end be heard before it.
    """
    n = np.arange(first_sample, first_sample + count)
    on = (n >= 0) & (n < end_sample) & ((n % sample_rate) < ON_S * sample_rate)
    wave = 0.5 * np.sin(2 * np.pi * BEEP_HZ * (n % sample_rate) / sample_rate + np.pi / 2) * on
    return np.repeat(wave[np.newaxis, :].astype(np.float32), channels, axis=0)


@lru_cache(maxsize=32)
def h264_flashes(
    duration_s: float,
    *,
    width: int = 160,
    height: int = 96,
    fps: int = 30,
    gop_s: float = 1.0,
    bframes: int = 0,
    start_s: float = 0.0,
    profile: str = "",
) -> tuple[Frame, ...]:
    """H.264 access units in Annex B from media time `start_s` on; closed GOPs of `gop_s`.

    `profile`: baseline, main or high; without one what is quick to code.
    """
    return _video("libx264", duration_s, width, height, fps, gop_s, bframes, start_s, profile)


@lru_cache(maxsize=8)
def vp8_flashes(
    duration_s: float,
    *,
    width: int = 160,
    height: int = 96,
    fps: int = 30,
    gop_s: float = 1.0,
    start_s: float = 0.0,
) -> tuple[Frame, ...]:
    """VP8 frames from media time `start_s` on, 90 kHz."""
    return _video("libvpx", duration_s, width, height, fps, gop_s, 0, start_s)


def _video(
    codec: str,
    duration_s: float,
    width: int,
    height: int,
    fps: int,
    gop_s: float,
    bframes: int,
    start_s: float,
    profile: str = "",
) -> tuple[Frame, ...]:
    gop = max(1, round(gop_s * fps))
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, VIDEO_CLOCK)
    encoder.framerate = Fraction(fps)
    encoder.thread_count = 1
    encoder.gop_size = gop
    encoder.bit_rate = 200_000
    if codec == "libx264":
        encoder.options = {
            "preset": "veryfast" if bframes or profile else "ultrafast",
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={bframes}:repeat-headers=1"
            ":sliced-threads=0:rc-lookahead=2:sync-lookahead=0",
        }
        if profile:
            encoder.options = {**encoder.options, "profile": profile}
    else:
        encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    tick = VIDEO_CLOCK // fps
    first = round(start_s * fps)
    packets: list[av.Packet] = []
    for index in range(first, first + round(duration_s * fps)):
        frame = picture(Fraction(index, fps), width, height)
        frame.pts = index * tick
        frame.time_base = Fraction(1, VIDEO_CLOCK)
        if (index - first) % gop == 0:
            frame.pict_type = av.video.frame.PictureType.I
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    frames = []
    for packet in packets:
        assert packet.pts is not None
        dts = packet.dts if packet.dts is not None else packet.pts
        frames.append(Frame(packet.pts, dts, tick, packet.is_keyframe, bytes(packet)))
    return tuple(frames)


@lru_cache(maxsize=32)
def opus_beeps(
    duration_s: float, *, channels: int = 2, frame_ms: int = 20, start_s: float = 0.0, bit_rate: int = 64_000
) -> tuple[Frame, ...]:
    """Opus packets from media time `start_s` on, as a browser sends them; pts in 1/48000 s."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.format = AUDIO_CLOCK, "flt"
    encoder.layout = "stereo" if channels == 2 else "mono"
    encoder.bit_rate = bit_rate
    encoder.options = {"frame_duration": str(frame_ms), "application": "audio"}
    size = AUDIO_CLOCK * frame_ms // 1000
    first = round(start_s * AUDIO_CLOCK)
    count = round(duration_s * 1000 / frame_ms)
    packets: list[av.Packet] = []
    for index in range(count + 1):
        at = first + index * size + OPUS_LOOK_AHEAD
        samples = sound(at, size, AUDIO_CLOCK, channels, first + count * size)
        packets += encoder.encode(_audio_frame(samples, "flt", AUDIO_CLOCK, at))
    packets += encoder.encode(None)
    return tuple(
        Frame(first + index * size, first + index * size, size, True, bytes(packet))
        for index, packet in enumerate(packets[:count])
    )


@lru_cache(maxsize=32)
def aac_beeps(
    duration_s: float,
    *,
    sample_rate: int = AUDIO_CLOCK,
    channels: int = 2,
    start_s: float = 0.0,
    bit_rate: int = 64_000,
) -> AacSignal:
    """AAC-LC frames of 1024 samples; pts in 1/sample_rate s, starting at `start_s` exactly."""
    encoder = av.CodecContext.create("aac", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.format = sample_rate, "fltp"
    encoder.layout = "stereo" if channels == 2 else "mono"
    encoder.bit_rate = bit_rate
    first = round(start_s * sample_rate)
    count = round(duration_s * sample_rate / 1024)
    end = first + round(duration_s * sample_rate)
    packets: list[av.Packet] = []
    for index in range(count + 2):
        samples = sound(first + index * 1024, 1024, sample_rate, channels, end)
        packets += encoder.encode(_audio_frame(samples, "fltp", sample_rate, index * 1024))
    packets += encoder.encode(None)
    assert packets[0].pts == -1024
    frames = tuple(
        Frame(first + index * 1024, first + index * 1024, 1024, True, bytes(packet))
        for index, packet in enumerate(packets[1 : count + 1])
    )
    return AacSignal(bytes(encoder.extradata or b"")[:2], sample_rate, channels, bytes(packets[0]), frames)


def _audio_frame(samples: npt.NDArray[np.float32], fmt: str, sample_rate: int, pts: int) -> av.AudioFrame:
    layout = "stereo" if samples.shape[0] == 2 else "mono"
    packed = samples if fmt == "fltp" else samples.T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format=fmt, layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = sample_rate, pts, Fraction(1, sample_rate)
    return frame


def between(frames: Iterable[Frame], from_s: float, to_s: float, clock: int) -> Iterator[Frame]:
    """The frames with from_s <= dts < to_s, times unchanged."""
    return (frame for frame in frames if from_s * clock <= frame.dts < to_s * clock)


def moved(frames: Iterable[Frame], by_s: float, clock: int) -> list[Frame]:
    """The same frames `by_s` later."""
    ticks = round(by_s * clock)
    return [frame._replace(pts=frame.pts + ticks, dts=frame.dts + ticks) for frame in frames]
