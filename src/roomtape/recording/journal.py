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
import threading
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from roomtape.recording import faults
from roomtape.recording.records import (
    BATCH,
    COUNT,
    CUT,
    END,
    ENTRY,
    HEAD,
    MAGIC,
    RECORD,
    Torn,
    behind_bad_batch,
    packets_behind,
    packets_in,
    packets_said,
    read_records,
    record_crc,
)
from roomtape.recording.reserve import Reserve
from roomtape.storage.spool import BROKEN

KEY = 1  # packet flag: a decoder may start here
DISCONTINUITY = 2  # packet flag: something is missing before this packet

_NS = 1_000_000_000
FAR_NS = 1 << 96  # after every packet
# Task time in ns, stream, flags, pts, dts, duration; first and last byte of the payload in its batch.
_Row = tuple[int, int, int, int, int, int, int, int]


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
    """A packet without its payload; `dts_ns` is task time."""

    dts_ns: int
    stream: int
    flags: int
    pts: int
    dts: int
    duration: int


class StoredBatch(NamedTuple):
    """One batch read back. A table is rows of `<IBIqqq`: stream, flags, size, pts, dts, duration."""

    table: bytes
    payloads: bytes  # one after the other
    streams: Collection[int]


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


@dataclass(slots=True)
class _Batch:
    """The packets of one batch as they lie in its file: decoded when a piece is made of them."""

    file: _File
    offset: int  # of its record
    length: int  # of the record's body
    crc: int  # of the record
    size: int  # of all payloads
    table: bytes  # of `ENTRY`
    spans: dict[int, tuple[int, int]]  # per stream: lowest and highest dts in its time base
    left_out: set[tuple[str, int]] = field(default_factory=set)  # output and beginning of pieces without it
    gone: bool = False  # it was damaged when the journal was opened; nothing of it is known


@dataclass(slots=True, eq=False)
class _File:
    """One journal file as its writer or reader knows it; `reach_ns`: highest dts of each stream in it."""

    path: Path
    epoch: int
    number: int
    length: int = 0
    reach_ns: dict[int, int] = field(default_factory=dict)


