"""Who publishes through what, all in one recorded room; what the recording holds of each."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.measure import Measured, measure
from tests.support.numbered import Pictures, pictures

LONG_S = 13
RTT_MS = 80
SEED = 20260301
HOUR = 3600


@dataclass(frozen=True)
class Scene:
    """One publisher: the network it is behind (None: loopback) and what it does wrong."""

    link: dict[str, object] | None = None
    wrong: dict[str, object] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ((320, 180),)


def lossy(percent: float, **more: object) -> Scene:
    return Scene({"loss": percent, "delay_ms": RTT_MS / 2, **more})


SCENES: dict[str, Scene] = {
    "calm": Scene(),
    "loss1": lossy(1),
    "loss5": lossy(5),
    "loss10": lossy(10),
    "loss20": lossy(20),
    "bursts5": lossy(5, burst=4),
    "unruly": lossy(0, jitter_ms=100, reorder=20, reorder_ms=30, duplicate=20),
    "cut": Scene({"delay_ms": RTT_MS / 2, "cut": "6:2"}),
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
    "withheld": Scene(wrong={"withhold": "0:5.5"}),
    "sizes": Scene(wrong={"switch_s": 3}, sizes=((320, 180), (640, 360), (180, 320))),
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
