"""Tracks keep their own time, follow the capture clock slowly, and never run backwards."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomtape.media.clocks import PICTURE_SLEW, SOUND_SLEW, PictureClock, SoundClock
from roomtape.media.frames import NS

RATE = 48_000
PACKET = 960


def play(
    clock: SoundClock, packets: int, *, skew: float = 0.0, shift: int = 0, first: int = 0
) -> list[tuple[int, int]]:
    """(pos, length) of packets of 20 ms; capture runs at (1 + skew) of the packets' own clock."""
    placed = []
    for n in range(first, first + packets):
        place = clock.place(n * PACKET, PACKET, round(n * PACKET * (1 + skew)) + shift)
        assert place is not None
        placed.append((place.pos, place.length))
    return placed


def test_contiguous_packets_lie_contiguously_whatever_capture_jitters() -> None:
    clock = SoundClock(RATE, RATE)
    places = [clock.place(n * PACKET, PACKET, n * PACKET + (n * 37 % 97)) for n in range(500)]
    assert [p.pos for p in places if p] == [n * PACKET for n in range(500)]


@pytest.mark.parametrize("ppm", [100, -100])
def test_g2_two_hours_of_a_skewed_crystal_stay_within_20_ms(ppm: int) -> None:
    clock = SoundClock(RATE, RATE)
    packets = 2 * 3600 * 50
    places = play(clock, packets, skew=ppm / 1e6)
    pos, length = places[-1]
    error = packets * PACKET * (1 + ppm / 1e6) - (pos + length)
    assert abs(error) / RATE < 0.02
    assert all(a[0] + a[1] == b[0] for a, b in pairwise(places))


def test_r_sync_1_r_sync_3_a_late_report_moves_sound_by_half_a_percent_at_most() -> None:
    clock = SoundClock(RATE, RATE)
    play(clock, 50)
    places = play(clock, 3000, shift=-9600, first=50)  # 200 ms earlier from now on
    assert all(abs(length - PACKET) <= PACKET * SOUND_SLEW for _pos, length in places)
    assert abs(clock.end - (3050 * PACKET - 9600)) < 0.01 * RATE


def test_what_is_missing_keeps_its_place() -> None:
    clock = SoundClock(RATE, RATE)
    play(clock, 10)
    place = clock.place(60 * PACKET, PACKET, 60 * PACKET)
    assert place is not None
    assert place.pos == 60 * PACKET


def test_r_gap_2_sound_that_stood_still_goes_on_at_its_capture_time() -> None:
    clock = SoundClock(RATE, RATE)
    play(clock, 10)
    place = clock.place(10 * PACKET, PACKET, 10 * PACKET + 3 * RATE)
    assert place is not None
    assert place.pos == 10 * PACKET + 3 * RATE


def test_r_ts_1_a_reset_of_pts_is_anchored_anew_and_counted() -> None:
    clock = SoundClock(RATE, RATE)
    play(clock, 10)
    place = clock.place(123_456_789_000, PACKET, 10 * PACKET)
    assert place is not None
    assert place.pos == 10 * PACKET
    assert clock.resyncs == 1


def test_a_restored_clock_recalls_where_recent_packets_were() -> None:
    clock = SoundClock(RATE, RATE)
    places = play(clock, 400, skew=0.0005)
    again = SoundClock.restore(clock.state())
    for n in range(380, 400):
        assert again.recall(n * PACKET) == places[n][0]
    assert again.place(400 * PACKET, PACKET, 400 * PACKET) == clock.place(400 * PACKET, PACKET, 400 * PACKET)


@given(
    st.lists(
        st.tuples(
            st.integers(-(1 << 40), 1 << 40),
            st.sampled_from([120, 960, 5760]),
            st.integers(-(1 << 32), 1 << 32),
        ),
        max_size=60,
    )
)
def test_sound_never_begins_before_the_last_one_ended(packets: list[tuple[int, int, int]]) -> None:
    clock = SoundClock(RATE, RATE)
    end = None
    for pts, length, capture in packets:
        place = clock.place(pts, length, capture)
        if place is None:
            continue
        assert end is None or place.pos >= end
        assert abs(place.length + place.skip - length) <= max(1, length * SOUND_SLEW)
        end = place.pos + place.length


@given(
    st.lists(
        st.tuples(st.integers(-(1 << 40), 1 << 40), st.integers(0, 9000), st.integers(-(1 << 45), 1 << 45)),
        max_size=60,
    )
)
def test_picture_dts_always_rise_and_pts_are_never_before_them(rows: list[tuple[int, int, int]]) -> None:
    clock = PictureClock(90_000)
    last = None
    for dts, ahead, capture_ns in rows:
        pts_out, dts_out = clock.place(dts + ahead, dts, capture_ns)
        assert last is None or dts_out > last
        assert pts_out >= dts_out
        last = dts_out


def test_r_sync_1_a_picture_follows_its_sound_by_five_percent() -> None:
    clock = PictureClock(90_000)
    clock.place(0, 0, 0)
    last = 0
    for n in range(1, 200):
        _pts, dts = clock.place(n * 3000, n * 3000, n * NS // 30, sound_error_ns=100_000_000)
        assert abs(dts - last - 3000) <= 3000 * PICTURE_SLEW
        last = dts
    assert last == pytest.approx(199 * 3000 - 9000, abs=450)