def _spans(packets: Iterable[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Per stream the lowest and the highest dts of (stream, dts)."""
    low: dict[int, int] = {}
    high: dict[int, int] = {}
    for stream, dts in packets:
        if stream not in high:
            low[stream] = high[stream] = dts
        elif dts > high[stream]:
            high[stream] = dts
        elif dts < low[stream]:
            low[stream] = dts
    return {stream: (low[stream], high[stream]) for stream in low}


def _nothing() -> None:
    """Nobody syncs by itself."""


def _name(epoch: int, number: int) -> str:
    return f"{epoch}-{number}.j"


def _write_whole(fd: int, data: bytes, keep: int) -> None:
    """Append `data` in one write(), or leave the file `keep` bytes long and raise DiskFull.

    A full disk shows itself first as a short write without an error; truncating works on a full disk.
    """
    try:
        written = os.write(fd, data)
    except OSError as error:
        os.ftruncate(fd, keep)
        raise DiskFull(error.errno, error.strerror) from error
    if written != len(data):
        os.ftruncate(fd, keep)
        raise DiskFull(errno.ENOSPC, f"short write, {written} of {len(data)} bytes")


class Journal:
    """The writer (and reader back) of one task's journal.

    `append`, `cut`, `declare`, `end`, `window` and `forget` belong to one thread; `sync` may be called
    from another.
    """

    def __init__(self, directory: Path, epoch: int) -> None:
        self.directory = directory
        self.epoch = epoch
        self.recovered: Recovered | None = None
        self.torn_bytes = 0  # cut off what earlier writers left: from a record that cannot be trusted on
        self.untrusted_packets = 0  # in whole batches behind it; their files are in `BROKEN`
        self.damaged_packets = 0  # in damaged batches between good ones, as far as they tell
        self.reserve: Reserve | None = None  # given up where a piece could not be closed without it
        self.on_write: Callable[[], None] = _nothing  # quick: called after each write that waits for a sync
        self.streams: dict[int, StreamHead] = {}
        self.outputs: dict[str, OutputHead] = {}
        self.cuts: dict[str, list[Cut]] = {}
        self._state = b"{}"  # the last checkpoint, JSON
        self._files: list[_File] = []  # oldest first; the last one is written if self._fd is open
        self._batches: list[_Batch] = []  # in the order they were written
        self._fd: int | None = None
        self._next_number = 0
        self._lock = threading.Lock()  # over _fd and _unsynced, between the writer and sync()
        self._syncing = threading.Lock()  # whoever asks for a sync while one is under way waits for it
        self._unsynced: set[Path] = set()
        self._new_names = False  # files made since the directory was last synced
        self._ended = False  # the last record is END
        self._cut_since_batch = False  # the file in work has packets of pieces that are closed now

    @classmethod
    def open(cls, directory: Path, epoch: int) -> Journal:
        """Open the task's directory for `epoch`, recovering (and truncating) what earlier writers left.

        `torn_bytes`, `untrusted_packets` and `damaged_packets` tell what that took away.

        Raises ValueError if a later epoch has written there: this writer has been replaced.
        """
        directory.mkdir(parents=True, exist_ok=True)
        journal = cls(directory, epoch)
        journal._recover()
        return journal

    @property
    def checkpoint(self) -> dict[str, Any]:
        """The one that belongs to the last batch, or to END."""
        state: dict[str, Any] = msgspec.json.decode(self._state)
        return state

    # --- writing -----------------------------------------------------------------------------------

    def declare(self, streams: Iterable[StreamHead], outputs: Iterable[OutputHead]) -> None:
        """Add or replace streams and outputs; the next record opens a new file whose HEAD names them."""
        self.streams.update((stream.id, stream) for stream in streams)
        self.outputs.update((output.key, output) for output in outputs)
        self._leave_file()

    def append(self, packets: Sequence[Packet], checkpoint: msgspec.Struct | Mapping[str, Any]) -> None:
        """Write one batch in one `write()`: survives the death of this process when it returns.

        Raises DiskFull after truncating back to the last whole batch; the caller keeps the batch and
        tries again. ValueError for a stream that was not declared.
        """
        spans = _spans((stream, dts) for stream, _, _, dts, _, _ in packets)
        for stream in spans:
            if stream not in self.streams:
                raise ValueError(f"stream {stream} was not declared")
        state = msgspec.json.encode(checkpoint)
        pack = ENTRY.pack
        table = b"".join(
            [
                pack(stream, flags, len(data), pts, dts, length)
                for stream, flags, pts, dts, length, data in packets
            ]
        )
        body = b"".join(
            [COUNT.pack(len(packets), len(state)), table, *[packet.data for packet in packets], state]
        )
        if self._cut_since_batch:
            self._leave_file()
            self._cut_since_batch = False
        crc = record_crc(BATCH, body)
        file, offset = self._write(BATCH, body, crc)
        self._ended = False
        self._state = state
        size = len(body) - COUNT.size - len(table) - len(state)
        self._note(_Batch(file, offset, len(body), crc, size, table, spans))
        faults.reach("after-journal-write")

    def cut(self, output: str, piece_no: int, at_ns: int, *, discontinuity: bool = False) -> None:
        """Piece `piece_no` of `output` begins at `at_ns`. The next batch opens a new file.

        Raises DiskFull as `append` does; then nothing was cut.
        """
        if output not in self.outputs:
            raise ValueError(f"output {output!r} was not declared")
        cut = Cut(output, piece_no, at_ns, discontinuity)
        file, _ = self._write_from_reserve(CUT, msgspec.msgpack.encode(cut))
        _put_cut(self.cuts, cut)
        self._cut_since_batch = bool(file.reach_ns)

    def end(self, checkpoint: msgspec.Struct | Mapping[str, Any]) -> None:
        """No more input for this stretch. Raises DiskFull as `append` does."""
        state = msgspec.json.encode(checkpoint)
        self._write_from_reserve(END, state)
        self._ended = True
        self._state = state

    def cut_again(self, output: str, cuts: Iterable[Cut]) -> None:
        """Say other times of cuts than before; END stays the last record. Raises DiskFull."""
        for cut in cuts:
            self.cut(output, cut.piece_no, cut.at_ns, discontinuity=cut.discontinuity)
        if self._ended:
            self.end(self.checkpoint)

    def sync(self) -> None:
        """Make all that was written survive a power cut.

        A failed fdatasync may have dropped pages, so the file is written anew from what is read back and
        checked. Raises SyncFailed if that fails too.
        """
        with self._syncing:
            paths, names = self._take_unsynced()
            try:
                while paths:
                    self._sync_file(paths[0])
                    del paths[0]
                if names:
                    _sync_directory(self.directory)
            except OSError:
                self._put_back(paths, names)
                raise

    @property
    def unsynced(self) -> int:
        """Files with records that a power cut may still take."""
        return len(self._unsynced)

    def _waiting_for_sync(self) -> frozenset[Path]:
        """Files that no sync has covered: one that is under way has not, and is waited for."""
        with self._syncing:
            return frozenset(self._unsynced)

    @contextmanager
    def synced_elsewhere(self) -> Iterator[None]:
        """For a sync of the whole file system: what waited is synced then, unless that raises OSError."""
        with self._syncing:
            paths, names = self._take_unsynced()
            try:
                yield
            except OSError:
                self._put_back(paths, names)
                raise

    def _take_unsynced(self) -> tuple[list[Path], bool]:
        """Files, and whether their names, wait for a sync; they count as synced from now on."""
        with self._lock:
            paths, self._unsynced = sorted(self._unsynced), set()
            names, self._new_names = self._new_names, False
            return paths, names

    def _put_back(self, paths: list[Path], names: bool) -> None:
        with self._lock:
            self._unsynced.update(paths)
            self._new_names = self._new_names or names

    def _sync_file(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # covered and deleted meanwhile
        try:
            _fdatasync(fd)
        except OSError as error:
            self._copy_anew(path, error)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the file in work; nothing is written."""
        self._leave_file()

    def _write_from_reserve(self, kind: int, body: bytes) -> tuple[_File, int]:
        """As `_write`, for the small records without which a piece cannot be closed on a full disk."""
        crc = record_crc(kind, body)
        try:
            return self._write(kind, body, crc)
        except DiskFull:
            if self.reserve is None or not self.reserve.give():
                raise
            return self._write(kind, body, crc)

    def _write(self, kind: int, body: bytes, crc: int) -> tuple[_File, int]:
        """Append one record, in a new file if there is none in work. Returns file and the record's offset."""
        with self._lock:
            if self._fd is None:
                self._new_file()
            assert self._fd is not None
            file = self._files[-1]
            offset = file.length
            record = RECORD.pack(kind, len(body), crc) + body
            _write_whole(self._fd, record, offset)
            file.length += len(record)
            self._unsynced.add(file.path)
        self.on_write()
        return file, offset

    def _new_file(self) -> None:
        last = self._files[-1] if self._files else None
        number = self._next_number
        head = _FileHead(
            epoch=self.epoch,
            number=number,
            streams=list(self.streams.values()),
            outputs=list(self.outputs.values()),
            cuts=[cut for cuts in self.cuts.values() for cut in cuts],
            checkpoint=self.checkpoint,
            previous=None if last is None else (last.epoch, last.number, last.length),
        )
        body = msgspec.msgpack.encode(head)
        data = MAGIC + RECORD.pack(HEAD, len(body), record_crc(HEAD, body)) + body
        path = self.directory / _name(self.epoch, number)
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise DiskFull(error.errno, error.strerror) from error
            raise
        try:
            _write_whole(fd, data, 0)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        self._fd = fd
        self._next_number = number + 1
        self._files.append(_File(path, self.epoch, number, len(data)))
        self._unsynced.add(path)
        self._new_names = True

    def _leave_file(self) -> None:
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _copy_anew(self, path: Path, cause: OSError) -> None:
        """Replace a file the disk refused to sync by a copy of its checked content."""
        with self._lock:
            try:
                data = path.read_bytes()
                good = sum(
                    1 for _ in read_records(data)
                )  # raises Torn where the content is not ours any more
                copy = path.with_name(f".tmp-{path.name}")
                fd = os.open(copy, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
                try:
                    _write_whole(fd, data, 0)
                    _fdatasync(fd)
                finally:
                    os.close(fd)
                os.rename(copy, path)
                _sync_directory(self.directory)
            except (OSError, Torn) as error:
                raise SyncFailed(cause.errno, f"{path.name}: {cause.strerror}; copy: {error}") from error
            assert good
            if self._fd is not None and self._files[-1].path == path:
                os.close(self._fd)  # it is the old inode's
                self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _note(self, batch: _Batch) -> None:
        self._batches.append(batch)
        reach_ns = batch.file.reach_ns
        for stream, (_, highest) in batch.spans.items():
            dts_ns = ticks_to_ns(highest, self.streams[stream].time_base_den)
            reach_ns[stream] = max(reach_ns.get(stream, dts_ns), dts_ns)

    # --- reading back ------------------------------------------------------------------------------

    def entries(self, output: str, from_ns: int, to_ns: int | None) -> list[Entry]:
        """The packets of `window` without their payloads."""
        found = [
            Entry(dts_ns, stream, flags, pts, dts, length)
            for batch in self._overlapping(output, from_ns, to_ns)
            for dts_ns, stream, flags, pts, dts, length, _, _ in self._rows(output, batch, from_ns, to_ns)
        ]
        found.sort(key=lambda entry: (entry.dts_ns, entry.stream, entry.dts))
        return found

    def window(self, output: str, from_ns: int, to_ns: int | None) -> list[Packet]:
        """Packets of the output's streams with from_ns <= dts < to_ns (None: to the end), by (dts, stream).

        Payloads are read from the files. Raises JournalBroken where they are not what was written.
        """
        found: list[tuple[int, int, int, Packet]] = []
        dens, until_ns, packet = self._dens(output), FAR_NS if to_ns is None else to_ns, Packet._make
        for table, payloads, _ in self._read(output, from_ns, to_ns):  # `_rows`, without its tuples
            at = 0
            for stream, flags, size, pts, dts, length in ENTRY.iter_unpack(table):
                end = at + size
                if stream in dens and from_ns <= (dts_ns := dts * _NS // dens[stream]) < until_ns:
                    made = packet((stream, flags, pts, dts, length, payloads[at:end]))
                    found.append((dts_ns, stream, dts, made))
                at = end
        found.sort(key=itemgetter(0, 1, 2))
        return [row[3] for row in found]

    def batches(self, output: str, from_ns: int, to_ns: int | None) -> list[StoredBatch]:
        """Each batch that has packets of `window`, and of others, in the order they were written.

        Raises JournalBroken as `window` does.
        """
        return [StoredBatch._make(read) for read in self._read(output, from_ns, to_ns)]

    def leave_out(self, output: str, from_ns: int, to_ns: int | None) -> int:
        """From now on `window` is without the batches that cannot be read back.

        Without the pictures, too, that refer to one of them: those up to the next key picture. Returns how
        many packets that is.
        """
        before = len(self.entries(output, from_ns, to_ns))
        with ExitStack() as opened:
            read = self._reader(opened)
            for batch in self._overlapping(output, from_ns, to_ns):
                try:
                    read(batch)
                except JournalBroken:
                    batch.left_out.add((output, from_ns))
        return before - len(self.window(output, from_ns, to_ns))

    def _dens(self, output: str) -> dict[int, int]:
        streams = self.outputs[output].streams
        return {stream: self.streams[stream].time_base_den for stream in streams if stream in self.streams}

    def _overlapping(
        self, output: str, from_ns: int, to_ns: int | None, *, gone: bool = False
    ) -> list[_Batch]:
        """Batches with packets of `window`; `gone`: and all of which nobody knows whether they had some."""
        dens = self._dens(output)
        until_ns = FAR_NS if to_ns is None else to_ns
        return [
            batch
            for batch in self._batches
            if (gone and batch.gone)
            or any(
                ticks_to_ns(lowest, dens[stream]) < until_ns and ticks_to_ns(highest, dens[stream]) >= from_ns
                for stream, (lowest, highest) in batch.spans.items()
                if stream in dens
            )
        ]

    def files_of(self, output: str, from_ns: int, to_ns: int | None) -> list[Path]:
        """The files that hold packets of `window`, oldest first."""
        return list(dict.fromkeys(b.file.path for b in self._overlapping(output, from_ns, to_ns)))

    def _rows(self, output: str, batch: _Batch, from_ns: int, to_ns: int | None) -> Iterator[_Row]:
        dens = self._dens(output)
        until_ns = FAR_NS if to_ns is None else to_ns
        at = 0
        for stream, flags, size, pts, dts, length in ENTRY.iter_unpack(batch.table):
            if stream in dens and from_ns <= (dts_ns := ticks_to_ns(dts, dens[stream])) < until_ns:
                yield dts_ns, stream, flags, pts, dts, length, at, at + size
            at += size

    def _read(
        self, output: str, from_ns: int, to_ns: int | None
    ) -> Iterator[tuple[bytes, bytes, Collection[int]]]:
        """Table, payloads and streams of each batch of `window`, those apart that were left out."""
        without: set[int] = set()  # picture streams that wait for a key picture
        with ExitStack() as opened:
            read = self._reader(opened)
            for batch in self._overlapping(output, from_ns, to_ns, gone=True):
                if batch.gone or (output, from_ns) in batch.left_out:
                    streams = self._dens(output) if batch.gone else batch.spans
                    without |= {id for id in streams if self.streams[id].kind == "video"}
                    continue
                table, payloads = batch.table, read(batch)
                if without & batch.spans.keys():
                    table, payloads = _from_key(table, payloads, without)
                yield table, payloads, batch.spans.keys()

    def _reader(self, opened: ExitStack) -> Callable[[_Batch], bytes]:
        """Reads the payloads of a batch; files stay open as long as `opened`.

        Raises JournalBroken where the file does not hold the record that was written: a medium may forget
        what it has taken, and the checksum is the only one to see it.
        """
        fds: dict[Path, int] = {}

        def read(batch: _Batch) -> bytes:
            path = batch.file.path
            length = RECORD.size + batch.length
            try:
                if path not in fds:
                    fds[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    opened.callback(os.close, fds[path])
                record = os.pread(fds[path], length, batch.offset)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EIO):
                    raise
                raise JournalBroken(f"{path.name}: {error.strerror}") from error
            if len(record) != length:
                raise JournalBroken(f"{path.name} ends before byte {batch.offset + length}")
            if record_crc(BATCH, record[RECORD.size :]) != batch.crc:
                raise JournalBroken(f"{path.name}: other bytes than were written, from byte {batch.offset}")
            first = RECORD.size + COUNT.size + len(batch.table)
            return record[first : first + batch.size]

        return read

    def forget(self, covered_until_ns: dict[str, int]) -> list[Path]:
        """Delete whole files of which each packet is before `covered_until_ns` in every output it is in.

        `covered_until_ns`: per output, the task time up to which committed pieces hold its packets. The
        newest file carries the checkpoint; before it goes a new one is begun. Returns what was deleted.
        """
        covered: dict[int, int] = {}
        for output in self.outputs.values():
            until = covered_until_ns.get(output.key, -(1 << 62))
            for stream in output.streams:
                covered[stream] = min(covered.get(stream, until), until)

        def is_covered(file: _File) -> bool:
            return all(reach < covered.get(stream, 1 << 62) for stream, reach in file.reach_ns.items())

        if self._files and self._files[-1].reach_ns and not self._ended and is_covered(self._files[-1]):
            self._begin_after_all()
        deleted: list[Path] = []
        # What stays must outlive what goes: the newest file says all that the deleted ones said, and a file
        # lost in its tail is known by the one after it.
        gone = [file for file in self._files[:-1] if is_covered(file)]
        waiting = self._waiting_for_sync() if gone else frozenset()
        unsynced = bool(self._files) and self._files[-1].path in waiting
        for file in self._files[:-1]:
            if file in gone:
                if unsynced:
                    self.sync()
                    unsynced = False
                faults.reach("before-delete")
                file.path.unlink(missing_ok=True)
                deleted.append(file.path)
            else:
                unsynced = unsynced or file.path in waiting
        if gone:
            self._files = [file for file in self._files if file not in gone]
            self._batches = [batch for batch in self._batches if batch.file not in gone]
        for key, cuts in self.cuts.items():  # the cut that begins the first piece not covered stays
            end = covered_until_ns.get(key)
            while end is not None and len(cuts) > 1 and cuts[1].at_ns <= end:
                del cuts[0]
        return deleted

    def _begin_after_all(self) -> None:
        """Let a new file without packets carry the state, so that the newest one with packets may go."""
        self._leave_file()
        try:
            with self._lock:
                self._new_file()
        except DiskFull:
            if self.reserve is None or not self.reserve.give():
                return
            with self._lock:
                self._new_file()
        self._cut_since_batch = False
        self.sync()

    # --- recovery ----------------------------------------------------------------------------------

    def _recover(self) -> None:
        found = sorted(
            ((int(path.stem.split("-")[0]), int(path.stem.split("-")[1])), path)
            for path in self.directory.glob("*.j")
            if not path.name.startswith(".")
        )
        for copy in self.directory.glob(".tmp-*.j"):
            copy.unlink()
        if not found:
            return
        recovered = Recovered(last_epoch=found[-1][0][0])
        if recovered.last_epoch > self.epoch:
            raise ValueError(f"epoch {recovered.last_epoch} has written here, this is {self.epoch}")
        self._next_number = max((key[1] + 1 for key, _ in found if key[0] == self.epoch), default=0)
        torn = False
        for n, ((epoch, number), path) in enumerate(found):
            if torn:  # what follows a tear is not trusted, even if it is valid
                data = path.read_bytes()
                self._mistrust(path, data, packets_in(data, len(MAGIC)), len(data))
                path.unlink()
            else:
                after = found[n + 1][1] if n + 1 < len(found) else None
                torn = not self._read_file(_File(path, epoch, number), recovered, after)
        _sync_directory(self.directory)
        recovered.streams = dict(self.streams)
        recovered.outputs = dict(self.outputs)
        recovered.cuts = {key: list(cuts) for key, cuts in self.cuts.items()}
        recovered.checkpoint = self.checkpoint
        self._ended = recovered.ended
        recovered.packets = sum(len(batch.table) // ENTRY.size for batch in self._batches)
        if self._files:
            self.recovered = recovered

    def _read_file(self, file: _File, recovered: Recovered, after: Path | None) -> bool:
        """Take in one file up to its first bad record and truncate it there. False if it was torn.

        A bad batch between good records is left out instead: the checkpoint of the next one is whole.
        """
        data = file.path.read_bytes()
        whole = True
        untold: bool | None = None  # whether nobody has told of the damage in it
        end = 0
        while True:
            try:
                for kind, offset, body in read_records(data, end):
                    if kind == HEAD:
                        if not self._take_head(body):
                            raise Torn(0)
                        recovered.ended = False
                    elif kind == BATCH:
                        self._take_batch(file, offset, body, RECORD.unpack_from(data, offset)[2])
                        recovered.ended = False
                    elif kind == CUT:
                        _put_cut(self.cuts, msgspec.msgpack.decode(body, type=Cut))
                    elif kind == END:
                        self._state = body
                        recovered.ended = True
                    end = offset + RECORD.size + len(body)
                break
            except Torn:
                behind = behind_bad_batch(data, end, (file.epoch, file.number, len(data)), after)
                if behind == 0:
                    whole = False
                    self._mistrust(file.path, data, packets_behind(data, end), len(data) - end)
                    break
                untold = self._keep_aside(file.path, data) if untold is None else untold
                if untold:
                    self.damaged_packets += packets_said(data, end)
                self._batches.append(_Batch(file, end, 0, 0, 0, b"", {}, gone=True))
                end = behind
        if end == 0:
            file.path.unlink()
            return whole
        if not whole:
            fd = os.open(file.path, os.O_WRONLY)
            try:
                os.ftruncate(fd, end)
                _fdatasync(fd)
            finally:
                os.close(fd)
        file.length = end
        self._files.append(file)
        self._unsynced.add(file.path)  # its writer may have died before it could sync
        return whole

    def _mistrust(self, path: Path, data: bytes, packets: int, torn_bytes: int) -> None:
        """Count what is cut off a file, and keep the file for an operator if whole batches are in that.

        A write that the power cut short has none behind it; a medium that forgot a byte has.
        """
        self.torn_bytes += torn_bytes
        self.untrusted_packets += packets
        if packets:
            self._keep_aside(path, data)

    def _keep_aside(self, path: Path, data: bytes) -> bool:
        """Copy a file to `BROKEN`. False if an opening before this one has done that, and told of it."""
        aside = self.directory / BROKEN / path.name
        with suppress(OSError):
            if aside.exists() and aside.read_bytes() == data:
                return False
            aside.parent.mkdir(exist_ok=True)
            aside.write_bytes(data)
        return True

    def _take_head(self, body: bytes) -> bool:
        """Take a file's HEAD; False if the file before it is shorter than it was when this one began."""
        head = msgspec.msgpack.decode(body, type=_FileHead)
        if head.previous is not None and self._files:
            last = self._files[-1]
            if (last.epoch, last.number) == head.previous[:2] and last.length < head.previous[2]:
                return False
        self.streams.update((stream.id, stream) for stream in head.streams)
        self.outputs.update((output.key, output) for output in head.outputs)
        for cut in head.cuts:
            _put_cut(self.cuts, cut)
        self._state = msgspec.json.encode(head.checkpoint)
        return True

    def _take_batch(self, file: _File, offset: int, body: bytes, crc: int) -> None:
        count, state_size = COUNT.unpack_from(body)
        end = COUNT.size + count * ENTRY.size
        table = body[COUNT.size : end]
        spans = _spans((stream, dts) for stream, _, _, _, dts, _ in ENTRY.iter_unpack(table))
        size = len(body) - end - state_size
        self._note(_Batch(file, offset, len(body), crc, size, table, spans))
        self._state = body[len(body) - state_size :]


def _from_key(table: bytes, payloads: bytes, without: set[int]) -> tuple[bytes, bytes]:
    """A batch without the packets of streams that wait for a key picture; one that has it waits no more."""
    rows, kept, at = [], [], 0
    for row in ENTRY.iter_unpack(table):
        stream, flags, size = row[:3]
        if flags & KEY:
            without.discard(stream)
        if stream not in without:
            rows.append(ENTRY.pack(*row))
            kept.append(payloads[at : at + size])
        at += size
    return b"".join(rows), b"".join(kept)


def _put_cut(cuts: dict[str, list[Cut]], cut: Cut) -> None:
    """Keep cuts in the order of their numbers; a cut said again replaces the earlier one."""
    row = cuts.setdefault(cut.output, [])
    place = bisect_left(row, cut.piece_no, key=lambda c: c.piece_no)
    if place < len(row) and row[place].piece_no == cut.piece_no:
        row[place] = cut
    else:
        row.insert(place, cut)


def _fdatasync(fd: int) -> None:
    os.fdatasync(fd)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
