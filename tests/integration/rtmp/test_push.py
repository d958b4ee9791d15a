"""FFmpeg (as PyAV and as a program) pushes over RTMP: to the tap, to WebRTC viewers, and refused."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack
from numpy.typing import NDArray

from roomtape.media.frames import KEY, TapFrame
from tests.integration.core.stage import Publisher, Stage
from tests.integration.core.test_aiortc import connection, frames_of, negotiate
from tests.support.publisher import RATE, read_number

ROOM = "1400000001/s/room"
QUERY = "sdkappid=1400000001&userid=amy&usersig=eJw-x_*"


def url_of(stage: Stage, app: str = "push") -> str:
    return f"rtmp://127.0.0.1:{stage.core.rtmp_port}/{app}/room?{QUERY}"


async def push(stage: Stage, *args: str) -> Publisher:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.publisher", "rtmp", url_of(stage), *args,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    return Publisher(process)


async def accepted(stage: Stage, user: str = "amy", count: int = 1) -> int:
    """Answer the `count`-th question with yes; the connection's number."""
    event = await stage.news.wait("rtmp_publish", count=count)
    conn = int(str(event[1]))
    stage.core.rtmp_accept(conn, ROOM, user, entered_ns=7)
    return conn


def flash_times(pictures: list[TapFrame]) -> list[float]:
    """Capture times, in seconds, at which the picture turns white."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.options = {"flags": "low_delay"}
    bright, times = False, []
    for frame in pictures:
        for picture in decoder.decode(av.Packet(frame.data)):
            now = float(picture.to_ndarray(format="gray")[:100].mean()) > 180
            if now and not bright:
                times.append(frame.capture_ns / 1e9)
            bright = now
    return times


def beep_times(sounds: list[TapFrame], extradata: bytes) -> list[float]:
    """Capture times, in seconds, at which a beep begins."""
    decoder = av.CodecContext.create("aac", "r")
    decoder.extradata = extradata
    loud, times = False, []
    for frame in sounds:
        for chunk in decoder.decode(av.Packet(frame.data)):
            assert isinstance(chunk, av.AudioFrame)
            wave: NDArray[Any] = np.abs(chunk.to_ndarray()[0])
            for at in range(0, len(wave), 64):
                now = float(wave[at : at + 64].max()) > 0.1
                if now and not loud:
                    times.append(frame.capture_ns / 1e9 + at / RATE)
                loud = now
    return times


async def test_every_frame_reaches_a_reader_that_came_late_with_sound_and_picture_together(
    stage: Stage,
) -> None:
    publisher = await push(stage, "--seconds", "4", "--gop-s", "10")
    await accepted(stage)
    await stage.news.wait("track_size", ROOM, "amy", 320, 180)
    reader = stage.read(ROOM)
    sent = await publisher.finish()
    assert await stage.news.wait("rtmp_closed", ROOM, "amy", "closed")
    await reader.until(lambda: len(reader.stopped) == 2)
    pictures, sounds = reader.of("amy", "video"), reader.of("amy", "audio")
    assert len(pictures) == sent["pictures"]
    assert len(sounds) == sent["sound_packets"]
    assert pictures[0].flags & KEY
    assert reader.gaps == []
    audio = next(t for t in reader.tracks.values() if t.kind == "audio")
    assert (audio.codec, audio.sample_rate, audio.channels, audio.entered_ns) == ("aac", RATE, 2, 7)
    assert (audio.time_base_den, audio.derived_from) == (1000, None)
    flashes, beeps = flash_times(pictures), beep_times(sounds, audio.extradata)
    assert len(flashes) == 4
    assert len(beeps) == 4
    # The publisher's AAC coder puts its priming of 1024 samples before time zero: FLV begins with it
    # at zero, so sound is late by 21.3 ms in all that FFmpeg pushes; milliseconds are rounded.
    apart = [b - f for f, b in zip(flashes[1:], beeps[1:], strict=True)]
    assert all(-0.005 < x < 0.035 for x in apart), apart
    for frames in (pictures, sounds):
        times = [f.capture_ns for f in frames]
        assert times == sorted(times)


async def test_a_webrtc_viewer_sees_the_picture(stage: Stage) -> None:
    publisher = await push(stage, "--seconds", "8")
    await accepted(stage)
    await stage.news.wait("track_size", ROOM, "amy", 320, 180)
    async with connection() as viewer:
        viewer.addTransceiver("audio", direction="recvonly")
        viewer.addTransceiver("video", direction="recvonly")
        tracks: dict[str, MediaStreamTrack] = {}
        viewer.on("track", lambda track: tracks.__setitem__(track.kind, track))
        await negotiate(viewer, stage.whep(ROOM))
        pictures = await frames_of(tracks["video"], 60)
        numbers = [read_number(p.to_ndarray(format="gray")) for p in pictures]
        assert numbers == list(range(numbers[0], numbers[0] + 60))
    await publisher.cut()


async def test_a_second_push_of_the_user_is_another_life(stage: Stage) -> None:
    reader = stage.read(ROOM)
    first = await push(stage, "--seconds", "30")
    conn = await accepted(stage)
    await stage.news.wait("track_start", ROOM, "amy", "video")
    second = await push(stage, "--seconds", "2")
    await accepted(stage, count=2)
    stage.core.rtmp_close(conn)
    await stage.news.wait("rtmp_closed", conn, ROOM, "amy", "ordered")
    await second.finish()
    await reader.until(lambda: len(reader.stopped) == 4)
    lives = sorted(t.life for t in reader.tracks.values() if t.kind == "video")
    assert lives == [1, 2]
    await first.process.wait()


async def test_blocked_media_stops_and_returns(stage: Stage) -> None:
    publisher = await push(stage, "--seconds", "30")
    await accepted(stage)
    await stage.news.wait("track_start", ROOM, "amy", "video")
    stage.core.block(ROOM, "amy", audio=False, video=True)
    await stage.news.wait("track_stop", ROOM, "amy", "video", "blocked")
    stage.core.block(ROOM, "amy", audio=False, video=False)
    await stage.news.wait("track_start", ROOM, "amy", "video", count=2)
    assert not stage.news.of("track_stop", "audio")
    stage.core.dismiss(ROOM)
    await stage.news.wait("track_stop", ROOM, "amy", "audio", "dismissed")
    await stage.news.wait("rtmp_closed", ROOM, "amy", "ordered")
    await publisher.process.wait()


async def ffmpeg(stage: Stage, *video: str, target: str) -> tuple[int, str]:
    """The program with its own options; exit code and what it said."""
    arguments = ["-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=25"]
    arguments += ["-t", "3", "-pix_fmt", "yuv420p", *video, "-f", "flv", target]
    process = await asyncio.create_subprocess_exec("ffmpeg", *arguments, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_ffmpegs_defaults_are_refused_with_the_remedy(stage: Stage) -> None:
    running = asyncio.create_task(ffmpeg(stage, "-c:v", "libx264", target=url_of(stage)))
    await accepted(stage)
    await stage.news.wait("rtmp_closed", ROOM, "amy", "B-frames: set bf=0")
    code, said = await running
    assert code != 0
    assert "B-frames: set bf=0" in said


async def test_no_b_frames_pass_whatever_the_profile(stage: Stage) -> None:
    for count, profile in enumerate(("baseline", "main", "high"), 1):
        options = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-profile:v", profile]
        running = asyncio.create_task(ffmpeg(stage, *options, target=url_of(stage)))
        await accepted(stage, count=count)
        code, said = await running
        assert (code, said) == (0, ""), profile
        await stage.news.wait("rtmp_closed", "closed", count=count)


async def test_another_codec_is_refused_in_words(stage: Stage) -> None:
    running = asyncio.create_task(ffmpeg(stage, "-c:v", "flv1", target=url_of(stage)))
    await accepted(stage)
    await stage.news.wait("rtmp_closed", "Video codec not supported: set the video encoder to H.264")
    code, said = await running
    assert code != 0
    assert "set the video encoder to H.264" in said


async def test_a_refusal_reaches_the_client_and_both_forms_of_the_address_arrive(stage: Stage) -> None:
    plain = asyncio.create_task(ffmpeg(stage, "-c:v", "libx264", target=url_of(stage)))
    _, conn, app, key, remote = await stage.news.wait("rtmp_publish")
    assert (app, key) == ("push", f"room?{QUERY}")
    assert str(remote).startswith("127.0.0.1:")
    stage.core.rtmp_refuse(int(str(conn)), "UserSig expired")
    code, said = await plain
    assert code != 0
    assert "UserSig expired" in said
    # As OBS has it: Server rtmp://host/push/ and the rest as the stream key.
    obs = ["-c:v", "libx264", "-rtmp_app", "push/", "-rtmp_playpath", f"room?{QUERY}"]
    running = asyncio.create_task(ffmpeg(stage, *obs, target=url_of(stage)))
    _, conn, app, key, _ = await stage.news.wait("rtmp_publish", count=2)
    assert (app, key) == ("push/", f"room?{QUERY}")
    stage.core.rtmp_refuse(int(str(conn)), "no")
    assert (await running)[0] != 0


async def test_one_that_leaves_while_the_server_thinks_is_told_of(stage: Stage) -> None:
    publisher = await push(stage, "--seconds", "30")
    event = await stage.news.wait("rtmp_publish")
    await publisher.cut()
    stage.core.rtmp_accept(int(str(event[1])), ROOM, "amy", entered_ns=7)
    await stage.news.wait("rtmp_closed", event[1], ROOM, "amy", "closed")
