"""FFmpeg's WHIP muxer, with its default options and its P-224 certificate, to the tap."""

from __future__ import annotations

import av

from roomtape.media.frames import KEY
from tests.integration.core.stage import Stage

ROOM = "1400000001/s/room"


async def test_every_frame_of_a_short_stream_reaches_a_reader_that_came_late(stage: Stage) -> None:
    """The log's reader comes when the tracks are known: what came before is replayed from the cache."""
    publisher = await stage.publisher(stage.whip(ROOM, "amy"), "--seconds", "3", "--gop-s", "10")
    await publisher.up()
    await stage.news.wait("peer_up", ROOM, "amy", "main")
    await stage.news.wait("track_size", ROOM, "amy", 320, 180)
    reader = stage.read(ROOM)
    sent = await publisher.finish()
    await stage.news.wait("track_stop", ROOM, "amy", "video", "closed")
    await reader.until(lambda: len(reader.stopped) == 2)
    pictures, sound = reader.of("amy", "video"), reader.of("amy", "audio")
    assert len(pictures) == sent["pictures"]
    assert len(sound) == sent["sound_packets"]
    assert pictures[0].flags & KEY
    assert reader.gaps == []
    decoder = av.CodecContext.create("h264", "r")
    decoded = [f for p in pictures for f in decoder.decode(av.Packet(p.data))] + decoder.decode(None)
    assert len(decoded) == len(pictures)
    for frames in (pictures, sound):
        times = [f.capture_ns for f in frames]
        assert times == sorted(times)
