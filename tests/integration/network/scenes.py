"""Who publishes through what, all in one recorded room; what the recording holds of each."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.measure import Measured, measure
from tests.support.numbered import Pictures, pictures

LONG_S = 13
RTT_MS = 80
SEED = 20260301
HOUR = 3600
WITHHELD_S = 11.1


@dataclass(frozen=True)
class Scene:
    """One publisher: the network it is behind (None: loopback) and what it does wrong."""

    link: dict[str, object] | None = None
    wrong: dict[str, object] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ((320, 180),)
    codec: str = "h264"
    answers: bool = False  # requests for a key picture, as an encoder does
    endless: bool = False  # no key picture but the first, and those that answer
    bps: int = 600_000
    sound_bps: int = 48_000


def lossy(percent: float, *, bps: int = 600_000, **more: object) -> Scene:
    return Scene({"loss": percent, "delay_ms": RTT_MS / 2, **more}, answers=True, bps=bps)


SCENES: dict[str, Scene] = {
    "calm": Scene(),
    "loss1": lossy(1),
    "loss5": lossy(5),
    "loss10": lossy(10),
    "loss20": lossy(20, bps=250_000),
    "bursts5": lossy(5, burst=4),
    "unruly": lossy(0, jitter_ms=100, reorder=20, reorder_ms=30, duplicate=20),
    "cut": Scene({"delay_ms": RTT_MS / 2, "cut": "6:2"}, answers=True),
    "report1": Scene(wrong={"reports_after_s": 1}),
    "report10": Scene({"delay_ms": 30, "jitter_ms": 40}, {"reports_after_s": 8}),
    "noreport": Scene({"delay_ms": 30, "jitter_ms": 40}, {"reports_after_s": HOUR}),
    "hour": Scene(wrong={"report_error_s": HOUR}),
    "hourpicture": Scene(wrong={"report_error_s": f"0,{HOUR}"}),
    "hoursound": Scene(wrong={"report_error_s": f"{HOUR},0"}),
    "zeroreports": Scene(wrong={"report_error_s": f"-{HOUR},0"}),  # the bot then reports RTP time 0
    "skewfast": Scene(wrong={"skew_ppm": 100}),
    "skewslow": Scene(wrong={"skew_ppm": -100}),
    "wrap": Scene(wrong={"rtp_start": f"{2**32 - 4 * 48_000},{2**32 - 4 * 90_000}"}),
    "zero": Scene(wrong={"rtp_start": "3000000000", "jump": "5:zero"}),
    "reset": Scene(wrong={"jump": "5:reset"}),
    "backward": Scene(wrong={"rtp_start": "1000000000", "jump": "5:-20"}),
    "eighthours": Scene(wrong={"jump": f"5:{8 * HOUR}"}),
    "withheld": Scene(wrong={"withhold": "0:5.1"}, answers=True, endless=True),
    "cutwithheld": Scene(
        {"delay_ms": RTT_MS / 2, "cut": "5:2"},
        {"withhold": f"0.01:{WITHHELD_S - 0.01}"},
        answers=True,
        endless=True,
    ),
    "sizes": Scene(wrong={"switch_s": 3}, sizes=((320, 180), (640, 360), (180, 320))),
    "sizesvp8": Scene(wrong={"switch_s": 4}, sizes=((320, 180), (480, 270), (180, 320)), codec="vp8"),
    "lossvp8": Scene({"loss": 5, "delay_ms": RTT_MS / 2}, codec="vp8"),
    "smallpackets": Scene({"loss": 1, "delay_ms": RTT_MS / 2}, {"payload_bytes": 220}, answers=True),
    "narrow": Scene({"rate_kbps": 64, "queue_ms": 300, "delay_ms": RTT_MS / 2}, answers=True, endless=True, bps=35_000, sound_bps=12_000),
    "reconnects": Scene(wrong={"reconnect_s": 3}),
}


def enc(text: str) -> str:
    return base64.b64encode(text.encode()).decode().replace("/", "-").replace("=", ".")


@dataclass
class Recorded:
    """What is left of one publisher."""

    user: str
    sent: dict[str, Any]
    link: dict[str, Any] | None
    files: list[Path]  # MP4
    playlists: list[Path]
    notes: Counter[str]  # of the whole room's recording
    _measured: Measured | None = None
    _pictures: Pictures | None = None

    @property
    def file(self) -> Path:
        assert len(self.files) == 1, self.files
        return self.files[0]

    @property
    def measured(self) -> Measured:
        if self._measured is None:
            self._measured = measure(self.file)
        return self._measured

    @property
    def pictures(self) -> Pictures:
        if self._pictures is None:
            self._pictures = pictures(self.file)
        return self._pictures

    @property
    def share(self) -> float:
        """Of the pictures sent, those in the file."""
        return len(set(self.pictures.numbers)) / float(self.sent["sent_pictures"])

    @property
    def missing(self) -> list[int]:
        """Lengths of the stretches of pictures that were sent and are not in the file."""
        stored = [-1, *sorted(set(self.pictures.numbers)), int(self.sent["sent_pictures"])]
        return [b - a - 1 for a, b in pairwise(stored) if b > a + 1]
