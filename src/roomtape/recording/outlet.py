"""One output of a recording: the strands it is made of, its open piece, and the pieces not yet answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from roomtape.control.messages import PieceReady
from roomtape.media.frames import NS
from roomtape.recording.checkpoint import OutletState
from roomtape.recording.cutting import Cutter
from roomtape.recording.journal import OutputHead, ticks_to_ns
from roomtape.recording.strand import BEGIN, Strand


@dataclass(slots=True)
class Due:
    """A piece that is cut but not made yet; `last`: a hole or nothing follows it."""

    piece_no: int
    from_ns: int
    to_ns: int
    last: bool
    discontinuity: bool
    tries: int = 0  # that found it broken
    retry_ns: int = 0  # monotonic; not before


@dataclass(slots=True, eq=False)
class Outlet:
    """`key` is "<user>\\x1f<media>\\x1f<type>"; times are task times in ns."""

    key: str
    user: str
    media: str
    type: str
    cutter: Cutter
    strands: list[Strand] = field(default_factory=list)
    old_streams: list[int] = field(default_factory=list)  # of earlier configurations
    piece_no: int = 0  # of the open piece
    from_ns: int = BEGIN  # its packets are at or after this
    counters: dict[int, int] = field(default_factory=dict)
    dormant_ns: int | None = None  # all its media went away then
    hole: bool = False  # its next packet begins after a hole
    priming: bytes = b""
    due: list[Due] = field(default_factory=list)
    unanswered: dict[int, PieceReady] = field(default_factory=dict)
    covered_ns: int = BEGIN  # committed pieces hold everything before this
    ends: dict[int, int] = field(default_factory=dict)  # per piece made: where the next one begins
    wanted: bool = True  # somebody subscribes to it
    after_broken: bool = False  # the piece before the next one was left out

    @property
    def live(self) -> bool:
        return any(strand.live for strand in self.strands)

    @property
    def sounds(self) -> list[Strand]:
        return [strand for strand in self.strands if strand.sound is not None]

    @property
    def pictures(self) -> list[Strand]:
        return [strand for strand in self.strands if strand.picture is not None]

    def head(self, piece_ns: int) -> OutputHead:
        streams = self.old_streams + [strand.stream for strand in self.strands]
        return OutputHead(
            key=self.key, user=self.user, media=self.media, type=self.type, streams=streams, piece_ns=piece_ns
        )

    def begin_after_hole(self) -> None:
        """Its next packet comes after a hole, and its sound on a new time line."""
        self.hole = True
        for strand in self.sounds:
            assert strand.sound is not None
            strand.sound.restart()

    def settled_ns(self, by_watermark_ns: int, watermark_ns: int, *, black: bool) -> int | None:
        """No packet before this will come any more; None: none at all will.

        `by_watermark_ns`: what the watermark alone lets one say of a strand that has begun or is quiet;
        `black`: a picture that is gone while the sound goes on is filled as far as that.
        """
        bounds = []
        live = self.live
        for strand in self.strands:
            if strand.sound is not None and live:
                pos = strand.sound.next_pos
                if pos is not None:
                    bounds.append(ticks_to_ns(pos, strand.sound.rate))
                elif strand.live:
                    bounds.append(by_watermark_ns if strand.quiet_at(watermark_ns) else BEGIN)
            elif strand.picture is not None and strand.track is not None:
                last = strand.picture.last
                seen = BEGIN if last is None or not strand.started else last * NS // 90_000
                by_time = strand.started and strand.primed
                bounds.append(
                    max(seen, by_watermark_ns if by_time or strand.quiet_at(watermark_ns) else BEGIN)
                )
            elif strand.picture is not None and live and black:
                bounds.append(by_watermark_ns)
        return min(bounds, default=None)

    def end_ns(self) -> int:
        """Where what was written ends: every later packet is at or after this."""
        ends = [self.from_ns]
        for strand in self.strands:
            if strand.sound is not None and strand.sound.next_pos is not None:
                ends.append(ticks_to_ns(strand.sound.next_pos, strand.sound.rate))
            if strand.picture is not None and strand.picture.last is not None:
                ends.append(ticks_to_ns(strand.picture.last + 1, 90_000))
        if self.cutter.marks:
            ends.append(self.cutter.marks[-1].dts_ns + 1)
        return max(ends)

    def state(self) -> OutletState:
        return OutletState(
            key=self.key,
            strands=[strand.stream for strand in self.strands],
            dormant_ns=self.dormant_ns,
            hole=self.hole,
            priming=self.priming,
        )
