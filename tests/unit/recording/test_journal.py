"""The journal: what was appended is there again, whatever happened to its writer."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roomtape.recording import journal as journal_module
from roomtape.recording import syncing
from roomtape.recording.journal import (
    DiskFull,
    Journal,
    JournalBroken,
    OutputHead,
    Packet,
    StreamHead,
    SyncFailed,
    ticks_to_ns,
)
from roomtape.recording.records import read_records
from roomtape.recording.syncing import SYNC_TOGETHER, sync_together
from roomtape.storage.spool import BROKEN

SECOND = 1_000_000_000
SOUND = StreamHead(id=1, user="amy", media="main", kind="audio", codec="aac", time_base_den=48_000)
PICTURE = StreamHead(id=2, user="amy", media="main", kind="video", codec="h264", time_base_den=90_000)
MERGED = OutputHead(
    key="amy\x1fmain\x1faudiovideo",
    user="amy",
    media="main",
    type="audiovideo",
    streams=[2, 1],
    piece_ns=10 * SECOND,
)
SOUND_ONLY = OutputHead(
    key="amy\x1fmain\x1faudio", user="amy", media="main", type="audio", streams=[1], piece_ns=10 * SECOND
)


def sound(index: int, data: bytes | None = None) -> Packet:
    return Packet(1, 1, index * 1024, index * 1024, 1024, b"s%d" % index if data is None else data)


def picture(index: int) -> Packet:
    return Packet(2, int(index % 30 == 0), index * 3000, index * 3000, 3000, b"p%d" % index * 50)


def declared(directory: Path, epoch: int = 1) -> Journal:
    journal = Journal.open(directory, epoch)
    journal.declare([SOUND, PICTURE], [MERGED, SOUND_ONLY])
    return journal


def test_a_new_journal_has_nothing_to_recover(tmp_path: Path) -> None:
    assert Journal.open(tmp_path / "task", 1).recovered is None


def test_r_lost_1_what_was_appended_is_there_for_the_next_epoch(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    journal.cut(MERGED.key, 0, 0)
    packets = [picture(0), sound(0), picture(1), sound(1)]
    journal.append(packets[:2], {"g": 1, "open": {"a": None}})
    journal.append(packets[2:], {"g": 2})
    journal.close()

    after = Journal.open(tmp_path, 2)

    assert after.recovered is not None
    assert after.recovered.checkpoint == {"g": 2}
    assert after.recovered.streams == {1: SOUND, 2: PICTURE}
    assert after.recovered.outputs[MERGED.key] == MERGED
    assert [cut.at_ns for cut in after.recovered.cuts[MERGED.key]] == [0]
    assert not after.recovered.ended
    assert after.recovered.packets == 4
    assert after.window(MERGED.key, 0, None) == [sound(0), picture(0), sound(1), picture(1)]


def test_a_window_takes_packets_by_time_whatever_file_they_lie_in(tmp_path: Path) -> None:
    """The sound of second 9 may be written after the key picture of second 10."""
    journal = declared(tmp_path)
    journal.cut(MERGED.key, 0, 0)
    journal.append([picture(n) for n in range(31)], {})
    journal.cut(MERGED.key, 1, SECOND)
    journal.append([sound(n) for n in range(60)], {})
    assert len(list(tmp_path.glob("*.j"))) == 2

    first = journal.window(MERGED.key, 0, SECOND)
    second = journal.window(MERGED.key, SECOND, None)

    assert [p for p in first if p.stream == 2] == [picture(n) for n in range(30)]
    assert [p for p in first if p.stream == 1] == [sound(n) for n in range(47)]
    assert [p for p in second if p.stream == 2] == [picture(30)]
    assert [p for p in second if p.stream == 1] == [sound(n) for n in range(47, 60)]
    times = [ticks_to_ns(p.dts, {1: 48_000, 2: 90_000}[p.stream]) for p in first]
    assert times == sorted(times)


def test_a_picture_on_a_cut_belongs_to_the_piece_it_begins(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    journal.append([picture(n) for n in range(1, 9)], {})
    at_ns = ticks_to_ns(picture(4).dts, 90_000)
    assert journal.window(MERGED.key, 0, at_ns)[-1] == picture(3)
    assert journal.window(MERGED.key, at_ns, None)[0] == picture(4)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel then cuts a write() short at `size`, and refuses the next one, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_short_write_is_taken_back_and_the_batch_goes_in_later(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    journal.append([sound(0)], {"g": 1})
    (file,) = tmp_path.glob("*.j")
    before = file.read_bytes()
    with file_size_limit(len(before) + 1000):
        with pytest.raises(DiskFull) as short:
            journal.append([sound(1, b"x" * 5000)], {"g": 2})
        assert short.value.errno == errno.ENOSPC
        assert file.read_bytes() == before
        assert journal.checkpoint == {"g": 1}
    with file_size_limit(len(before)), pytest.raises(DiskFull):
        journal.append([sound(1, b"x" * 5000)], {"g": 2})

    journal.append([sound(1, b"x" * 5000)], {"g": 2})
    journal.close()

    after = Journal.open(tmp_path, 2)
    assert after.checkpoint == {"g": 2}
    assert after.window(SOUND_ONLY.key, 0, None) == [sound(0), sound(1, b"x" * 5000)]


def test_a_head_that_does_not_fit_leaves_no_file(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    with file_size_limit(20), pytest.raises(DiskFull):
        journal.append([sound(0)], {})
    assert list(tmp_path.iterdir()) == []
    journal.append([sound(0)], {})
    assert journal.window(SOUND_ONLY.key, 0, None) == [sound(0)]


@pytest.mark.parametrize("kept", range(0, 400, 7))
def test_f21_r_lost_1_a_torn_tail_is_cut_to_the_last_whole_batch(tmp_path: Path, kept: int) -> None:
    journal = declared(tmp_path)
    for index in range(8):
        journal.append([sound(index), picture(index)], {"g": index + 1})
    journal.close()
    (file,) = tmp_path.glob("*.j")
    whole = file.read_bytes()
    cut = len(whole) * kept // 400
    file.write_bytes(whole[:cut] + os.urandom(40))

    after = Journal.open(tmp_path, 2)

    batches = after.checkpoint.get("g", 0)
    if after.outputs:
        assert after.window(SOUND_ONLY.key, 0, None) == [sound(n) for n in range(batches)]
        assert file.read_bytes() == whole[: file.stat().st_size]
    else:
        assert batches == 0
        assert not file.exists()


def damaged(directory: Path, record: int, byte: int, *, bit: int = 4) -> tuple[Path, Path]:
    """A journal of two files with one bit turned over in a record of the first one: HEAD, two batches, CUT."""
    journal = declared(directory)
    journal.append([sound(0), picture(0)], {"g": 1})
    journal.append([sound(1), picture(1)], {"g": 2})
    journal.cut(SOUND_ONLY.key, 1, SECOND)
    journal.append([sound(50), picture(30), picture(31)], {"g": 3})
    journal.close()
    first, second = sorted(directory.glob("*.j"))
    data = bytearray(first.read_bytes())
    offsets = [offset for _, offset, _ in read_records(bytes(data))]
    data[offsets[record] + byte] ^= bit
    first.write_bytes(data)
    return first, second


@pytest.mark.parametrize("byte", [9, 20, 60, 150], ids=["count", "table", "payload", "payload too"])
def test_a_bad_batch_between_good_records_is_left_out_and_told(tmp_path: Path, byte: int) -> None:
    first, second = damaged(tmp_path, 1, byte)
    whole = first.read_bytes()

    after = Journal.open(tmp_path, 2)

    assert after.checkpoint == {"g": 3}
    assert after.window(SOUND_ONLY.key, 0, None) == [sound(1), sound(50)]
    assert after.window(MERGED.key, 0, None) == [sound(1), picture(30), picture(31), sound(50)]
    assert after.damaged_packets == (2 if byte > 9 else 1), "as many as it says, if that can be"
    assert after.untrusted_packets == after.torn_bytes == 0
    assert (tmp_path / BROKEN / first.name).read_bytes() == whole == first.read_bytes()
    assert second.exists()
    again = Journal.open(tmp_path, 3)
    assert again.checkpoint == {"g": 3}
    assert again.damaged_packets == 0, "it was told"


def test_each_of_several_bad_batches_is_told(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    for index in range(5):
        journal.append([sound(index), sound(index + 100)], {"g": index})
    journal.close()
    (path,) = tmp_path.glob("*.j")
    data = bytearray(path.read_bytes())
    for lost in (b"s1", b"s2"):
        data[data.index(lost)] ^= 1
    path.write_bytes(data)
    after = Journal.open(tmp_path, 2)
    assert after.damaged_packets == 4
    assert len(after.window(SOUND_ONLY.key, 0, None)) == 6


def test_a_bad_batch_at_the_end_of_a_file_that_is_not_the_last_is_left_out(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    journal.append([sound(0)], {"g": 1})
    journal.append([sound(1)], {"g": 2})
    journal.declare([], [])
    journal.append([sound(2)], {"g": 3})
    journal.close()
    first, second = sorted(tmp_path.glob("*.j"))
    data = bytearray(first.read_bytes())
    data[data.index(b"s1")] ^= 1
    first.write_bytes(data)
    assert Journal.open(tmp_path, 2).window(SOUND_ONLY.key, 0, None) == [sound(0), sound(2)]
    second.unlink()
    after = Journal.open(tmp_path, 3)
    assert after.window(SOUND_ONLY.key, 0, None) == [sound(0)], "of the last one it may be the power"
    assert after.checkpoint == {"g": 1}


@pytest.mark.parametrize(
    ("record", "byte", "bit", "g", "lost"),
    [(1, 2, 4, 0, 2 + 3), (3, 20, 4, 2, 3), (3, 0, 1, 2, 3), (0, 30, 4, 0, 4 + 3)],
    ids=["a batch's length", "a cut", "a cut that looks like a batch", "the head"],
)
def test_what_follows_any_other_bad_record_is_not_trusted_even_if_it_is_valid(
    tmp_path: Path, record: int, byte: int, bit: int, g: int, lost: int
) -> None:
    """Kept for an operator, and counted as far as it can be."""
    _, second = damaged(tmp_path, record, byte, bit=bit)
    after = Journal.open(tmp_path, 2)
    assert after.checkpoint.get("g", 0) == g
    assert not second.exists()
    assert after.damaged_packets == 0
    assert after.untrusted_packets in (lost, 3)  # a length that is wrong hides what comes after it
    assert second.name in [path.name for path in (tmp_path / BROKEN).iterdir()]


@pytest.mark.parametrize("at", [b"p0", b"s1", b"g"])
def test_a_byte_that_is_not_what_was_written_is_never_read_back(tmp_path: Path, at: bytes) -> None:
    """In a payload of this output or of another, or in a checkpoint."""
    journal = declared(tmp_path)
    journal.append([sound(0), picture(0)], {"g": 1})
    journal.append([sound(1), picture(1)], {"g": 2})
    (path,) = tmp_path.glob("*.j")
    data = bytearray(path.read_bytes())
    data[data.rindex(at)] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalBroken, match="other bytes than were written"):
        journal.window(SOUND_ONLY.key, 0, None)
    with pytest.raises(JournalBroken):
        journal.batches(SOUND_ONLY.key, 0, None)
    assert journal.leave_out(SOUND_ONLY.key, 0, None) == 1
    left = journal.window(SOUND_ONLY.key, 0, None)
    assert left == [sound(1 if at == b"p0" else 0)]
    with pytest.raises(JournalBroken):
        journal.window(SOUND_ONLY.key, -1, None)  # another piece is told of for itself


def test_a_file_that_lost_whole_records_is_known_by_the_one_after_it(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    journal.append([sound(0)], {"g": 1})
    (first,) = tmp_path.glob("*.j")
    length = first.stat().st_size
    journal.append([sound(1)], {"g": 2})
    journal.cut(SOUND_ONLY.key, 1, SECOND)
    journal.append([sound(50)], {"g": 3})
    journal.close()
    os.truncate(first, length)

    after = Journal.open(tmp_path, 2)

    assert after.checkpoint == {"g": 1}
    assert after.window(SOUND_ONLY.key, 0, None) == [sound(0)]


def test_later_epochs_write_files_of_their_own(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    journal.append([sound(0)], {"g": 1})
    journal.close()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.j")}

    after = Journal.open(tmp_path, 2)
    after.append([sound(1)], {"g": 2})
    after.close()

    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    last = Journal.open(tmp_path, 3)
    assert last.window(SOUND_ONLY.key, 0, None) == [sound(0), sound(1)]
    assert last.checkpoint == {"g": 2}


def test_f4_a_replaced_writer_cannot_open_the_journal(tmp_path: Path) -> None:
    journal = declared(tmp_path, epoch=5)
    journal.append([sound(0)], {})
    with pytest.raises(ValueError, match="epoch 5"):
        Journal.open(tmp_path, 4)


def test_end_is_remembered_and_a_new_stretch_may_follow(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    journal.append([sound(0)], {"g": 1})
    journal.end({"g": 1, "done": True})
    journal.close()
    after = Journal.open(tmp_path, 2)
    assert after.recovered is not None
    assert after.recovered.ended
    assert after.recovered.checkpoint == {"g": 1, "done": True}

    after.append([sound(9)], {"g": 10})
    after.close()
    again = Journal.open(tmp_path, 3)
    assert again.recovered is not None
    assert not again.recovered.ended


def test_files_go_when_every_output_has_their_packets_in_committed_pieces(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    for output in (MERGED, SOUND_ONLY):
        journal.cut(output.key, 0, 0)
    journal.append([sound(n) for n in range(40)], {"g": 40})
    for output in (MERGED, SOUND_ONLY):
        journal.cut(output.key, 1, SECOND)
    journal.append([sound(n) for n in range(40, 100)], {"g": 100})  # late sound of piece 0 lies here, too
    first, second = sorted(tmp_path.glob("*.j"))

    assert journal.forget({MERGED.key: SECOND}) == []  # the other output is not covered
    assert journal.forget({MERGED.key: SECOND, SOUND_ONLY.key: SECOND}) == [first]
    assert journal.window(MERGED.key, SECOND, None) == [sound(n) for n in range(47, 100)]
    journal.close()

    after = Journal.open(tmp_path, 2)
    assert list(tmp_path.glob("*.j")) == [second]
    assert after.checkpoint == {"g": 100}
    assert [cut.piece_no for cut in after.cuts[MERGED.key]] == [0, 1]


def test_the_newest_file_goes_too_but_not_what_it_said(tmp_path: Path) -> None:
    """Else the first piece of a task could never free its room on a full disk."""
    journal = declared(tmp_path)
    journal.append([sound(0)], {"g": 1})
    (first,) = tmp_path.glob("*.j")
    covered = {MERGED.key: 9 * SECOND, SOUND_ONLY.key: 9 * SECOND}
    assert journal.forget(covered) == [first]
    assert journal.forget(covered) == []  # a file without packets is not begun again and again
    journal.append([sound(1000)], {"g": 2})
    journal.close()
    after = Journal.open(tmp_path, 2)
    assert after.checkpoint == {"g": 2}
    assert after.window(SOUND_ONLY.key, 0, None) == [sound(1000)]


def test_an_ended_journal_stays_ended_when_its_packets_are_covered(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    journal.append([sound(0)], {"g": 1})
    journal.end({"g": 1})
    journal.forget({MERGED.key: 9 * SECOND, SOUND_ONLY.key: 9 * SECOND})
    journal.close()
    after = Journal.open(tmp_path, 2)
    assert after.recovered is not None
    assert after.recovered.ended
    assert after.forget({MERGED.key: 9 * SECOND, SOUND_ONLY.key: 9 * SECOND}) == []


def test_a_file_without_packets_carries_the_state_of_those_that_are_gone(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    journal.cut(MERGED.key, 0, 0)
    journal.append([sound(0)], {"g": 1})
    journal.cut(MERGED.key, 1, SECOND)
    journal.declare(
        [StreamHead(id=3, user="bo", media="main", kind="audio", codec="aac", time_base_den=8)], []
    )
    journal.cut(MERGED.key, 2, 2 * SECOND)
    covered = {MERGED.key: 2 * SECOND, SOUND_ONLY.key: 2 * SECOND}
    assert len(journal.forget(covered)) == 1
    journal.close()

    after = Journal.open(tmp_path, 2)
    assert after.checkpoint == {"g": 1}
    assert set(after.streams) == {1, 2, 3}
    assert after.cuts[MERGED.key][-1].at_ns == 2 * SECOND


def test_a_file_the_disk_will_not_sync_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = declared(tmp_path)
    journal.append([sound(0)], {"g": 1})
    (file,) = tmp_path.glob("*.j")
    inode, content = file.stat().st_ino, file.read_bytes()
    failures = [OSError(errno.EIO, "I/O error")]

    def refuse_once(fd: int) -> None:
        if failures:
            raise failures.pop()
        os.fdatasync(fd)

    monkeypatch.setattr(journal_module, "_fdatasync", refuse_once)
    journal.sync()

    assert file.stat().st_ino != inode
    assert file.read_bytes() == content
    journal.append([sound(1)], {"g": 2})  # goes to the new file, not to the one without a name
    journal.close()
    assert Journal.open(tmp_path, 2).window(SOUND_ONLY.key, 0, None) == [sound(0), sound(1)]


def test_a_disk_that_refuses_the_copy_too_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = declared(tmp_path)
    journal.append([sound(0)], {"g": 1})

    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(journal_module, "_fdatasync", refuse)
        with pytest.raises(SyncFailed):
            journal.sync()
    synced = []
    monkeypatch.setattr(journal_module, "_fdatasync", synced.append)
    journal.sync()
    assert len(synced) == 1  # it was not forgotten


@pytest.mark.parametrize("refused", [False, True])
def test_many_journals_are_synced_by_one_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    journals = {str(n): declared(tmp_path / str(n)) for n in range(SYNC_TOGETHER + 4)}
    for journal in journals.values():
        journal.append([sound(0)], {})
    synced: list[int] = []
    whole: list[Path] = []
    monkeypatch.setattr(journal_module, "_fdatasync", synced.append)
    real = syncing._syncfs

    def syncfs(directory: Path) -> None:
        whole.append(directory)
        if refused:
            raise OSError(errno.EIO, "I/O error")
        real(directory)

    monkeypatch.setattr(syncing, "_syncfs", syncfs)
    assert sync_together(journals) == []
    assert len(whole) == 1
    assert len(synced) == (len(journals) if refused else 0)
    assert all(journal.unsynced == 0 for journal in journals.values())

    for key in list(journals)[:3]:
        journals[key].append([sound(1)], {})
    sync_together(journals)
    assert len(whole) == 1  # a few files go one by one
    assert len(synced) == (len(journals) + 3 if refused else 3)


def test_one_journal_that_cannot_be_synced_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals = {name: declared(tmp_path / name) for name in "abc"}
    for journal in journals.values():
        journal.append([sound(0)], {})
    bad = (tmp_path / "b" / "1-0.j").stat().st_ino

    def refuse_one(fd: int) -> None:
        if os.fstat(fd).st_ino == bad or os.readlink(f"/proc/self/fd/{fd}").endswith("/.tmp-1-0.j"):
            raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(journal_module, "_fdatasync", refuse_one)
    assert [key for key, _ in sync_together(journals)] == ["b"]
    assert [journal.unsynced for journal in journals.values()] == [0, 1, 0]


def test_an_undeclared_stream_is_refused(tmp_path: Path) -> None:
    journal = declared(tmp_path)
    with pytest.raises(ValueError, match="stream 7"):
        journal.append([Packet(7, 0, 0, 0, 1, b"")], {})
    with pytest.raises(ValueError, match="nobody"):
        journal.cut("nobody", 0, 0)


KILLED = """
import sys
from pathlib import Path
from tests.unit.recording.test_journal import declared, sound
journal = declared(Path(sys.argv[1]), int(sys.argv[2]))
first = int(sys.argv[3])
for index in range(first, first + 10):
    journal.append([sound(index)], {"g": index + 1})
"""


def test_a_fault_point_kills_once_per_data_directory_and_the_batch_is_safe(tmp_path: Path) -> None:
    spool, faults = tmp_path / "spool", tmp_path / "faults"
    faults.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ROOMTAPE_FAULT": "after-journal-write:4",
        "ROOMTAPE_FAULT_DIR": str(faults),
    }

    def run(epoch: int, first: int) -> int:
        command = [sys.executable, "-c", KILLED, str(spool), str(epoch), str(first)]
        return subprocess.run(command, env=environment, check=False).returncode

    assert run(1, 0) == -9
    assert Journal.open(spool, 2).checkpoint == {"g": 4}
    assert run(2, 4) == 0
    after = Journal.open(spool, 3)
    assert after.window(SOUND_ONLY.key, 0, None) == [sound(n) for n in range(14)]
