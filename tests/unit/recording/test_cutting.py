"""Where pieces end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roomtape.recording.cutting import Cutter, Mark

S = 1_000_000_000
AAC_NS = 1024 * S // 48_000


def cutter(*marks: Mark) -> Cutter:
    made = Cutter(10 * S, 60 * S)
    for mark in marks:
        made.add([mark])
    return made


def sound(until_s: float, start_s: float = 0) -> list[Mark]:
    first, last = round(start_s * S) // AAC_NS, round(until_s * S) // AAC_NS
    return [Mark(n * AAC_NS, False, True, False) for n in range(first, last)]


def pictures(until_s: int, gop_s: int, start_s: int = 0) -> list[Mark]:
    return [Mark(n * S // 10, True, n % (gop_s * 10) == 0, False) for n in range(start_s * 10, until_s * 10)]


def test_sound_alone_is_cut_at_the_first_packet_after_ten_seconds() -> None:
    assert cutter(*sound(12)).next_cut(None, picture=False) == 469 * AAC_NS  # 10.005 s


def test_a_picture_is_cut_at_the_first_key_frame_after_ten_seconds() -> None:
    assert cutter(*pictures(20, 3)).next_cut(None, picture=True) == 12 * S


def test_sound_with_a_picture_waits_for_the_picture() -> None:
    merged = sorted([*pictures(20, 7), *sound(20)])
    assert cutter(*merged).next_cut(None, picture=True) == 14 * S


def test_without_a_key_frame_it_is_cut_at_sixty_seconds() -> None:
    assert cutter(*pictures(70, 1000)).next_cut(None, picture=True) == 60 * S


def test_nothing_is_cut_before_it_is_settled() -> None:
    made = cutter(*pictures(20, 3))
    assert made.next_cut(12 * S - 1, picture=True) is None
    assert made.next_cut(12 * S, picture=True) == 12 * S


def test_sound_goes_on_alone_when_the_picture_went_away() -> None:
    merged = sorted([*pictures(4, 2), *sound(20)])
    assert cutter(*merged).next_cut(None, picture=True) is None
    assert cutter(*merged).next_cut(None, picture=False) == 469 * AAC_NS


def test_sound_ends_no_piece_in_the_middle_of_a_group_of_pictures() -> None:
    """At the stop the picture has gone, but what came of it since its last key picture needs that one."""
    merged = sorted([*pictures(18, 9), *sound(18)])
    made = cutter(*merged)
    assert made.next_cut(None, picture=False) is None
    made.add(sound(30, 18))
    assert made.next_cut(None, picture=False) == next(m.dts_ns for m in sound(30) if m.dts_ns >= 18.9 * S)


@given(st.integers(1, 30), st.integers(1, 45), st.integers(1, 58), st.booleans())
def test_no_piece_begins_with_a_picture_that_needs_one_before_it(
    gop_s: int, pictures_s: int, sound_s: int, comes: bool
) -> None:
    made = cutter(*sorted([*pictures(pictures_s, gop_s), *sound(sound_s)]))
    while (at := made.next_cut(None, picture=comes)) is not None:
        made.drop_before(at)
        assert next((mark.key for mark in made.marks if mark.picture), True)


def test_a_discontinuity_always_begins_a_piece() -> None:
    made = cutter(*sound(3), Mark(5 * S, False, True, True), *sound(8, 5.1))
    assert made.next_cut(None, picture=False) == 5 * S
    made.drop_before(5 * S)
    assert made.begins_after_hole


@given(st.permutations(pictures(13, 2)))
def test_the_order_packets_come_in_does_not_matter(marks: list[Mark]) -> None:
    assert cutter(*marks).next_cut(None, picture=True) == 10 * S
