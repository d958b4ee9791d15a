"""A model of the journal under random appends, cuts, commits, kills and power cuts.

A kill loses nothing that was written. A power cut keeps what was synced and an arbitrary part of the rest:
any byte length of each file written since, perhaps with garbage at its end. After either, the journal must
hold exactly the packets of the batches up to its checkpoint, and pieces must hold each of them once. A batch
of which a later file survived the power may be missing as a whole, if no sync had covered it and it is told.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from roomtape.recording.journal import Cut, Journal, OutputHead, Packet, StreamHead, ticks_to_ns
from roomtape.recording.records import MAGIC

DENS = {1: 48_000, 2: 90_000, 3: 44_100}
STEP = {1: 1024, 2: 3000, 3: 1024}
OUTPUTS = {"merged": [1, 2], "sound": [1], "other": [3]}
FAR = 1 << 60


def heads() -> tuple[list[StreamHead], list[OutputHead]]:
    streams = [
        StreamHead(
            id=n, user="u", media="main", kind="video" if n == 2 else "audio", codec="x", time_base_den=d
        )
        for n, d in DENS.items()
    ]
    outputs = [
        OutputHead(key=key, user="u", media="main", type="audio", streams=ids, piece_ns=1)
        for key, ids in OUTPUTS.items()
    ]
    return streams, outputs


def record_ends(content: bytes) -> list[int]:
    """Offsets behind each record of a whole file, and 0."""
    ends, offset = [0], len(MAGIC)
    while offset < len(content):
        offset += 9 + int.from_bytes(content[offset + 1 : offset + 5], "little")
        ends.append(offset)
    return ends


class JournalMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="journal-"))
        self.epoch = 1
        self.journal = Journal.open(self.directory, 1)
        self.batches: list[tuple[int, list[Packet]]] = []  # number, packets
        self.number = 0
        self.synced = 0  # number of the last batch that survives a power cut
        self.synced_bytes: dict[str, int] = {}
        self.next_tick = dict.fromkeys(DENS, 0)
        self.cuts: dict[str, list[Cut]] = {key: [] for key in OUTPUTS}
        self.committed: dict[str, int] = {}  # per output, task time its committed pieces reach

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.directory)

    @initialize()
    def begin(self) -> None:
        self.journal.declare(*heads())

    # --- what a writer does

    @rule(
        counts=st.lists(
            st.tuples(st.sampled_from(sorted(DENS)), st.integers(0, 9), st.integers(0, 300)), max_size=4
        )
    )
    def append(self, counts: list[tuple[int, int, int]]) -> None:
        packets = []
        for stream, count, size in counts:
            for _ in range(count):
                dts = self.next_tick[stream]
                self.next_tick[stream] += STEP[stream]
                data = b"%d/%d " % (stream, dts) + b"x" * size
                packets.append(Packet(stream, 1, dts, dts, STEP[stream], data))
        self.number += 1
        self.journal.append(packets, {"number": self.number, "ticks": list(self.next_tick.values())})
        self.batches.append((self.number, packets))

    @rule(output=st.sampled_from(sorted(OUTPUTS)), back_ms=st.integers(0, 200), mark=st.booleans())
    def cut(self, output: str, back_ms: int, mark: bool) -> None:
        """Cut near the end of what is there, perhaps before packets that are already written."""
        end = max(ticks_to_ns(self.next_tick[n], DENS[n]) for n in OUTPUTS[output])
        row = self.cuts[output]
        at_ns = max(end - back_ms * 1_000_000, row[-1].at_ns + 1 if row else 0)
        number = row[-1].piece_no + 1 if row else 0
        self.journal.cut(output, number, at_ns, discontinuity=mark)
        row.append(Cut(output, number, at_ns, mark))

    @rule()
    def declare_again(self) -> None:
        self.journal.declare(*heads())

    @rule()
    def sync(self) -> None:
        self.journal.sync()
        self._note_synced()

    @rule(output=st.sampled_from(sorted(OUTPUTS)))
    def commit_a_piece(self, output: str) -> None:
        """The server has the oldest closed piece of the output; making it synced the journal."""
        later = [cut.at_ns for cut in self.cuts[output] if cut.at_ns > self.committed.get(output, -1)]
        if len(later) < 2:
            return
        self.sync()
        self.committed[output] = later[1] if output not in self.committed else later[0]

    @rule()
    def forget(self) -> None:
        """What committed pieces of all outputs hold may go, at any later time."""
        before = set(self.directory.glob("*.j"))
        deleted = self.journal.forget(self.committed)
        begun = set(self.directory.glob("*.j")) - before  # a new file says what the deleted ones said
        if begun or (deleted and not self.journal.unsynced):
            self._note_synced()
        self.synced_bytes = {
            n: size for n, size in self.synced_bytes.items() if (self.directory / n).exists()
        }

    def _note_synced(self) -> None:
        self.synced = self.number
        self.synced_bytes = {path.name: path.stat().st_size for path in self.directory.glob("*.j")}

    # --- what happens to it

    @rule()
    def kill(self) -> None:
        """The process dies: all that was written is there."""
        self._reopen()
        assert self.journal.checkpoint.get("number", 0) == self.number

    @rule(data=st.data(), garbage=st.binary(min_size=1, max_size=64))
    def power_cut(self, data: st.DataObject, garbage: bytes) -> None:
        """Each file keeps its synced part and some of the rest, up to a record's end or in its middle; behind
        it is nothing, or blocks of zeros or of something else in the file's full length."""
        self.journal.close()
        for path in self.directory.glob("*.j"):
            content, safe = path.read_bytes(), self.synced_bytes.get(path.name, 0)
            ends = [end for end in record_ends(content) if end >= safe]
            kept = data.draw(st.sampled_from(ends) | st.integers(safe, len(content)), label=path.name)
            lost = len(content) - kept
            tail = data.draw(
                st.sampled_from([b"", b"\0" * lost, (garbage * (lost + 1))[:lost]]), label="tail"
            )
            path.write_bytes(content[:kept] + tail)
        self._reopen()
        assert self.journal.checkpoint.get("number", 0) >= self.synced
        gone = [(number, packets) for number, packets in self.batches if self._is_gone(packets)]
        assert all(number > self.synced for number, _ in gone)
        assert not gone or self.journal.damaged_packets
        self.batches = [batch for batch in self.batches if batch not in gone]

    def _is_gone(self, packets: list[Packet]) -> bool:
        """Whether none of a batch is left, though no piece has it."""
        held = {p for key in self.journal.outputs for p in self.journal.window(key, -FAR, None)}
        return bool(packets) and held.isdisjoint(packets) and any(map(self._is_uncovered, packets))

    def _is_uncovered(self, packet: Packet) -> bool:
        at_ns = ticks_to_ns(packet.dts, DENS[packet.stream])
        return any(at_ns >= self.committed.get(key, 0) for key, ids in OUTPUTS.items() if packet.stream in ids)

    def _reopen(self) -> None:
        self.journal.close()
        self.epoch += 1
        self.journal = Journal.open(self.directory, self.epoch)
        self.number = self.journal.checkpoint.get("number", 0)
        ticks = self.journal.checkpoint.get("ticks", [0] * len(DENS))
        self.next_tick = dict(zip(DENS, ticks, strict=True))
        self.batches = [(number, packets) for number, packets in self.batches if number <= self.number]
        self.cuts = {key: list(self.journal.cuts.get(key, [])) for key in OUTPUTS}
        for path in self.directory.glob("*.j"):
            assert path.stat().st_size >= self.synced_bytes.get(path.name, 0)
        self.synced_bytes = {
            n: size for n, size in self.synced_bytes.items() if (self.directory / n).exists()
        }
        if not self.journal.outputs:
            self.journal.declare(*heads())

    # --- what must hold

    @invariant()
    def journal_holds_exactly_what_its_checkpoint_says(self) -> None:
        for key, streams in OUTPUTS.items():
            if key not in self.journal.outputs:
                continue
            want = [p for _, packets in self.batches for p in packets if p.stream in streams]
            want.sort(key=lambda p: (ticks_to_ns(p.dts, DENS[p.stream]), p.stream))
            floor = self.committed.get(key, 0)
            uncovered = [p for p in want if ticks_to_ns(p.dts, DENS[p.stream]) >= floor]
            assert self.journal.window(key, floor, None) == uncovered

    @invariant()
    def every_packet_is_in_exactly_one_piece(self) -> None:
        for key, row in self.cuts.items():
            if key not in self.journal.outputs or not row:
                continue
            ends: list[int | None] = [*(cut.at_ns for cut in row[1:]), None]
            pieces = [self.journal.window(key, cut.at_ns, end) for cut, end in zip(row, ends, strict=True)]
            together = [packet for piece in pieces for packet in piece]
            assert together == self.journal.window(key, row[0].at_ns, None)
            assert len(set(together)) == len(together)

    @precondition(lambda self: self.epoch > 1)
    @invariant()
    def cuts_are_numbered_without_holes(self) -> None:
        for row in self.cuts.values():
            numbers = [cut.piece_no for cut in row]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True


JournalMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestJournal = JournalMachine.TestCase
