"""A piece of an output: packets of the journal, muxed to an MPEG transport stream and proven on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from roomtape.recording.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePiece:
    """A piece that stands under its final name, durable and checked. Times as in `PieceReady`."""

    name: str
    path: Path
    size: int
    md5: str
    sha256: str
    start_ms: int  # wall time of its beginning
    start_ns: int  # task time of its beginning
    end_ns: int  # task time of its end: the next piece's beginning, or the end of its last packet
    duration_us: int
    counters: dict[int, int]  # continuity counter per PID at its end
    packets: int
    width: int
    height: int
    channels: int
    sample_rate: int


def make_piece(
    journal: Journal,
    output: str,
    piece_no: int,
    from_ns: int,
    to_ns: int | None,
    counters: dict[int, int],
    *,
    directory: Path,
    sdk_app_id: int,
    room_in_names: str,
    clock_wall_ms: int,
    prefix: str = "",
    demux: bool = False,
) -> MadePiece | None:
    """Make piece `piece_no` of `output` from the journal packets with from_ns <= dts < to_ns.

    A pure function of those packets and `counters` (continuity counters at the end of the piece before;
    {} after a discontinuity). `to_ns` None: to the end of the journal. None if there is no packet.
    `directory`: where pieces stand; `clock_wall_ms`: wall time of task time 0; `prefix`: "" or "ha<n>_";
    `demux`: also have FFmpeg read the file. A file of the same bytes that already stands is kept.
    Raises PieceBroken when the file on the disk is not what was meant; OSError (ENOSPC) from writing.
    """
    raise NotImplementedError
