"""Media for roomtape-bots: an Annex B H.264 file and a file of 20 ms Opus packets."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FPS, RATE, STEP = 30, 48_000, 960


def pictures(path: Path, seconds: int, bps: int, width: int, height: int) -> None:
    """A moving pattern, constant bit rate, one IDR per second."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.bit_rate, encoder.gop_size = bps, FPS
    encoder.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "profile": "baseline",
        "nal-hrd": "cbr",
        "maxrate": str(bps),
        "minrate": str(bps),
        "bufsize": str(bps // 2),
    }
    noise = np.random.default_rng(7)
    base = noise.integers(0, 255, (height * 3 // 2, width), dtype=np.uint8)
    with path.open("wb") as out:
        for number in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(np.roll(base, number * 4, axis=1), format="yuv420p")
            frame.pts = number
            for packet in encoder.encode(frame):
                out.write(bytes(packet))
        for packet in encoder.encode(None):
            out.write(bytes(packet))


def sounds(path: Path, seconds: int, bps: int) -> None:
    """A tone."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "stereo", "s16"
    encoder.bit_rate = bps
    with path.open("wb") as out:
        for start in range(0, seconds * RATE, STEP):
            tone = np.sin(np.arange(start, start + STEP) * 2 * np.pi * 440 / RATE) * 8000
            both = np.repeat(tone.astype(np.int16), 2)[None, :]
            frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            for packet in encoder.encode(frame):
                data = bytes(packet)
                out.write(struct.pack(">H", len(data)) + data)
