"""A disk that breaks instead of filling (F-5): I/O errors, a read-only file system, a sync that fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from roomtape.recording import journal as journal_module
from roomtape.recording.journal import DiskFull
from roomtape.worker.main import Syncer
from tests.support.inline import Inline
from tests.support.signals import h264_flashes, opus_beeps

LONG_S = 16


def publish(it: Inline) -> None:
    it.publish("amy", "video", h264_flashes(LONG_S))
    it.publish("amy", "audio", opus_beeps(LONG_S))


def assert_whole(it: Inline) -> None:
    picture, sound = it.measured("amy", "main", "video"), it.measured("amy", "main", "audio")
    assert picture.warnings == sound.warnings == []
    assert len(picture.pictures) == LONG_S * 30
    assert sound.audio_gaps_s == []
    assert len(sound.beeps_s) == LONG_S
    assert it.core.overruns == []


def test_f5_io_errors_are_waited_out_and_cost_nothing(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = inline(piece_ms=4000)
    it.start()
    publish(it)
    it.until(5)

    def refuse(fd: int, data: bytes, keep: int) -> None:
        raise DiskFull(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(journal_module, "_write_whole", refuse)
        for second in (6, 7, 8):
            it.play_to(second)
    it.play_to(9)
    it.until_read(9)
    it.until(LONG_S)
    it.stop()
    assert "Input/output error" in it.notes("disk_full")[0].text
    assert it.notes("disk_ok")
    assert_whole(it)


def test_f5_a_read_only_file_system_is_left_and_taken_up_again(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the tail can be cut off then: the worker lets go of the journal and opens it again later."""
    it = inline(piece_ms=4000)
    it.start()
    publish(it)
    it.until(5)
    before = {name: it.path(piece).read_bytes() for name, piece in it.pieces.items()}

    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as read_only:
        read_only.setattr(journal_module.os, "write", refuse)
        read_only.setattr(journal_module.os, "ftruncate", refuse)
        with pytest.raises(OSError, match="Read-only"):
            it.until(6)
    it.die()
    it.start()
    it.until(LONG_S)
    it.stop()
    assert_whole(it)
    assert {name: it.path(it.pieces[name]).read_bytes() for name in before} == before


def test_f5_a_sync_that_fails_is_never_taken_for_one_that_worked(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = inline()
    it.start()
    publish(it)
    it.until(4)
    syncer = Syncer()
    syncer.watch("T", it.recorder.journal)
    (file,) = it.recorder.journal.directory.glob("*.j")
    inode = file.stat().st_ino
    calls: list[int] = []

    def refuse(fd: int) -> None:
        calls.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(journal_module, "_fdatasync", refuse)
        syncer.sync_all()
        assert len(calls) == 2, "the file, and the copy that was to take its place"
        assert [task for task, _ in syncer.failures] == ["T"]
        assert it.recorder.journal.unsynced == 1
    failed_once: list[int] = []

    def refuse_first(fd: int) -> None:
        if not failed_once:
            failed_once.append(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(fd)

    monkeypatch.setattr(journal_module, "_fdatasync", refuse_first)
    syncer.sync_all()
    assert it.recorder.journal.unsynced == 0
    assert file.stat().st_ino != inode, "what the kernel may have dropped is written anew"
    it.until(LONG_S)
    it.stop()
    assert_whole(it)
