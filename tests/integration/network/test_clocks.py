"""Wrong, late and missing sender reports, skewed crystals, RTP time that jumps (R-SYNC, R-TS, G-1)."""

from __future__ import annotations

import pytest

from tests.integration.network.scenes import LONG_S, Recorded

EARLY_S, LATE_S, MEDIAN_S = 0.040, 0.060, 0.020
REPORTS = ["calm", "report1", "report10", "noreport", "hour", "hourpicture", "hoursound", "skewfast", "skewslow"]  # fmt: skip
JUMPS = ["wrap", "zero", "reset", "backward", "eighthours"]


@pytest.mark.parametrize("user", [*REPORTS, *JUMPS])
def test_r_sync_1_sound_and_picture_stay_together(storm: dict[str, Recorded], user: str) -> None:
    offsets = sorted(storm[user].measured.av_offsets_s)
    assert len(offsets) >= LONG_S - 1
    assert abs(offsets[len(offsets) // 2]) <= MEDIAN_S
    assert all(-EARLY_S <= offset <= LATE_S for offset in offsets), offsets


def test_r_sync_1_reports_that_are_all_wrong_are_given_up(storm: dict[str, Recorded]) -> None:
    # What is wrong by less than 100 ms is found out with the second report, 5 s after the first.
    seen = storm["zeroreports"].measured
    late = [beep for beep in seen.beeps_s if beep > 7]
    nearest = [min((beep - flash for flash in seen.flashes_s), key=abs) for beep in late]
    offsets = [offset for offset in nearest if abs(offset) < 0.5]  # the call may end between flash and beep
    assert len(offsets) >= LONG_S - 9
    for offset in offsets:
        assert -EARLY_S <= offset <= LATE_S


@pytest.mark.parametrize("user", ["loss1", "loss5", "bursts5", "loss10", "loss20", "unruly", "cut", "lossvp8", "smallpackets"])
def test_loss_does_not_move_sound_against_picture(storm: dict[str, Recorded], user: str) -> None:
    # Sound is not sent again, so a beep may begin with a lost packet, and is late then: those that do not tell.
    offsets = sorted(storm[user].measured.av_offsets_s)
    assert len(offsets) >= LONG_S - 5
    assert abs(offsets[len(offsets) // 4]) <= MEDIAN_S


@pytest.mark.parametrize("user", [*REPORTS, *JUMPS])
def test_r_ts_1_r_ts_2_every_picture_is_there_and_no_jump_makes_the_file_longer(storm: dict[str, Recorded], user: str) -> None:
    seen = storm[user]
    assert seen.pictures.numbers == list(range(seen.sent["sent_pictures"]))
    assert seen.measured.duration_s == pytest.approx(seen.sent["sent_pictures"] / 30, abs=0.15)
    steps = [b - a for a, b in zip(seen.pictures.times_s, seen.pictures.times_s[1:], strict=False)]
    assert min(steps) > 0
    assert max(steps) < 0.2
