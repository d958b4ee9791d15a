"""What stands for media that are missing while their user is there: silence, black, the last picture."""

from __future__ import annotations

from roomtape.media.clocks import PICTURE_HZ
from roomtape.media.fill import BLACK_AFTER, held_idr
from roomtape.media.frames import NS, Coded
from roomtape.recording.desk import Desk
from roomtape.recording.journal import KEY, JournalBroken
from roomtape.recording.outlet import Outlet
from roomtape.recording.strand import Strand
from roomtape.recording.writing import Made


def fill(desk: Desk, outlet: Outlet, until_ns: int) -> Made:
    """Everything of a live output that is missing before the monotonic instant `until_ns`."""
    made = [(strand, _fill_picture(desk, outlet, strand, until_ns)) for strand in outlet.pictures]
    for strand in outlet.sounds:
        assert strand.sound is not None
        if not strand.primed_by(desk.watermark):
            continue
        pos = (until_ns - desk.task0) * strand.sound.rate // NS
        made.append((strand, strand.sound.fill_to(pos)))
    return made


def let_go(outlet: Outlet) -> Made:
    """All its media are gone: its sound ends no sooner than its picture, and is put out whole."""
    made: Made = []
    end_ns = outlet.end_ns()
    for strand in outlet.sounds:
        assert strand.sound is not None
        made.append((strand, strand.sound.fill_to(end_ns * strand.sound.rate // NS)))
        made.append((strand, strand.sound.flush()))
    return made


def _fill_picture(desk: Desk, outlet: Outlet, strand: Strand, until_ns: int) -> list[Coded]:
    """Black where that is asked for; otherwise the last picture lasts, but not past a piece's bound."""
    picture = strand.picture
    if picture is None or picture.last is None or (strand.track and not strand.primed_by(desk.watermark)):
        return []
    strand.not_before(outlet.from_ns)
    pos = (until_ns - desk.task0) * PICTURE_HZ // NS
    if desk.plan.fill_type == 1:
        return picture.fill_black(pos, gone=strand.track is None)
    start = outlet.cutter.start_ns
    if start is None or pos - picture.last < BLACK_AFTER:
        return []
    bound = -(-(start + outlet.cutter.most_ns) * PICTURE_HZ // NS)
    if picture.last >= bound or pos < bound:
        return []
    try:
        packets = desk.journal.window(outlet.key, start, None)
    except JournalBroken:
        return []  # told when the piece is made of it
    units: list[bytes] = []
    for packet in packets:
        if packet.stream == strand.stream:
            units = [packet.data] if packet.flags & KEY else [*units, packet.data]
    held = held_idr(units)
    return [] if held is None else picture.hold(bound, held)
