"""Chromium plays the files to their end: plain ones, with B-frames, after changes of size and profile, and one that
begins in the middle of a group of pictures (its edit list cuts what comes before); the playlists through hls.js,
also while they grow."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roomtape.recording.finalise import finalise
from tests.support.browser import FILES, chromium, file_page, played_file
from tests.support.fileserver import served
from tests.support.signals import aac_beeps, h264_flashes
from tests.support.taping import AUDIO, SECOND, Tape, audio_packets, output_key, video_packets

PLAYER = Path(__file__).parent / "clients" / "player"

HLS = """
(url) => {
  const video = document.createElement('video');
  const errors = [];
  const hls = new Hls({enableWorker: false});
  const seen = () => ({errors, at: video.currentTime, duration: video.duration, buffered: video.buffered.length,
    pictures: video.getVideoPlaybackQuality().totalVideoFrames, sound: video.webkitAudioDecodedByteCount});
  video.muted = true;
  video.oncanplay = () => video.play();
  window.position = () => video.currentTime;
  window.played = new Promise((resolve) => {
    video.onended = () => resolve(seen());
    hls.on(Hls.Events.ERROR, (_, error) => {
      errors.push(error.details);
      if (error.fatal) resolve(seen());
    });
  });
  hls.loadSource(url);
  hls.attachMedia(video);
  document.body.append(video);
}
"""
# What a browser makes of a network that comes and goes, and of a screen that is turned: one place, and then
# the coder's level and tools.
LOOKS = [
    (320, 180, "baseline"),
    (1920, 1080, "high"),
    (180, 320, "main"),
    (180, 320, "high"),
    (180, 320, "baseline"),
]
LOOK_S = 2


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(FILES) as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return file_page(browser, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def hls_js() -> Path:
    subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=PLAYER, check=True)
    return PLAYER / "node_modules" / "hls.js" / "dist" / "hls.min.js"


@pytest.fixture
def changing(tmp_path: Path) -> Tape:
    """Ten seconds of beeps beside pictures whose size and profile change."""
    sound = aac_beeps(float(len(LOOKS) * LOOK_S))
    tape = Tape(tmp_path, sound=sound)
    pictures = [
        packet
        for number, (width, height, profile) in enumerate(LOOKS)
        for packet in video_packets(
            h264_flashes(LOOK_S, width=width, height=height, profile=profile, start_s=float(number * LOOK_S))
        )
    ]
    tape.write(pictures + audio_packets(sound.frames))
    # A change of size begins a piece; one of the profile alone is met within a piece.
    tape.piece("audiovideo", 0, 0, LOOK_S * SECOND)
    tape.piece("audiovideo", 1, LOOK_S * SECOND, 2 * LOOK_S * SECOND, discontinuity=True)
    tape.piece("audiovideo", 2, 2 * LOOK_S * SECOND, None, discontinuity=True)
    return tape


def played_by_hls_js(
    browser: Any, hls_js: Path, playlist: Path, meanwhile: Sequence[bytes] = ()
) -> dict[str, Any]:
    """What hls.js made of a playlist; each of `meanwhile` becomes its text once something was played."""
    with served(playlist.parent) as url:
        page = browser.new_page()
        try:
            page.goto(url)
            page.add_script_tag(path=hls_js)
            page.evaluate(HLS, f"{url}/{playlist.name}")
            for text in meanwhile:
                page.wait_for_function("() => window.position() > 0.1", timeout=30_000)
                playlist.write_bytes(text)
            seen: dict[str, Any] = page.evaluate("async () => await Promise.race([window.played, new Promise("
                "(resolve) => setTimeout(() => resolve({late: window.position()}), 60000))])")  # fmt: skip
            return seen
        finally:
            page.close()


def play(page: Any, tape: Tape) -> list[dict[str, Any]]:
    job = tape.job()
    return [played_file(page, Path(job.out_dir) / ready.name) for ready in finalise(job)]


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


def test_f30_r_res_1_a_file_whose_pictures_change_plays_whole(page: Any, changing: Tape) -> None:
    (played,) = play(page, changing)
    assert played["error"] is None
    assert played["duration"] == pytest.approx(len(LOOKS) * LOOK_S, abs=0.05)
    assert played["pictures"] == len(LOOKS) * LOOK_S * 30
    assert played["sound"] > 0


def test_f30_r_res_1_a_playlist_whose_pictures_change_plays_whole(
    browser: Any, hls_js: Path, changing: Tape
) -> None:
    played = played_by_hls_js(browser, hls_js, changing.playlist("audiovideo"))
    assert played["errors"] == []
    assert played["at"] == pytest.approx(len(LOOKS) * LOOK_S, abs=0.1)
    assert played["pictures"] >= 0.98 * len(LOOKS) * LOOK_S * 30
    assert played["buffered"] == 1
    assert played["sound"] > 0


def test_a_playlist_that_grows_is_followed_to_its_end(browser: Any, hls_js: Path, tmp_path: Path) -> None:
    sound = aac_beeps(6.0)
    tape = Tape(tmp_path, sound=sound)
    tape.write(video_packets(h264_flashes(6)) + audio_packets(sound.frames))
    for number in range(6):
        tape.piece("audiovideo", number, number * SECOND, (number + 1) * SECOND if number < 5 else None)
    playlist = tape.playlist("audiovideo")
    whole = playlist.read_bytes()
    segment = b"#EXTINF"
    head, *segments = whole.split(segment)
    playlist.write_bytes(head + segment + segment.join(segments[:4]))
    played = played_by_hls_js(browser, hls_js, playlist, meanwhile=[whole])
    assert played["errors"] == []
    assert played["at"] == pytest.approx(6, abs=0.1)
    assert played["buffered"] == 1


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
