"""aiortc publishes and plays; candidates trickle, ICE restarts, sessions end."""

from __future__ import annotations

import asyncio
import fractions
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from tests.integration.core.stage import Stage

ROOM = "1400000001/s/room"


class Picture(VideoStreamTrack):
    """Green pictures of 320x240 at the library's pace."""

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame.from_ndarray(np.full((360, 320), 100, np.uint8), format="yuv420p")
        frame.pts, frame.time_base = pts, time_base
        return frame


@asynccontextmanager
async def connection() -> AsyncIterator[RTCPeerConnection]:
    peer = RTCPeerConnection()
    try:
        yield peer
    finally:
        await peer.close()


async def negotiate(peer: RTCPeerConnection, url: str) -> str:
    """Offer and answer; the session's address."""
    await peer.setLocalDescription(await peer.createOffer())
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            url, data=peer.localDescription.sdp, headers={"Content-Type": "application/sdp"}
        ) as answer,
    ):
        text = await answer.text()
        assert answer.status == 201, text
        await peer.setRemoteDescription(RTCSessionDescription(text, "answer"))
        return answer.headers["Location"]


async def frames_of(track: MediaStreamTrack, count: int) -> list[Any]:
    async with asyncio.timeout(20):
        return [await track.recv() for _ in range(count)]


async def test_what_one_publishes_the_other_sees_and_hears(stage: Stage) -> None:
    async with connection() as publisher, connection() as viewer:
        publisher.addTrack(AudioStreamTrack())
        publisher.addTrack(Picture())
        location = await negotiate(publisher, stage.whip(ROOM, "amy"))
        await stage.news.wait("track_size", ROOM, "amy", 320, 240)
        await stage.news.wait("track_start", "opus")
        assert stage.news.of("track_start", "video")[0][5] == "h264", "H.264 is answered first"
        viewer.addTransceiver("audio", direction="recvonly")
        viewer.addTransceiver("video", direction="recvonly")
        tracks: dict[str, MediaStreamTrack] = {}
        viewer.on("track", lambda track: tracks.__setitem__(track.kind, track))
        await negotiate(viewer, stage.whep(ROOM))
        pictures, sounds = await asyncio.gather(
            frames_of(tracks["video"], 60), frames_of(tracks["audio"], 50)
        )
        assert abs(int(pictures[-1].to_ndarray(format="gray").mean()) - 98) < 5
        assert {s.sample_rate for s in sounds} == {48_000}
        step = {(b.pts - a.pts) * b.time_base for a, b in itertools.pairwise(sounds)}
        assert step == {fractions.Fraction(20, 1000)}
        async with aiohttp.ClientSession() as session, session.delete(location) as gone:
            assert gone.status == 200
        await stage.news.wait("peer_closed", "amy", "main", "removed")
        await stage.news.wait("track_stop", "amy", "video", "closed")


async def test_candidates_may_trickle_and_a_restart_gets_new_credentials(stage: Stage) -> None:
    async with connection() as publisher:
        publisher.addTrack(Picture())
        location = await negotiate(publisher, stage.whip(ROOM, "amy"))
        await stage.news.wait("track_start", "amy")
        async with aiohttp.ClientSession() as session:
            headers = {"Content-Type": "application/trickle-ice-sdpfrag"}
            trickle = "a=candidate:1 1 udp 2130706431 127.0.0.1 40000 typ host\r\na=end-of-candidates\r\n"
            async with session.patch(location, data=trickle, headers=headers) as answer:
                assert (answer.status, await answer.text()) == (204, "")
            restart = "a=ice-ufrag:newu\r\na=ice-pwd:newpasswordnewpassword00\r\n"
            async with session.patch(location, data=restart, headers=headers) as answer:
                fragment = await answer.text()
        assert answer.status == 200
        assert "a=ice-ufrag:" in fragment
        assert "a=ice-pwd:" in fragment
        assert "a=candidate:" in fragment
        ours = publisher.remoteDescription.sdp
        ufrag = next(line for line in fragment.splitlines() if line.startswith("a=ice-ufrag:"))
        assert ufrag not in ours


@pytest.mark.parametrize("kind", ["aux", "main"])
async def test_the_screen_is_a_track_of_its_own(stage: Stage, kind: str) -> None:
    async with connection() as camera, connection() as screen, connection() as viewer:
        camera.addTrack(Picture())
        screen.addTrack(Picture())
        await negotiate(camera, stage.whip(ROOM, "amy"))
        await negotiate(screen, stage.whip(ROOM, "amy", seat="aux"))
        await stage.news.wait("track_start", "amy", "aux")
        await stage.news.wait("track_start", "amy", "video")
        viewer.addTransceiver("video", direction="recvonly")
        tracks: list[MediaStreamTrack] = []
        viewer.on("track", tracks.append)
        await negotiate(viewer, stage.whep(ROOM, watch="amy", stream=kind))
        assert len(await frames_of(tracks[0], 5)) == 5


async def test_a_viewer_of_an_empty_room_and_an_offer_of_noise_are_refused(stage: Stage) -> None:
    async with connection() as viewer, aiohttp.ClientSession() as session:
        viewer.addTransceiver("video", direction="recvonly")
        await viewer.setLocalDescription(await viewer.createOffer())
        sdp = viewer.localDescription.sdp
        async with session.post(stage.whep(ROOM), data=sdp) as answer:
            assert answer.status == 404
        async with session.post(stage.whip(ROOM, "amy"), data="hello") as answer:
            assert answer.status == 400
        async with session.post(stage.whip(ROOM, "amy"), data=sdp) as answer:
            assert answer.status == 406, "it offers to receive only"


async def test_a_publisher_that_vanishes_is_lost_after_its_time_and_not_removed(stage: Stage) -> None:
    publisher = await stage.publisher(stage.whip(ROOM, "amy"), "--seconds", "60")
    await publisher.up()
    await stage.news.wait("track_start", "amy", "video")
    await publisher.cut()
    cut = time.monotonic()
    await stage.news.wait("peer_lost", "amy", "main")
    assert 4.5 < time.monotonic() - cut < 6.5
    assert {e[6] for e in stage.news.of("track_stop", "amy")} == {"lost"}
    assert stage.news.of("peer_closed") == []
