"""MPEG transport streams of one piece: muxed into memory, renumbered to run on, and checked packet by packet.

The time line is task time + 10 s in 1/90000 s, so that the negative dts of B-frames have room; values of
2^33 and more wrap as the standard says. Picture is on PID 0x100, sound on 0x101, whichever of them is there.

Source: ISO/IEC 13818-1, 2.4.3 (packets, continuity counters, PES).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt

CLOCK = 90_000
ORIGIN = 900_000  # the transport stream's time at task time 0
WRAP = 1 << 33
PACKET_BYTES = 188
VIDEO_PID, AUDIO_PID = 0x100, 0x101
ACCESS_UNIT_DELIMITER = b"\x00\x00\x00\x01\x09\xf0"
_DELIMITED = re.compile(rb"\x00?\x00\x00\x01[\x09\x29\x49\x69].", re.DOTALL)
_CODECS = {VIDEO_PID: "h264", AUDIO_PID: "aac"}
_LONGEST_BY_DEFAULT = 204_800  # FFmpeg's own bound of a packet of a transport stream
# One PAT and PMT every 2 s instead of ten a second: 3 % of a 1 Mb/s piece. Writing is ours, so no flushing.
_OPTIONS = {"pat_period": "2", "sdt_period": "60", "flush_packets": "0"}


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


@dataclass(slots=True)
class PidContent:
    """What one PID of a transport stream carries: PES packets, elementary bytes, first pts (wrapped)."""

    pes: int = 0
    es_bytes: int = 0
    first_pts: int | None = None


def to_clock(ticks: int, time_base_den: int) -> int:
    """Task time in 1/time_base_den s as the transport stream's time, not wrapped."""
    return ticks * CLOCK // time_base_den + ORIGIN


def delimited(access_unit: bytes) -> bytes:
    """The access unit with a delimiter before it, which the muxer would otherwise add by itself."""
    if _DELIMITED.match(access_unit):
        return access_unit
    return ACCESS_UNIT_DELIMITER + access_unit


def mux(units: Sequence[TsUnit]) -> bytes:
    """Mux units, ordered by dts, to one transport stream whose continuity counters begin at 0.

    Each call is a new muxer: it starts with PAT and PMT, and equal units give equal bytes.
    """
    buffer = io.BytesIO()
    pids = sorted({unit.pid for unit in units})
    with av.open(buffer, "w", format="mpegts", options=_OPTIONS) as container:
        container.metadata["service_name"] = "recording"
        container.metadata["service_provider"] = "roomtape"
        streams: dict[int, Any] = {}
        for pid in pids:
            stream: Any = container.add_mux_stream(_CODECS[pid], rate=48_000 if pid == AUDIO_PID else None)
            if pid == VIDEO_PID:  # asked for by the library, written nowhere in a transport stream
                stream.width = stream.height = 16
            stream.id = pid
            stream.time_base = Fraction(1, CLOCK)
            streams[pid] = stream
        for unit in units:
            packet = av.Packet(unit.data)
            packet.pts, packet.dts = unit.pts, unit.dts
            packet.time_base = Fraction(1, CLOCK)
            packet.is_keyframe = unit.key
            packet.stream = streams[unit.pid]
            container.mux_one(packet)
    return buffer.getvalue()


def _rows(data: bytes | bytearray) -> npt.NDArray[np.uint8]:
    if not data or len(data) % PACKET_BYTES:
        raise TsBroken(f"{len(data)} bytes are not whole packets")
    rows = np.frombuffer(data, np.uint8).reshape(-1, PACKET_BYTES)
    if (rows[:, 0] != 0x47).any():
        raise TsBroken(f"no sync byte in packet {int(np.flatnonzero(rows[:, 0] != 0x47)[0])}")
    return rows


