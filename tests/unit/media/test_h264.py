"""H.264 as x264 writes it, and as a hostile publisher might."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomtape.media import h264
from tests.support.signals import h264_flashes


@pytest.mark.parametrize(("width", "height"), [(160, 96), (160, 90), (162, 100), (320, 180), (90, 160)])
def test_the_size_is_that_of_the_picture_after_cropping(width: int, height: int) -> None:
    first = h264_flashes(0.1, width=width, height=height)[0].data
    assert h264.size(first) == (width, height)


def test_key_pictures_are_told_from_others() -> None:
    frames = h264_flashes(2)
    assert [h264.is_key(frame.data) for frame in frames] == [frame.key for frame in frames]
    assert h264.size(frames[1].data) is None


def test_parameter_sets_come_with_start_codes() -> None:
    sets = h264.parameter_sets(h264_flashes(0.1)[0].data)
    assert sets is not None
    assert [part[4] & 31 for part in sets] == [h264.SPS, h264.PPS]
    assert h264.parameter_sets(h264_flashes(0.1)[1].data) is None


def test_nal_units_lose_start_codes_of_both_lengths_and_zeros_after_them() -> None:
    unit = b"\0\0\0\1\x67ab\0\0\1\x68cd\0\0\0\0\1\x65ef"
    assert list(h264.nals(unit)) == [b"\x67ab", b"\x68cd", b"\x65ef"]
    assert list(h264.nals(b"no start code")) == []


@given(st.binary(max_size=300))
def test_f13_any_bytes_are_a_size_or_none(data: bytes) -> None:
    """Never another error: the bytes come from publishers."""
    size = h264.size(b"\0\0\0\1\x67" + data)
    assert size is None or (0 < size[0] <= 16384 and 0 < size[1] <= 16384)
    h264.is_key(data)
    h264.parameter_sets(data)


def test_parameter_sets_alone_are_no_picture() -> None:
    frames = h264_flashes(0.1)
    assert all(h264.has_picture(frame.data) for frame in frames)
    assert not h264.has_picture(b"".join(h264.parameter_sets(frames[0].data) or ()))
    assert not h264.has_picture(b"\0\0\1\x65")  # a start code and a header with nothing behind it
