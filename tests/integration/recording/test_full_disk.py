"""A disk that is really full: a file system of 1 MiB in a mount namespace of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from roomtape.recording.finalise import FinaliseFailed, finalise
from roomtape.recording.journal import DiskFull
from roomtape.recording.pieces import make_piece
from roomtape.recording.poison import WorkPage
from roomtape.recording.reserve import Reserve
from tests.support.measure import measure_bytes
from tests.support.signals import Frame, aac_beeps, h264_flashes
from tests.support.taping import SECOND, WALL_MS, Tape, audio_packets, output_key, video_packets

FILE_SYSTEM_BYTES = 1 << 20
FILLER = b"\x00\x00\x00\x01\x0c" + b"\xff" * 2500 + b"\x80"  # a filler NAL unit: bulk that decoders skip


def in_small_file_system(directory: Path, function: str) -> subprocess.CompletedProcess[str]:
    """Call a function of this module with a full-size-limited `directory`, in another process."""
    script = (
        f'mount -t tmpfs -o size={FILE_SYSTEM_BYTES} none "$1" && exec "$0" -c '
        f"'import sys; from pathlib import Path; from tests.integration.recording import test_full_disk as t;"
        f't.{function}(Path(sys.argv[1]))\' "$1"'
    )
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, str(directory)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A directory a child process may cover with a small file system."""
    allowed = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if allowed.returncode:
        pytest.skip("no mount namespaces for this user")
    return tmp_path


def test_f5_r_disk_2_an_open_piece_can_be_made_of_the_reserve_and_recording_goes_on(small: Path) -> None:
    result = in_small_file_system(small, "fill_and_free")
    assert result.returncode == 0, result.stderr


def test_a_work_page_without_a_block_behind_it_does_not_end_the_process(small: Path) -> None:
    result = in_small_file_system(small, "enter_on_a_full_disk")
    assert result.returncode == 0, (result.returncode, result.stderr)


def enter_on_a_full_disk(directory: Path) -> None:
    """Name what is in work on a page made while not one block is free."""
    with (directory / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b"x" * 4096):
            pass
    page = WorkPage(directory / "page")
    page.enter("boot", (1, 2, 3))
    assert page.read() == ("boot", (1, 2, 3))
    page.leave()
    assert page.read() is None


def bulky(frames: tuple[Frame, ...]) -> list[Frame]:
    return [frame._replace(data=frame.data + FILLER) for frame in frames]


def fill_and_free(directory: Path) -> None:
    """Record until nothing fits, close the open piece from the reserve, forget its journal, record on."""
    sound = aac_beeps(20)
    tape = Tape(directory, sound=sound)
    reserve = Reserve(directory / ".reserve", 560_000)
    assert reserve.keep()
    tape.journal.reserve = reserve
    assert not Reserve(directory / ".other", FILE_SYSTEM_BYTES).keep()
    key = output_key("audiovideo")
    packets = video_packets(bulky(h264_flashes(20))) + audio_packets(sound.frames)
    starts = [0]
    counters: dict[int, int] = {}
    tape.journal.cut(key, 0, 0)
    made = []
    full = 0

    def close_piece(to_ns: int | None) -> None:
        nonlocal counters
        piece = make_piece(
            tape.journal,
            key,
            len(made),
            starts[-1],
            to_ns,
            counters,
            directory=tape.pieces_dir,
            sdk_app_id=1,
            room_in_names="1",
            clock_wall_ms=WALL_MS,
            demux=True,
        )
        assert piece is not None
        counters = piece.counters
        made.append(piece.path.read_bytes())  # it is uploaded and proven ...
        piece.path.unlink()  # ... and goes
        tape.journal.forget({key: piece.end_ns})
        reserve.keep()

    for second in range(20):
        batch = [p for p in packets if second <= p.dts / (90_000 if p.stream == 1 else 48_000) < second + 1]
        state = {"seconds": second + 1}
        try:
            tape.journal.append(batch, state)
        except DiskFull:
            full += 1
            assert tape.journal.checkpoint == {"seconds": second}
            tape.journal.cut(key, len(starts), second * SECOND)
            close_piece(second * SECOND)
            starts.append(second * SECOND)
            tape.journal.append(batch, state)  # the batch that was kept in memory
    close_piece(None)

    assert full >= 2
    assert all(a < b for a, b in pairwise(starts))
    seen = measure_bytes(b"".join(made), "mpegts")
    assert seen.warnings == []
    assert len(seen.pictures) == 600
    assert seen.audio_gaps_s == []


def test_a_file_that_does_not_fit_is_an_error_and_leaves_its_room(small: Path) -> None:
    """FFmpeg's own file output reports success here."""
    result = in_small_file_system(small, "finalise_without_room")
    assert result.returncode == 0, result.stderr


def finalise_without_room(directory: Path) -> None:
    tape = Tape(directory, sound=aac_beeps(6))
    tape.write(video_packets(bulky(h264_flashes(6))))
    made = tape.piece("audiovideo", 0, 0, None)
    assert made is not None
    tape.journal.forget({output_key("audiovideo"): 100 * SECOND})
    filler = directory / "filler"
    room = os.statvfs(directory)
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - made.size // 2))
    with pytest.raises((OSError, FinaliseFailed)):
        list(finalise(tape.job()))
    assert list((directory / "files").iterdir()) == []
    filler.unlink()
    assert len(list(finalise(tape.job()))) == 1
