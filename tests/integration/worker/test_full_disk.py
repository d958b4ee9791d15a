"""A disk that is really full: a small file system in a mount namespace of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from roomtape.recording.reserve import Reserve
from tests.support.inline import Inline
from tests.support.measure import measure_bytes
from tests.support.signals import Frame, h264_flashes, opus_beeps

FILE_SYSTEM_BYTES = 3 << 20
RESERVE_BYTES = 1 << 20
FILLER = b"\x00\x00\x00\x01\x0c" + b"\xff" * 2500 + b"\x80"  # a filler NAL unit: bulk that decoders skip
LONG_S = 30


def test_f5_a_full_disk_loses_nothing_and_recording_goes_on_when_pieces_leave(tmp_path: Path) -> None:
    mount = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces for this user")
    script = (
        f'mount -t tmpfs -o size={FILE_SYSTEM_BYTES} none "$1" && exec "$0" -c '
        "'import sys; from pathlib import Path; from tests.integration.worker import test_full_disk as t;"
        't.record_on_a_small_disk(Path(sys.argv[1]))\' "$1"'
    )
    result = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def bulky(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    return tuple(frame._replace(data=frame.data + FILLER) for frame in frames)


def record_on_a_small_disk(directory: Path) -> None:
    """Ballast fills the disk in the middle; what is uploaded leaves, and the ballast at the end."""
    it = Inline(directory, piece_ms=4000)
    it.start()
    it.recorder.journal.reserve = Reserve(directory / ".reserve", RESERVE_BYTES)
    assert it.recorder.journal.reserve.keep()
    it.publish("amy", "video", bulky(h264_flashes(LONG_S)))
    it.publish("amy", "audio", opus_beeps(LONG_S))
    read: dict[tuple[str, int], bytes] = {}

    def upload() -> None:
        """Take what is committed away, as an upload does."""
        for name, piece in it.pieces.items():
            if name not in read:
                read[name] = it.path(piece).read_bytes()
                it.path(piece).unlink()

    ballast = directory / "ballast"
    for second in range(1, LONG_S + 1):
        if second == 8:
            room = os.statvfs(directory)
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - 65536)
        if second == 20:
            ballast.unlink()
        it.play_to(second)
        upload()
    it.until_read(LONG_S)
    it.stop()
    upload()
    assert it.notes("disk_full")
    assert it.notes("disk_ok")
    assert it.core.overruns == []
    for what in ("video", "audio"):
        numbers = [number for output, number in sorted(read) if output.endswith(what)]
        assert numbers == list(range(len(numbers)))
        parts = [data for (output, _no), data in sorted(read.items()) if output.endswith(what)]
        seen = measure_bytes(b"".join(parts), "mpegts")
        assert seen.warnings == []
        if what == "video":
            assert len(seen.pictures) == LONG_S * 30
        else:
            assert seen.audio_gaps_s == []
            assert len(seen.beeps_s) == LONG_S
    it.close()
