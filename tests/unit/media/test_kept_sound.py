"""Sound that is kept is placed batch by batch, and no otherwise than frame by frame."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from roomtape.media.clocks import KeptSoundClock, SoundClock
from roomtape.media.frames import NS, PREROLL, TapFrame, Track
from roomtape.media.sound import FRAME, KeptSound

RATE = 48_000
TASK0_NS = 5 * NS
STEP_MS = 1000 * FRAME / RATE

steps = st.tuples(
    st.sampled_from([0, 0, 0, 0, 0, 0, 1, -1, 40, 3000]),  # ms by which pts leaves its steps
    st.sampled_from([0, 0, 0, 0, 3, -3, 700, -1500]),  # ms by which the capture clock does
    st.sampled_from([0, 0, 0, 0, 0, 0, 0, PREROLL]),
)


def frames_of(moves: list[tuple[int, int, int]], skew: float) -> list[TapFrame]:
    """48 kHz AAC with pts of 1 ms, as RTMP carries it."""
    frames, pts, capture = [], 0.0, 0.0
    for seq, (jump, late, flags) in enumerate(moves):
        pts += STEP_MS + jump
        capture += STEP_MS * (1 + skew) + late
        at_ns = TASK0_NS + round(capture * 1e6)
        frames.append(TapFrame(7, seq, flags, round(pts), round(pts), at_ns, b"%d" % seq))
    return frames


def new_sound() -> KeptSound:
    sound = KeptSound(RATE, 2)
    sound.begin(Track(track=7, user="amy", kind="audio", codec="aac", time_base_den=1000))
    return sound


@given(
    st.lists(steps, max_size=120),
    st.sampled_from([0.0, 0.0001, -0.0001, 0.02, -0.02]),
    st.lists(st.integers(0, 120), max_size=6),
    st.booleans(),
)
def test_batches_say_what_single_frames_say(
    moves: list[tuple[int, int, int]], skew: float, cuts: list[int], fills: bool
) -> None:
    frames = frames_of(moves, skew)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(frames)), len(frames)]
    one, many = new_sound(), new_sound()
    for start, stop in pairwise(bounds):
        singly = [coded for frame in frames[start:stop] for coded in one.push([frame], TASK0_NS)]
        assert many.push(frames[start:stop], TASK0_NS) == singly
        if fills and one.end is not None:
            assert one.fill_to(one.end + 3 * FRAME) == many.fill_to(one.end)
        assert one.state() == many.state()


@given(st.lists(steps, max_size=200), st.sampled_from([0.0, 0.0003, -0.0003, 0.01, -0.01]))
def test_a_run_is_what_placing_each_frame_gives(moves: list[tuple[int, int, int]], skew: float) -> None:
    frames = frames_of([(jump, late, 0) for jump, late, _ in moves], skew)
    run = KeptSoundClock(RATE, 1000)
    each = SoundClock(RATE, 1000, most=run.most)
    at = 0
    while at < len(frames):
        for pos in run.run(frames, at, FRAME, TASK0_NS):
            placed = each.place(frames[at].pts, FRAME, (frames[at].capture_ns - TASK0_NS) * RATE // NS)
            assert placed is not None
            assert (placed.pos, placed.skip) == (pos, 0)
            at += 1
        if at < len(frames):
            capture = (frames[at].capture_ns - TASK0_NS) * RATE // NS
            assert run.place(frames[at].pts, FRAME, capture) == each.place(frames[at].pts, FRAME, capture)
            at += 1
        assert {**run.state(), "marks": []} == {**each.state(), "marks": []}
