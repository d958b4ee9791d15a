"""Taking up a journal that another writer left: its state, its open pieces, the cuts not yet made pieces."""

from __future__ import annotations

from roomtape.control.messages import CommittedPiece
from roomtape.recording.checkpoint import STRETCH, Checkpoint
from roomtape.recording.cutting import Mark
from roomtape.recording.desk import Desk
from roomtape.recording.journal import DISCONTINUITY, KEY
from roomtape.recording.lineup import Lineup
from roomtape.recording.outlet import Outlet
from roomtape.recording.piecework import Piecework
from roomtape.recording.strand import Strand
from roomtape.storage.spool import BROKEN


def take_up(desk: Desk, lineup: Lineup, pieces: Piecework) -> str:
    """Put everything where the last checkpoint has it; returns how the journal was ended, "" if not."""
    recovered = desk.journal.recovered
    if recovered is None:
        return ""
    checkpoint = Checkpoint.from_dict(recovered.checkpoint)
    same_boot = checkpoint.boot_id == desk.place.boot_id
    by_stream: dict[int, Strand] = {}
    for state in checkpoint.strands:
        strand = Strand.restore(state, pre_create=desk.plan.pre_create == "gop")
        by_stream[state.stream] = strand
        desk.strands[state.user, state.media, state.kind] = strand
        if state.track is not None and same_boot:
            lineup.resume[state.track] = (strand, state.next_seq)
    lineup.next_stream = max(recovered.streams, default=0) + 1
    states = {state.key: state for state in checkpoint.outlets}
    committed = {piece.output: piece for piece in desk.assign.committed}
    for key, head in recovered.outputs.items():
        outlet = desk.outlet(key, head.user, head.media, head.type)
        outlet.strands = [by_stream[stream] for stream in head.streams if stream in by_stream]
        outlet.old_streams = [stream for stream in head.streams if stream not in by_stream]
        if known := states.get(key):
            outlet.dormant_ns, outlet.hole, outlet.priming = known.dormant_ns, known.hole, known.priming
        _take_up_pieces(desk, outlet, pieces, committed.get(key))
    desk.watermark = checkpoint.watermark_ns
    if same_boot:
        desk.done = checkpoint.done
    return checkpoint.ended if recovered.ended else ""


def tell_damage(desk: Desk) -> None:
    """Say what the journal had to give up to be one that can be trusted."""
    journal = desk.journal
    if journal.damaged_packets:
        text = f"packets of the journal cannot be read back, its file is in {desk.place.spool.name}/{BROKEN}"
        desk.note("gap_broken", f"{journal.damaged_packets} {text}", journal.damaged_packets)
    if journal.untrusted_packets:
        text = (
            f"the journal is damaged: {journal.untrusted_packets} packets behind the damage are not trusted,"
            f" its files are in {desk.place.spool.name}/{BROKEN}"
        )
        desk.note("gap_broken", text, journal.untrusted_packets)
    elif journal.torn_bytes:
        desk.note("torn", f"{journal.torn_bytes} bytes at the journal's end were not written whole")


def is_broken_off(desk: Desk, ended: str) -> bool:
    """Whether what an earlier writer left is of another life of the media core."""
    recovered = desk.journal.recovered
    if recovered is None:
        return False
    boot = recovered.checkpoint.get("boot_id", "")
    return desk.assign.new_stretch or ended == STRETCH or boot != desk.place.boot_id


def close_stretch(desk: Desk, lineup: Lineup, pieces: Piecework) -> None:
    """Turn the open pieces into closed ones; whatever comes later comes after a hole."""
    lineup.resume.clear()
    for outlet in desk.outlets.values():
        pieces.close_at_end(outlet)
        outlet.dormant_ns = outlet.end_ns()
        outlet.begin_after_hole()
    for strand in desk.strands.values():
        strand.blocked_until = None
        strand.leave()


def _take_up_pieces(desk: Desk, outlet: Outlet, pieces: Piecework, committed: CommittedPiece | None) -> None:
    """The open piece of an output and those that were cut but are not committed."""
    cuts = {cut.piece_no: cut for cut in desk.journal.cuts.get(outlet.key, [])}
    begin = cuts.get(0 if committed is None else committed.piece_no + 1)
    if begin is not None:
        outlet.from_ns, outlet.after_broken = begin.at_ns, begin.discontinuity
    if committed is not None:
        outlet.piece_no = committed.piece_no + 1
        outlet.from_ns = committed.end_ns if begin is None else begin.at_ns
        outlet.counters = dict(committed.counters)
        outlet.covered_ns = outlet.from_ns
    entries = desk.journal.entries(outlet.key, outlet.from_ns, None)
    pictures = {s.stream for s in outlet.strands if s.kind == "video"}
    pictures |= {s.id for s in desk.journal.streams.values() if s.kind == "video"}
    outlet.cutter.add(
        Mark(e.dts_ns, e.stream in pictures, bool(e.flags & KEY), bool(e.flags & DISCONTINUITY))
        for e in entries
    )
    while (cut := cuts.get(outlet.piece_no + 1)) is not None and cut.at_ns > outlet.from_ns:
        last = cut.discontinuity or _hole_after(outlet, cut.at_ns)
        pieces.close_piece(outlet, cut.at_ns, last=last)


def _hole_after(outlet: Outlet, at_ns: int) -> bool:
    """Whether no packet lies exactly where the next piece begins, as after every normal cut."""
    return all(mark.dts_ns != at_ns for mark in outlet.cutter.marks)
