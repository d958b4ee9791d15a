"""A worker process records what a twin of the core sends, and its pieces are what was sent."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from roomtape.media.frames import NS
from tests.support.measure import measure_bytes
from tests.support.recordings import (
    PATIENCE_S,
    ROOM,
    TASK,
    TASK0_NS,
    Rig,
    Source,
    key,
    read_pieces,
    strip_aud,
)
from tests.support.signals import h264_flashes, opus_beeps

LONG_S = 25
LIP_SYNC_S = 0.045  # ITU-R BT.1359 detection threshold


def publish(rig: Rig, user: str = "amy", *, at_s: float = 0, long_s: float = LONG_S) -> list[Source]:
    """Picture and sound of one user, both from the same instant on."""
    at_ns = TASK0_NS + round(at_s * NS)
    video = rig.core.start_track(ROOM, user, "video", "h264", started_ns=at_ns, entered_ns=at_ns)
    audio = rig.core.start_track(ROOM, user, "audio", "opus", started_ns=at_ns, entered_ns=at_ns)
    return [
        Source(video, h264_flashes(long_s), 90_000, at_ns),
        Source(audio, opus_beeps(long_s), 48_000, at_ns),
    ]


def play(rig: Rig, sources: list[Source], *, until_s: float, from_s: float = 0, step_ms: int = 500) -> None:
    """Push everything up to `until_s` in steps, as fast as the worker takes it."""
    step = step_ms * 1_000_000
    for at in range(TASK0_NS + round(from_s * NS) + step, TASK0_NS + round(until_s * NS) + step, step):
        for source in sources:
            source.push(rig.core, at)
        rig.core.advance(ROOM, at)
        for source in sources:
            taken = rig.core.sent[source.track]
            done = len(taken) - 200  # the log keeps 10 s: never run further ahead than that
            assert done <= 0 or rig.core.wait_until_acked(source.track, done, PATIENCE_S), rig.complaints()


@pytest.mark.parametrize("av_merge", [0, 1])
def test_r_cap_1_pieces_hold_exactly_what_was_sent(rig: Callable[..., Rig], av_merge: int) -> None:
    it = rig(av_merge=av_merge)
    sources = publish(it)
    it.start_worker()
    assert it.core.wait_for_reader(TASK, sources[0].track, PATIENCE_S), it.complaints()
    play(it, sources, until_s=LONG_S)
    it.stop(TASK0_NS + LONG_S * NS)
    it.wait_until_stopped()
    assert it.server.errors == []
    types = ["audiovideo"] if av_merge else ["video", "audio"]
    whole = []
    for what in types:
        pieces = it.server.of(TASK, key("amy", "main", what))
        assert [p.piece_no for p in pieces] == list(range(len(pieces)))
        assert len(pieces) == 3
        assert [p.start_ns for p in pieces[1:]] == [p.end_ns for p in pieces[:-1]]
        whole.append(read_pieces([it.path(p) for p in pieces]))
        data = b"".join(it.path(p).read_bytes() for p in pieces)
        seen = measure_bytes(data, "mpegts")
        assert seen.warnings == []
        assert seen.duration_s == pytest.approx(LONG_S, abs=0.05)
        if av_merge:
            assert len(seen.av_offsets_s) == LONG_S
            assert max(map(abs, seen.av_offsets_s)) < LIP_SYNC_S
    pictures = [row for part in whole for row in part.pictures]
    sounds = [pts for part in whole for pts in part.sounds]
    sent = [frame.data for frame in it.core.sent[sources[0].track]]
    assert [strip_aud(data) for _pts, _dts, data in pictures] == sent
    assert all(a[1] < b[1] for a, b in pairwise(pictures))
    assert sounds == [sounds[0] + 1920 * n for n in range(len(sounds))]
