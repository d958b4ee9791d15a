"""Wherever a recording is cut, its pieces together are the recording: each packet once, in order."""

from __future__ import annotations

import io
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import av
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roomtape.media import adts, ts
from tests.support.measure import measure
from tests.support.signals import aac_beeps, h264_flashes
from tests.support.taping import SECOND, Tape, audio_packets, video_packets

SECONDS = 4
VIDEO_FRAMES = h264_flashes(SECONDS, gop_s=0.5, bframes=2)
SOUND = aac_beeps(SECONDS)

CUT_NS = 7_000_001  # cuts fall between packets, on them, and never twice in a millisecond
cuts = st.lists(st.integers(1, SECONDS * SECOND // CUT_NS), max_size=6, unique=True).map(
    lambda places: [place * CUT_NS for place in sorted(places)]
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts, st.floats(0.1, 2))
def test_pieces_hold_every_packet_once(at_ns: list[int], batch_s: float) -> None:
    directory = Path(tempfile.mkdtemp(prefix="pieces-"))
    try:
        tape = Tape(directory, sound=SOUND)
        tape.write(video_packets(VIDEO_FRAMES) + audio_packets(SOUND.frames), batch_s)
        bounds = [-SECOND, *at_ns, None]
        for number, end in enumerate(bounds[1:]):
            tape.piece("audiovideo", number, bounds[number] or 0, end)
        whole = b"".join(made.path.read_bytes() for _, made, _ in tape.made)

        # The counters run through: the pieces put together pass as one stream.
        content = ts.inspect(whole, {})
        assert content[ts.VIDEO_PID].pes == len(VIDEO_FRAMES)
        streams: dict[int, bytes] = {}
        options = {"fflags": "+noparse+nofillin"}
        with av.open(io.BytesIO(whole), "r", format="mpegts", options=options) as container:
            for packet in container.demux():
                streams[packet.stream.id] = streams.get(packet.stream.id, b"") + bytes(packet)
        frames = [frame for _, frame in adts.split(streams[ts.AUDIO_PID])]
        assert frames == [frame.data for frame in SOUND.frames]
        assert streams[ts.VIDEO_PID] == b"".join(ts.delimited(frame.data) for frame in VIDEO_FRAMES)

        # And they are numbered and timed without a hole.
        made = [made for _, made, _ in tape.made]
        assert sum(piece.packets for piece in made) == len(VIDEO_FRAMES) + len(SOUND.frames)
        for before, after in pairwise(made):
            if after.piece_no == before.piece_no + 1:  # else one without packets lies between them
                assert before.start_ms * 1000 + before.duration_us == after.start_ms * 1000
        seen = measure(tape.playlist("audiovideo"))
        assert seen.warnings == []
        assert len(seen.pictures) == len(VIDEO_FRAMES)
        assert seen.audio_gaps_s == []
    finally:
        shutil.rmtree(directory)
