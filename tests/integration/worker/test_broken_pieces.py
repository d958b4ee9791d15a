"""A piece found broken is tried a few times; then the recording goes on, and what there is of it is kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from roomtape.control import counters
from roomtape.control import messages as say
from roomtape.media import ts
from roomtape.recording import pieces as pieces_module
from roomtape.recording.journal import Journal, Packet, StreamHead
from roomtape.recording.piecework import MOST_TRIES
from roomtape.storage.spool import BROKEN, Spool
from tests.support.inline import Inline
from tests.support.recordings import TASK, strip_aud
from tests.support.signals import h264_flashes, opus_beeps

LONG_S = 20
PIECE_S = 4
SOUND_TICKS = 1920  # of 90 kHz, per AAC frame of 48 kHz


def numbers(it: Inline, kind: str, user: str = "amy") -> list[int]:
    return [piece.piece_no for piece in it.of(user, "main", kind)]


def begun(inline: Callable[..., Inline], **more: object) -> Inline:
    it = inline(piece_ms=1000 * PIECE_S, **more)
    it.start()
    it.publish("amy", "video", h264_flashes(LONG_S))
    it.publish("amy", "audio", opus_beeps(LONG_S))
    return it


def aside(it: Inline) -> list[Path]:
    return sorted((it.directory / "spool" / BROKEN).glob("*.j"))


@contextmanager
def disk_that_keeps_other_bytes(monkeypatch: pytest.MonkeyPatch, what: str) -> Iterator[None]:
    """What is forced to disk of pieces of `what` is not what was written, each time."""

    def damaging(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if f"_{what}_" in path or f"_{what}." in path:
            with open(path, "r+b", buffering=0) as file:
                (byte,) = os.pread(file.fileno(), 1, 188 * 5 + 100)
                os.pwrite(file.fileno(), bytes([byte ^ 0xFF]), 188 * 5 + 100)
        os.fsync(fd)

    with monkeypatch.context() as patched:
        patched.setattr(pieces_module.os, "fdatasync", damaging)
        yield


@contextmanager
def packer_that_moves_a_picture(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What pieces hold and what is meant to be in them come apart by a picture's time: FFmpeg sees that."""
    really = pieces_module.to_units

    def moved(streams: dict[int, StreamHead], packets: Sequence[Packet]) -> list[ts.TsUnit]:
        units = really(streams, packets)
        return [
            unit._replace(pts=unit.pts + 1) if n == 3 and unit.pid == ts.VIDEO_PID else unit
            for n, unit in enumerate(units)
        ]

    with monkeypatch.context() as patched:
        patched.setattr(pieces_module, "to_units", moved)
        yield


def test_a_journal_that_is_gone_costs_the_batches_in_it_and_the_rest_goes_on(
    inline: Callable[..., Inline],
) -> None:
    """Most of the second piece, and the beginning of the third."""
    it = begun(inline)
    it.until(PIECE_S + 3)  # the first pieces are committed, the second ones open
    assert (numbers(it, "video"), numbers(it, "audio")) == ([0], [0])
    newest(it).unlink()
    it.until(LONG_S)
    it.stop()
    assert_only_told_packets_are_missing(it)
    assert all("No such file" in note.text for note in it.notes("gap_broken"))
    assert "broken" in counters.LOST


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_bit_that_turned_over_in_the_journal_costs_its_batch(
    inline: Callable[..., Inline], part: float
) -> None:
    it = begun(inline)
    it.until(PIECE_S + 3)
    path = newest(it)
    turn_a_bit(path, round(path.stat().st_size * part))
    it.until(LONG_S)
    it.stop()
    assert_only_told_packets_are_missing(it)
    lost = it.notes("gap_broken")
    assert all("other bytes than were written" in note.text for note in lost)
    assert sum(note.count for note in lost) < 60  # the batch, and pictures up to the next key picture
    assert path.parent / BROKEN / path.name in aside(it)


def test_a_picture_that_would_be_held_and_cannot_be_read_does_not_end_the_task(
    inline: Callable[..., Inline],
) -> None:
    """A picture that lasts past the longest piece is made again from the journal, if it can be read."""
    it = inline(piece_ms=1000 * PIECE_S, max_piece_ms=6000)
    it.start()
    pictures = h264_flashes(2)
    it.publish("amy", "video", pictures)
    it.publish("amy", "audio", opus_beeps(LONG_S))
    it.until(3)
    path = newest(it)
    turn_a_bit(path, path.read_bytes().index(pictures[-1].data) + 1)
    it.until(LONG_S)
    it.recorder.on_control(_stop(it), it._now_ns)
    for _ in range(10):
        it.play_to(it.now_s + 1)
    assert it.recorder.done
    assert any(", video of" in note.text for note in it.notes("gap_broken"))
    assert it.measured("amy", "main", "audio").duration_s == pytest.approx(LONG_S, abs=0.1)


