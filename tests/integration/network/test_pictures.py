"""Key frames that are withheld and sizes that change (F-14, F-30, R-KEY, R-RES-1)."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from tests.integration.network.scenes import LONG_S, SCENES, WITHHELD_S, Recorded, Scene
from tests.integration.network.storm import ANSWER, alone
from tests.support.browser import FILES, chromium, file_page, played_file
from tests.support.publisher import FPS

EARLY_S, LATE_S = 0.040, 0.060
ANSWERED = FPS / 2 + ANSWER + 5  # pictures until a request has come, every half a second, and is answered


def test_f14_r_key_2_without_an_idr_there_is_sound_and_no_inter_frame(storm: dict[str, Recorded]) -> None:
    seen = storm["withheld"]
    assert seen.sent["sent_pictures"] > 300, "inter frames were sent all the time"
    first = seen.pictures.numbers[0]
    assert 5.1 * FPS <= first <= 5.1 * FPS + ANSWERED
    assert seen.pictures.numbers == list(range(first, seen.pictures.numbers[-1] + 1))
    assert seen.pictures.numbers[-1] >= LONG_S * 30 - 1
    assert seen.measured.pictures[0].key
    assert seen.measured.beeps_s == pytest.approx(list(range(len(seen.measured.beeps_s))), abs=0.05)
    assert len(seen.measured.beeps_s) >= LONG_S
    assert seen.measured.flashes_s[0] == pytest.approx(6, abs=0.05)
    # Asked for at once and twice a second, until it came.
    assert 10 <= seen.sent["keyframe_requests"] <= 2 * LONG_S + 2


def test_f14_r_key_1_after_a_hole_the_picture_goes_on_when_an_idr_comes_at_last(
    storm: dict[str, Recorded],
) -> None:
    seen = storm["cutwithheld"]
    numbers, times = seen.pictures.numbers, seen.pictures.times_s
    assert numbers == sorted(set(numbers))
    ((last, first),) = [(a, b) for a, b in pairwise(numbers) if b > a + 5]
    assert last < 6 * FPS, "before the cut"
    assert WITHHELD_S * FPS <= first <= WITHHELD_S * FPS + ANSWERED
    assert times[numbers.index(first)] - times[0] == pytest.approx((first - numbers[0]) / FPS, abs=2 / FPS)
    heard = [beep for beep in range(LONG_S) if any(abs(beep - at) < 0.06 for at in seen.measured.beeps_s)]
    assert len(heard) >= LONG_S - 2, "sound is missing where the cable was cut only"
    assert all(-EARLY_S <= offset <= LATE_S for offset in seen.measured.av_offsets_s)


@pytest.mark.soak
def test_f14_r_key_1_an_idr_withheld_for_half_a_minute_is_stored_when_it_comes(
    bots: None, tmp_path: Path
) -> None:
    long = Scene("", wrong={"withhold": "0:30.1"}, answers=True, endless=True)
    with alone(tmp_path, long, seconds=36) as seen:
        first = seen.pictures.numbers[0] + (LONG_S + 7) * FPS  # the pictures come again after so many seconds
        assert 30.1 * FPS <= first <= 30.1 * FPS + ANSWERED
        # FFmpeg looks for parameters of the picture at the beginning only.
        assert [text for text in seen.pictures.complaints if "find codec parameters" not in text] == []
        assert seen.sent["keyframe_requests"] >= 2 * 30 - 5
        beeps, flashes = seen.measured.beeps_s, seen.measured.flashes_s  # those of the last moment may be cut off
        assert beeps == pytest.approx(list(range(len(beeps))), abs=0.05)
        assert flashes == pytest.approx(list(range(31, 31 + len(flashes))), abs=0.05)
        assert len(beeps) >= 36
        assert len(flashes) >= 5
        assert all(-EARLY_S <= offset <= LATE_S for offset in seen.measured.av_offsets_s)


@pytest.mark.parametrize(("user", "every_s"), [("sizes", 3), ("sizesvp8", 4)])
def test_f30_r_res_1_the_size_changes_within_one_file_and_every_picture_is_there(
    storm: dict[str, Recorded], user: str, every_s: int
) -> None:
    seen = storm[user]
    assert seen.pictures.numbers == list(range(seen.sent["sent_pictures"]))
    series = SCENES[user].sizes
    sizes = [seen.pictures.sizes[0]]
    sizes += [b for a, b in pairwise(seen.pictures.sizes) if a != b]
    assert sizes == [series[n % len(series)] for n in range(len(sizes))]
    assert len(sizes) == 1 + LONG_S // every_s
    (playlist,) = seen.playlists
    assert playlist.read_text().count("#EXT-X-DISCONTINUITY\n") == len(sizes) - 1
    assert all(-EARLY_S <= offset <= LATE_S for offset in seen.measured.av_offsets_s)


@pytest.mark.soak
@pytest.mark.parametrize(("codec", "large"), [("h264", (1920, 1080)), ("vp8", (640, 360))])
def test_f30_r_res_1_ten_minutes_of_changing_sizes_are_one_file_that_plays(
    bots: None, tmp_path: Path, codec: str, large: tuple[int, int]
) -> None:
    seconds, every_s = int(os.environ.get("ROOMTAPE_SOAK_S", "600")), 5
    series = ((320, 180), large, (180, 320))
    with alone(tmp_path, Scene(wrong={"switch_s": every_s}, sizes=series, codec=codec), seconds=seconds) as seen:
        assert seen.pictures.complaints == seen.measured.warnings == []
        assert len(seen.pictures.numbers) == seen.sent["sent_pictures"]
        again = (LONG_S + 7) * FPS  # the client sends its media again after so many pictures
        assert all(number == place % again for place, number in enumerate(seen.pictures.numbers))
        sizes = [seen.pictures.sizes[0]] + [b for a, b in pairwise(seen.pictures.sizes) if a != b]
        assert sizes == [series[n % len(series)] for n in range(len(sizes))]
        assert len(sizes) - seconds // every_s in (0, 1)
        (playlist,) = seen.playlists
        assert playlist.read_text().count("#EXT-X-DISCONTINUITY\n") == len(sizes) - 1
        assert all(-EARLY_S <= offset <= LATE_S for offset in seen.measured.av_offsets_s)
        with chromium(FILES) as browser:
            played = played_file(file_page(browser, tmp_path), seen.file, rate=4)
    assert played["error"] is None
    assert played["duration"] == pytest.approx(seconds, abs=0.5)
    assert played["pictures"] == seen.sent["sent_pictures"]
