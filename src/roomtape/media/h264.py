"""H.264 as far as recording must understand it: NAL units of Annex B, key pictures, and the picture size.

Source: ITU-T H.264 (08/2021), Annex B and 7.3.2.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

IDR, SEI, SPS, PPS, AUD = 5, 6, 7, 8, 9
START_CODE = b"\x00\x00\x00\x01"
_START = re.compile(b"\x00\x00\x01")
_SLICE_HEADERS = bytes(ref_idc << 5 | kind for ref_idc in range(8) for kind in (1, 2, IDR))
_SLICE = re.compile(b"\x00\x00\x01[%s]." % _SLICE_HEADERS, re.DOTALL)
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


class BadH264(ValueError):
    """A parameter set that cannot be read."""


@dataclass(frozen=True, slots=True)
class Sps:
    """The part of a sequence parameter set that recording uses; width and height after cropping."""

    profile: int
    constraints: int
    level: int
    width: int
    height: int


def nals(access_unit: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B access unit, without start codes and trailing zeros."""
    start = -1
    for match in _START.finditer(access_unit):
        if start >= 0 and (nal := access_unit[start : match.start()].rstrip(b"\x00")):
            yield nal
        start = match.end()
    if start >= 0 and (nal := access_unit[start:].rstrip(b"\x00")):
        yield nal


def is_key(access_unit: bytes) -> bool:
    """Whether the access unit holds an IDR picture."""
    for match in _START.finditer(access_unit):
        kind = access_unit[match.end()] & 31 if match.end() < len(access_unit) else 0
        if kind == IDR:
            return True
        if kind in (1, 2):
            return False
    return False


def has_picture(access_unit: bytes) -> bool:
    """Whether the access unit holds a slice at all."""
    return _SLICE.search(access_unit) is not None


def parameter_sets(access_unit: bytes) -> tuple[bytes, bytes] | None:
    """First SPS and PPS of an access unit as Annex B, or None if one of them is missing."""
    found: dict[int, bytes] = {}
    for nal in nals(access_unit):
        found.setdefault(nal[0] & 31, nal)
        if SPS in found and PPS in found:
            return START_CODE + found[SPS], START_CODE + found[PPS]
        if nal[0] & 31 == IDR:
            return None
    return None


def size(access_unit: bytes) -> tuple[int, int] | None:
    """Width and height by the access unit's first SPS; None if there is none or it cannot be read."""
    for nal in nals(access_unit):
        if nal[0] & 31 == SPS:
            try:
                sps = parse_sps(nal)
            except BadH264:
                return None
            return sps.width, sps.height
        if nal[0] & 31 in (1, IDR):
            return None
    return None


class _Bits:
    """Reads a raw byte sequence payload bit by bit. Raises BadH264 past its end."""

    def __init__(self, rbsp: bytes) -> None:
        self._value = int.from_bytes(rbsp, "big")
        self._left = len(rbsp) * 8

    def u(self, count: int) -> int:
        if count > self._left:
            raise BadH264("parameter set ends early")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise BadH264("Exp-Golomb code of more than 32 bits")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


@lru_cache(maxsize=64)  # the same one comes with each key picture
def parse_sps(nal: bytes) -> Sps:
    """Read a sequence parameter set NAL unit (with its header byte). Raises BadH264."""
    if len(nal) < 4 or nal[0] & 31 != SPS:
        raise BadH264("not a sequence parameter set")
    bits = _Bits(nal[1:256].replace(b"\x00\x00\x03", b"\x00\x00"))
    profile, constraints, level = bits.u(8), bits.u(8), bits.u(8)
    bits.ue()  # seq_parameter_set_id
    chroma, separate = 1, 0
    if profile in _HIGH_PROFILES:
        chroma = bits.ue()
        if chroma == 3:
            separate = bits.u(1)
        bits.ue()  # bit_depth_luma_minus8
        bits.ue()
        bits.u(1)  # qpprime_y_zero_transform_bypass_flag
        if bits.u(1):
            for index in range(8 if chroma != 3 else 12):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.ue()  # log2_max_frame_num_minus4
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()  # max_num_ref_frames
    bits.u(1)
    width = (bits.ue() + 1) * 16
    map_units = bits.ue() + 1
    frame_only = bits.u(1)
    if not frame_only:
        bits.u(1)
    bits.u(1)  # direct_8x8_inference_flag
    height = map_units * 16 * (2 - frame_only)
    if bits.u(1):
        planes = 0 if separate else chroma
        unit_x = 2 if planes in (1, 2) else 1
        unit_y = (2 if planes == 1 else 1) * (2 - frame_only)
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        width -= unit_x * (left + right)
        height -= unit_y * (top + bottom)
    if not (0 < width <= 16384 and 0 < height <= 16384):
        raise BadH264(f"picture of {width}x{height}")
    return Sps(profile, constraints, level, width, height)


def _skip_scaling_list(bits: _Bits, count: int) -> None:
    last, following = 8, 8
    for _ in range(count):
        if following:
            following = (last + bits.se() + 256) % 256
        last = following or last
