"""Pieces: made of journal packets alone, checked on the disk, and one continuous stream when put together."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from roomtape.media import ts
from roomtape.recording import pieces
from roomtape.recording.journal import Journal
from roomtape.recording.pieces import PieceBroken, make_piece, remove_leftovers
from tests.support.measure import measure
from tests.support.signals import aac_beeps, h264_flashes
from tests.support.taping import SECOND, WALL_MS, Tape, audio_packets, output_key, video_packets

FRAME_S = 1 / 30
BEEP_S = 0.001  # beeps are found to a millisecond; times in a transport stream are rounded to 1/90000 s
FIRST_BEEP_S = 0.012  # without its priming packet the first frame fades in


def taped(directory: Path, seconds: float = 6, *, bframes: int = 0, piece_s: int = 2) -> Tape:
    sound = aac_beeps(seconds)
    tape = Tape(directory, sound=sound)
    tape.write(video_packets(h264_flashes(seconds, bframes=bframes)) + audio_packets(sound.frames))
    count = round(seconds / piece_s)
    for k in range(count):
        begin = 0 if k else -SECOND  # pictures may be decoded before they are shown
        end = (k + 1) * piece_s * SECOND if k + 1 < count else None
        tape.piece("audiovideo", k, k * piece_s * SECOND if k else begin, end)
    return tape


@pytest.mark.parametrize("bframes", [0, 2])
def test_pieces_put_together_decode_without_a_warning(tmp_path: Path, bframes: int) -> None:
    tape = taped(tmp_path, bframes=bframes)
    seen = measure(tape.playlist("audiovideo"))
    assert seen.warnings == []
    assert len(seen.pictures) == 180
    assert seen.flashes_s == pytest.approx(list(range(6)), abs=FRAME_S / 2)
    assert seen.beeps_s[0] == pytest.approx(0, abs=FIRST_BEEP_S)
    assert seen.beeps_s[1:] == pytest.approx(list(range(1, 6)), abs=BEEP_S)
    assert seen.audio_gaps_s == []


def test_every_piece_decodes_alone(tmp_path: Path) -> None:
    for _, made, _ in taped(tmp_path).made:
        seen = measure(made.path)
        assert seen.warnings == []
        assert len(seen.pictures) == 60
        assert seen.pictures[0].key
        assert seen.origin_s == pytest.approx(10 + max(0, made.start_ns) / 1e9, abs=0.022)


def test_a_piece_says_where_it_begins_and_ends(tmp_path: Path) -> None:
    sound = aac_beeps(3)
    tape = Tape(tmp_path, sound=sound, types=("audio", "video"))
    tape.write(video_packets(h264_flashes(3)) + audio_packets(sound.frames))
    first = tape.piece("video", 0, 0, SECOND)
    second = tape.piece("video", 1, SECOND, None)
    only_sound = tape.piece("audio", 0, 0, 9 * SECOND, hole_follows=True)
    assert first is not None
    assert second is not None
    assert only_sound is not None
    assert (first.start_ms, first.duration_us, first.end_ns) == (WALL_MS, 1_000_000, SECOND)
    assert (second.start_ms, second.duration_us) == (WALL_MS + 1000, 2_000_000)
    assert (first.width, first.height, first.sample_rate) == (160, 96, 0)
    assert (only_sound.width, only_sound.channels, only_sound.sample_rate) == (0, 2, 48_000)
    # It ends with its last frame, not where the next one begins after the hole.
    assert only_sound.end_ns == len(sound.frames) * 1024 * SECOND // 48_000
    assert only_sound.size == only_sound.path.stat().st_size


def test_there_is_no_piece_without_packets(tmp_path: Path) -> None:
    tape = Tape(tmp_path, sound=aac_beeps(1))
    assert tape.piece("audiovideo", 0, 0, SECOND) is None
    assert list(tape.pieces_dir.iterdir()) == []


def test_a_piece_made_again_has_the_same_bytes_whoever_makes_it(tmp_path: Path) -> None:
    """A worker killed between rename and report makes it again; the file that stands is left alone."""
    tape = taped(tmp_path)
    before = [(made.path, made.path.read_bytes(), made.path.stat().st_ino) for _, made, _ in tape.made]
    tape.journal.close()
    script = (
        "import sys; from pathlib import Path; from tests.integration.recording.test_pieces import again;"
        "again(Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, check=True)
    for path, data, inode in before:
        assert path.read_bytes() == data
        assert path.stat().st_ino == inode


def again(directory: Path) -> None:
    """Make all pieces of a journal once more, in another process and epoch."""
    journal = Journal.open(directory, 2)
    key = output_key("audiovideo")
    counters: dict[int, int] = {}
    row = journal.cuts[key]
    for cut, end in zip(row, [*(c.at_ns for c in row[1:]), None], strict=True):
        made = make_piece(
            journal,
            key,
            cut.piece_no,
            cut.at_ns,
            end,
            counters,
            directory=directory / "pieces",
            sdk_app_id=1600001234,
            room_in_names="Y2xhc3NfNw..",
            clock_wall_ms=WALL_MS,
        )
        assert made is not None
        counters = made.counters


def test_counters_begin_anew_after_a_discontinuity(tmp_path: Path) -> None:
    sound = aac_beeps(4)
    tape = Tape(tmp_path, sound=sound)
    tape.write(video_packets(h264_flashes(4)) + audio_packets(sound.frames))
    tape.piece("audiovideo", 0, 0, 2 * SECOND)
    after = tape.piece("audiovideo", 1, 2 * SECOND, None, discontinuity=True)
    assert after is not None
    ts.inspect(after.path.read_bytes(), {})
    # Readers that do not know the playlist are told, too: no picture counts as damaged.
    seen = measure(tape.playlist("audiovideo"))
    assert seen.warnings == []
    assert len(seen.pictures) == 120


def test_r_disk_3_a_file_that_is_not_what_was_meant_never_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Tape(tmp_path, sound=aac_beeps(1))
    tape.write(video_packets(h264_flashes(1)))
    write = os.write

    def damaging(fd: int, data: bytes) -> int:
        """The disk keeps one byte wrong."""
        damaged = bytearray(data)
        if len(damaged) > 188 * 6:
            damaged[188 * 5 + 3] ^= 1
        return write(fd, damaged)

    with monkeypatch.context() as patched:
        patched.setattr(pieces.os, "write", damaging)
        with pytest.raises(PieceBroken, match="continuity"):
            tape.piece("audiovideo", 0, 0, None)
    assert list(tape.pieces_dir.iterdir()) == []
    assert tape.piece("audiovideo", 0, 0, None) is not None


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape(tmp_path, sound=aac_beeps(1))
    tape.write(video_packets(h264_flashes(1)))

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pieces.os, "write", full)
        with pytest.raises(OSError, match="No space"):
            pieces.write_durably(tape.pieces_dir / "x.ts", b"x", lambda path: None)
    assert list(tape.pieces_dir.iterdir()) == []


@pytest.mark.parametrize("point", ["mid-mux", "before-rename", "after-rename"])
def test_a_maker_killed_at_any_point_leaves_no_half_file(tmp_path: Path, point: str) -> None:
    tape = taped(tmp_path / "whole", 2, piece_s=1)
    whole = {made.name: made.path.read_bytes() for _, made, _ in tape.made}
    tape.journal.close()
    for name in whole:
        (tape.pieces_dir / name).unlink()
    script = (
        "import sys; from pathlib import Path; from tests.integration.recording.test_pieces import again;"
        "again(Path(sys.argv[1]))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ROOMTAPE_FAULT": f"{point}:2",
        "ROOMTAPE_FAULT_DIR": str(tmp_path),
    }

    def run() -> int:
        command = [sys.executable, "-c", script, str(tape.directory)]
        return subprocess.run(command, env=environment, check=False).returncode

    assert run() == -9
    standing = {p.name: p.read_bytes() for p in tape.pieces_dir.iterdir() if not p.name.startswith(".tmp-")}
    assert standing.items() <= whole.items()
    assert run() == 0
    remove_leftovers(tape.pieces_dir)
    assert {path.name: path.read_bytes() for path in tape.pieces_dir.iterdir()} == whole
