"""Publishers are not alike: every row is one that some encoder, camera or platform sends, by FFmpeg's own muxers.

All are in one room and one recording at once; of each file every picture is counted by its number and placed by its
time, and every beep is held against the pictures around it.
"""

from __future__ import annotations

import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support.killing import enc
from tests.support.measure import measure
from tests.support.publishers import recordings
from tests.support.receiver import CallbackReceiver
from tests.support.shapes import Shape, code, send
from tests.support.stack import Stack

ROOM = "odd"
CALL_S = 7
EARLY_S, LATE_S, MEDIAN_S = 0.040, 0.060, 0.020  # G-1
STEADY_S = 0.040  # a picture against the others
# FFmpeg's WHIP muxer reports when it came round to sending, which on a busy machine is later than RTMP's timestamps say.
BUSY_S = {"rtmp": 0.0, "whip": 0.050}

SHAPES = {
    "cuts": Shape(key_s=Fraction(60), options={"sc_threshold": "40", "preset": "veryfast"}),  # key pictures at cuts only
    "slices": Shape(options={"slices": "4", "aud": "1"}),  # hardware encoders: several NAL units a picture, delimiters
    "refresh": Shape(key_s=Fraction(1), options={"intra-refresh": "1"}),  # low delay: no key picture but the first
    "sixty": Shape(fps=Fraction(60)),
    "five": Shape(fps=Fraction(5)),  # a shared screen
    "film": Shape(fps=Fraction(24_000, 1001)),
    "uneven": Shape(drop=7),  # telephones in the dark: a quarter of a second without a picture
    "latesound": Shape(sound_late_s=Fraction(3)),  # a microphone that is allowed later
}
RTMP_ONLY = {
    "filler": Shape(options={"nal-hrd": "cbr", "maxrate": "400k", "bufsize": "400k", "x264-params": "filler=1"}),  # to a constant rate
    "interlaced": Shape(options={"x264-params": "tff=1", "preset": "veryfast"}),  # television cards
    "disc": Shape(rate=44_100, layout="mono"),
    "phone": Shape(rate=16_000, layout="mono"),
    "extended": Shape(first_ms=2**24 - 3000),  # from 3 to 4 bytes of RTMP's timestamp within the call
    "wrapped": Shape(first_ms=2**32 - 3000),  # a publisher that has been up for 50 days
}
Row = tuple[str, str]  # door and name, which are the user's too
ROWS: dict[Row, Shape] = {
    **{("rtmp", name): shape for name, shape in {**SHAPES, **RTMP_ONLY}.items()},
    **{("whip", name): shape for name, shape in SHAPES.items()},
}


@pytest.fixture(scope="module")
def call(stack: Stack, callbacks: CallbackReceiver, tmp_path_factory: pytest.TempPathFactory) -> dict[Row, list[Path]]:
    """Each publisher's files: an MP4 and a playlist."""
    work = tmp_path_factory.mktemp("odd")
    coded = {row: work / "-".join(row) for row in ROWS}
    context = multiprocessing.get_context("forkserver")  # each sends by itself: a sender that waits for others is late
    context.set_forkserver_preload(["tests.support.shapes"])
    with ProcessPoolExecutor(len(ROWS), context) as everybody:
        for coding in [everybody.submit(code, shape, row[0], coded[row], CALL_S) for row, shape in ROWS.items()]:
            coding.result()
        task = stack.create_recording(ROOM, OutputFormat=1, AvMerge=1)
        callbacks.wait(301, task_id=task)
        sending = []
        for row, shape in ROWS.items():
            door, user = row[0], "-".join(row)
            url = stack.rtmp_url(ROOM, user) if door == "rtmp" else stack.whip_url(ROOM, user)
            sending.append(everybody.submit(send, coded[row], door, url, stack.usersig(user), shape.first_ms))
        for one in sending:
            one.result()
    stack.delete(task)
    callbacks.wait(310, task_id=task, timeout_s=60)
    stored = [*recordings(stack, task, ".mp4"), *recordings(stack, task, ".m3u8")]
    return {row: [path for path in stored if f"_s_{enc('-'.join(row))}__" in path.name] for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_r_sync_3_r_ts_1_of_an_odd_stream_every_picture_is_there_at_its_time_and_with_its_sound(
    call: dict[Row, list[Path]], row: Row
) -> None:
    shape, busy_s = ROWS[row], BUSY_S[row[0]]
    assert [path.suffix for path in call[row]] == [".mp4", ".m3u8"]
    for path in call[row]:
        seen = measure(path)
        assert [picture.number for picture in seen.pictures] == shape.numbers(CALL_S)
        lates = [float(picture.time_s - picture.number / shape.fps) for picture in seen.pictures]
        late = statistics.median(lates)
        assert all(abs(each - late) <= STEADY_S + busy_s for each in lates)
        beeps = [beep for beep in seen.beeps_s if round(beep - late) >= shape.sound_late_s]
        assert [round(beep - late) for beep in beeps] == list(range(int(shape.sound_late_s), CALL_S))
        offsets = [beep - round(beep - late) - late for beep in beeps]
        assert abs(statistics.median(offsets)) <= MEDIAN_S + busy_s
        assert all(-EARLY_S - busy_s <= offset <= LATE_S + busy_s for offset in offsets), offsets
        assert seen.warnings == []
