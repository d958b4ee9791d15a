"""Where the pieces of one output begin. Pure: packets' times in, cuts out.

A piece runs to the first key picture at or after its target length (without a picture, or behind the
last one of a picture that went away: to the first packet), to the bound if no key picture comes, and
always to a packet that follows a discontinuity.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from operator import itemgetter
from typing import NamedTuple

ALONE_NS = 1_000_000_000  # sound that went on this long behind the last picture goes on without it

_dts_ns = itemgetter(0)


class Mark(NamedTuple):
    """One packet as cutting sees it."""

    dts_ns: int
    picture: bool
    key: bool
    discontinuity: bool


@dataclass(slots=True)
class Cutter:
    """The packets since the open piece began. Times are task times in ns."""

    piece_ns: int
    most_ns: int  # cut anyway
    marks: list[Mark] = field(default_factory=list)  # rising
    _holes: list[int] = field(default_factory=list)  # times of those that are discontinuities

    def add(self, marks: Iterable[Mark]) -> None:
        """Packets that have been written, of any order."""
        fresh = sorted(marks, key=_dts_ns)
        if not fresh:
            return
        behind = bool(self.marks) and fresh[0].dts_ns < self.marks[-1].dts_ns
        self.marks += fresh
        if behind:
            self.marks.sort(key=_dts_ns)
        self._holes += [mark.dts_ns for mark in fresh if mark.discontinuity]

    @property
    def start_ns(self) -> int | None:
        """Time of the open piece's first packet; None while it has none."""
        return self.marks[0].dts_ns if self.marks else None

    @property
    def begins_after_hole(self) -> bool:
        """Whether DISCONTINUITY stands before the open piece."""
        return self.start_ns in self._holes

    def is_after_hole(self, at_ns: int) -> bool:
        """Whether DISCONTINUITY stands before a piece that begins at `at_ns`."""
        return at_ns in self._holes

    def next_cut(self, settled_ns: int | None, *, picture: bool) -> int | None:
        """Where the open piece ends, if that is certain.

        settled_ns: no packet before this instant will come any more (None: none at all will).
        picture: whether this output's picture is still coming, and so a key picture may be waited for.
        """
        if not self.marks:
            return None
        start = self.marks[0].dts_ns
        least = start + min(self.piece_ns, self.most_ns)
        hole = any(at_ns > start for at_ns in self._holes)
        if not hole and self.marks[-1].dts_ns < least:
            return None
        before = takewhile(lambda m: m.dts_ns < start + self.piece_ns, self.marks)
        has_picture = any(mark.picture for mark in before)
        first = 0 if hole else bisect_left(self.marks, least, key=_dts_ns)
        for mark in self.marks[first:]:
            if settled_ns is not None and mark.dts_ns > settled_ns:
                return None
            if mark.dts_ns <= start:
                continue
            age = mark.dts_ns - start
            if mark.discontinuity or age >= self.most_ns:
                return mark.dts_ns
            if age >= self.piece_ns:
                if mark.picture and mark.key:
                    return mark.dts_ns
                if not has_picture and not mark.picture:
                    return mark.dts_ns
                if not picture and not mark.picture and mark.dts_ns >= self._alone_ns():
                    return mark.dts_ns
        return None

    def _alone_ns(self) -> int:
        """From here on sound is alone.

        Cut before, a piece would begin with a picture that needs one before it. Cut at once, each stop would
        leave a piece of the few packets by which sound outlasts its picture.
        """
        last = next((mark.dts_ns for mark in reversed(self.marks) if mark.picture), None)
        return 0 if last is None else last + ALONE_NS

    def drop_before(self, at_ns: int) -> None:
        """The open piece begins at `at_ns` now."""
        self.marks = self.marks[bisect_left(self.marks, at_ns, key=_dts_ns) :]
        self._holes = [hole_ns for hole_ns in self._holes if hole_ns >= at_ns]
