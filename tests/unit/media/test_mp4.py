"""A finished MP4 is checked against what was written to it."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from roomtape.media.mp4 import VIDEO_CLOCK, Mp4Broken, Mp4Writer

TICKS = VIDEO_CLOCK // 30
SLICE = 1  # not of an IDR


def pictures_with_a_cut() -> list[tuple[bool, bytes]]:
    """(IDR, access unit); the fourth is all intra and no IDR, as x264 codes a change of the scene."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 320, 192, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.gop_size = Fraction(1, 30), Fraction(30), 300
    encoder.thread_count = 1
    encoder.options = {"preset": "veryfast", "tune": "zerolatency", "x264-params": "scenecut=40:keyint-min=25:annexb=1"}
    noise = np.random.default_rng(3).integers(0, 255, (2, 288, 320), dtype=np.uint8)
    out = []
    for number in range(8):
        frame = av.VideoFrame.from_ndarray(noise[number // 3 % 2], format="yuv420p")
        frame.pts = number
        if number == 6:
            frame.pict_type = PictureType.I
        out += [(packet.is_keyframe, bytes(packet)) for packet in encoder.encode(frame)]
    return out


def written(path: Path) -> Mp4Writer:
    pictures = pictures_with_a_cut()
    kinds = [[unit[0] & 0x1F for unit in data.split(b"\0\0\1")[1:]] for _key, data in pictures]
    assert kinds[3] == [SLICE], "the test needs a coder that does this"
    with path.open("wb") as file:
        writer = Mp4Writer(file, key_picture=pictures[0][1], size=(320, 192), sound=None)
        for number, (key, data) in enumerate(pictures):
            writer.write("video", number * TICKS, number * TICKS, TICKS, key, data)
        writer.close()
    return writer


def test_an_intra_picture_that_is_no_idr_is_no_key_picture(tmp_path: Path) -> None:
    writer = written(tmp_path / "a.mp4")
    writer.check(tmp_path / "a.mp4")
    # The library's reader infers that one could start there; the file's own index does not say so.
    with av.open(io.BytesIO((tmp_path / "a.mp4").read_bytes())) as file:
        assert sum(packet.is_keyframe for packet in file.demux() if packet.size) > 2


def test_a_file_that_lacks_a_packet_is_found_out(tmp_path: Path) -> None:
    whole, cut = written(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    with cut.open("wb") as file:
        writer = Mp4Writer(file, key_picture=pictures_with_a_cut()[0][1], size=(320, 192), sound=None)
        for number, (key, data) in enumerate(pictures_with_a_cut()[:-1]):
            writer.write("video", number * TICKS, number * TICKS, TICKS, key, data)
        writer.close()
    with pytest.raises(Mp4Broken):
        whole.check(cut)
