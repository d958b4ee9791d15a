"""Publishers whose streams have odd shapes, coded beforehand by FFmpeg's coders and sent by its muxers at their pace.

    file = code(Shape(fps=Fraction(5)), path)
    sent = send(file, "rtmp", url, token)     # returns when all is sent

Picture n is that of n / fps seconds and shows its number; it is white in the first tenth of each second, as the
sound beeps then.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.support.publisher import BEEP_HZ, BEEP_S, CELL_H, FLASH_FRAMES, FPS, HEIGHT, WIDTH, draw

CONTAINER = {"rtmp": "flv", "whip": "nut"}  # of the file; nut keeps every codec's own time base
STEP = {"rtmp": 1024, "whip": 960}  # samples of a packet
SCENE_S = Fraction(7, 10)  # each has another ground, which an encoder that looks for cuts sees


@dataclass(frozen=True)
class Shape:
    """What a publisher's stream is like; without arguments, what most send."""

    fps: Fraction = Fraction(FPS)
    key_s: Fraction = Fraction(2)  # between key pictures, at most
    options: dict[str, str] = field(default_factory=dict)  # of libx264
    drop: int = 0  # pictures in turn sent and not sent
    rate: int = 48_000
    layout: str = "stereo"
    sound_late_s: Fraction = Fraction(0)
    first_ms: int = 0  # on the stream's timestamps

    def numbers(self, seconds: float) -> list[int]:
        """Of the pictures that are sent in so many seconds."""
        whole = range(int(seconds * self.fps))
        return [n for n in whole if not self.drop or (n // self.drop) % 2 == 0]


def code(shape: Shape, door: str, path: Path, seconds: int) -> Path:
    """Write the stream as a file for `send`."""
    with av.open(str(path), "w", format=CONTAINER[door]) as file:
        picture = file.add_stream("libx264", rate=shape.fps)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        picture.time_base, picture.bit_rate = 1 / shape.fps, 400_000
        picture.gop_size = round(shape.key_s * shape.fps)
        picture.options = {"preset": "ultrafast", "tune": "zerolatency", "bf": "0", **shape.options}
        sound = file.add_stream("aac" if door == "rtmp" else "libopus", rate=shape.rate)
        sound.layout, sound.bit_rate = shape.layout, 64_000
        step = STEP[door]
        starts = range(int(shape.sound_late_s * shape.rate), seconds * shape.rate - step, step)
        pictures = [_picture(number, shape.fps) for number in shape.numbers(seconds)]
        packets = [packet for frame in [*pictures, None] for packet in picture.encode(frame)]
        chunks = [_sound(start, step, shape) for start in starts]
        packets += [packet for chunk in [*chunks, None] for packet in sound.encode(chunk)]
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            file.mux(packet)
    return path


def _picture(number: int, fps: Fraction) -> av.VideoFrame:
    at = number / fps
    gray = draw(number)
    gray[: HEIGHT - CELL_H] = 235 if at % 1 < Fraction(FLASH_FRAMES, FPS) else 40 + at // SCENE_S * 37 % 70
    x = number * 4 % (WIDTH - 20)
    gray[40:60, x : x + 20] += 20
    planes = np.concatenate([gray, np.full((HEIGHT // 2, WIDTH), 128, np.uint8)])
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts, frame.time_base = number, 1 / fps
    return frame


def _sound(start: int, count: int, shape: Shape) -> av.AudioFrame:
    at = np.arange(start, start + count)
    tone = np.sin(2 * np.pi * BEEP_HZ * at / shape.rate) * 12_000
    mono = np.where(at % shape.rate < BEEP_S * shape.rate, tone, 0).astype(np.int16)
    every = np.repeat(mono, 2 if shape.layout == "stereo" else 1)[None, :]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(every), format="s16", layout=shape.layout)
    frame.sample_rate, frame.pts, frame.time_base = shape.rate, start, Fraction(1, shape.rate)
    return frame


def send(path: Path, door: str, url: str, token: str, first_ms: int = 0) -> None:
    """Publish a coded stream, each packet at its time. Raises av.FFmpegError when refused."""
    options = {"authorization": token} if door == "whip" else {}
    with (
        av.open(str(path)) as file,
        av.open(url, "w", format="whip" if door == "whip" else "flv", options=options) as out,
    ):
        streams = {stream.index: out.add_stream_from_template(stream) for stream in file.streams}
        out.start_encoding()
        began = time.monotonic()
        for packet in file.demux():
            if packet.dts is None or packet.pts is None:
                continue  # the demuxer's last word
            ahead = float(packet.dts * packet.time_base) - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)
            shift = int(first_ms / 1000 / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
