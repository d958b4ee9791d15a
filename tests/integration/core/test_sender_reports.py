"""The sender reports a viewer is sent, as aiortc receives them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from aiortc.rtp import RtcpPacket, RtcpSrPacket, RtpPacket

from tests.integration.core.stage import Stage
from tests.integration.core.test_aiortc import ROOM, connection, negotiate
from tests.support.bots import BotPublisher
from tests.support.numbered_media import pictures, sounds

REPORTS = 3  # of each stream; those of sound come every 5 s, and the publisher's do not come sooner
SOUND_LATE_S = 0.3


@dataclass(frozen=True)
class Report:
    rtp: int
    ntp_s: float


@dataclass
class Heard:
    """What came of one stream of a viewer."""

    packets: list[tuple[int, float]] = field(default_factory=list)  # RTP time, arrival in s
    reports: list[Report] = field(default_factory=list)

    def capture_before_arrival_s(self, rate: int, report: Report) -> float:
        """How long, by a report, the packet that was fastest had been under way since its capture; plus a constant."""
        return min(arrival - report.ntp_s - (rtp - report.rtp) / rate for rtp, arrival in self.packets)


class Viewer:
    """Listens to everything that comes over a connection's transport."""

    def __init__(self, peer: RTCPeerConnection) -> None:
        self.heard: dict[int, Heard] = {}
        self._changed = asyncio.Event()
        self._transport: Any = peer.getReceivers()[0].transport
        self._rtp, self._rtcp = self._transport._handle_rtp_data, self._transport._handle_rtcp_data
        self._transport._handle_rtp_data, self._transport._handle_rtcp_data = self._packet, self._report

    async def until_reports(self, count: int, *, streams: int) -> None:
        """Return when so many streams have had so many reports each."""
        async with asyncio.timeout(60):
            while sum(len(stream.reports) >= count for stream in self.heard.values()) < streams:
                self._changed.clear()
                await self._changed.wait()

    async def _packet(self, data: bytes, arrival_time_ms: int) -> None:
        arrival = time.monotonic()
        packet = RtpPacket.parse(data)
        if packet.payload:
            self.heard.setdefault(packet.ssrc, Heard()).packets.append((packet.timestamp, arrival))
        await self._rtp(data, arrival_time_ms)

    async def _report(self, data: bytes) -> None:
        for packet in RtcpPacket.parse(data):
            if isinstance(packet, RtcpSrPacket):
                said = packet.sender_info
                report = Report(said.rtp_timestamp, said.ntp_timestamp / 2**32)
                self.heard.setdefault(packet.ssrc, Heard()).reports.append(report)
                self._changed.set()
        await self._rtcp(data)


@asynccontextmanager
async def viewing(stage: Stage, media: Path, *, with_sound: bool = True) -> AsyncIterator[Viewer]:
    """Somebody who plays sound and picture of a publisher whose reports say how late its sound is sent."""
    bot = BotPublisher(
        stage.whip(ROOM, "amy"), token="t", seconds=100, pictures=[pictures(media / "pictures.h264", 10)],
        sounds=sounds(media / "sounds.opus20", 10) if with_sound else None, report_error_s=f"{SOUND_LATE_S},0",
    )  # fmt: skip
    try:
        await asyncio.to_thread(bot.wait_up)
        await stage.news.wait("track_start", "h264")
        if with_sound:
            await stage.news.wait("track_start", "opus")
        async with connection() as peer:
            peer.addTransceiver("audio", direction="recvonly")
            peer.addTransceiver("video", direction="recvonly")
            await peer.setLocalDescription(await peer.createOffer())
            viewer = Viewer(peer)
            await negotiate(peer, stage.whep(ROOM))
            yield viewer
    finally:
        bot.kill()


async def test_r_sync_2_a_viewer_is_told_of_the_senders_clock(stage: Stage, tmp_path: Path) -> None:
    """The publisher's sound is sent so long after it was captured: the viewer's reports say so, too."""
    async with viewing(stage, tmp_path) as viewer:
        await viewer.until_reports(REPORTS, streams=2)
    sound, picture = sorted(viewer.heard.values(), key=lambda stream: len(stream.reports))
    of_sound = [sound.capture_before_arrival_s(48_000, report) for report in sound.reports]
    of_picture = [picture.capture_before_arrival_s(90_000, report) for report in picture.reports]
    for told in (of_sound, of_picture):
        assert max(told) - min(told) < SOUND_LATE_S + 0.1, "its first report is of the same clock as its last"
    assert of_sound[-1] - of_picture[-1] == pytest.approx(SOUND_LATE_S, abs=0.1)


async def test_r_sync_2_nothing_is_reported_of_a_stream_that_sends_nothing(stage: Stage, tmp_path: Path) -> None:
    """A report needs an RTP time: one of 0 before the sound begins would put it hours away from its picture."""
    async with viewing(stage, tmp_path, with_sound=False) as viewer:
        await viewer.until_reports(7, streams=1)  # of the picture, one a second: those of sound come every 5 s
    assert [len(stream.packets) > 0 for stream in viewer.heard.values()] == [True]
