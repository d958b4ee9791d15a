"""ADTS: the 7-byte header that carries a raw AAC frame in a transport stream or an .aac file.

Source: ISO/IEC 14496-3, 1.A.2.2 (ADTS) and 1.6.2.1 (AudioSpecificConfig).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
HEADER_BYTES = 7
MAX_FRAME_BYTES = (1 << 13) - 1 - HEADER_BYTES  # by the length field of 13 bits
AAC_LC = 2  # audio object type
FRAME_SAMPLES = 1024


class BadAac(ValueError):
    """The configuration or the bytes are not AAC as ADTS can carry it."""


@dataclass(frozen=True)
class AacConfig:
    """What an ADTS header says of its frame; `channels` is the channel configuration, 1 to 7."""

    object_type: int
    sample_rate: int
    channels: int

    @classmethod
    def parse(cls, extradata: bytes) -> AacConfig:
        """Read an AudioSpecificConfig. Raises BadAac for one that ADTS cannot say."""
        if len(extradata) < 2:
            raise BadAac("AudioSpecificConfig of less than 2 bytes")
        bits = int.from_bytes(extradata[:2], "big")
        object_type, rate_index, channels = bits >> 11, (bits >> 7) & 15, (bits >> 3) & 15
        if not 1 <= object_type <= 4:
            raise BadAac(f"audio object type {object_type} has no ADTS form")
        if rate_index >= len(SAMPLE_RATES):
            raise BadAac(f"sample rate index {rate_index}")
        if not 1 <= channels <= 7:
            raise BadAac(f"channel configuration {channels}")
        return cls(object_type, SAMPLE_RATES[rate_index], channels)

    def extradata(self) -> bytes:
        """The two-byte AudioSpecificConfig."""
        rate_index = SAMPLE_RATES.index(self.sample_rate)
        return (self.object_type << 11 | rate_index << 7 | self.channels << 3).to_bytes(2, "big")

    def header(self, payload_bytes: int) -> bytes:
        """The header of one frame of `payload_bytes` (without CRC)."""
        if payload_bytes > MAX_FRAME_BYTES:
            raise BadAac(f"a frame of {payload_bytes} bytes")
        return (self.empty_header | payload_bytes + HEADER_BYTES << 13).to_bytes(HEADER_BYTES, "big")

    @cached_property
    def empty_header(self) -> int:
        """The header of a frame of length 0, 56 bits: sync word, MPEG-4, no CRC, and a full buffer."""
        rate_index = SAMPLE_RATES.index(self.sample_rate)
        profile = (self.object_type - 1) << 38 | rate_index << 34 | self.channels << 30
        return 0xFFF1 << 40 | profile | 0x7FF << 2


def split(data: bytes) -> Iterator[tuple[AacConfig, bytes]]:
    """The raw frames of consecutive ADTS frames with their configurations. Raises BadAac."""
    offset = 0
    while offset < len(data):
        head = data[offset : offset + 9]
        if len(head) < HEADER_BYTES or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
            raise BadAac(f"no ADTS header at byte {offset}")
        rate_index = head[2] >> 2 & 15
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        start = HEADER_BYTES if head[1] & 1 else 9
        if rate_index >= len(SAMPLE_RATES) or length < start or offset + length > len(data):
            raise BadAac(f"bad ADTS header at byte {offset}")
        channels = (head[2] & 1) << 2 | head[3] >> 6
        config = AacConfig((head[2] >> 6) + 1, SAMPLE_RATES[rate_index], channels)
        yield config, data[offset + start : offset + length]
        offset += length
