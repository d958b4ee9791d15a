"""A worker that gets too little of the processor loses nothing: what it has not read yet is waited for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomtape.control import messages as say
from roomtape.media.frames import NS
from tests.support.inline import Inline
from tests.support.recordings import TASK, TASK0_NS, Source
from tests.support.signals import h264_flashes, opus_beeps

BEEP_S = 0.062


def come_and_go_twice(it: Inline) -> Source:
    """Amy's pictures from 0 to 3 s and from 4 to 7 s, of which the task has heard the first second; the second."""
    first = it.publish("amy", "video", h264_flashes(3))
    it.until(1)
    first.push(it.core, TASK0_NS + 3 * NS)
    it.core.stop_track(first.track, at_ns=TASK0_NS + 3 * NS, cause="closed")
    it.sources.remove(first)
    it.now_s = 4
    second = it.publish("amy", "video", h264_flashes(3))
    second.push(it.core, TASK0_NS + 7 * NS)
    it.core.stop_track(second.track, at_ns=TASK0_NS + 7 * NS, cause="closed")
    it.sources.remove(second)
    return second


def test_a_stop_waits_for_what_lies_in_the_socket_however_long_a_turn_took(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    sound = it.publish("amy", "audio", opus_beeps(8))
    it.until(5)
    stop_ns = TASK0_NS + 8 * NS
    sound.push(it.core, stop_ns)
    it.core.advance("1400000001/s/class", stop_ns)
    it.now_s = 8
    it.control(say.Stop(task_id=TASK, epoch=it.epoch, at_ns=stop_ns))
    it.recorder.tick(stop_ns + 5 * NS)  # it was not given the processor for five seconds
    assert not it.recorder.stopped
    it.until_read(8)
    it.recorder.tick(stop_ns + 5 * NS)
    it.recorder.tick(stop_ns + 7 * NS)
    it.control(say.PieceCommitted(task_id=TASK, epoch=it.epoch, output="", piece_no=0))
    assert it.recorder.done
    assert it.measured("amy", "main", "audio").beeps_s == pytest.approx(list(range(8)), abs=BEEP_S)


def test_a_session_that_came_and_went_while_the_one_before_was_read_is_recorded(
    inline: Callable[..., Inline],
) -> None:
    it = inline()
    it.start()
    come_and_go_twice(it)
    it.core.advance("1400000001/s/class", TASK0_NS + 8 * NS)
    it.now_s = 8
    it.until(12)
    it.stop()
    assert it.measured("amy", "main", "video").flashes_s == pytest.approx([0, 1, 2, 4, 5, 6], abs=0.05)


def test_a_worker_that_takes_over_after_the_stop_ends_while_its_users_go_on_sending(
    inline: Callable[..., Inline],
) -> None:
    """What the log holds when it opens is then from after the stop, too: that is not recorded, nor waited for."""
    it = inline()
    it.start()
    it.publish("amy", "audio", opus_beeps(30))
    it.publish("amy", "video", h264_flashes(30))
    it.until(5)
    it.die()
    for source in it.sources:
        source.push(it.core, TASK0_NS + 8 * NS)
    it.start(stop_at_s=6)
    it.now_s = 8
    it.until(9)
    assert it.recorder.stopped
    it.recorder.tick(TASK0_NS + 40 * NS)
    it._answer()
    assert it.recorder.done
    assert it.measured("amy", "main", "audio").beeps_s == pytest.approx(list(range(6)), abs=BEEP_S)
    assert it.measured("amy", "main", "video").flashes_s == pytest.approx(list(range(6)), abs=0.05)


def test_a_session_of_before_the_stop_is_recorded_by_a_worker_that_hears_of_it_after(
    inline: Callable[..., Inline],
) -> None:
    it = inline()
    it.start()
    come_and_go_twice(it)
    it.now_s = 8
    it.core.advance("1400000001/s/class", TASK0_NS + 8 * NS)
    it.stop()  # nothing of what the core said since the first second has been heard
    assert it.measured("amy", "main", "video").flashes_s == pytest.approx([0, 1, 2, 4, 5, 6], abs=0.05)


def test_what_the_log_let_go_before_it_was_read_is_told_as_a_gap(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    it.publish("amy", "audio", opus_beeps(8))
    second = come_and_go_twice(it)
    it.core.forget(second.track)
    it.until(8)
    it.stop()
    assert it.measured("amy", "main", "video").flashes_s == pytest.approx([0, 1, 2], abs=0.05)
    assert [note.text for note in it.notes("gap_overrun")] == [
        f"track {second.track} had left the log before it was read"
    ]
