"""A task that is told to write nothing while the disk is nearly full (R-DISK-1): a gap, and it goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomtape.control import messages as say
from tests.support.inline import Inline
from tests.support.recordings import TASK
from tests.support.signals import h264_flashes, opus_beeps

LONG_S = 20


def pause(it: Inline) -> None:
    it.control(say.Pause(task_id=TASK, epoch=it.epoch))


def resume(it: Inline) -> None:
    it.control(say.Resume(task_id=TASK, epoch=it.epoch))


def publish(it: Inline, length_s: int = LONG_S) -> None:
    it.publish("amy", "video", h264_flashes(length_s))
    it.publish("amy", "audio", opus_beeps(length_s))


def journal_bytes(it: Inline) -> int:
    return sum(path.stat().st_size for path in (it.directory / "spool").glob("*.j"))


@pytest.mark.parametrize("av_merge", [0, 1])
def test_r_disk_1_a_paused_task_closes_its_pieces_writes_nothing_and_goes_on(
    inline: Callable[..., Inline], av_merge: int
) -> None:
    it = inline(piece_ms=10_000, av_merge=av_merge)
    it.start()
    publish(it)
    it.until(6)
    assert it.pieces == {}
    pause(it)
    it.play_to(7)
    ends = {output: piece.end_ns for (output, _), piece in it.pieces.items()}
    assert len(ends) == (1 if av_merge else 2), "the open pieces are closed, so that they can leave"
    size = journal_bytes(it)
    for second in range(8, 13):
        it.play_to(second)
    assert journal_bytes(it) == size
    assert it.core.overruns == []
    resume(it)
    it.play_to(12.5)
    it.until(LONG_S)
    it.stop()
    (gap,) = it.notes("gap_disk")
    assert "6 s" in gap.text
    outputs = {output for output, _ in it.pieces}
    for output in outputs:
        user, media, what = output.split("\x1f")
        numbers = [piece.piece_no for piece in it.of(user, media, what)]
        assert numbers == list(range(len(numbers)))
        seen = it.measured(user, media, what)
        assert seen.warnings == []
        if what != "audio":
            assert 6 * 30 - 30 <= sum(p.time_s < 6.5 for p in seen.pictures) <= 6 * 30 + 1
            assert sum(p.time_s > 12.9 for p in seen.pictures) >= 6 * 30
            assert not [p for p in seen.pictures if 6.6 < p.time_s < 11.9]
        if what != "video":
            assert {round(b) for b in seen.beeps_s} >= {1, 2, 3, 4, 5, 14, 15, 16, 17, 18, 19}
            assert not [b for b in seen.beeps_s if 6.6 < b < 11.9]
    after_hole = [piece for piece in it.pieces.values() if piece.discontinuity]
    assert bool(after_hole) is (av_merge == 0), "a merged output fills what is missing, as for any silence"


def test_r_disk_1_a_paused_task_can_be_stopped(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    publish(it)
    it.until(4)
    pause(it)
    it.play_to(6)
    it.stop()
    assert it.measured("amy", "main", "audio").duration_s < 5


def test_r_disk_1_a_new_worker_of_a_paused_task_waits_too(inline: Callable[..., Inline]) -> None:
    it = inline(piece_ms=4000)
    it.start()
    publish(it)
    it.until(5)
    pause(it)
    it.play_to(6)
    it.die()
    it.start(paused=True)
    it.play_to(9)
    size = journal_bytes(it)
    it.play_to(11)
    assert journal_bytes(it) == size
    resume(it)
    it.play_to(11.5)
    it.until(LONG_S)
    it.stop()
    seen = it.measured("amy", "main", "video")
    assert seen.warnings == []
    assert not [p for p in seen.pictures if 6.1 < p.time_s < 10.9]
    assert sum(p.time_s > 12 for p in seen.pictures) >= 7 * 30


def test_pieces_before_a_pause_are_untouched_by_a_second_one(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    publish(it)
    it.until(3)
    for _ in range(2):
        pause(it)
    it.play_to(5)
    for _ in range(2):
        resume(it)
    it.play_to(5.5)
    it.until(9)
    it.stop()
    assert len(it.notes("gap_disk")) == 1
