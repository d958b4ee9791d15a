"""MPEG transport streams of one piece: muxed into memory, and checked packet by packet.

The time line is task time + 10 s in 1/90000 s, so that the negative dts of B-frames have room; values of
2^33 and more wrap as the standard says. Picture is on PID 0x100, sound on 0x101, whichever of them is there.

Source: ISO/IEC 13818-1, 2.4.3 (packets, continuity counters, PES).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np

from roomtape._core import ts_inspect, ts_mux, ts_piece

CLOCK = 90_000
ORIGIN = 900_000  # the transport stream's time at task time 0
WRAP = 1 << 33
PACKET_BYTES = 188
VIDEO_PID, AUDIO_PID = 0x100, 0x101
ACCESS_UNIT_DELIMITER = b"\x00\x00\x00\x01\x09\xf0"
_DELIMITED = re.compile(rb"\x00?\x00\x00\x01[\x09\x29\x49\x69].", re.DOTALL)
_LONGEST_BY_DEFAULT = 204_800  # FFmpeg's own bound of a packet of a transport stream


class TsBroken(Exception):
    """A transport stream is not what was meant to be written; the text says in which way."""


class TsUnit(NamedTuple):
    """An access unit as the transport stream carries it; times on its time line, not wrapped.

    Picture: Annex B beginning with an access unit delimiter (`delimited`). Sound: one ADTS frame.
    """

    pid: int
    pts: int
    dts: int
    key: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class PidContent:
    """What one PID of a transport stream carries: PES packets, elementary bytes, first pts (wrapped)."""

    pes: int
    es_bytes: int
    first_pts: int


def to_clock(ticks: int, time_base_den: int) -> int:
    """Task time in 1/time_base_den s as the transport stream's time, not wrapped."""
    return ticks * CLOCK // time_base_den + ORIGIN


def delimited(access_unit: bytes) -> bytes:
    """The access unit with a delimiter before it, which the muxer would otherwise add by itself."""
    if _DELIMITED.match(access_unit):
        return access_unit
    return ACCESS_UNIT_DELIMITER + access_unit


def mux(units: Sequence[TsUnit], counters: Mapping[int, int]) -> tuple[bytes, dict[int, int]]:
    """Mux units, ordered by dts, to one transport stream. Equal units and counters give equal bytes.

    The continuity counters run on from `counters` (last value per PID; a PID not in it starts at 0): a player
    that reads pieces one after the other otherwise takes the last picture of each for damaged. Where an
    elementary stream's counter starts at 0, its first packet says so by its discontinuity indicator.
    Returns the bytes and the counters at their end, those of PIDs not in this piece kept.
    Raises ValueError for a PID that is neither picture nor sound.
    """
    return ts_mux(units, counters)


class Packed(NamedTuple):
    """A transport stream made of the packets of a journal."""

    data: bytes
    counters: dict[int, int]  # at its end
    meant: dict[int, PidContent]  # what went in, by PID; {} if nothing did
    packets: int  # those left out included
    end_ns: int  # task time at which the last of them ends
    key: bytes | None  # the first key picture
    sound: int | None  # the stream of the first sound


def pack(
    batches: Sequence[tuple[bytes, bytes]],
    streams: Mapping[int, tuple[int, int | None]],
    from_ns: int,
    to_ns: int,
    counters: Mapping[int, int],
) -> Packed:
    """`mux` of those packets of a journal's batches (table, payloads) that have from_ns <= dts < to_ns.

    streams: time base and, for sound, `AacConfig.empty_header`. Packets of other streams are left out, and so
    is what is no picture, and sound that is empty or of a size ADTS cannot say. By (dts, stream); times that
    do not rise within a PID (two streams of one kind that overlap) are moved up by one tick.
    Raises ValueError for a table and payloads that do not belong together.
    """
    data, ends, meant, packets, end_ns, key, sound = ts_piece(batches, streams, from_ns, to_ns, counters)
    content = {pid: PidContent(*row) for pid, row in meant.items()}
    return Packed(data, ends, content, packets, end_ns, key, sound)


def inspect(data: bytes, counters: Mapping[int, int]) -> dict[int, PidContent]:
    """Read every packet: sync, no error flag, continuity from `counters` on; count what each PID carries.

    Only PIDs of elementary streams are returned. Raises TsBroken.
    """
    try:
        return {pid: PidContent(*row) for pid, row in ts_inspect(data, counters).items()}
    except ValueError as error:
        raise TsBroken(str(error)) from error


