"""MP4 and AAC files of one user's medium, made from its committed pieces after the task's end.

Sound and picture of a user come together here even when they were recorded apart. The file keeps real time:

* a hole of one medium while the other goes on, or of both for at most MaxIdleTime, is filled: sound by
  silence, the picture by a longer last duration (FillType 0) or by black, one picture a second (FillType 1);
* both gone for longer: the recording goes on in the next file;
* a file is also split at the first key picture after its longest duration or `MAX_FILE_BYTES`, at a change
  of the sound's configuration, and at a change of picture size if `mp4_on_resize` is "split".

The sound packet before a file's first one (the coder's priming, or the frame before a split) is written
before it; the muxer turns it into an edit list, so that decoding starts clean.

Source: API docs > On-cloud Recording (647/45169), read 2026-11; ISO/IEC 14496-12, 8.6.6 (edit lists).
"""

from __future__ import annotations

import glob
import hashlib
import heapq
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import av

from roomtape.control.messages import FileReady, Finalise, FinalPiece
from roomtape.media import adts, h264, ts
from roomtape.media.aac_coder import silent_frame
from roomtape.media.fill import black_idr
from roomtape.media.mp4 import Mp4Broken, Mp4Writer
from roomtape.recording import faults, names
from roomtape.recording.pieces import sync_path

MAX_FILE_BYTES = 1_900_000_000  # 2 GB less the longest group of pictures that may still follow
_NS = 1_000_000_000
_MS = 1_000_000
_BLACK_EVERY_NS = _NS
_MAX_KEPT_PICTURES = 2000  # a minute at 30 a second, the longest a group of pictures lasts
_MAX_BLACK_PIXELS = 4096 * 4096  # a larger picture is made by nobody, but may be claimed
_NO_KEY_NS = 70 * _NS  # a recorded picture track has a key picture at least every 60 s
_HOLE_NS = 60 * _MS  # pieces that follow within two pictures of 30 a second leave no hole


class FinaliseFailed(Exception):
    """The pieces cannot be read, or the finished file does not hold them."""


class Unit(NamedTuple):
    """One access unit: task time in its medium's clock (picture 90 kHz, sound its sample rate)."""

    at_ns: int  # dts, for the order of the two media
    kind: str  # "audio" or "video"
    pts: int
    dts: int
    key: bool
    data: bytes  # Annex B without delimiter, or a raw AAC frame
    config: adts.AacConfig | None = None
    priming: bytes = b""  # what the coder put out before this frame


@dataclass(slots=True)
class Section:
    """A stretch of the recording without a hole that is longer than MaxIdleTime."""

    pieces: list[FinalPiece] = field(default_factory=list)
    end_ns: int = 0


def finalise(job: Finalise) -> Iterator[FileReady]:
    """Make the files of `job` one after the other; each stands durable and checked when it is yielded.

    May be run again at any time: equal pieces give equal files. The first file of several is yielded when
    the second begins, since only then it is known to carry an index. Raises FinaliseFailed, OSError.
    """
    files = _Files(job)
    try:
        for section in sections(job.pieces, job.max_idle_ms * _MS):
            for unit in files.section(section):
                yield from files.take(unit)
            yield from files.leave()
        yield from files.finish()
    except av.FFmpegError as error:
        raise FinaliseFailed(f"{job.base_name}: {error}") from error
    finally:
        files.abandon()


def sections(pieces: Iterable[FinalPiece], max_idle_ns: int) -> list[Section]:
    """Pieces of all outputs of the user's medium, parted where nothing came for over `max_idle_ns`."""
    found: list[Section] = []
    for piece in sorted(pieces, key=lambda p: (p.start_ns, p.type, p.piece_no)):
        if not found or piece.start_ns - found[-1].end_ns > max_idle_ns:
            found.append(Section(end_ns=piece.start_ns))
        found[-1].pieces.append(piece)
        found[-1].end_ns = max(found[-1].end_ns, piece.start_ns + piece.duration_us * 1000)
    return found


# --- pieces to units ------------------------------------------------------------------------------


class _Pieces:
    """Reads pieces; keeps the last two, since sound and picture of one piece are asked for in turn."""

    def __init__(self) -> None:
        self._read: dict[str, dict[str, list[Unit]]] = {}

    def units(self, piece: FinalPiece, kind: str) -> list[Unit]:
        """Units of "audio" or "video" in the order of the file. Raises FinaliseFailed, OSError."""
        found = self._read.get(piece.path)
        if found is None:
            found = read_piece(piece)
            if len(self._read) == 2:
                del self._read[next(iter(self._read))]
            self._read[piece.path] = found
        return found[kind]