@pytest.mark.parametrize("part", [0.3, 0.6])
@pytest.mark.parametrize("reboots", [False, True])
def test_a_successor_that_finds_a_damaged_batch_says_so_and_goes_on_behind_it(
    inline: Callable[..., Inline], reboots: bool, part: float
) -> None:
    it = begun(inline)
    it.until(PIECE_S + 3)
    path = newest(it)
    turn_a_bit(path, round(path.stat().st_size * part))
    damaged = path.read_bytes()
    it.die()
    if reboots:
        it.reboot()
    it.start(new_stretch=reboots)
    (told,) = it.notes("gap_broken")
    assert "packets of the journal cannot be read back" in told.text
    assert (path.parent / BROKEN / path.name).read_bytes() == damaged
    assert it.notes("torn") == []
    it.until(LONG_S)
    if reboots:
        it.publish("amy", "video", h264_flashes(3))
        it.until(LONG_S + 3)
    it.stop()
    assert it.recorder.done
    assert it.measured("amy", "main", "video").warnings == []
    for kind in ("video", "audio"):
        assert numbers(it, kind) == list(range(len(numbers(it, kind))))
    assert len(it.notes("gap_broken")) == 1
    sent = {(frame.pts, frame.data) for frame in h264_flashes(LONG_S)}
    found = it.elementary("amy", "main", "video").pictures
    if not reboots:
        assert {(pts, strip_aud(data)) for pts, _, data in found} <= sent
        assert len(sent) - told.count - 30 <= len(found) < len(sent), "up to a group of pictures is lost"
        frames = it.elementary("amy", "main", "audio").sounds
        assert 0 < LONG_S * 48_000 // 1024 - len(frames) <= told.count


def test_a_last_write_that_the_power_cut_short_is_told_and_kept_by_nobody(
    inline: Callable[..., Inline],
) -> None:
    it = begun(inline)
    it.until(3)
    path = newest(it)
    it.die()
    os.truncate(path, path.stat().st_size - 10)
    it.reboot()
    it.start(new_stretch=True)
    assert len(it.notes("torn")) == 1
    assert it.notes("gap_broken") == []
    assert aside(it) == []