def _pids(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    return ((rows[:, 1].astype(np.uint16) & 0x1F) << 8 | rows[:, 2]).astype(np.uint16)


def renumber(data: bytes, counters: Mapping[int, int]) -> tuple[bytes, dict[int, int]]:
    """Let the continuity counters run on from `counters` (last value per PID; a PID not in it starts at 0).

    A player that reads pieces one after the other otherwise takes the last picture of each for damaged. Where
    an elementary stream's counter starts at 0, its first packet says so by its discontinuity indicator.
    Returns the new bytes and the counters at their end, those of PIDs not in this piece kept.
    """
    out = bytearray(data)
    rows = _rows(out)
    pids = _pids(rows)
    ends = dict(counters)
    for pid in np.unique(pids).tolist():
        of_pid = np.flatnonzero(pids == pid)
        fourth = rows[of_pid, 3]
        counted = np.cumsum(fourth >> 4 & 1, dtype=np.int64)  # only packets with payload count
        values = (counters.get(pid, -1) + counted) & 15
        rows[of_pid, 3] = (fourth & 0xF0) | values.astype(np.uint8)
        ends[pid] = int(values[-1])
        first = rows[of_pid[0]]
        if pid in _CODECS and pid not in counters and first[3] & 0x20 and first[4]:
            first[5] |= 0x80
    return bytes(out), ends


def inspect(data: bytes, counters: Mapping[int, int]) -> dict[int, PidContent]:
    """Read every packet: sync, no error flag, continuity from `counters` on; count what each PID carries.

    Only PIDs of elementary streams are returned. Raises TsBroken.
    """
    rows = _rows(data)
    pids = _pids(rows)
    if (rows[:, 1] & 0x80).any():
        raise TsBroken("a packet has its error flag set")
    content: dict[int, PidContent] = {}
    for pid in np.unique(pids).tolist():
        of_pid = rows[pids == pid]
        payload = of_pid[(of_pid[:, 3] & 0x10) != 0]
        expected = (counters.get(pid, -1) + 1 + np.arange(len(payload))) & 15
        if (payload[:, 3] & 15 != expected).any():
            where = int(np.flatnonzero(payload[:, 3] & 15 != expected)[0])
            raise TsBroken(f"continuity of PID {pid:#x} breaks at its payload {where}")
        if pid in _CODECS:
            content[pid] = _content(pid, payload)
    return content


def _content(pid: int, payload: npt.NDArray[np.uint8]) -> PidContent:
    """Count one PID's PES packets and elementary bytes; its rows all carry payload."""
    adapted = (payload[:, 3] & 0x20) != 0
    start = 4 + np.where(adapted, payload[:, 4].astype(np.int64) + 1, 0)
    first = np.flatnonzero(payload[:, 1] & 0x40)
    if (
        not len(first)
        or first[0] != 0
        or (start > PACKET_BYTES).any()
        or (start[first] > PACKET_BYTES - 14).any()
    ):
        raise TsBroken(f"PID {pid:#x} does not begin with a PES packet")
    at = start[first]
    prefix = payload[first, at], payload[first, at + 1], payload[first, at + 2]
    if prefix[0].any() or prefix[1].any() or (prefix[2] != 1).any():
        raise TsBroken(f"PID {pid:#x} has a PES packet without start code")
    headers = 9 + payload[first, at + 8].astype(np.int64)
    es_bytes = int((PACKET_BYTES - start).sum() - headers.sum())
    head = bytes(payload[0, int(at[0]) :])
    if not head[7] & 0x80:
        raise TsBroken(f"PID {pid:#x} begins without a pts")
    pts = (head[9] >> 1 & 7) << 30 | head[10] << 22 | head[11] >> 1 << 15 | head[12] << 7 | head[13] >> 1
    return PidContent(len(first), es_bytes, pts)


def check(data: bytes, units: Sequence[TsUnit], counters: Mapping[int, int]) -> None:
    """Compare a transport stream with the units it was made of. Raises TsBroken at the first difference."""
    seen = inspect(data, counters)
    meant: dict[int, PidContent] = {}
    for unit in units:
        of_pid = meant.setdefault(unit.pid, PidContent(first_pts=unit.pts % WRAP))
        of_pid.pes += 1
        of_pid.es_bytes += len(unit.data)
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
    rows = _rows(data)
    pids = _pids(rows)
    longest = 0
    for pid in _CODECS:
        starts = np.flatnonzero(rows[pids == pid, 1] & 0x40)
        ends = np.append(starts[1:], int((pids == pid).sum()))
        if len(starts):
            longest = max(longest, int((ends - starts).max()) * (PACKET_BYTES - 4))
    return longest


def check_by_demuxing(data: bytes, units: Sequence[TsUnit]) -> None:
    """Have FFmpeg take the stream apart and compare bytes and pts per PID. Raises TsBroken."""
    seen: dict[int, list[tuple[int, bytes]]] = {}
    with av.open(io.BytesIO(data), "r", format="mpegts", options=demux_options(data)) as container:
        for packet in container.demux():
            if packet.size == 0:
                continue
            if packet.is_corrupt:
                raise TsBroken(f"FFmpeg takes a packet of PID {packet.stream.id:#x} for damaged")
            seen.setdefault(packet.stream.id, []).append((packet.pts or 0, bytes(packet)))
    for pid in {unit.pid for unit in units}:
        meant = [unit for unit in units if unit.pid == pid]
        got = seen.get(pid, [])
        if b"".join(part for _, part in got) != b"".join(unit.data for unit in meant):
            raise TsBroken(f"FFmpeg reads other bytes of PID {pid:#x}")
        if pid == VIDEO_PID and [pts % WRAP for pts, _ in got] != [unit.pts % WRAP for unit in meant]:
            raise TsBroken("FFmpeg reads other picture times")
