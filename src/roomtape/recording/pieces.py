"""A piece of an output: packets of the journal, muxed to an MPEG transport stream and proven on the disk."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from roomtape.media import adts, h264, ts
from roomtape.recording import faults, names
from roomtape.recording.journal import FAR_NS, KEY, Journal, OutputHead, Packet, StreamHead
from roomtape.storage.spool import BROKEN

_MS = 1_000_000


class PieceBroken(Exception):
    """The file on the disk is not what was meant to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePiece:
    """A piece that stands under its final name, durable and checked. Times as in `PieceReady`."""

    output: str
    piece_no: int
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
    width: int  # of its first key picture, 0 without one
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
    hole_follows: bool = False,
    demux: bool = False,
) -> MadePiece | None:
    """Make a piece of `output` from the journal's packets with from_ns <= dts < to_ns.

    None if there are no packets.

    A pure function of those packets and `counters`, the continuity counters at the end of the piece before
    ({} after a discontinuity). `to_ns` None: to the end of the journal; then, and with `hole_follows` (the
    next piece begins after a hole), the piece ends with its last packet and not at `to_ns`.
    `directory`: where pieces stand; `clock_wall_ms`: wall time of task time 0; `prefix`: "" or "ha<n>_";
    `demux`: also have FFmpeg take the file apart. The journal's reserve is given up if the disk is full, and
    taken again when there is room. A file of equal bytes under the final name is kept.
    Raises PieceBroken when the file does not hold what was meant, OSError (ENOSPC) from writing.
    """
    head = journal.outputs[output]
    batches = journal.batches(output, from_ns, to_ns)
    used = {stream for batch in batches for stream in batch.streams} & set(head.streams)
    streams = {id: journal.streams[id] for id in used}
    packed = ts.pack(
        [(batch.table, batch.payloads) for batch in batches],
        {
            id: (stream.time_base_den, aac_config(stream).empty_header if stream.kind == "audio" else None)
            for id, stream in streams.items()
        },
        from_ns,
        FAR_NS if to_ns is None else to_ns,
        counters,
    )
    if not packed.meant:
        return None
    journal.sync()  # a piece never outlives its packets: after a power cut the journal is not behind it
    faults.reach("mid-mux")
    data = packed.data
    end_ns = to_ns
    if end_ns is None or hole_follows:
        end_ns = packed.end_ns if end_ns is None else min(packed.end_ns, end_ns)
    start_ms = _wall_ms(clock_wall_ms, from_ns)
    name = names.piece_name(
        sdk_app_id, room_in_names, head.user, head.media, head.type, start_ms, prefix=prefix
    )
    path = directory / name

    def check(written: Path) -> None:
        on_disk = _check(written, packed, counters)
        if demux:
            units = to_units(journal.streams, journal.window(output, from_ns, to_ns))
            _check_by_demuxing(written.name, on_disk, units)

    reserve = journal.reserve
    try:
        write_durably(path, data, check)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or reserve is None or not reserve.give():
            raise
        write_durably(path, data, check)
    else:
        if reserve is not None:
            reserve.keep()
    width, height = (packed.key and h264.size(packed.key)) or (0, 0)
    sound = _sound(journal.streams, packed.sound, head)
    return MadePiece(
        output=output,
        piece_no=piece_no,
        name=name,
        path=path,
        size=len(data),
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(data).hexdigest(),
        start_ms=start_ms,
        start_ns=from_ns,
        end_ns=end_ns,
        duration_us=(_wall_ms(clock_wall_ms, end_ns) - start_ms) * 1000,
        counters=packed.counters,
        packets=packed.packets,
        width=width,
        height=height,
        channels=sound.channels if sound else 0,
        sample_rate=sound.sample_rate if sound else 0,
    )


