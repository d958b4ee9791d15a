"""Frames that kill their decoder: found by the deaths they cause, and left out so that the rest goes on.

Before frames are given to a codec, the range is written to a page that outlives the process. A worker that
finds the page filled knows what its predecessor died of. Two deaths in one range, and the range is decoded
frame by frame; two deaths in one frame, and the frame is left out. A worker that dies of something else
leaves an empty page, and one that is killed at random does not die twice in the same frame.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from roomtape.media.frames import PREROLL, TapFrame
from roomtape.recording import faults

PAGE_BYTES = 4096
RECORD, PAGE = "poison.json", ".work"
DEATHS = 2  # in one place before it is believed to be the cause

Range = tuple[int, int, int]  # track, first and last seq


def remove_records(directory: Path) -> None:
    """Delete what was kept of deaths; the task is over."""
    for name in (RECORD, PAGE):
        (directory / name).unlink(missing_ok=True)


class WorkPage:
    """What is being decoded right now, in a file that is mapped and never synced.

    A page the disk has no room for is kept in memory alone, and dies with the process: touching a mapped
    page without a block behind it would end the process at once (SIGBUS).
    """

    def __init__(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            self._map = mmap.mmap(-1, PAGE_BYTES)
            return
        try:
            os.posix_fallocate(fd, 0, PAGE_BYTES)
            self._map = mmap.mmap(fd, PAGE_BYTES)
        except OSError:
            self._map = mmap.mmap(-1, PAGE_BYTES)
            told = os.pread(fd, PAGE_BYTES, 0)
            self._map[: len(told)] = told
        finally:
            os.close(fd)

    def read(self) -> tuple[str, Range] | None:
        """Boot and range that were in work when the writer died."""
        text = self._map[:].split(b"\x00", 1)[0]
        if not text:
            return None
        try:
            boot_id, track, first, last = json.loads(text)
            return str(boot_id), (int(track), int(first), int(last))
        except (ValueError, TypeError):
            return None

    def enter(self, boot_id: str, work: Range) -> None:
        text = json.dumps([boot_id, *work]).encode()[: PAGE_BYTES - 1]
        self._map[1 : len(text) + 1] = text[1:] + b"\x00"
        self._map[0] = text[0]  # last: a torn entry reads as none

    def leave(self) -> None:
        self._map[0] = 0

    def close(self) -> None:
        self._map.close()


class Suspects:
    """One task's deaths by range, and what follows from them.

    `skipped`: frames left out since this object was made, as (track, seq); the owner takes them.
    """

    def __init__(self, directory: Path, boot_id: str) -> None:
        self._boot_id = boot_id
        self._record = directory / RECORD
        self._page = WorkPage(directory / PAGE)
        self._deaths: dict[Range, int] = {}
        self.skipped: list[tuple[int, int]] = []
        self._load()

    def parts(self, track: int, frames: list[TapFrame]) -> Iterator[list[TapFrame]]:
        """`frames` in portions to decode one by one, less those left out; the page is kept meanwhile."""
        if not frames:
            return
        if not self._is_suspect(track, frames):
            yield from self._one(track, frames)
            return
        for frame in frames:
            if self._deaths.get((track, frame.seq, frame.seq), 0) >= DEATHS:
                self.skipped.append((track, frame.seq))
            else:
                yield from self._one(track, [frame])

    def close(self) -> None:
        self._page.close()

    def _one(self, track: int, frames: list[TapFrame]) -> Iterator[list[TapFrame]]:
        new = [frame for frame in frames if not frame.flags & PREROLL] or frames
        self._page.enter(self._boot_id, (track, new[0].seq, new[-1].seq))
        faults.reach("mid-decode")
        yield frames
        self._page.leave()

    def _is_suspect(self, track: int, frames: list[TapFrame]) -> bool:
        first, last = frames[0].seq, frames[-1].seq
        return any(
            deaths >= DEATHS or range_first == range_last
            for (its, range_first, range_last), deaths in self._deaths.items()
            if its == track and range_first <= last and first <= range_last
        )

    def _load(self) -> None:
        try:
            known = json.loads(self._record.read_text())
        except (OSError, ValueError):
            known = {}
        if isinstance(known, dict) and known.get("boot") == self._boot_id:
            self._deaths = {(t, a, b): n for t, a, b, n in known.get("deaths", [])}
        died = self._page.read()
        self._page.leave()
        if died is None or died[0] != self._boot_id:
            return
        self._deaths[died[1]] = self._deaths.get(died[1], 0) + 1
        row = {"boot": self._boot_id, "deaths": [[*work, n] for work, n in self._deaths.items()]}
        temporary = self._record.with_name(".tmp-poison.json")
        try:
            temporary.write_text(json.dumps(row))
            temporary.rename(self._record)
        except OSError:
            pass  # a full disk must not stop a task; the next death is counted again
