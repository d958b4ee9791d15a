"""The records of a journal's files: how they lie there, and how far what is read can be trusted.

A file is `MAGIC` and records: `RECORD` (type, length of the body, crc32c over these two and the body), then
the body. The first record is HEAD, none of the others is. A batch's body is `COUNT`, one `ENTRY` per packet,
the payloads in the same order, and the checkpoint.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import msgspec

MAGIC = b"RTJRNL1\n"
RECORD = struct.Struct("<BII")  # type, length of the body, crc32c
_START = struct.Struct("<BI")  # what the checksum covers of it
ENTRY = struct.Struct("<IBIqqq")  # stream, flags, size, pts, dts, duration
COUNT = struct.Struct("<II")  # packets, bytes of the checkpoint
HEAD, BATCH, CUT, END = 1, 2, 3, 4

FileName = tuple[int, int, int]  # epoch, number, length: a file as the HEAD of the next one names it


class _Previous(msgspec.Struct):
    """What is read here of a HEAD."""

    previous: FileName | None = None


def record_crc(kind: int, body: bytes) -> int:
    return int(google_crc32c.extend(google_crc32c.value(_START.pack(kind, len(body))), body))


class Torn(Exception):
    """The records end here: what follows is cut short or does not match its checksum."""


def read_records(data: bytes, offset: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """Type, offset and body of each record; raises Torn at the first that cannot be trusted.

    `offset`: where to begin, 0 or the beginning of a record behind the first.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise Torn(0)
    first = offset == 0
    offset = offset or len(MAGIC)
    while offset < len(data):
        if offset + RECORD.size > len(data):
            raise Torn(offset)
        kind, length, crc = RECORD.unpack_from(data, offset)
        body = data[offset + RECORD.size : offset + RECORD.size + length]
        if len(body) != length or record_crc(kind, body) != crc:
            raise Torn(offset)
        if (kind == HEAD) != first or kind not in (HEAD, BATCH, CUT, END):
            raise Torn(offset)
        first = False
        yield kind, offset, body
        offset += RECORD.size + length
    if first:
        raise Torn(offset)


def behind_bad_batch(data: bytes, offset: int, file: FileName, after: Path | None) -> int:
    """Where the next record is, if what is bad at `offset` is one batch between good records; else 0.

    A batch that the power cut short is the last one: nothing follows it, and it is not meant.
    """
    if offset == 0 or offset + RECORD.size > len(data):
        return 0
    kind, length, crc = RECORD.unpack_from(data, offset)
    end: int = offset + RECORD.size + length
    body = data[offset + RECORD.size : end]
    if kind != BATCH or len(body) != length or any(record_crc(other, body) == crc for other in (CUT, END)):
        return 0
    if end == len(data):
        return end if after is not None and _previous_of(after) == file else 0
    try:
        next(read_records(data, end))
    except Torn:
        return 0
    return end


def _previous_of(path: Path) -> FileName | None:
    """What a file's HEAD says of the file before it; None where it cannot be read."""
    try:
        _, _, body = next(read_records(path.read_bytes()))
    except Torn:
        return None
    return msgspec.msgpack.decode(body, type=_Previous).previous


def packets_said(data: bytes, offset: int) -> int:
    """How many packets a damaged batch says it has, if that can be."""
    length = RECORD.unpack_from(data, offset)[1]
    if length < COUNT.size:
        return 1
    count = int(COUNT.unpack_from(data, offset + RECORD.size)[0])
    return max(1, count) if COUNT.size + count * ENTRY.size <= length else 1


def packets_behind(data: bytes, offset: int) -> int:
    """Packets in whole batches behind the record at `offset`, which is not to be trusted itself."""
    offset = max(offset, len(MAGIC))
    if offset + RECORD.size > len(data):
        return 0
    return packets_in(data, offset + RECORD.size + RECORD.unpack_from(data, offset)[1])


def packets_in(data: bytes, offset: int) -> int:
    """Packets in the whole records from `offset` on."""
    count = 0
    while offset + RECORD.size <= len(data):
        kind, length, crc = RECORD.unpack_from(data, offset)
        offset += RECORD.size
        body = data[offset : offset + length]
        if len(body) != length or record_crc(kind, body) != crc:
            break
        if kind == BATCH:
            count += int(COUNT.unpack_from(body)[0])
        offset += length
    return count
