"""Several lanes: rooms are spread over ports, numbers stay unique."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from aiortc.mediastreams import AudioStreamTrack

from roomtape.media.core import MediaCore
from tests.integration.core.stage import News, staged
from tests.integration.core.test_aiortc import connection, negotiate


async def test_rooms_are_spread_and_each_is_served_by_its_lane() -> None:
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        async with staged(Path(directory), lanes=2) as stage, contextlib.AsyncExitStack() as stack:
            ports = set()
            locations = []
            for n in range(6):
                peer = await stack.enter_async_context(connection())
                peer.addTrack(AudioStreamTrack())
                locations.append(await negotiate(peer, stage.whip(f"1/s/room{n}", "amy")))
                ports |= {
                    line.split()[5]
                    for line in peer.remoteDescription.sdp.splitlines()
                    if line.startswith("a=candidate") and " udp " in line
                }
            assert ports == {address.rsplit(":", 1)[1] for address in stage.core.webrtc_addrs}
            await stage.news.wait("track_start", count=6)
            assert len({e[1] for e in stage.news.of("track_start")}) == 6
            assert len({e[1] for e in stage.news.of("peer_up")}) == 6
            stage.core.dismiss("1/s/room0")
            await stage.news.wait("peer_closed", "1/s/room0", "dismissed")
            assert len(stage.news.of("peer_closed")) == 1
            lanes = stage.core.stats()["lanes"]
            assert isinstance(lanes, list)
            assert [lane["dropped"] for lane in lanes] == [0, 0]


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        async with staged(Path(directory)) as stage:
            port = int(stage.core.webrtc_addrs[0].rsplit(":", 1)[1])
            other = Path(directory) / "other.sock"
            with pytest.raises(OSError, match=str(port)):
                MediaCore.start(News(), boot_id="b", tap_path=other, webrtc_port=port)


async def test_r_nat_2_what_is_advertised_is_in_the_answer() -> None:
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        async with staged(Path(directory), advertise=["203.0.113.7"]) as stage, connection() as peer:
            peer.addTrack(AudioStreamTrack())
            await negotiate(peer, stage.whip("1/s/room", "amy"))
            candidates = [x for x in peer.remoteDescription.sdp.splitlines() if x.startswith("a=candidate")]
            assert candidates
            assert all(" 203.0.113.7 " in c for c in candidates)
