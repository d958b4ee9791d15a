"""The demo's judge must see what is wrong with a file, or its word is worth nothing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from roomtape.cli import demo_media
from roomtape.cli.demo_check import measure

SECONDS = 4


def record(path: Path, *, skip: range = range(0), late_samples: int = 0, sound: bool = True) -> Path:
    """A file as the demo's people make it, without some pictures, with the sound late, or without sound."""
    container = av.open(str(path), "w")
    video: Any = container.add_stream("libx264", rate=demo_media.FPS)
    video.width, video.height, video.pix_fmt = demo_media.WIDTH, demo_media.HEIGHT, "yuv420p"
    video.options = {"preset": "ultrafast", "tune": "zerolatency"}
    audio: Any = container.add_stream("aac", rate=demo_media.RATE, layout="stereo") if sound else None
    for number in range(SECONDS * demo_media.FPS):
        if number in skip:
            continue
        frame = av.VideoFrame.from_ndarray(demo_media.picture(number), format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, demo_media.FPS)
        container.mux(video.encode(frame))
    container.mux(video.encode(None))
    if audio is not None:
        for start in range(0, SECONDS * demo_media.RATE - 1024, 1024):
            samples = demo_media.sound(start - late_samples, 1024)
            chunk = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            chunk.sample_rate, chunk.pts, chunk.time_base = (
                demo_media.RATE,
                start,
                Fraction(1, demo_media.RATE),
            )
            container.mux(audio.encode(chunk))
        container.mux(audio.encode(None))
    container.close()
    return path


def test_a_whole_file_has_no_fault(tmp_path: Path) -> None:
    held = measure(record(tmp_path / "a.mp4"))
    assert held.faults(SECONDS) == []
    assert held.pictures == SECONDS * demo_media.FPS
    assert abs(held.offset_s) < 1 / demo_media.RATE * 48, "within a millisecond"
    assert held.tracks == "H.264 + AAC"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"skip": range(50, 53)}, "3 pictures missing"),
        ({"late_samples": 4800}, "not lip-synced"),
        ({"sound": False}, "no sound"),
    ],
)
def test_a_fault_is_seen(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    faults = measure(record(tmp_path / "b.mp4", **change)).faults(SECONDS)
    assert any(says in fault for fault in faults), faults


def test_a_file_that_is_too_short_is_seen(tmp_path: Path) -> None:
    assert any("instead of" in fault for fault in measure(record(tmp_path / "c.mp4")).faults(SECONDS + 3))
