"""What a source's AudioSpecificConfig says of its sound: plain AAC-LC, or what has to be decoded first.

Source: ISO/IEC 14496-3, 1.6.2.1 (AudioSpecificConfig), 1.6.5 (signalling of SBR and PS), 4.4.1
(GASpecificConfig).
"""

from __future__ import annotations

from dataclasses import dataclass

from roomtape.media.adts import AAC_LC, SAMPLE_RATES, BadAac

SBR, PS = 5, 29  # audio object types that announce the extension in front
_GENERAL_AUDIO = {1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23}
_SBR_BEHIND, _PS_BEHIND = 0x2B7, 0x548  # sync words of the form older decoders do not see
_ESCAPED = 15  # the rate is written out


@dataclass(frozen=True, slots=True)
class AacSource:
    """`sample_rate` and `channels` are what a decoder puts out, after replication and parametric stereo."""

    sample_rate: int
    channels: int  # 1 to 8
    plain: bool  # AAC-LC of 1024 samples and nothing else: it can be carried as it is

    @classmethod
    def parse(cls, extradata: bytes) -> AacSource:
        """Raises BadAac for what is cut off, or of no channels that can be told."""
        bits = _Bits(extradata)
        kind = bits.object_type()
        rate = bits.rate()
        channels = bits.take(4)
        if not 1 <= channels <= 7:
            raise BadAac(f"channel configuration {channels}")
        sbr, ps = kind in (SBR, PS), kind == PS
        if sbr:
            rate = bits.rate()
            kind = bits.object_type()
        short = False
        if kind in _GENERAL_AUDIO:
            short = bool(bits.take(1))
            if bits.take(1):
                bits.take(14)  # coreCoderDelay
            bits.take(1)
        if not sbr and bits.left >= 16 and bits.take(11) == _SBR_BEHIND and bits.object_type() == SBR:
            sbr = bool(bits.take(1))
            if sbr:
                rate = bits.rate()
                if bits.left >= 12 and bits.take(11) == _PS_BEHIND:
                    ps = bool(bits.take(1))
        plain = kind == AAC_LC and not sbr and not short and rate in SAMPLE_RATES
        return cls(rate, 2 if ps else 8 if channels == 7 else channels, plain)


class _Bits:
    """Reads from the front, most significant bit first."""

    def __init__(self, data: bytes) -> None:
        self.left = len(data) * 8
        self._value = int.from_bytes(data, "big")

    def take(self, count: int) -> int:
        if count > self.left:
            raise BadAac("AudioSpecificConfig is cut off")
        self.left -= count
        return self._value >> self.left & ((1 << count) - 1)

    def object_type(self) -> int:
        kind = self.take(5)
        return 32 + self.take(6) if kind == 31 else kind

    def rate(self) -> int:
        index = self.take(4)
        rate = self.take(24) if index == _ESCAPED else SAMPLE_RATES[index] if index < len(SAMPLE_RATES) else 0
        if rate == 0:
            raise BadAac(f"sample rate index {index}")
        return rate
