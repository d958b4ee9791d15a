"""ADTS headers and AudioSpecificConfig against each other and against FFmpeg's reading."""

from __future__ import annotations

import contextlib
import io

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomtape.media.adts import SAMPLE_RATES, AacConfig, BadAac, split
from tests.support.signals import aac_beeps

configs = st.builds(AacConfig, st.integers(1, 4), st.sampled_from(SAMPLE_RATES), st.integers(1, 7))


@given(configs, st.lists(st.binary(max_size=8184), min_size=1, max_size=4))
def test_frames_come_out_as_they_went_in(config: AacConfig, frames: list[bytes]) -> None:
    data = b"".join(config.header(len(frame)) + frame for frame in frames)
    assert list(split(data)) == [(config, frame) for frame in frames]
    assert AacConfig.parse(config.extradata()) == config


def test_a_frame_longer_than_the_length_field_is_refused() -> None:
    with pytest.raises(BadAac):
        AacConfig(2, 48_000, 2).header(8185)


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_bad(data: bytes) -> None:
    with contextlib.suppress(BadAac):
        assert b"".join(frame for _, frame in split(data)) is not None
    with contextlib.suppress(BadAac):
        AacConfig.parse(data)


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (44_100, 2), (16_000, 1)])
def test_ffmpeg_reads_the_stream(rate: int, channels: int) -> None:
    signal = aac_beeps(1, sample_rate=rate, channels=channels)
    config = AacConfig.parse(signal.config)
    assert (config.sample_rate, config.channels) == (rate, channels)
    data = b"".join(config.header(len(f.data)) + f.data for f in signal.frames)
    with av.open(io.BytesIO(data), "r", format="aac") as file:
        frames = list(file.decode(audio=0))
    assert len(frames) == len(signal.frames)
    assert {(frame.sample_rate, len(frame.layout.channels)) for frame in frames} == {(rate, channels)}
