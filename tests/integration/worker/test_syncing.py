"""When journals are forced to disk: soon after each write, in a thread that delays no batch."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roomtape.recording import journal as journal_module
from roomtape.recording.journal import Journal
from roomtape.worker.main import Syncer
from tests.unit.recording.test_journal import MERGED, SECOND, SOUND_ONLY, declared, sound

WAIT_S = 30.0


class Disk:
    """`fdatasync` that can be held, and says what it has forced to disk."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.asked = threading.Semaphore(0)
        self.synced = threading.Semaphore(0)
        self.log: list[str] = []

    def fdatasync(self, fd: int) -> None:
        self.asked.release()
        assert self.free.wait(WAIT_S)
        os.fdatasync(fd)
        self.log.append("synced")
        self.synced.release()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(journal_module, "_fdatasync", made.fdatasync)
    return made


@contextmanager
def syncing(journal: Journal, interval_s: float) -> Iterator[Syncer]:
    syncer = Syncer()
    syncer.interval_s = interval_s
    syncer.watch("T", journal)
    syncer.start()
    try:
        yield syncer
    finally:
        syncer.stop()
        syncer.join(WAIT_S)
        assert not syncer.is_alive()


def test_g_4_a_write_is_synced_without_waiting_for_a_beat(tmp_path: Path, disk: Disk) -> None:
    """With an interval of an hour the first write after a quiet time is on the disk at once."""
    journal = declared(tmp_path)
    journal.append([sound(0)], {})
    with syncing(journal, 3600.0):
        assert disk.synced.acquire(timeout=WAIT_S)


def test_what_is_written_during_a_sync_is_in_the_next(tmp_path: Path, disk: Disk) -> None:
    journal = declared(tmp_path)
    journal.append([sound(0)], {})
    disk.free.clear()
    with syncing(journal, 0.0):
        assert disk.asked.acquire(timeout=WAIT_S)
        journal.append([sound(1)], {})
        assert journal.unsynced == 1
        disk.free.set()
        for _ in range(2):
            assert disk.synced.acquire(timeout=WAIT_S)


def test_a_journal_that_another_writer_left_is_synced_when_it_is_taken(tmp_path: Path, disk: Disk) -> None:
    before = declared(tmp_path)
    before.append([sound(0)], {})
    before.close()
    with syncing(Journal.open(tmp_path, 2), 0.0):
        assert disk.synced.acquire(timeout=WAIT_S)


def test_a_sync_that_failed_is_tried_again_without_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = declared(tmp_path)
    journal.append([sound(0)], {})
    synced = threading.Event()
    refusals = [OSError(5, "I/O error")] * 2  # the file, and the copy that was to take its place

    def refuse_once(fd: int) -> None:
        if refusals:
            raise refusals.pop()
        os.fdatasync(fd)
        synced.set()

    monkeypatch.setattr(journal_module, "_fdatasync", refuse_once)
    with syncing(journal, 0.0) as syncer:
        assert synced.wait(WAIT_S)
        assert [task for task, _ in syncer.failures] == ["T"]


def test_nothing_is_deleted_while_its_successor_is_still_being_synced(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut within that sync would take the state, and the older files would be gone already."""
    journal = declared(tmp_path)
    journal.cut(MERGED.key, 0, 0)
    journal.append([sound(0)], {})
    journal.cut(MERGED.key, 1, SECOND)
    journal.append([sound(60)], {})
    monkeypatch.setattr(journal_module.faults, "reach", disk.log.append)
    disk.free.clear()
    under_way = threading.Thread(target=journal.sync)
    under_way.start()
    assert disk.asked.acquire(timeout=WAIT_S)
    threading.Timer(0.2, disk.free.set).start()  # far longer than a deletion that does not wait
    assert journal.forget({MERGED.key: SECOND, SOUND_ONLY.key: SECOND})
    under_way.join(WAIT_S)
    assert disk.log.index("before-delete") > 0
    assert "synced" not in disk.log[disk.log.index("before-delete") :]
