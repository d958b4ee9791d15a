"""Clients that come back, with other SSRCs and RTP times (F-26, R-REC-1): one user, one file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.integration.network.scenes import LONG_S, Recorded, Scene
from tests.integration.network.storm import alone

FRAME_S = 1 / 30


def check(seen: Recorded, reconnects: int) -> None:
    assert seen.sent["reconnects"] >= reconnects
    assert len(seen.playlists) == 1
    numbers, times = seen.pictures.numbers, seen.pictures.times_s
    # A session's last picture may be on its way when it is ended.
    assert len(numbers) >= seen.sent["sent_pictures"] - 2 * seen.sent["reconnects"]
    assert numbers == sorted(set(numbers))
    assert seen.pictures.complaints == []
    for number, at in zip(numbers, times, strict=True):
        assert at - times[0] == pytest.approx((number - numbers[0]) * FRAME_S, abs=0.1)


def test_f26_r_rec_1_a_user_who_comes_back_goes_on_in_the_same_file(storm: dict[str, Recorded]) -> None:
    seen = storm["reconnects"]
    check(seen, LONG_S // 3 - 1)
    assert len(seen.measured.beeps_s) >= LONG_S - 2


@pytest.mark.soak
@pytest.mark.parametrize(
    ("count", "every_s", "vanish"), [(30, 2.0, False), (30, 2.0, True), (200, 3.0, False)]
)
def test_f26_r_rec_1_many_reconnects_are_one_recording(
    bots: None, tmp_path: Path, count: int, every_s: float, vanish: bool
) -> None:
    scene = Scene("", wrong={"reconnect_s": every_s, "vanish": vanish} if vanish else {"reconnect_s": every_s})
    seconds = count * (every_s + 0.1)
    with alone(tmp_path, scene, seconds=seconds) as seen:
        assert seen.sent["reconnects"] >= count - 1
        assert len(seen.playlists) == 1
        numbers = seen.pictures.numbers
        loops = sum(b < a for a, b in pairwise(numbers))
        assert loops == int(seconds / (LONG_S + 7))
        assert len(numbers) >= seen.sent["sent_pictures"] - 2 * seen.sent["reconnects"]
        assert seen.pictures.complaints == []
