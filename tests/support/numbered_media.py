"""Flash-and-beep media with numbered pictures, coded once into the files roomtape-bots sends.

Picture `n` and the sound of the same second are those of publisher.py, on a ground of fixed noise so
that a picture needs several packets. There is an IDR in each second and nothing is reordered.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from tests.support.publisher import CELL_H, FPS, HEIGHT, RATE, WIDTH, beep, draw

STEP = 960  # samples of one Opus packet
NOISE = 40  # of luma: far from what the reader of numbers and of flashes looks at


def pictures(
    path: Path, seconds: int, *, size: tuple[int, int] = (WIDTH, HEIGHT), bps: int = 600_000, key_at: int | None = 0
) -> Path:
    """An Annex B stream of `seconds` of pictures. IDRs are the first one and number `key_at` of each second, if any."""
    width, height = size
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.bit_rate, encoder.gop_size, encoder.thread_count = bps, seconds * FPS, 1
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "bf": "0",
        "sc_threshold": "0",
        "forced-idr": "1",
        "x264-params": "scenecut=0:annexb=1:repeat-headers=1",
        "maxrate": str(bps),
        "bufsize": str(bps // 2),
    }
    with path.open("wb") as out:
        for frame in frames(seconds, width, height, key_at):
            for packet in encoder.encode(frame):
                out.write(bytes(packet))
        for packet in encoder.encode(None):
            out.write(bytes(packet))
    return path


def pictures_vp8(
    path: Path, seconds: int, *, size: tuple[int, int] = (WIDTH, HEIGHT), bps: int = 600_000, key_at: int | None = 0
) -> Path:
    """The same as VP8 of libvpx in an IVF file."""
    with av.open(str(path), "w", format="ivf") as file:
        stream = file.add_stream("libvpx", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base, stream.bit_rate, stream.gop_size = Fraction(1, FPS), bps, seconds * FPS
        stream.options = {
            "deadline": "realtime",
            "cpu-used": "8",
            "lag-in-frames": "0",
            "auto-alt-ref": "0",
            "error-resilient": "default",
        }
        for frame in frames(seconds, *size, key_at):
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return path


def frames(seconds: int, width: int, height: int, key_at: int | None) -> Iterator[av.VideoFrame]:
    """The pictures before they are coded."""
    noise = np.random.default_rng(7).integers(0, NOISE, (height, 2 * width), dtype=np.uint8)
    cells = height * CELL_H // HEIGHT
    for number in range(seconds * FPS):
        gray = scaled(number, width, height)
        gray[: height - cells] -= noise[: height - cells, (number * 2) % width :][:, :width]
        planes = np.concatenate([gray, np.full((height // 2, width), 128, np.uint8)])
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        frame.pict_type = PictureType.I if number % FPS == key_at else PictureType.NONE
        yield frame


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
