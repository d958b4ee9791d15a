"""One black picture, coded: what stands in for a camera that is not there."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import av


@lru_cache(maxsize=16)
def black_idr(width: int, height: int) -> bytes:
    """An H.264 IDR access unit (Annex B, with parameter sets), all black; odd sizes are rounded down."""
    width, height = width & ~1, height & ~1
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.thread_count = 1
    encoder.options = {"preset": "veryfast", "tune": "zerolatency", "profile": "baseline"}
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(frame.planes, (16, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
