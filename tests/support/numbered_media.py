"""Flash-and-beep media with numbered pictures, coded once into the files roomtape-bots sends.

Picture `n` and the sound of the same second are those of publisher.py, on a ground of fixed noise so
that a picture needs several packets. There is an IDR at each whole second and nothing is reordered.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.support.publisher import CELL_H, FPS, HEIGHT, RATE, WIDTH, beep, draw

STEP = 960  # samples of one Opus packet
NOISE = 40  # of luma: far from what the reader of numbers and of flashes looks at


def pictures(path: Path, seconds: int, *, size: tuple[int, int] = (WIDTH, HEIGHT), bps: int = 600_000) -> Path:
    """An Annex B stream of `seconds` of pictures."""
    width, height = size
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.bit_rate, encoder.gop_size, encoder.thread_count = bps, FPS, 1
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "bf": "0",
        "sc_threshold": "0",
        "x264-params": "scenecut=0:annexb=1:repeat-headers=1",
        "maxrate": str(bps),
        "bufsize": str(bps // 2),
    }
    noise = np.random.default_rng(7).integers(0, NOISE, (height, 2 * width), dtype=np.uint8)
    cells = height * CELL_H // HEIGHT
    with path.open("wb") as out:
        for number in range(seconds * FPS):
            gray = scaled(number, width, height)
            gray[: height - cells] -= noise[: height - cells, (number * 2) % width :][:, :width]
            planes = np.concatenate([gray, np.full((height // 2, width), 128, np.uint8)])
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = number
            for packet in encoder.encode(frame):
                out.write(bytes(packet))
        for packet in encoder.encode(None):
            out.write(bytes(packet))
    return path


def scaled(number: int, width: int, height: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """What `draw` shows, in any size: its number strip stays the same part of the height."""
    if (width, height) == (WIDTH, HEIGHT):
        return draw(number)
    rows = np.arange(height) * HEIGHT // height
    columns = np.arange(width) * WIDTH // width
    picture: np.ndarray[tuple[int, int], np.dtype[np.uint8]] = draw(number)[rows][:, columns]
    return picture


def sounds(path: Path, seconds: int, *, bps: int = 48_000) -> Path:
    """20 ms Opus packets, each led by its length (u16, big endian). The coder's delay is taken out."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "stereo", "s16"
    encoder.bit_rate = bps
    delay = 312  # samples libopus looks ahead: RFC 7845's pre-skip
    with path.open("wb") as out:
        for start in range(0, seconds * RATE, STEP):
            both = np.repeat(beep(start + delay, STEP), 2)[None, :]
            frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            for packet in encoder.encode(frame):
                data = bytes(packet)
                out.write(struct.pack(">H", len(data)) + data)
    return path
