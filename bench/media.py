"""The bench's own media: 720p30 H.264 at 1.0 Mb/s, GOP 2 s, no B-frames, with stereo sound; seeded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FPS, RATE = 30, 48_000


def make_flv(path: Path, seconds: int = 20, *, width: int = 1280, height: int = 720, bps: int = 1_000_000, seed: int = 7) -> Path:
    """A file of moving noise and tones that codes to about `bps`; AAC-LC 64 kb/s beside it."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    texture = rng.integers(40, 200, (height * 2, width * 2), dtype=np.uint8)
    texture = texture.reshape(height, 2, width, 2).mean(axis=(1, 3)).astype(np.uint8)
    part = path.with_suffix(".part")
    with av.open(str(part), "w", format="flv") as out:
        video = out.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt, video.bit_rate = width, height, "yuv420p", bps
        video.options = {"preset": "veryfast", "bf": "0", "g": str(2 * FPS), "sc_threshold": "0",
                         "maxrate": str(bps), "bufsize": str(bps * 2)}
        audio = out.add_stream("aac", rate=RATE)
        audio.layout, audio.bit_rate = "stereo", 64_000
        sample = 0
        for number in range(seconds * FPS):
            gray = np.roll(texture, (number * 2) % height, axis=0)
            planes = np.concatenate([gray, np.full((height // 2, width), 128, np.uint8)])
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(video.encode(frame))
            while sample < (number + 1) * RATE // FPS:
                at = np.arange(sample, sample + 1024) / RATE
                tone = (np.sin(2 * np.pi * (300 + 200 * np.sin(at)) * at) * 0.3).astype(np.float32)
                chunk = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
                chunk.sample_rate, chunk.pts, chunk.time_base = RATE, sample, Fraction(1, RATE)
                out.mux(audio.encode(chunk))
                sample += 1024
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    part.rename(path)
    return path
