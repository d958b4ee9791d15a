"""Whatever users do and whenever workers die, a recording keeps its promises.

Hypothesis makes up what happens; the driver runs in this thread between a twin of the core and one of the
server, and dies without a word where it is told to.
"""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.support.inline import Inline
from tests.support.recordings import Source, strip_aud
from tests.support.signals import h264_flashes, opus_beeps

LONGEST_S = 60
AAC_TICKS = 1920  # 1024 samples in 1/90000 s

actions = st.lists(
    st.one_of(
        st.tuples(st.just("play"), st.integers(1, 8)),  # half seconds
        st.tuples(st.just("video"), st.sampled_from(["on", "off"])),
        st.tuples(st.just("audio"), st.sampled_from(["on", "off", "mute"])),
        st.tuples(st.just("die"), st.just(0)),
        st.tuples(st.just("commit"), st.booleans()),
    ),
    min_size=3,
    max_size=14,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    actions=actions,
    av_merge=st.sampled_from([0, 1]),
    fill_type=st.sampled_from([0, 1]),
    idle_s=st.sampled_from([5, 30]),
)
def test_promises(actions: list[tuple[str, object]], av_merge: int, fill_type: int, idle_s: int) -> None:
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        it = Inline(
            Path(directory), av_merge=av_merge, fill_type=fill_type, max_idle_ms=idle_s * 1000, piece_ms=2000
        )
        try:
            live = run(it, actions)
            note(f"ended at {it.now_s} s with {sorted(live)}")
            check(it, fill_type)
        finally:
            it.close()


def run(it: Inline, actions: list[tuple[str, object]]) -> dict[str, Source]:
    live: dict[str, Source] = {}
    it.start()
    for name, what in actions:
        if name == "play":
            assert isinstance(what, int)
            it.until(it.now_s + what / 2)
        elif name == "die":
            it.die()
            it.start()
        elif name == "commit":
            it.commit = bool(what)
        elif what == "on" and name not in live:
            frames = h264_flashes(LONGEST_S) if name == "video" else opus_beeps(LONGEST_S)
            live[name] = it.publish("amy", name, frames)
        elif what == "off" and name in live:
            it.unpublish(live.pop(name))
        elif what == "mute" and name in live:  # what would be sent in the next second is not
            source = live[name]
            assert isinstance(source.frames, list)
            del source.frames[source.position : source.position + 50]
    it.until(it.now_s + 1)
    it.commit = True
    it.stop()
    return live


def check(it: Inline, fill_type: int) -> None:
    assert it.notes("late") == it.notes("error") == []
    outputs = {output for output, _no in it.pieces}
    for output in outputs:
        pieces = it.of(*output.split("\x1f"))
        assert [p.piece_no for p in pieces] == list(range(len(pieces)))
        for one, following in pairwise(pieces):
            assert one.end_ns <= following.start_ns
            assert following.discontinuity or following.start_ns - one.end_ns < 40_000_000
        pictures = [row for p in pieces for row in it.elementary_of(p).pictures]
        assert all(a[1] < b[1] for a, b in pairwise(pictures))
        for piece in pieces:
            sounds = it.elementary_of(piece).sounds
            assert all(b - a == AAC_TICKS for a, b in pairwise(sounds))
    # each picture that was sent is recorded once, in order; what FillType 1 added is ours
    sent = [f.data for frames in it.core.sent.values() for f in frames if f.track in it.videos]
    recorded = [
        strip_aud(data)
        for output in sorted(outputs)
        for piece in it.of(*output.split("\x1f"))
        for _pts, _dts, data in it.elementary_of(piece).pictures
    ]
    if fill_type == 0:
        assert recorded == sent
    else:
        known = set(sent)
        theirs = [data for data in recorded if data in known]
        assert theirs == sent
