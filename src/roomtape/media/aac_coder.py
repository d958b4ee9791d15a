"""AAC on a grid: packet i holds samples 1024 i and after of a stream's time line, whatever restarts.

FFmpeg's coder holds two frames back and puts one packet (index -1, "priming") before the first sample. A
coder that starts in the middle is fed `PREROLL_FRAMES` earlier frames whose packets are thrown away, so
that the seam cannot be heard, and must then give exactly the packet that is due.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import av
import numpy as np

from roomtape.media.frames import Samples

FRAME = 1024
PREROLL_FRAMES = 3
# A quarter of the default coder's cost; mid/side stays on, speech in both channels lives from it (ADR 0020).
CHEAP = {"aac_coder": "fast", "aac_tns": "0", "aac_pns": "0", "aac_is": "0", "aac_ms": "1"}
BIT_RATE_PER_CHANNEL = 32_000
_LAYOUTS = {1: "mono", 2: "stereo"}


class GridBroken(Exception):
    """The coder did not give the packet that is due: this task cannot go on from here."""


class GridPacket(NamedTuple):
    place: int  # on the grid: samples from 1024 times this on
    data: bytes


class AacCoder:
    """In: float32 (channels, n), contiguous. Out: packets of rising index, none missing, none twice.

    next_index: the first packet wanted; -1 also gives the priming packet of a new grid.
    """

    def __init__(self, rate: int, channels: int, next_index: int = -1) -> None:
        self.rate = rate
        self.channels = channels
        self.next_index = next_index
        self.fed = self.first_sample(next_index)  # sample after the last one the coder got
        self._held: list[Samples] = []
        self._held_samples = 0
        self._codec = _open(rate, channels)

    @staticmethod
    def first_sample(next_index: int) -> int:
        """The grid sample a coder must be fed from so that its packet `next_index` is right."""
        return max(0, (next_index - PREROLL_FRAMES) * FRAME)

    @property
    def end(self) -> int:
        """Sample after the last one pushed."""
        return self.fed + self._held_samples

    def push(self, samples: Samples) -> list[GridPacket]:
        """Take what follows; whole frames go to the coder at once, which is cheaper than one by one."""
        if samples.shape[1]:
            self._held.append(samples)
            self._held_samples += samples.shape[1]
        whole = self._held_samples // FRAME * FRAME
        return self._encode(whole) if whole else []

    def flush(self) -> list[GridPacket]:
        """The rest, filled up with silence to a whole frame. The coder is spent after it."""
        out = []
        rest = -self._held_samples % FRAME
        if self._held_samples:
            self._held.append(np.zeros((self.channels, rest), np.float32))
            self._held_samples += rest
            out = self._encode(self._held_samples)
        return out + self._keep(self._codec.encode(None))

    def _encode(self, count: int) -> list[GridPacket]:
        pcm = np.concatenate(self._held, axis=1) if len(self._held) > 1 else self._held[0]
        rest = pcm[:, count:]
        self._held = [rest] if rest.shape[1] else []
        self._held_samples = rest.shape[1]
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(pcm[:, :count]), format="fltp", layout=_LAYOUTS[self.channels]
        )
        frame.sample_rate = self.rate
        frame.pts = self.fed
        frame.time_base = Fraction(1, self.rate)
        self.fed += count
        return self._keep(self._codec.encode(frame))

    def _keep(self, packets: list[av.Packet[Any]]) -> list[GridPacket]:
        out = []
        for packet in packets:
            assert packet.pts is not None
            index, off = divmod(packet.pts, FRAME)
            if off:
                raise GridBroken(f"packet at sample {packet.pts} is off the grid")
            if index < self.next_index:
                continue
            if index != self.next_index:
                raise GridBroken(f"packet {index} came when {self.next_index} was due")
            self.next_index += 1
            out.append(GridPacket(index, bytes(packet)))
        return out


def _open(rate: int, channels: int) -> av.AudioCodecContext:
    codec = av.CodecContext.create("aac", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate = rate
    codec.layout = _LAYOUTS[channels]
    codec.format = "fltp"
    codec.bit_rate = BIT_RATE_PER_CHANNEL * channels
    codec.time_base = Fraction(1, rate)
    codec.options = dict(CHEAP)
    return codec


@lru_cache(maxsize=16)
def silent_frame(rate: int, channels: int) -> bytes:
    """One AAC-LC frame of silence that may follow and precede any other of the same configuration."""
    coder = AacCoder(rate, channels, next_index=0)
    return coder.push(np.zeros((channels, 6 * FRAME), np.float32))[-1].data
