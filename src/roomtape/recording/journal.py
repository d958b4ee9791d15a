"""The append-only journal of one recording task: what is written here survives the death of its writer.

One directory holds the files `<epoch>-<n>.j` of one task. A file is

    magic, HEAD, then any number of BATCH, CUT and END records.

A record is `u8 type, u32 length, u32 crc32c, body`, little endian; the checksum covers type, length and
body. A batch is one `write()` of ours and ends with the checkpoint that belongs to it, so a journal cut
before its first bad record is always a state in which checkpoint and packets agree. HEAD repeats what
earlier files said (streams, outputs, cuts, checkpoint), so an earlier file may go as soon as committed
pieces cover its packets.

A packet belongs to a stream, in the stream's own time base; outputs are views of streams. Piece k of an
output is every packet of its streams with `at_k <= dts < at_k+1`, where CUT(output, k, at) gives at_k as
task time in nanoseconds. A file is written by one epoch only; a later epoch at most truncates it.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import msgspec

from roomtape.recording import faults

KEY = 1  # packet flag: a decoder may start here
DISCONTINUITY = 2  # packet flag: something is missing before this packet

MAGIC = b"RTJRNL1\n"
_RECORD = struct.Struct("<BII")  # type, length of the body, crc32c
_ENTRY = struct.Struct("<IBIqqq")  # stream, flags, size, pts, dts, duration
_COUNT = struct.Struct("<II")  # packets, bytes of the checkpoint
_HEAD, _BATCH, _CUT, _END = 1, 2, 3, 4
_NS = 1_000_000_000


class DiskFull(OSError):
    """The batch could not be written whole; the journal stands as it was before it. Try again later."""


class SyncFailed(OSError):
    """The disk refused to make the journal durable and a second copy of it as well."""


class JournalBroken(Exception):
    """A packet the index names cannot be read back as it was written."""


class StreamHead(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One elementary stream. Times of its packets are task times in 1/time_base_den s."""

    id: int
    user: str
    media: str  # "main" or "aux"
    kind: str  # "audio" or "video"
    codec: str  # "aac" or "h264"
    time_base_den: int
    sample_rate: int = 0
    channels: int = 0
    extradata: bytes = b""  # AAC: AudioSpecificConfig
    t0_ns: int = 0  # task time of grid index 0


class OutputHead(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One row of pieces made of one or two streams."""

    key: str  # "<user>\x1f<media>\x1f<type>"
    user: str
    media: str
    type: str  # "audio", "video" or "audiovideo"
    streams: list[int]
    piece_ns: int


class Packet(NamedTuple):
    """One coded frame; pts, dts and duration in its stream's time base, task time."""

    stream: int
    flags: int
    pts: int
    dts: int
    duration: int
    data: bytes


class Cut(msgspec.Struct, array_like=True):
    """Piece `piece_no` of `output` begins at task time `at_ns`."""

    output: str
    piece_no: int
    at_ns: int
    discontinuity: bool = False


class _FileHead(msgspec.Struct, kw_only=True):
    epoch: int
    number: int
    streams: list[StreamHead]
    outputs: list[OutputHead]
    cuts: list[Cut]
    checkpoint: dict[str, Any]
    previous: tuple[int, int, int] | None  # epoch, number and length of the file before this one


class Entry(NamedTuple):
    """Where a packet lies; the first two members are its place in the order of its stream."""

    dts_ns: int
    stream: int
    flags: int
    pts: int
    dts: int
    duration: int
    file: Path
    offset: int
    size: int


def ticks_to_ns(ticks: int, time_base_den: int) -> int:
    """Task time in ns of `ticks`, rounded down. The one conversion cuts and windows are compared with."""
    return ticks * _NS // time_base_den


@dataclass(slots=True)
class Recovered:
    """What earlier writers left, cut before the first record that cannot be trusted."""

    streams: dict[int, StreamHead] = field(default_factory=dict)
    outputs: dict[str, OutputHead] = field(default_factory=dict)
    cuts: dict[str, list[Cut]] = field(default_factory=dict)  # per output, by piece number
    checkpoint: dict[str, Any] = field(default_factory=dict)
    ended: bool = False  # the last record is END
    packets: int = 0  # still in the files; read them with Journal.window
    last_epoch: int = 0
    truncated_bytes: int = 0


class Journal:
    """The writer (and reader back) of one task's journal.

    `append`, `cut`, `declare` and `end` belong to one thread; `sync` may be called from another.
    """

    recovered: Recovered | None

    def __init__(self, directory: Path, epoch: int) -> None:
        raise NotImplementedError

    @classmethod
    def open(cls, directory: Path, epoch: int) -> Journal:
        """Open the task's directory for `epoch`, recovering (and truncating) what earlier writers left."""
        raise NotImplementedError

    def declare(self, streams: Iterable[StreamHead], outputs: Iterable[OutputHead]) -> None:
        """Add or replace streams and outputs; the next record opens a new file whose HEAD names them."""
        raise NotImplementedError

    def append(self, packets: list[Packet], checkpoint: dict[str, Any]) -> None:
        """Write one batch in one `write()`. Raises DiskFull after truncating back to the last whole one."""
        raise NotImplementedError

    def cut(self, output: str, piece_no: int, at_ns: int, *, discontinuity: bool = False) -> None:
        """Piece `piece_no` of `output` begins at `at_ns`. The next batch opens a new file."""
        raise NotImplementedError

    def end(self, checkpoint: dict[str, Any]) -> None:
        """No more input for this stretch."""
        raise NotImplementedError

    def sync(self) -> None:
        """Make all that was written survive a power cut (fdatasync). Raises SyncFailed."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def window(self, output: str, from_ns: int, to_ns: int | None) -> list[Packet]:
        """Packets of the output's streams with from_ns <= dts < to_ns (None: to the end), by (dts, stream)."""
        raise NotImplementedError

    def forget(self, covered_until_ns: dict[str, int]) -> list[Path]:
        """Delete whole files of which each packet is before `covered_until_ns` in every output it is in."""
        raise NotImplementedError
