"""Media that is not what it says it is must not stop a recording: publishers send whatever they like."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roomtape.recording.finalise import finalise
from roomtape.recording.journal import Packet
from tests.support.signals import aac_beeps, h264_flashes
from tests.support.taping import AUDIO, SECOND, VIDEO, Tape

GOOD_PICTURES = [frame.data for frame in h264_flashes(1)]
GOOD_SOUND = [frame.data for frame in aac_beeps(1).frames]

junk = st.binary(max_size=400) | st.integers(0, 20_000).map(bytes)
nal = st.tuples(st.sampled_from([b"\0\0\1", b"\0\0\0\1", b""]), st.integers(0, 255), junk).map(
    lambda parts: parts[0] + bytes([parts[1]]) + parts[2]
)
access_unit = st.lists(nal, max_size=4).map(b"".join) | st.sampled_from(GOOD_PICTURES)
picture = st.tuples(access_unit, st.booleans())
sound = junk | st.sampled_from(GOOD_SOUND)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(picture, max_size=30), st.lists(sound, max_size=30))
def test_f13_any_bytes_become_pieces_and_at_most_one_file(
    pictures: list[tuple[bytes, bool]], sounds: list[bytes]
) -> None:
    """One frame of nonsense must not cost the rest of the call."""
    directory = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        tape = Tape(directory, sound=aac_beeps(1))
        tape.write(
            [
                Packet(VIDEO, int(key), n * 3000, n * 3000, 3000, data)
                for n, (data, key) in enumerate(pictures)
            ]
            + [Packet(AUDIO, 1, n * 1024, n * 1024, 1024, data) for n, data in enumerate(sounds)]
        )
        for number in range(2):
            tape.piece("audiovideo", number, number * SECOND // 2, (number + 1) * SECOND // 2)
        made = list(finalise(tape.job()))
        assert sorted(path.name for path in (directory / "files").iterdir()) == [ready.name for ready in made]
    finally:
        shutil.rmtree(directory)


def test_sound_too_large_for_its_header_is_left_out(tmp_path: Path) -> None:
    tape = Tape(tmp_path, types=("audio",), sound=aac_beeps(1))
    tape.write([Packet(AUDIO, 1, n * 1024, n * 1024, 1024, bytes(9000)) for n in range(3)])
    assert tape.piece("audio", 0, 0, SECOND) is None
    tape.write([Packet(AUDIO, 1, 50_000, 50_000, 1024, GOOD_SOUND[0])])
    made = tape.piece("audio", 1, SECOND, None)
    assert made is not None
    assert made.packets == 1
