"""Key frames that are withheld and sizes that change (F-14, F-30, R-KEY, R-RES-1)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.integration.network.scenes import LONG_S, SCENES, Recorded


def test_f14_r_key_2_without_an_idr_there_is_sound_and_no_inter_frame(storm: dict[str, Recorded]) -> None:
    seen = storm["withheld"]
    assert seen.sent["sent_pictures"] > 300, "inter frames were sent all the time"
    assert seen.pictures.numbers == list(range(180, seen.pictures.numbers[-1] + 1))
    assert seen.pictures.numbers[-1] >= LONG_S * 30 - 1
    assert seen.measured.pictures[0].key
    assert seen.measured.beeps_s == pytest.approx(list(range(len(seen.measured.beeps_s))), abs=0.05)
    assert len(seen.measured.beeps_s) >= LONG_S
    assert seen.measured.flashes_s[0] == pytest.approx(6, abs=0.05)
    # Asked for at once and twice a second, until it came: 6 s after the first picture.
    assert 10 <= seen.sent["keyframe_requests"] <= 2 * LONG_S + 2


def test_f30_r_res_1_the_size_changes_within_one_file_and_every_picture_is_there(storm: dict[str, Recorded]) -> None:
    seen = storm["sizes"]
    assert seen.pictures.numbers == list(range(seen.sent["sent_pictures"]))
    series = SCENES["sizes"].sizes
    sizes = [seen.pictures.sizes[0]]
    sizes += [b for a, b in pairwise(seen.pictures.sizes) if a != b]
    assert sizes == [series[n % len(series)] for n in range(len(sizes))]
    assert len(sizes) == 1 + LONG_S // 3
    (playlist,) = seen.playlists
    assert playlist.read_text().count("#EXT-X-DISCONTINUITY\n") == len(sizes) - 1
