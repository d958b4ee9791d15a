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

    what: str  # is wrong, in words
    link: dict[str, object] | None = None
    wrong: dict[str, object] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ((320, 180),)
    codec: str = "h264"
    answers: bool = False  # requests for a key picture, as an encoder does
    endless: bool = False  # no key picture but the first, and those that answer
    bps: int = 600_000
    sound_bps: int = 48_000


def lossy(percent: float, what: str = "", *, bps: int = 600_000, **more: object) -> Scene:
    what = what or f"{percent:g} % lost each way, {RTT_MS} ms round trip"
    return Scene(what, {"loss": percent, "delay_ms": RTT_MS / 2, **more}, answers=True, bps=bps)


SLOW: dict[str, object] = {"delay_ms": RTT_MS / 2}
JITTER: dict[str, object] = {"delay_ms": 30, "jitter_ms": 40}
SCENES: dict[str, Scene] = {
    "calm": Scene("loopback, nothing wrong"),
    "loss1": lossy(1),
    "loss5": lossy(5),
    "loss10": lossy(10),
    "loss20": lossy(20, f"20 % lost each way, {RTT_MS} ms round trip, 0.25 Mb/s", bps=250_000),
    "bursts5": lossy(5, "5 % lost in stretches of four on average (Gilbert-Elliott)", burst=4),
    "unruly": lossy(
        0, "100 ms jitter, 20 % held back by 30 ms, 20 % doubled", jitter_ms=100, reorder=20, reorder_ms=30, duplicate=20
    ),
    "cut": Scene("nothing passes for 2 s", {**SLOW, "cut": "6:2"}, answers=True),
    "report1": Scene("first sender report after 1 s", wrong={"reports_after_s": 1}),
    "report10": Scene("first sender report after 8 s, 40 ms jitter", JITTER, {"reports_after_s": 8}),
    "noreport": Scene("no sender report ever, 40 ms jitter", JITTER, {"reports_after_s": HOUR}),
    "hour": Scene("RTP time of all reports an hour off", wrong={"report_error_s": HOUR}),
    "hourpicture": Scene("of the picture's reports only", wrong={"report_error_s": f"0,{HOUR}"}),
    "hoursound": Scene("of the sound's reports only", wrong={"report_error_s": f"{HOUR},0"}),
    "zeroreports": Scene("the sound's reports all say RTP time 0", wrong={"report_error_s": f"-{HOUR},0"}),
    "skewfast": Scene("the sender's crystal 100 ppm fast", wrong={"skew_ppm": 100}),
    "skewslow": Scene("100 ppm slow", wrong={"skew_ppm": -100}),
    "wrap": Scene("RTP time wraps after 4 s", wrong={"rtp_start": f"{2**32 - 4 * 48_000},{2**32 - 4 * 90_000}"}),
    "zero": Scene("RTP time 0 after 5 s", wrong={"rtp_start": "3000000000", "jump": "5:zero"}),
    "reset": Scene("another RTP time after 5 s", wrong={"jump": "5:reset"}),
    "backward": Scene("20 s back after 5 s", wrong={"rtp_start": "1000000000", "jump": "5:-20"}),
    "eighthours": Scene("8 h forward after 5 s", wrong={"jump": f"5:{8 * HOUR}"}),
    "withheld": Scene("no key picture for 5 s, requests ignored", wrong={"withhold": "0:5.1"}, answers=True, endless=True),
    "cutwithheld": Scene(
        f"nothing passes for 2 s, then no key picture until {WITHHELD_S:g} s",
        {**SLOW, "cut": "5:2"},
        {"withhold": f"0.01:{WITHHELD_S - 0.01}"},
        answers=True,
        endless=True,
    ),
    "sizes": Scene(
        "320x180, 640x360, 180x320 in turn every 3 s", wrong={"switch_s": 3}, sizes=((320, 180), (640, 360), (180, 320))
    ),
    "sizesvp8": Scene(
        "320x180, 480x270, 180x320 in turn every 4 s, VP8",
        wrong={"switch_s": 4}, sizes=((320, 180), (480, 270), (180, 320)), codec="vp8",
    ),
    "lossvp8": Scene(f"5 % lost each way, {RTT_MS} ms round trip, VP8, requests ignored", {"loss": 5, **SLOW}, codec="vp8"),
    "smallpackets": Scene("1 % lost each way, packets of 400 bytes", {"loss": 1, **SLOW}, {"payload_bytes": 400}, answers=True),
    "narrow": Scene(
        "64 kb/s pass, 300 ms of queue; 47 kb/s of media and no less when told of losses",
        {"rate_kbps": 64, "queue_ms": 300, **SLOW}, answers=True, endless=True, bps=35_000, sound_bps=12_000,
    ),
    "reconnects": Scene("a new session every 3 s", wrong={"reconnect_s": 3}),
}  # fmt: skip
GOALS = {"loss1": 0.999, "loss5": 0.995, "bursts5": 0.995, "loss10": 0.98, "loss20": 0.90, "lossvp8": 0.995, "smallpackets": 0.999}


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
