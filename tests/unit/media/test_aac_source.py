"""What is kept and what must be decoded first, by the AudioSpecificConfig a source sends."""

from __future__ import annotations

import pytest

from roomtape.media.aac_source import AacSource
from roomtape.media.adts import SAMPLE_RATES, AacConfig, BadAac


def bits(*fields: tuple[int, int]) -> bytes:
    """(value, width) after each other, the last byte filled with zeros."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_plain_lc_is_kept(rate: int, channels: int) -> None:
    extradata = AacConfig(2, rate, channels).extradata()
    assert AacSource.parse(extradata) == AacSource(rate, channels, plain=True)


@pytest.mark.parametrize(
    ("extradata", "rate", "channels"),
    [
        pytest.param(bits((5, 5), (6, 4), (2, 4), (3, 4), (2, 5), (0, 3)), 48_000, 2, id="SBR in front"),
        pytest.param(bits((29, 5), (7, 4), (1, 4), (4, 4), (2, 5), (0, 3)), 44_100, 2, id="PS in front"),
        pytest.param(
            bits((2, 5), (6, 4), (1, 4), (0, 3), (0x2B7, 11), (5, 5), (1, 1), (3, 4)),
            48_000,
            1,
            id="SBR behind",
        ),
        pytest.param(
            bits((2, 5), (6, 4), (1, 4), (0, 3), (0x2B7, 11), (5, 5), (1, 1), (3, 4), (0x548, 11), (1, 1)),
            48_000,
            2,
            id="PS behind",
        ),
        pytest.param(bits((2, 5), (3, 4), (2, 4), (4, 3)), 48_000, 2, id="960 samples"),
        pytest.param(bits((1, 5), (3, 4), (2, 4), (0, 3)), 48_000, 2, id="Main profile"),
        pytest.param(bits((2, 5), (15, 4), (47_250, 24), (2, 4), (0, 3)), 47_250, 2, id="a rate written out"),
        pytest.param(bits((31, 5), (7, 6), (3, 4), (2, 4)), 48_000, 2, id="a type above 31"),
    ],
)
def test_what_adts_cannot_carry_as_it_is_is_decoded(extradata: bytes, rate: int, channels: int) -> None:
    assert AacSource.parse(extradata) == AacSource(rate, channels, plain=False)


def test_replication_that_is_announced_but_off_is_plain_lc() -> None:
    extradata = bits((2, 5), (3, 4), (2, 4), (0, 3), (0x2B7, 11), (5, 5), (0, 1))
    assert AacSource.parse(extradata) == AacSource(48_000, 2, plain=True)


@pytest.mark.parametrize(
    "extradata",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x11", id="cut off"),
        pytest.param(bits((2, 5), (3, 4), (0, 4), (0, 3)), id="channels told elsewhere"),
        pytest.param(bits((2, 5), (13, 4), (2, 4), (0, 3)), id="a reserved rate"),
        pytest.param(bits((2, 5), (15, 4), (0, 24), (2, 4), (0, 3)), id="a rate of 0"),
    ],
)
def test_nonsense_is_told(extradata: bytes) -> None:
    with pytest.raises(BadAac):
        AacSource.parse(extradata)
