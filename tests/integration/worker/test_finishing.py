"""MP4 and AAC files are made by a worker from committed pieces, and told until they are answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomtape.control import messages as say
from roomtape.media.frames import NS
from tests.integration.worker.test_recording import LIP_SYNC_S, play, publish
from tests.support.measure import measure
from tests.support.recordings import PATIENCE_S, TASK, TASK0_NS, Rig

LONG_S = 12


def recorded(rig: Rig) -> None:
    sources = publish(rig, long_s=LONG_S)
    rig.start_worker()
    assert rig.core.wait_for_reader(TASK, sources[0].track, PATIENCE_S), rig.complaints()
    play(rig, sources, until_s=LONG_S)
    rig.stop(TASK0_NS + LONG_S * NS)
    rig.wait_until_stopped()


def job(rig: Rig, kind: str) -> say.Finalise:
    pieces = [
        say.FinalPiece(
            path=str(rig.path(p)),
            type=p.type,
            piece_no=p.piece_no,
            start_ms=p.start_ms,
            start_ns=p.start_ns,
            duration_us=p.duration_us,
            discontinuity=p.discontinuity,
            priming=p.priming,
            width=p.width,
            height=p.height,
        )
        for p in rig.server.pieces.values()
    ]
    return say.Finalise(
        task_id=TASK,
        epoch=rig.epoch,
        job="amy\x1fmain",
        user="amy",
        media="main",
        kind=kind,
        out_dir=str(rig.spool / "files"),
        base_name="whole",
        pieces=pieces,
        max_file_ms=0,
        max_idle_ms=30_000,
    )


def ended(rig: Rig) -> list[say.Finalised]:
    return [m for m in rig.server.heard if isinstance(m, say.Finalised)]


@pytest.mark.parametrize("kind", ["mp4", "aac"])
def test_pieces_become_one_file(rig: Callable[..., Rig], kind: str) -> None:
    it = rig()
    recorded(it)
    it.server.send(job(it, kind))
    assert it.server.wait_for(lambda: bool(ended(it)), PATIENCE_S), it.complaints()
    assert [e.error for e in ended(it)] == [""]
    (ready,) = it.server.files.values()
    seen = measure(it.spool / "files" / ready.name)
    assert seen.warnings == []
    assert seen.beeps_s == pytest.approx(list(range(LONG_S)), abs=0.02)
    if kind == "mp4":
        assert len(seen.av_offsets_s) == LONG_S
        assert max(map(abs, seen.av_offsets_s)) < LIP_SYNC_S


def test_a_job_whose_worker_died_is_done_by_the_next_one(rig: Callable[..., Rig]) -> None:
    it = rig()
    faults = it.data_dir / "faults"
    faults.mkdir()
    it.env = {"ROOMTAPE_FAULT": "mid-finalise", "ROOMTAPE_FAULT_DIR": str(faults)}
    recorded(it)
    it.server.send(job(it, "mp4"))
    assert it.process is not None
    assert it.process.wait(PATIENCE_S) < 0
    it.start_worker()
    assert it.server.wait_for(lambda: sum(isinstance(m, say.Hello) for m in it.server.heard) == 2, PATIENCE_S)
    it.server.send(job(it, "mp4"))
    assert it.server.wait_for(lambda: bool(ended(it)), PATIENCE_S), it.complaints()
    (ready,) = it.server.files.values()
    assert len(measure(it.spool / "files" / ready.name).pictures) == LONG_S * 30


def test_a_job_that_cannot_be_done_is_told_and_recording_goes_on(rig: Callable[..., Rig]) -> None:
    it = rig()
    recorded(it)
    it.path(next(iter(it.server.pieces.values()))).write_bytes(b"\x00" * 1000)
    it.server.send(job(it, "mp4"))
    assert it.server.wait_for(lambda: bool(ended(it)), PATIENCE_S), it.complaints()
    assert ended(it)[0].error
    assert it.process is not None
    assert it.process.poll() is None