def check(data: bytes, units: Sequence[TsUnit], counters: Mapping[int, int]) -> None:
    """Compare a transport stream with the units it was made of. Raises TsBroken at the first difference."""
    meant: dict[int, PidContent] = {}
    for pid in (VIDEO_PID, AUDIO_PID):
        sizes = [len(unit.data) for unit in units if unit.pid == pid]
        if sizes:
            first_pts = next(unit.pts for unit in units if unit.pid == pid) % WRAP
            meant[pid] = PidContent(len(sizes), sum(sizes), first_pts)
    check_content(data, meant, counters)


def check_content(data: bytes, meant: Mapping[int, PidContent], counters: Mapping[int, int]) -> None:
    """Compare a transport stream with what was meant to be in it, its frames of sound counted as `pes`.

    Raises TsBroken at the first difference.
    """
    seen = inspect(data, counters)
    if seen.keys() != meant.keys():
        raise TsBroken(f"PIDs {sorted(seen)} instead of {sorted(meant)}")
    for pid, want in meant.items():
        got = seen[pid]
        if (pid == VIDEO_PID and got.pes != want.pes) or got.es_bytes != want.es_bytes:
            raise TsBroken(f"PID {pid:#x}: {got} instead of {want}")
        if got.first_pts != want.first_pts:
            raise TsBroken(f"PID {pid:#x} begins at {got.first_pts} instead of {want.first_pts}")


def demux_options(data: bytes) -> dict[str, str]:
    """What FFmpeg needs to give back each access unit of this stream whole, with its own times.

    By itself it cuts a picture that says no length (they cannot above 64 KiB) after 200 KiB, and gives the
    rest no time; it takes a buffer of the bound for every picture, so that the bound is the largest one.
    """
    bound = max(_LONGEST_BY_DEFAULT, longest_pes(data))
    return {"fflags": "+noparse+nofillin", "analyzeduration": "0", "max_packet_size": str(bound)}


def longest_pes(data: bytes) -> int:
    """Bytes of transport payload that the longest PES packet takes. Raises TsBroken."""
    if not data or len(data) % PACKET_BYTES:
        raise TsBroken(f"{len(data)} bytes are not whole packets")
    rows = np.frombuffer(data, np.uint8).reshape(-1, PACKET_BYTES)
    pids = (rows[:, 1].astype(np.uint16) & 0x1F) << 8 | rows[:, 2]
    longest = 0
    for pid in (VIDEO_PID, AUDIO_PID):
        starts = np.flatnonzero(rows[pids == pid, 1] & 0x40)
        ends = np.append(starts[1:], int((pids == pid).sum()))
        if len(starts):
            longest = max(longest, int((ends - starts).max()) * (PACKET_BYTES - 4))
    return longest


def check_by_demuxing(data: bytes, units: Sequence[TsUnit]) -> None:
    """Have FFmpeg take the stream apart and compare bytes and pts per PID. Raises TsBroken."""
    seen: dict[int, list[tuple[int, bytes]]] = {}
    # Taken apart and no more: FFmpeg would decode pictures to describe them, which costs ten times as much.
    options = demux_options(data) | {"probesize": "5000", "codec_whitelist": "none"}
    try:
        with av.open(io.BytesIO(data), "r", format="mpegts", options=options) as container:
            for packet in container.demux():
                if packet.size == 0:
                    continue
                if packet.is_corrupt:
                    raise TsBroken(f"FFmpeg takes a packet of PID {packet.stream.id:#x} for damaged")
                seen.setdefault(packet.stream.id, []).append((packet.pts or 0, bytes(packet)))
    except av.FFmpegError as error:
        raise TsBroken(f"FFmpeg cannot read it: {error.strerror}") from error
    for pid in {unit.pid for unit in units}:
        meant = [unit for unit in units if unit.pid == pid]
        got = seen.get(pid, [])
        if b"".join(part for _, part in got) != b"".join(unit.data for unit in meant):
            raise TsBroken(f"FFmpeg reads other bytes of PID {pid:#x}")
        if pid == VIDEO_PID and [pts % WRAP for pts, _ in got] != [unit.pts % WRAP for unit in meant]:
            raise TsBroken("FFmpeg reads other picture times")
