"""Read back what publisher.py drew: which pictures a file holds, and whether its decoder complained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import av.logging

from tests.support.publisher import read_number


@dataclass(frozen=True, slots=True)
class Pictures:
    """All pictures of a file in output order; `complaints` are FFmpeg's messages of a full decode."""

    numbers: list[int]
    times_s: list[float]
    sizes: list[tuple[int, int]]
    complaints: list[str]

    def holes(self) -> list[tuple[int, int]]:
        """(last before, first after) wherever the count is not one by one."""
        pairs = zip(self.numbers, self.numbers[1:], strict=False)
        return [(a, b) for a, b in pairs if b != a + 1]


def pictures(path: Path) -> Pictures:
    """Decode every picture of a file or of an M3U8 beside its segments."""
    numbers: list[int] = []
    times: list[float] = []
    sizes: list[tuple[int, int]] = []
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture(local=False) as said, av.open(str(path), options=_options(path)) as file:
            for frame in file.decode(video=0):
                numbers.append(read_number(frame.to_ndarray(format="gray")))
                times.append(float(frame.time or 0.0))
                sizes.append((frame.width, frame.height))
    finally:
        av.logging.set_level(None)
    return Pictures(numbers, times, sizes, [text.strip() for _level, _name, text in said])


def _options(path: Path) -> dict[str, str]:
    return {"allowed_extensions": "ALL", "live_start_index": "0"} if path.suffix == ".m3u8" else {}


def joined(segments: list[Path], into: Path) -> Path:
    """Segments of one playlist put one after the other, as `cat` would."""
    into.write_bytes(b"".join(part.read_bytes() for part in segments))
    return into
