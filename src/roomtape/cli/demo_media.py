"""The two people of the demo: generated pictures and sound, sent as OBS or FFmpeg would send them.

    python -m roomtape.cli.demo_media whip URL --token USERSIG
    python -m roomtape.cli.demo_media rtmp URL

The picture turns white and the sound beeps for 100 ms at every whole second, and every picture carries its
number along the bottom, so that a file can be asked what it lost and whether it is lip-synced. The first
line on stdout is `up` once connected; SIGTERM ends it at the next frame, as a client that leaves.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, FPS = 640, 360, 30
FLASH_FRAMES = 3  # 100 ms of white
BITS = 20  # of the picture's number, one cell each
BITS_H = 24
DARK, LIGHT, WHITE = 16, 160, 235
RATE = 48_000
BEEP_HZ = 1000
BEEP_SAMPLES = RATE // 10
AMPLITUDE = 12_000
COLOURS = {"whip": (110, 160), "rtmp": (160, 110)}  # Cb, Cr, to tell the two people apart


def picture(number: int, colour: tuple[int, int] = (128, 128)) -> npt.NDArray[np.uint8]:
    """Picture `number` as planar yuv420p, uint8 (HEIGHT * 3 / 2, WIDTH)."""
    luma = np.tile(np.linspace(40, 120, WIDTH, dtype=np.uint8), (HEIGHT, 1))
    x = (number * 5) % (WIDTH - 60)
    y = 60 + abs((number * 3) % 320 - 160)
    luma[y : y + 60, x : x + 60] = LIGHT
    if number % FPS < FLASH_FRAMES:
        luma[: HEIGHT - BITS_H] = WHITE
    cell = WIDTH // BITS
    for bit in range(BITS):
        luma[HEIGHT - BITS_H :, bit * cell : (bit + 1) * cell] = WHITE if number >> bit & 1 else DARK
    chroma = [np.full((HEIGHT // 4, WIDTH), value, np.uint8) for value in colour]
    return np.concatenate([luma, *chroma])


def number_of(luma: npt.NDArray[np.uint8]) -> int:
    """The number `picture` wrote into a decoded picture, uint8 (height, width)."""
    height, width = luma.shape
    y = height - height * BITS_H // (2 * HEIGHT)
    return sum(1 << bit for bit in range(BITS) if luma[y, int((bit + 0.5) * width / BITS)] > 128)


def sound(start: int, count: int) -> npt.NDArray[np.int16]:
    """Samples [start, start + count) as interleaved stereo, int16 (1, 2 * count)."""
    at = np.arange(start, start + count)
    tone = (np.sin(2 * np.pi * BEEP_HZ * at / RATE) * AMPLITUDE).astype(np.int16)
    mono = np.where(at % RATE < BEEP_SAMPLES, tone, 0).astype(np.int16)
    return np.repeat(mono, 2).reshape(1, -1)


class Ending:
    """Becomes true when SIGTERM comes."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def publish(kind: str, url: str, token: str) -> dict[str, int]:
    """Send at real-time pace until SIGTERM. Returns what was handed to the muxer.

    Raises:
        av.FFmpegError, OSError: the server refused, or went away.
    """
    ending = Ending()
    options = {"authorization": token} if kind == "whip" else {}
    container = av.open(url, "w", format="whip" if kind == "whip" else "flv", options=options)
    video: Any = container.add_stream("libx264", rate=FPS)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    video.bit_rate, video.gop_size = 800_000, FPS
    video.options = {"preset": "ultrafast", "tune": "zerolatency", "bf": "0", "sc_threshold": "0"}
    audio: Any = container.add_stream("libopus" if kind == "whip" else "aac", rate=RATE)
    audio.layout, audio.bit_rate = "stereo", 64_000
    container.start_encoding()
    print("up", flush=True)
    step = 960 if kind == "whip" else 1024  # samples of one Opus or AAC frame
    begin, number, sample = time.monotonic(), 0, 0
    while not ending.asked:
        picture_s, sound_s = number / FPS, sample / RATE
        ahead = min(picture_s, sound_s) - (time.monotonic() - begin)
        if ahead > 0:
            time.sleep(ahead)
        if picture_s <= sound_s:
            frame = av.VideoFrame.from_ndarray(picture(number, COLOURS[kind]), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
            number += 1
        else:
            chunk = av.AudioFrame.from_ndarray(sound(sample, step), format="s16", layout="stereo")
            chunk.sample_rate, chunk.pts, chunk.time_base = RATE, sample, Fraction(1, RATE)
            container.mux(audio.encode(chunk))
            sample += step
    for stream in (video, audio):
        container.mux(stream.encode(None))
    container.close()
    return {"pictures": number, "samples": sample}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["whip", "rtmp"])
    parser.add_argument("url")
    parser.add_argument("--token", default="")
    arguments = parser.parse_args()
    try:
        sent = publish(arguments.kind, arguments.url, arguments.token)
    except (OSError, av.FFmpegError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    print(json.dumps(sent), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