@pytest.mark.parametrize("merged", [0, 1])
def test_of_a_batch_that_holds_a_whole_piece_nothing_is_made(
    inline: Callable[..., Inline], merged: int
) -> None:
    """No packet of the second piece can be read back: the third one takes its number."""
    it = begun(inline, av_merge=merged)
    it.until(PIECE_S + 1)
    it.until(2 * PIECE_S + 0.9, step_s=PIECE_S - 0.1)
    path = newest(it)
    turn_a_bit(path, path.stat().st_size // 2)
    it.until(LONG_S)
    it.stop()
    assert it.recorder.done
    assert it.notes("gap_broken")
    for kind in ["audiovideo"] if merged else ["video", "audio"]:
        made = it.of("amy", "main", kind)
        assert [piece.piece_no for piece in made] == list(range(len(made)))


def assert_only_told_packets_are_missing(it: Inline) -> None:
    """Every piece is there, whole but for packets that were told of, and what it holds was sent."""
    sent = {(frame.pts, frame.data) for frame in h264_flashes(LONG_S)}
    for kind in ("video", "audio"):
        made = it.of("amy", "main", kind)
        assert [piece.piece_no for piece in made] == list(range(LONG_S // PIECE_S))
        assert not any(piece.discontinuity for piece in made)
        assert all(after.start_ns == before.end_ns for before, after in pairwise(made))
        assert it.measured("amy", "main", kind).warnings == [], "what refers to a lost picture is left out"
    found = it.elementary("amy", "main", "video").pictures
    assert {(pts, strip_aud(data)) for pts, _, data in found} <= sent
    sounds = it.elementary("amy", "main", "audio").sounds
    frames = (sounds[-1] - sounds[0]) // SOUND_TICKS + 1
    told = it.notes("gap_broken")
    for kind, lost in (("video", len(sent) - len(found)), ("audio", frames - len(sounds))):
        assert sum(note.count for note in told if f", {kind} of" in note.text) == lost
    assert told
    assert len(it.notes("broken")) == len(told) * (MOST_TRIES - 1)
    assert it.recorder.done


def newest(it: Inline) -> Path:
    return it.recorder.journal.directory / max(os.listdir(it.directory / "spool"), key=_number)


def turn_a_bit(path: Path, at: int) -> None:
    with path.open("r+b", buffering=0) as file:
        (byte,) = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes([byte ^ 0x10]), at)


def test_a_piece_the_disk_will_not_keep_is_left_out_and_its_journal_kept(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = begun(inline)
    it.until(PIECE_S + 3)
    with disk_that_keeps_other_bytes(monkeypatch, "video"):
        it.until(2 * PIECE_S + 3)
        assert aside(it) == []
        assert len(it.notes("broken")) < MOST_TRIES
        it.until(3 * PIECE_S + 0.5)
    it.until(LONG_S)
    it.stop()
    assert numbers(it, "video") == numbers(it, "audio")[:-1] == list(range(len(numbers(it, "video"))))
    hole = [piece.discontinuity for piece in it.of("amy", "main", "video")]
    assert hole == [False, True] + [False] * (len(hole) - 2)
    assert it.measured("amy", "main", "video").warnings == []
    assert len(it.notes("gap_broken")) == 1
    kept = [packet for path in aside(it) for packet in packets_of(path)]
    assert len(kept) >= it.notes("gap_broken")[0].count


def test_a_disk_that_recovers_in_time_costs_nothing(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = begun(inline)
    it.until(PIECE_S - 0.5)
    with disk_that_keeps_other_bytes(monkeypatch, "video"):
        it.until(PIECE_S + 1.5)
        assert it.notes("broken")
    it.until(LONG_S)
    it.stop()
    assert numbers(it, "video") == numbers(it, "audio")
    assert len(it.measured("amy", "main", "video").pictures) == LONG_S * 30
    assert it.notes("gap_broken") == []
    assert aside(it) == []


def test_a_piece_that_only_ffmpeg_reads_otherwise_is_kept(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = begun(inline, check_every=2)
    with packer_that_moves_a_picture(monkeypatch):
        it.until(PIECE_S + 6)
    it.until(LONG_S)
    it.stop()
    assert numbers(it, "video") == numbers(it, "audio") == list(range(len(numbers(it, "audio"))))
    assert len(it.measured("amy", "main", "video").pictures) == LONG_S * 30
    told = [note.text for note in it.notes("broken")]
    assert len(told) == MOST_TRIES
    assert "other picture times" in told[0]
    assert "is kept as it is" in told[-1]
    assert it.notes("gap_broken") == []
    assert len(aside(it)) >= 1


def test_tries_of_a_broken_piece_hold_up_no_other_and_end_with_the_task(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = begun(inline)
    it.until(2)
    with disk_that_keeps_other_bytes(monkeypatch, "video"):
        it.until(PIECE_S + 2)
        assert (numbers(it, "video"), numbers(it, "audio")) == ([], [0])
        at = it.now_s
        it.until(at + 10)
    it.stop()
    assert it.recorder.done


def test_a_successor_tries_a_broken_piece_anew(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = begun(inline)
    it.until(2)
    with disk_that_keeps_other_bytes(monkeypatch, "video"):
        it.until(PIECE_S + 1.5)
        assert it.notes("broken")
        it.die()
    it.start()
    it.until(LONG_S)
    it.stop()
    assert numbers(it, "video") == numbers(it, "audio")
    assert len(it.measured("amy", "main", "video").pictures) == LONG_S * 30


@pytest.mark.parametrize("die_at_s", [0.0, 2.0, 4.0])
@pytest.mark.parametrize("broken_s", [0.0, PIECE_S + 1.0])
def test_a_successor_goes_on_behind_a_piece_that_was_left_out(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch, broken_s: float, die_at_s: float
) -> None:
    """The first piece or a later one; the successor comes before or after the next piece is cut."""
    it = begun(inline)
    it.until(broken_s)
    with disk_that_keeps_other_bytes(monkeypatch, "video"):
        while not it.notes("gap_broken"):
            it.until(it.now_s + 0.5)
    it.until(it.now_s + die_at_s)
    it.die()
    it.start()
    it.until(LONG_S)
    it.stop()
    made = it.of("amy", "main", "video")
    assert [piece.piece_no for piece in made] == list(range(len(numbers(it, "audio")) - 1))
    assert len(it.notes("gap_broken")) == 1
    holes = sum(after.start_ns != before.end_ns for before, after in pairwise(made))
    assert holes == (1 if broken_s else 0)
    assert [piece.discontinuity for piece in made[1:]].count(True) == holes
    assert len(it.measured("amy", "main", "video").pictures) == (LONG_S - PIECE_S) * 30


@pytest.mark.parametrize("dies", [False, True])
def test_a_last_piece_that_is_left_out_does_not_keep_a_task_from_its_end(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    it = begun(inline)
    it.until(LONG_S - 1)
    before = numbers(it, "video")
    it.commit = not dies
    with disk_that_keeps_other_bytes(monkeypatch, "video"):
        it.recorder.on_control(_stop(it), it._now_ns)
        while not it.notes("gap_broken"):
            it.play_to(it.now_s + 0.5)
    if dies:
        it.die()
        it.commit = True
        it.start(stop_at_s=LONG_S - 1)
    it.play_to(it.now_s + 5)
    assert it.recorder.done
    assert numbers(it, "video") == before
    assert numbers(it, "audio") == [*before, len(before)]


def test_what_was_set_aside_outlives_its_task(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = begun(inline)
    with disk_that_keeps_other_bytes(monkeypatch, "video"):
        it.until(PIECE_S + 6)
    it.until(LONG_S)
    it.stop()
    spool = Spool(it.directory)
    spool.drop_task("spool")
    (left,) = spool.task_dir("spool").iterdir()
    assert left.name == BROKEN
    assert aside(it)


def _stop(it: Inline) -> say.Stop:
    return say.Stop(task_id=TASK, epoch=it.epoch, at_ns=it._now_ns)


def packets_of(path: Path) -> list[Packet]:
    journal = Journal.open(path.parent, 99)
    return [packet for output in journal.outputs for packet in journal.window(output, -(1 << 62), None)]


def _number(name: str) -> int:
    return int(name.removesuffix(".j").split("-")[1]) if name.endswith(".j") else -1
