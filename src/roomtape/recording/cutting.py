"""Where the pieces of one output begin. Pure: packets' times in, cuts out.

A piece runs to the first key picture at or after its target length (without a picture: to the first
packet), to the bound if no key picture comes, and always to a packet that follows a discontinuity.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import NamedTuple


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
    marks: list[Mark] = field(default_factory=list)

    def add(self, mark: Mark) -> None:
        if self.marks and mark.dts_ns < self.marks[-1].dts_ns:
            insort(self.marks, mark)
        else:
            self.marks.append(mark)

    @property
    def start_ns(self) -> int | None:
        """Time of the open piece's first packet; None while it has none."""
        return self.marks[0].dts_ns if self.marks else None

    @property
    def begins_after_hole(self) -> bool:
        """Whether DISCONTINUITY stands before the open piece."""
        start = self.start_ns
        return any(mark.discontinuity for mark in self.marks if mark.dts_ns == start)

    def next_cut(self, settled_ns: int | None, *, picture: bool) -> int | None:
        """Where the open piece ends, if that is certain.

        settled_ns: no packet before this instant will come any more (None: none at all will).
        picture: whether this output's picture is still coming, and so a key picture may be waited for.
        """
        if not self.marks:
            return None
        start = self.marks[0].dts_ns
        has_picture = any(m.picture for m in self.marks if m.dts_ns < start + self.piece_ns)
        for mark in self.marks:
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
                if not picture and not mark.picture:
                    return mark.dts_ns
        return None

    def drop_before(self, at_ns: int) -> None:
        """The open piece begins at `at_ns` now."""
        self.marks = [mark for mark in self.marks if mark.dts_ns >= at_ns]
