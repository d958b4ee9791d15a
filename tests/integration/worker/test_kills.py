"""The promise of the recording path: a worker may die at any instant, and nothing is lost or doubled.

A real worker process between twins of core and server is killed (SIGKILL) at random instants and at each
named point; a new one takes over each time, as the supervisor does it. What the committed pieces hold at
the end is compared with everything that was ever sent. The seed is printed: pytest -s, or on failure.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from roomtape.media.frames import NS
from tests.integration.worker.test_recording import LIP_SYNC_S, publish
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
from tests.support.signals import aac_beeps, vp8_flashes

BUDGET_S = float(os.environ.get("ROOMTAPE_KILL_BUDGET_S", "30"))
MEDIA_S = 41
POINTS = [
    "after-journal-write",
    "before-ack",
    "mid-mux",
    "before-rename",
    "after-rename",
    "before-delete",
    "mid-decode",
]


def check_everything(rig: Rig, sources: list[Source], *, merged: bool, long_s: float) -> None:
    """Every picture once and byte-equal, sound on an exact grid, numbers without holes, in sync."""
    assert rig.server.errors == []
    outputs = ["audiovideo"] if merged else ["video", "audio"]
    parts = []
    for what in outputs:
        pieces = rig.server.of(TASK, key("amy", "main", what))
        assert [p.piece_no for p in pieces] == list(range(len(pieces)))
        assert [p.start_ns for p in pieces[1:]] == [p.end_ns for p in pieces[:-1]]
        assert not any(p.discontinuity for p in pieces)
        parts.append(read_pieces([rig.path(p) for p in pieces]))
        seen = measure_bytes(b"".join(rig.path(p).read_bytes() for p in pieces), "mpegts")
        assert seen.warnings == []
        if what != "video":
            assert seen.audio_gaps_s == []
            assert len(seen.beeps_s) == int(long_s)
        if merged:
            assert len(seen.av_offsets_s) == int(long_s)
            assert max(map(abs, seen.av_offsets_s)) < LIP_SYNC_S
    pictures = [row for part in parts for row in part.pictures]
    sent = [frame.data for frame in rig.core.sent[sources[0].track]]
    assert [strip_aud(data) for _pts, _dts, data in pictures] == sent
    assert all(a[1] < b[1] for a, b in pairwise(pictures))
    sounds = [pts for part in parts for pts in part.sounds]
    assert sounds == [sounds[0] + 1920 * n for n in range(len(sounds))]
    assert len(sounds) * 1024 / 48_000 == pytest.approx(long_s, abs=0.06)
    assert rig.core.overruns == []


def play_while_dying(rig: Rig, sources: list[Source], after_step: Callable[[], None], long_s: float) -> None:
    """Push media in half seconds, never further than the log holds; `after_step` may kill the worker."""
    for at in range(TASK0_NS + NS // 2, TASK0_NS + round((long_s + 0.5) * NS), NS // 2):
        for source in sources:
            source.push(rig.core, at)
        rig.core.advance(ROOM, at)
        after_step()
        for source in sources:
            far = len(rig.core.sent[source.track]) - (150 if source.clock == 90_000 else 250)
            patience = time.monotonic() + PATIENCE_S
            while far > 0 and not rig.core.wait_until_acked(source.track, far, 0.2):
                assert rig.process is not None
                assert time.monotonic() < patience, rig.complaints()
                if rig.process.poll() is not None:  # dead at a named point
                    rig.start_worker()


def finish(rig: Rig, long_s: float) -> None:
    rig.stop(TASK0_NS + round(long_s * NS))
    until = time.monotonic() + PATIENCE_S
    while not rig.server.wait_for(lambda: TASK in rig.server.stopped, 0.5):
        assert time.monotonic() < until, rig.complaints()
        if rig.process is None or rig.process.poll() is not None:
            rig.start_worker()


@pytest.mark.parametrize("merged", [True, False])
def test_f1_r_lost_3_random_kills_lose_and_double_nothing(rig: Callable[..., Rig], merged: bool) -> None:
    seed = int(os.environ.get("ROOMTAPE_KILL_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    it = rig(av_merge=int(merged))
    sources = publish(it, long_s=MEDIA_S)
    it.start_worker()
    assert it.core.wait_for_reader(TASK, sources[0].track, PATIENCE_S), it.complaints()
    until = time.monotonic() + BUDGET_S / 2 * 0.75
    kills = 0

    def kill_sometimes() -> None:
        nonlocal kills
        if time.monotonic() > until or chance.random() > 0.5:
            return
        # any instant of a batch: the worker works on the last step while this thread waits a little
        pause = chance.random() * 0.05
        it.server.wait_for(lambda: False, pause)
        it.kill_worker()
        kills += 1
        it.start_worker()
        if chance.random() < 0.3:  # a death while it takes up the journal
            it.server.wait_for(lambda: False, chance.random() * 0.6)
            it.kill_worker()
            kills += 1
            it.start_worker()

    play_while_dying(it, sources, kill_sometimes, MEDIA_S)
    finish(it, MEDIA_S)
    print(f"{kills} kills")
    assert kills > 5
    check_everything(it, sources, merged=merged, long_s=MEDIA_S)


def test_kept_aac_and_transcoded_vp8_survive_kills_as_well(rig: Callable[..., Rig]) -> None:
    it = rig(av_merge=0)
    signal = aac_beeps(20)
    row = {"started_ns": TASK0_NS, "entered_ns": TASK0_NS}
    video = it.core.start_track(ROOM, "amy", "video", "vp8", **row)  # type: ignore[arg-type]
    audio = it.core.start_track(
        ROOM,
        "amy",
        "audio",
        "aac",
        time_base_den=1000,
        extradata=signal.config,
        **row,  # type: ignore[arg-type]
    )
    coarse = [f._replace(pts=f.pts // 48, dts=f.dts // 48) for f in signal.frames]
    sources = [Source(video, vp8_flashes(20), 90_000, TASK0_NS), Source(audio, coarse, 1000, TASK0_NS)]
    it.start_worker()
    chance = random.Random(5)

    def kill_sometimes() -> None:
        if chance.random() < 0.25:
            it.server.wait_for(lambda: False, chance.random() * 0.05)
            it.kill_worker()
            it.start_worker()

    play_while_dying(it, sources, kill_sometimes, 20)
    finish(it, 20)
    assert it.server.errors == []
    sound = [it.path(p) for p in it.server.of(TASK, key("amy", "main", "audio"))]
    seen = measure_bytes(b"".join(path.read_bytes() for path in sound), "mpegts")
    assert seen.audio_gaps_s == []
    assert read_pieces(sound).aac == [
        f.data for f in it.core.sent[audio] if f.capture_ns < TASK0_NS + 20 * NS
    ]
    picture = [it.path(p) for p in it.server.of(TASK, key("amy", "main", "video"))]
    shown = measure_bytes(b"".join(path.read_bytes() for path in picture), "mpegts")
    assert shown.warnings == []
    assert len(shown.pictures) == len(it.core.sent[video])
    assert len(shown.flashes_s) == 20


@pytest.mark.parametrize("point", POINTS)
def test_f1_death_at_a_named_point_loses_and_doubles_nothing(rig: Callable[..., Rig], point: str) -> None:
    it = rig(av_merge=1)
    faults = it.data_dir / "faults"
    faults.mkdir()
    it.env = {"ROOMTAPE_FAULT": f"{point}:1", "ROOMTAPE_FAULT_DIR": str(faults)}
    sources = publish(it, long_s=23)
    it.start_worker()
    play_while_dying(it, sources, lambda: None, 23)
    finish(it, 23)
    assert (faults / f"fault-{point}").exists(), "the point was never reached"
    check_everything(it, sources, merged=True, long_s=23)
