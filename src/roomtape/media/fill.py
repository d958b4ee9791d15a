"""Pictures of our own for where a source sends none: black, or the last one held.

Both are whole H.264 access units: an IDR with its parameter sets, decodable alone.
Source: the table of missing media and FillType of the recording documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache

import av

from roomtape.media.clocks import PICTURE_HZ

BLACK_AFTER = 2 * PICTURE_HZ  # a published picture that sends nothing for so long is black (FillType 1)
BLACK_EVERY = PICTURE_HZ
_LUMA, _CHROMA = 16, 128  # black, limited range


def x264(width: int, height: int, fps: int = 30) -> av.VideoCodecContext:
    """An H.264 coder of our own that gives each picture back at once, parameter sets before each IDR."""
    codec = av.CodecContext.create("libx264", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.time_base = Fraction(1, PICTURE_HZ)
    codec.framerate = Fraction(fps)
    codec.thread_count = 1
    codec.gop_size = 10 * fps  # the source's key frames rule; this is only a bound
    codec.options = {
        "preset": "veryfast",
        "crf": "23",
        "x264-params": "bframes=0:rc-lookahead=0:sync-lookahead=0:sliced-threads=0:mbtree=0"
        ":force-cfr=1:repeat-headers=1",  # force-cfr: without it one picture is held back
    }
    return codec


@lru_cache(maxsize=16)
def black_idr(width: int, height: int) -> bytes:
    """A black picture of that size; odd sizes are those of 4:2:0 video cropped by the coder."""
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(frame.planes, (_LUMA, _CHROMA, _CHROMA), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return _idr(frame)


def held_idr(access_units: Sequence[bytes]) -> bytes | None:
    """The picture that the last of `access_units` shows, as an IDR; they begin with a key picture.

    None when nothing can be decoded.
    """
    frame = _last(access_units)
    return None if frame is None else _idr(frame.reformat(format="yuv420p"))


def _last(access_units: Iterable[bytes]) -> av.VideoFrame | None:
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    shown: list[av.VideoFrame] = []
    for data in access_units:
        try:
            shown = decoder.decode(av.Packet(data)) or shown
        except av.FFmpegError:
            continue
    shown = decoder.decode(None) or shown
    return shown[-1] if shown else None


def _idr(frame: av.VideoFrame) -> bytes:
    frame.pts = 0
    frame.time_base = Fraction(1, PICTURE_HZ)
    frame.pict_type = av.video.frame.PictureType.I
    coder = x264(frame.width, frame.height)
    return b"".join(bytes(packet) for packet in [*coder.encode(frame), *coder.encode(None)])