def to_units(streams: dict[int, StreamHead], packets: Sequence[Packet]) -> list[ts.TsUnit]:
    """What the transport stream carries for these packets, in their order.

    What `ts.pack` does, said in Python: pieces that are taken apart again are compared with it.
    """
    used = {packet.stream: streams[packet.stream] for packet in packets}
    headers = {id: aac_config(stream).header for id, stream in used.items() if stream.kind == "audio"}
    dens = {id: stream.time_base_den for id, stream in used.items()}
    last_sound = last_picture = -1 << 62
    units = []
    unit = ts.TsUnit._make
    for stream, flags, pts, dts, _, data in packets:
        den = dens[stream]
        at = dts * ts.CLOCK // den + ts.ORIGIN
        shown = at if pts == dts else pts * ts.CLOCK // den + ts.ORIGIN
        if stream in headers:
            size = len(data)
            if not 0 < size <= adts.MAX_FRAME_BYTES:
                continue
            last_sound = at = at if at > last_sound else last_sound + 1
            row = ts.AUDIO_PID, shown if shown > at else at, at, True, headers[stream](size) + data
        else:
            if not h264.has_picture(data):
                continue
            last_picture = at = at if at > last_picture else last_picture + 1
            key = flags & KEY != 0
            row = ts.VIDEO_PID, shown if shown > at else at, at, key, ts.delimited(data)
        units.append(unit(row))
    return units


def aac_config(stream: StreamHead) -> adts.AacConfig:
    """The configuration of a sound stream: by its extradata, else AAC-LC of its rate and channels."""
    if stream.extradata:
        return adts.AacConfig.parse(stream.extradata)
    return adts.AacConfig(adts.AAC_LC, stream.sample_rate, stream.channels)


def write_durably(path: Path, data: bytes, check: Callable[[Path], None]) -> None:
    """Put `data` under `path` so that a power cut leaves all of it or nothing; equal bytes are left alone.

    `check` is given the file before it gets its name, and what it raises is raised. Raises OSError. Only a
    killed process leaves its temporary file (see `remove_leftovers`).
    """
    if path.exists() and path.read_bytes() == data:
        check(path)
        sync_path(path)
        sync_path(path.parent)
        return
    temporary = path.with_name(f".tmp-{path.name}")
    fd = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            written = os.write(fd, view)
            view = view[written:]
        os.fdatasync(fd)
        check(temporary)
    except (OSError, PieceBroken):
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    faults.reach("before-rename")
    os.rename(temporary, path)
    sync_path(path.parent)
    faults.reach("after-rename")


def set_aside(journal: Journal, output: str, from_ns: int, to_ns: int | None, spool: Path) -> str:
    """Copy the journal's files with packets of a piece to the task's `broken`, which nothing of ours deletes.

    Returns that directory's name in the spool. Raises OSError.
    """
    directory = spool / BROKEN
    directory.mkdir(exist_ok=True)
    sync_path(spool)
    for path in journal.files_of(output, from_ns, to_ns):
        try:
            data = path.read_bytes()
        except OSError:
            continue  # it is what is broken
        write_durably(directory / path.name, data, lambda _: None)
    return f"{spool.name}/{BROKEN}"


def remove_leftovers(directory: Path) -> None:
    """Delete the temporary files of writers that died; call it before the first writer of a directory."""
    for path in directory.glob(".tmp-*"):
        path.unlink(missing_ok=True)


def sync_path(path: Path) -> None:
    """fsync a file or a directory."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check(path: Path, packed: ts.Packed, counters: dict[int, int]) -> bytes:
    """Read the file back; returns what it holds. Raises PieceBroken."""
    on_disk = path.read_bytes()
    try:
        ts.check_content(on_disk, packed.meant, counters)
    except ts.TsBroken as error:
        raise PieceBroken(f"{path.name}: {error}") from error
    if on_disk != packed.data:
        raise PieceBroken(f"{path.name}: other bytes than were written")
    return on_disk


def _check_by_demuxing(name: str, on_disk: bytes, units: Sequence[ts.TsUnit]) -> None:
    """Have FFmpeg take the file apart, and compare with the journal's packets. Raises PieceBroken."""
    try:
        ts.check_by_demuxing(on_disk, units)
    except ts.TsBroken as error:
        raise PieceBroken(f"{name}: {error}") from error


def _wall_ms(clock_wall_ms: int, task_ns: int) -> int:
    return clock_wall_ms + task_ns // _MS


def _sound(streams: dict[int, StreamHead], first: int | None, head: OutputHead) -> StreamHead | None:
    """The sound of a piece, whose configuration changes only between pieces; of its output if it has none."""
    ids = head.streams if first is None else [first]
    of_output = (streams[stream] for stream in ids if stream in streams)
    return next((stream for stream in of_output if stream.kind == "audio"), None)