def read_piece(piece: FinalPiece) -> dict[str, list[Unit]]:
    """Units per kind of one piece, with task times. Raises FinaliseFailed, OSError."""
    data = Path(piece.path).read_bytes()
    if piece.sha256 and hashlib.sha256(data).hexdigest() != piece.sha256:
        raise FinaliseFailed(f"{piece.path}: other bytes than were committed")
    near = ts.to_clock(piece.start_ns, _NS)
    found: dict[str, list[Unit]] = {"audio": [], "video": []}
    try:
        options = ts.demux_options(data)
        with av.open(io.BytesIO(data), "r", format="mpegts", options=options) as container:
            for packet in container.demux():
                if not packet.size:
                    continue
                if packet.is_corrupt or packet.pts is None:
                    raise FinaliseFailed(f"{piece.path}: a damaged packet")
                pts = _unwrap(packet.pts, near)
                if packet.stream.id == ts.AUDIO_PID:
                    found["audio"] += _sound_units(bytes(packet), pts)
                elif packet.stream.id == ts.VIDEO_PID:
                    dts = pts if packet.dts is None else _unwrap(packet.dts, near)
                    found["video"].append(_picture_unit(bytes(packet), pts, dts))
    except (av.FFmpegError, adts.BadAac, ts.TsBroken) as error:
        raise FinaliseFailed(f"{piece.path}: {error}") from error
    if piece.priming and found["audio"]:
        found["audio"][0] = found["audio"][0]._replace(priming=piece.priming)
    return found


def _unwrap(value: int, near: int) -> int:
    """A 33-bit time as the one nearest to `near`, on the task's time line (without the stream's origin)."""
    half = ts.WRAP // 2
    return near + (value - near + half) % ts.WRAP - half - ts.ORIGIN


