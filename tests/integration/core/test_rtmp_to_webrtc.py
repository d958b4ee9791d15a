"""An RTMP publisher is seen by a WebRTC viewer."""

from __future__ import annotations

import asyncio
import sys

from aiortc import MediaStreamTrack

from tests.integration.core.stage import Publisher, Stage
from tests.integration.core.test_aiortc import connection, frames_of, negotiate
from tests.support.publisher import read_number

ROOM = "1400000001/s/room"


async def test_pictures_that_come_by_rtmp_leave_by_webrtc(stage: Stage) -> None:
    url = f"rtmp://127.0.0.1:{stage.core.rtmp_port}/trtc_push/room?userid=amy"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.publisher", "rtmp", url, "--seconds", "30", "--gop-s", "10",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    publisher = Publisher(process)
    asked = await stage.news.wait("rtmp_publish")
    conn = asked[1]
    assert isinstance(conn, int)
    stage.core.rtmp_accept(conn, ROOM, "amy", 1)
    await publisher.up()
    await stage.news.wait("track_start", ROOM, "amy", "video")
    async with connection() as viewer:
        viewer.addTransceiver("audio", direction="recvonly")
        viewer.addTransceiver("video", direction="recvonly")
        tracks: dict[str, MediaStreamTrack] = {}
        viewer.on("track", lambda track: tracks.__setitem__(track.kind, track))
        await negotiate(viewer, stage.whep(ROOM))
        pictures = await frames_of(tracks["video"], 60)
        numbers = [read_number(p.to_ndarray(format="gray")) for p in pictures]
        assert numbers == list(range(numbers[0], numbers[0] + 60)), "each picture once, in order"
    await publisher.cut()
    await stage.news.wait("track_stop", "amy", "video")
