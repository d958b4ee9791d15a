"""Chromium plays the finished files to their end: plain ones, with B-frames, after a change of size, and one
that begins in the middle of a group of pictures (its edit list cuts what comes before)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roomtape.recording.finalise import finalise
from tests.support.browser import chromium
from tests.support.signals import aac_beeps, h264_flashes
from tests.support.taping import AUDIO, SECOND, Tape, audio_packets, output_key, video_packets

PLAY = """
async (url) => new Promise((resolve) => {
  const video = document.createElement('video');
  video.muted = true;
  video.onerror = () => resolve({error: video.error.message});
  video.onloadeddata = () => { video.playbackRate = 2; video.play(); };
  video.onended = () => resolve({
    error: null, duration: video.duration, width: video.videoWidth,
    pictures: video.getVideoPlaybackQuality().totalVideoFrames, sound: video.webkitAudioDecodedByteCount});
  video.src = url;
  document.body.append(video);
})
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    empty = tmp_path_factory.mktemp("page") / "empty.html"
    empty.write_text("<html><body></body></html>")
    with chromium("--allow-file-access-from-files") as browser:
        opened = browser.new_page()
        opened.goto(empty.as_uri())
        yield opened


def play(page: Any, tape: Tape) -> list[dict[str, Any]]:
    job = tape.job()
    return [page.evaluate(PLAY, (Path(job.out_dir) / ready.name).as_uri()) for ready in finalise(job)]


@pytest.mark.parametrize("bframes", [0, 2])
def test_a_finished_file_plays_to_its_end(page: Any, tmp_path: Path, bframes: int) -> None:
    sound = aac_beeps(3)
    tape = Tape(tmp_path, sound=sound)
    tape.write(video_packets(h264_flashes(3, bframes=bframes)) + audio_packets(sound.frames))
    tape.piece("audiovideo", 0, -SECOND, None)
    (played,) = play(page, tape)
    assert played["error"] is None
    assert played["duration"] == pytest.approx(3, abs=0.05)
    assert played["pictures"] == 90
    assert played["sound"] > 0


def test_a_file_whose_pictures_change_their_size_plays_whole(page: Any, tmp_path: Path) -> None:
    tape = Tape(tmp_path, types=("video",))
    for number, (width, height) in enumerate([(160, 96), (320, 192), (160, 96)]):
        tape.write(video_packets(h264_flashes(1, width=width, height=height, start_s=number)))
        tape.piece("video", number, number * SECOND, (number + 1) * SECOND, discontinuity=number > 0)
    (played,) = play(page, tape)
    assert played["error"] is None
    assert played["pictures"] == 90


def test_a_file_that_begins_between_key_pictures_plays_from_its_first(page: Any, tmp_path: Path) -> None:
    first, second = aac_beeps(1.5), aac_beeps(1.5, channels=1, start_s=1.5)
    tape = Tape(tmp_path, types=("video", "audio"), sound=first)
    tape.write(video_packets(h264_flashes(3, gop_s=2)) + audio_packets(first.frames))
    output = tape.journal.outputs[output_key("audio")]
    head = msgspec.structs.replace(tape.journal.streams[AUDIO], id=9, channels=1, extradata=second.config)
    tape.journal.declare([head], [msgspec.structs.replace(output, streams=[AUDIO, 9])])
    tape.journal.append(audio_packets(second.frames, stream=9), {})
    change_ns = second.frames[0].pts * SECOND // second.sample_rate
    tape.piece("video", 0, 0, None)
    tape.piece("audio", 0, 0, change_ns)
    tape.piece("audio", 1, change_ns, None, discontinuity=True)
    played = play(page, tape)
    assert [file["error"] for file in played] == [None, None]
    assert sum(file["duration"] for file in played) == pytest.approx(3, abs=0.1)
    assert played[1]["pictures"] >= 44
