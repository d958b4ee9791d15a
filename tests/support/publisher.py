"""A live publisher in a process of its own: flash and beep at whole seconds, every picture numbered.

    python -m tests.support.publisher whip URL --token T --seconds 5
    python -m tests.support.publisher rtmp URL --seconds 5

Media runs at real-time pace by PyAV (FFmpeg's whip and flv muxers, as OBS or ffmpeg would). The first
line on stdout is `up` once the connection is made; the last is a JSON object with what was sent.
SIGTERM ends it at the next frame, cleanly; SIGKILL is a cut cable.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 320, 180, 30
CELLS = 20  # bits of the frame number, one cell each, along the bottom
CELL_H = 20
FLASH_FRAMES = 3  # 100 ms of white at each whole second
RATE = 48_000
BEEP_HZ, BEEP_S = 1000, 0.1


def draw(number: int, width: int = WIDTH, height: int = HEIGHT, fps: int = FPS) -> NDArray[np.uint8]:
    """Picture `number` as gray uint8 (height, width): white on whole seconds, its number along the bottom."""
    picture = np.full((height, width), 60, np.uint8)
    if number % fps < FLASH_FRAMES:
        picture[: height - CELL_H] = 235
    else:  # something that moves, so that the coder has work
        x = (number * 4) % (width - 20)
        picture[40:60, x : x + 20] = 160
    cell_w = width // CELLS
    for bit in range(CELLS):
        picture[height - CELL_H :, bit * cell_w : (bit + 1) * cell_w] = 235 if number >> bit & 1 else 16
    return picture


def read_number(gray: NDArray[np.uint8]) -> int:
    """The number `draw` put into a decoded picture of any size (uint8, height x width)."""
    height, width = gray.shape
    y = height - max(2, height * CELL_H // (2 * HEIGHT))
    cell_w = width / CELLS
    return sum(1 << bit for bit in range(CELLS) if gray[y, int((bit + 0.5) * cell_w)] > 128)


def beep(start: int, count: int) -> NDArray[np.int16]:
    """Samples [start, start + count) of the sound: 1 kHz for 100 ms from each whole second, else silence."""
    at = np.arange(start, start + count)
    tone = (np.sin(2 * np.pi * BEEP_HZ * at / RATE) * 12_000).astype(np.int16)
    return np.where((at % RATE) < BEEP_S * RATE, tone, 0).astype(np.int16)


def publish(
    kind: str,
    url: str,
    *,
    token: str,
    seconds: float,
    codec_options: dict[str, str],
    gop_s: float,
    sound: bool,
    picture: bool,
    size: tuple[int, int],
    video_codec: str = "libx264",
) -> dict[str, object]:
    """Send until `seconds` have passed or SIGTERM came. Returns counts of what was handed to the muxer."""
    ended = False

    def on_term(*_args: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, on_term)
    options = {"authorization": token} if kind == "whip" else {}
    container = av.open(url, "w", format="whip" if kind == "whip" else "flv", options=options)
    video = audio = None
    if picture:
        video = container.add_stream(video_codec, rate=FPS)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.time_base = Fraction(1, FPS)
        video.bit_rate = 400_000
        video.gop_size = round(gop_s * FPS)
        video.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "bf": "0",
            "sc_threshold": "0",
            **codec_options,
        }
    if sound:
        audio = container.add_stream("libopus" if kind == "whip" else "aac", rate=RATE)
        audio.layout = "stereo"
        audio.bit_rate = 64_000
        audio.options = {"strict": "-2"}
    container.start_encoding()
    print("up", flush=True)
    step = 960 if kind == "whip" else 1024
    started, number, sample, sent = time.monotonic(), 0, 0, {"pictures": 0, "sound_packets": 0}
    while not ended and max(number / FPS, 0 if picture else sample / RATE) < seconds:
        now = time.monotonic() - started
        picture_at = number / FPS if video else float("inf")
        sound_at = sample / RATE if audio else float("inf")
        ahead = min(picture_at, sound_at) - now
        if ahead > 0:
            time.sleep(ahead)
        if video is not None and picture_at <= sound_at:
            gray = draw(number, *size)
            planes = np.concatenate([gray, np.full((gray.shape[0] // 2, gray.shape[1]), 128, np.uint8)])
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            for packet in video.encode(frame):
                container.mux(packet)
                sent["pictures"] += 1
            number += 1
        elif audio is not None:
            samples = np.repeat(beep(sample, step)[None, :], 2, axis=0).T.reshape(1, -1)
            chunk = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="stereo")
            chunk.sample_rate, chunk.pts, chunk.time_base = RATE, sample, Fraction(1, RATE)
            for packet in audio.encode(chunk):
                container.mux(packet)
                sent["sound_packets"] += 1
            sample += step
    for stream in (video, audio):
        if stream is not None:
            for packet in stream.encode(None):
                container.mux(packet)
                sent["pictures" if stream is video else "sound_packets"] += 1
    container.close()
    return {**sent, "started": started, "seconds": time.monotonic() - started}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["whip", "rtmp"])
    parser.add_argument("url")
    parser.add_argument("--token", default="")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--gop-s", type=float, default=1)
    parser.add_argument("--option", action="append", default=[], help="codec option, name=value")
    parser.add_argument("--codec", default="libx264")
    parser.add_argument("--no-sound", action="store_true")
    parser.add_argument("--no-picture", action="store_true")
    parser.add_argument("--size", default=f"{WIDTH}x{HEIGHT}")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    try:
        sent = publish(
            args.kind,
            args.url,
            token=args.token,
            seconds=args.seconds,
            gop_s=args.gop_s,
            codec_options=dict(o.split("=", 1) for o in args.option),
            video_codec=args.codec,
            sound=not args.no_sound,
            picture=not args.no_picture,
            size=(width, height),
        )
    except (OSError, av.FFmpegError) as refused:
        print(json.dumps({"error": str(refused)}), flush=True)
        sys.exit(3)
    print(json.dumps(sent), flush=True)


if __name__ == "__main__":
    main()
