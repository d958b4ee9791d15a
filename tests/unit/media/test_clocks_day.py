"""A day of skewed crystals, faster than life (R-SYNC-3, G-2)."""

from __future__ import annotations

import pytest

from roomtape.media.clocks import PICTURE_HZ, PictureClock, SoundClock
from roomtape.media.frames import NS

RATE = 48_000
PACKET = 5760  # 120 ms, the longest an Opus packet may be
DAY_S = 24 * 3600
NEAR_S = 0.020


@pytest.mark.parametrize(("sound_ppm", "picture_ppm"), [(100, -100), (-100, 100)])
def test_r_sync_3_sound_and_picture_of_skewed_clocks_stay_within_20_ms_for_a_day(
    sound_ppm: int, picture_ppm: int
) -> None:
    sound, picture = SoundClock(RATE, RATE), PictureClock(PICTURE_HZ)
    worst_sound = worst_picture = 0.0
    for n in range(DAY_S * RATE // PACKET):
        pts = n * PACKET
        true_s = pts / RATE * (1 - sound_ppm / 1e6)  # when it was captured
        placed = sound.place(pts, PACKET, round(true_s * RATE))
        assert placed is not None
        worst_sound = max(worst_sound, abs(placed.pos / RATE - true_s))
        if n % 2:
            continue
        ticks = round(true_s * (1 + picture_ppm / 1e6) * PICTURE_HZ)
        _pts, dts = picture.place(ticks, ticks, round(true_s * NS), sound.error_ns)
        worst_picture = max(worst_picture, abs(dts / PICTURE_HZ - placed.pos / RATE))
    assert worst_sound < NEAR_S
    assert worst_picture < NEAR_S
    assert sound.resyncs == picture.resyncs == 0