def _sound_units(data: bytes, pts_90k: int) -> Iterator[Unit]:
    sample: int | None = None
    for config, frame in adts.split(data):
        if sample is None:  # the transport stream rounded down, its clock is the finer one
            sample = -(-pts_90k * config.sample_rate // ts.CLOCK)
        yield Unit(sample * _NS // config.sample_rate, "audio", sample, sample, True, frame, config)
        sample += adts.FRAME_SAMPLES


def _picture_unit(data: bytes, pts: int, dts: int) -> Unit:
    data = data.removeprefix(ts.ACCESS_UNIT_DELIMITER)
    return Unit(dts * _NS // ts.CLOCK, "video", pts, dts, h264.is_key(data), data)


class _SectionReader:
    """One section as units in the order of time, holes filled, and what of it is still to come."""

    def __init__(self, section: Section, fill_type: int, kinds: frozenset[str], whole_frames: bool) -> None:
        self._read = _Pieces()
        self._fill_type = fill_type
        self._whole_frames = whole_frames
        self._of_kind = {
            kind: sorted(
                (piece for piece in section.pieces if piece.type in (kind, "audiovideo")),
                key=lambda piece: piece.piece_no,
            )
            for kind in kinds
        }

    def __iter__(self) -> Iterator[Unit]:
        rows = []
        if "audio" in self._of_kind:
            rows.append(_fill_sound(self._units("audio"), self._whole_frames))
        if "video" in self._of_kind:
            rows.append(_fill_picture(self._units("video"), self._of_kind["video"], self._fill_type))
        return heapq.merge(*rows, key=lambda unit: (unit.at_ns, unit.kind))

    def _units(self, kind: str) -> Iterator[Unit]:
        for piece in self._of_kind[kind]:
            yield from self._read.units(piece, kind)

    def next_key(self, kind: str, from_ns: int) -> Unit | None:
        """The first unit of the kind, for pictures the first key picture, at or after a task time."""
        ahead = _Pieces()
        for piece in self._of_kind.get(kind, ()):
            if piece.start_ns + piece.duration_us * 1000 + _NS < from_ns:
                continue
            for unit in ahead.units(piece, kind):
                if unit.at_ns >= from_ns and _can_begin(unit):
                    return unit
        return None


def _fill_sound(units: Iterator[Unit], whole_frames: bool) -> Iterator[Unit]:
    """Put silence where sound is missing, in frames, to the nearest; the times of real frames stay.

    `whole_frames`: the file has no times, so that what a hole was filled too much or too little is made
    good at the next one.
    """
    last: Unit | None = None
    first = frames = 0
    for unit in units:
        config = unit.config
        assert config is not None
        if last is None or last.config != config:
            first, frames = unit.pts, 0
        elif unit.pts <= last.pts:
            continue  # said twice, at a seam of two stretches
        else:
            end = last.pts + adts.FRAME_SAMPLES
            missing = (unit.pts - end + adts.FRAME_SAMPLES // 2) // adts.FRAME_SAMPLES
            if missing > 0 and config.channels <= 2:
                if whole_frames:
                    missing = (unit.pts - first + adts.FRAME_SAMPLES // 2) // adts.FRAME_SAMPLES - frames
                silence = silent_frame(config.sample_rate, config.channels)
                for sample in range(end, end + missing * adts.FRAME_SAMPLES, adts.FRAME_SAMPLES):
                    at_ns = sample * _NS // config.sample_rate
                    yield Unit(at_ns, "audio", sample, sample, True, silence, config)
                    frames += 1
        yield unit
        last = unit
        frames += 1


def _fill_picture(units: Iterator[Unit], pieces: list[FinalPiece], fill_type: int) -> Iterator[Unit]:
    """FillType 1: black between pieces that do not follow each other. Otherwise the last picture lasts."""
    holes = [
        (before.start_ns + before.duration_us * 1000, after.start_ns)
        for before, after in pairwise(pieces)
        if after.start_ns - before.start_ns - before.duration_us * 1000 > _HOLE_NS
    ]
    size: tuple[int, int] | None = None
    after_black = False  # only a key picture can follow it
    last = -1 << 62
    for unit in units:
        while holes and holes[0][1] <= unit.at_ns + _HOLE_NS:
            begin, end = holes.pop(0)
            if fill_type == 1 and size is not None and size[0] * size[1] <= _MAX_BLACK_PIXELS:
                for at_ns in range(begin, end - _HOLE_NS, _BLACK_EVERY_NS):
                    last = max(at_ns * ts.CLOCK // _NS, last + 1)
                    after_black = True
                    yield Unit(at_ns, "video", last, last, True, black_idr(*size))
        if unit.dts <= last or (after_black and not unit.key):
            continue
        if unit.key:
            size = h264.size(unit.data) or size
            after_black = False
        last = unit.dts
        yield unit


# --- units to files -------------------------------------------------------------------------------


class _Sink(Protocol):
    def write(self, kind: str, pts: int, dts: int, duration: int, key: bool, data: bytes) -> None: ...

    def close(self) -> None: ...

    def check(self, path: Path) -> None: ...


class _AacSink:
    """An .aac file: ADTS frames one after the other, without times."""

    def __init__(self, file: BinaryIO, config: adts.AacConfig) -> None:
        self._file, self._config = file, config

    def write(self, kind: str, pts: int, dts: int, duration: int, key: bool, data: bytes) -> None:
        self._file.write(self._config.header(len(data)) + data)

    def close(self) -> None:
        return

    def check(self, path: Path) -> None:
        with av.open(str(path), "r", format="aac", options={"fflags": "+noparse+nofillin"}) as container:
            bytes_read = sum(packet.size for packet in container.demux())
        if bytes_read != path.stat().st_size:
            raise Mp4Broken(f"{path.name}: {bytes_read} bytes of AAC can be read")


@dataclass(slots=True)
class _File:
    """A file in work; `zero_ns` and `end_ns` are its beginning and end on the task's time line."""

    temporary: Path
    handle: BinaryIO
    sink: _Sink
    zero_ns: int
    end_ns: int
    config: adts.AacConfig | None
    size: tuple[int, int] | None
    has_picture_track: bool
    kinds: set[str] = field(default_factory=set)  # that were written
    last_dts: int | None = None  # of the picture
    tick: int = ts.CLOCK // 30  # distance of the last two pictures
    written: int = 0

    def write(self, unit: Unit) -> None:
        """Append a unit; pictures before the first key picture cannot be decoded and are left out."""
        if unit.kind == "video":
            if not self.has_picture_track or ("video" not in self.kinds and not _can_begin(unit)):
                return
            if self.last_dts is not None:
                self.tick = max(1, min(unit.dts - self.last_dts, ts.CLOCK))
            self.last_dts = unit.dts
            clock, duration = ts.CLOCK, self.tick
        else:
            assert unit.config is not None
            clock, duration = unit.config.sample_rate, adts.FRAME_SAMPLES
        zero = (self.zero_ns * clock + _NS // 2) // _NS
        self.sink.write(unit.kind, unit.pts - zero, unit.dts - zero, duration, unit.key, unit.data)
        self.kinds.add(unit.kind)
        self.written += len(unit.data)
        self.end_ns = max(self.end_ns, (unit.pts + duration) * _NS // clock)


@dataclass(frozen=True, slots=True)
class _Finished:
    """A checked file under its temporary name."""

    temporary: Path
    track_type: str
    size: int
    md5: str
    sha256: str
    zero_ns: int
    end_ns: int


class _Files:
    """Spreads units over files by the splitting rules and gives finished files their names."""

    def __init__(self, job: Finalise) -> None:
        self._job = job
        self._directory = Path(job.out_dir)
        self._directory.mkdir(parents=True, exist_ok=True)
        for leftover in self._directory.glob(f".tmp-{glob.escape(job.base_name)}-*.{job.kind}"):
            leftover.unlink()
        sizes = ((piece.width, piece.height) for piece in job.pieces)
        self._largest = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
        first = min(job.pieces, key=lambda piece: piece.start_ns, default=None)
        self._wall_ms = 0 if first is None else first.start_ms - first.start_ns // _MS
        self._section: _SectionReader | None = None
        self._file: _File | None = None
        self._held: _Finished | None = None  # waits until it is known whether it is the only one
        self._index = 0
        self._pictures: list[Unit] = []  # since the last key picture, while they are few enough
        self._before: Unit | None = None  # the sound before this one: after a split it primes the decoder

    def section(self, section: Section) -> Iterator[Unit]:
        """Begin a stretch; what was before it is closed. Returns its units, to be given to `take`."""
        kinds = frozenset({"audio"} if self._job.kind == "aac" else {"audio", "video"})
        self._section = _SectionReader(section, self._job.fill_type, kinds, self._job.kind == "aac")
        self._before = None
        self._pictures = []
        return iter(self._section)

    def take(self, unit: Unit) -> Iterator[FileReady]:
        """Write one unit, beginning a new file where one is due."""
        if self._file is not None and self._is_due(self._file, unit):
            yield from self.leave()
        if self._file is None:
            if not _can_begin(unit):
                return
            self._file = self._begin(unit)
        if unit.kind == "video":
            self._remember_picture(unit)
        if unit.kind == "audio":
            if "audio" not in self._file.kinds:
                self._prime(self._file, unit)
            self._before = unit
        self._file.write(unit)

    def leave(self) -> Iterator[FileReady]:
        """Close the file in work, check it, and publish the one before it."""
        if self._file is None:
            return
        finished = self._close(self._file)
        self._file = None
        if self._held is not None:
            yield self._publish(self._held, split=True)
        self._held = finished

    def finish(self) -> Iterator[FileReady]:
        """Publish the last file."""
        if self._held is not None:
            yield self._publish(self._held, split=self._index > 0)
            self._held = None

    def abandon(self) -> None:
        """Give up what is not finished: its room may be what is missing."""
        if self._file is not None:
            with suppress(OSError, av.FFmpegError):
                self._file.sink.close()
            with suppress(OSError):  # what the file still holds cannot be written
                self._file.handle.close()
            self._file.temporary.unlink(missing_ok=True)
        if self._held is not None:
            self._held.temporary.unlink(missing_ok=True)

    def _is_due(self, file: _File, unit: Unit) -> bool:
        if unit.kind == "audio" and file.config is not None and unit.config != file.config:
            return True
        picture = unit.kind == "video"
        if picture and unit.key and self._job.mp4_on_resize == "split":
            size = h264.size(unit.data)
            if size is not None and file.size is not None and size != file.size:
                return True
        limit_ns = self._job.max_file_ms * _MS or 1 << 62
        full = unit.at_ns - file.zero_ns >= limit_ns or file.written >= MAX_FILE_BYTES
        if not full or not _can_begin(unit):
            return False
        # A file with pictures waits for a key picture, unless there are no pictures any more.
        return picture or not file.has_picture_track or self._pictures_gone(file, unit)

    def _pictures_gone(self, file: _File, unit: Unit) -> bool:
        last_ns = file.zero_ns if file.last_dts is None else file.last_dts * _NS // ts.CLOCK
        return unit.at_ns - last_ns > _NO_KEY_NS

    def _remember_picture(self, unit: Unit) -> None:
        if _can_begin(unit):
            self._pictures = []
        elif not self._pictures:
            return  # its key picture was forgotten
        self._pictures.append(unit)
        if len(self._pictures) > _MAX_KEPT_PICTURES:
            self._pictures = []

    def _begin(self, unit: Unit) -> _File:
        """Open a file that begins at `unit`, described by what is to come of both media.

        A file that begins with sound in the middle of a group of pictures gets that group first, before its
        time 0, so that no picture is lost and a picture that lasts goes on lasting.
        """
        assert self._section is not None
        zero = unit.pts * _NS // (ts.CLOCK if unit.kind == "video" else _rate(unit))
        pictures = self._pictures if unit.kind == "audio" and self._job.kind == "mp4" else []
        if unit.kind == "video":
            picture: Unit | None = unit
        else:
            picture = pictures[0] if pictures else self._section.next_key("video", unit.at_ns)
        sound = unit if unit.kind == "audio" else self._section.next_key("audio", unit.at_ns)
        config = sound.config if sound is not None else None
        number = self._index + (self._held is not None)
        temporary = self._directory / f".tmp-{self._job.base_name}-{number}.{self._job.kind}"
        handle = temporary.open("wb")
        sink: _Sink
        if self._job.kind == "aac":
            assert config is not None
            sink = _AacSink(handle, config)
        else:
            sink = Mp4Writer(
                handle, key_picture=picture.data if picture else None, size=self._largest, sound=config
            )
        size = h264.size(picture.data) if picture else None
        file = _File(temporary, handle, sink, zero, zero, config, size, picture is not None)
        if pictures:
            zero_ticks = zero * ts.CLOCK // _NS
            held = zero_ticks - pictures[-1].pts > ts.CLOCK  # it lasts: shown from the beginning
            shift = zero_ticks - pictures[-1].pts if held else 0
            for earlier in pictures:
                file.write(earlier._replace(pts=earlier.pts + shift, dts=earlier.dts + shift))
        return file

    def _prime(self, file: _File, unit: Unit) -> None:
        """Write the frame before the file's first sound, so that its decoder starts as if in mid-sound."""
        if self._job.kind == "aac":
            return
        at = unit.pts - adts.FRAME_SAMPLES
        before = self._before
        if before is not None and before.pts == at and before.config == unit.config:
            data = before.data
        else:
            data = unit.priming
        if data:
            file.write(unit._replace(pts=at, dts=at, data=data))

    def _close(self, file: _File) -> _Finished:
        faults.reach("mid-finalise")
        file.sink.close()
        file.handle.flush()
        os.fdatasync(file.handle.fileno())
        file.handle.close()
        try:
            file.sink.check(file.temporary)
        except (Mp4Broken, av.FFmpegError) as error:
            raise FinaliseFailed(f"{file.temporary.name}: {error}") from error
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        with file.temporary.open("rb") as handle:
            while block := handle.read(1 << 20):
                md5.update(block)
                sha256.update(block)
        return _Finished(
            temporary=file.temporary,
            track_type="audio_video" if len(file.kinds) == 2 else next(iter(file.kinds)),
            size=file.temporary.stat().st_size,
            md5=md5.hexdigest(),
            sha256=sha256.hexdigest(),
            zero_ns=file.zero_ns,
            end_ns=file.end_ns,
        )

    def _publish(self, file: _Finished, *, split: bool) -> FileReady:
        job = self._job
        self._index += 1
        name = names.file_name(job.base_name, job.kind, self._index if split else None)
        os.rename(file.temporary, self._directory / name)
        sync_path(self._directory)
        return FileReady(
            task_id=job.task_id,
            epoch=job.epoch,
            job=job.job,
            user=job.user,
            media=job.media,
            track_type=file.track_type,
            name=name,
            index=self._index if split else 0,
            size=file.size,
            md5=file.md5,
            sha256=file.sha256,
            start_ms=self._wall_ms + file.zero_ns // _MS,
            end_ms=self._wall_ms + file.end_ns // _MS,
        )


def _can_begin(unit: Unit) -> bool:
    """Whether a decoder may start here: any sound, and a key picture with parameter sets that can be read."""
    if unit.kind == "audio":
        return True
    return unit.key and h264.parameter_sets(unit.data) is not None and h264.size(unit.data) is not None


def _rate(unit: Unit) -> int:
    assert unit.config is not None
    return unit.config.sample_rate
