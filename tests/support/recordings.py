"""A worker process between a twin of the core and a twin of the server: what its tests have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO

import av

from roomtape.control import messages as say
from roomtape.media.frames import NS
from tests.support.fakecore import FakeCore
from tests.support.fakeserver import FakeServer
from tests.support.signals import Frame

ROOM = "1400000001/s/class"
TASK = "task-1"
TASK0_NS = 1000 * NS  # an arbitrary monotonic instant at which the task's time begins
WALL0_MS = 1_772_352_900_000
ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
PATIENCE_S = 20  # how long a loaded machine may take for anything


def plan(**changes: object) -> say.RecordingPlan:
    """A plan with every piece also demuxed by FFmpeg."""
    fields: dict[str, object] = {
        "sdk_app_id": 1400000001,
        "room": ROOM,
        "room_in_names": "Y2xhc3M.",
        "clock_mono_ns": TASK0_NS,
        "clock_wall_ms": WALL0_MS,
        "created_ns": TASK0_NS,
        "check_every": 1,
    }
    return say.RecordingPlan(**(fields | changes))  # type: ignore[arg-type]


@dataclass
class Source:
    """One track's frames, pushed up to an instant of media time; media time 0 is `at_ns`."""

    track: int
    frames: Iterable[Frame]
    clock: int
    at_ns: int
    position: int = 0
    behind_gaps: frozenset[int] = frozenset()  # pts of the frames before which some are missing

    def __post_init__(self) -> None:
        self.frames = list(self.frames)

    def push(self, core: FakeCore, until_ns: int) -> None:
        """Push every frame captured before `until_ns`."""
        assert isinstance(self.frames, list)
        while self.position < len(self.frames):
            frame = self.frames[self.position]
            if self.captured(frame) >= until_ns:
                return
            core.push(
                self.track,
                frame.pts,
                frame.data,
                capture_ns=self.captured(frame),
                dts=frame.dts,
                key=frame.key,
                gap=frame.pts in self.behind_gaps,
            )
            self.position += 1

    def captured(self, frame: Frame) -> int:
        return self.at_ns + frame.pts * NS // self.clock

    @property
    def done(self) -> bool:
        assert isinstance(self.frames, list)
        return self.position >= len(self.frames)


@dataclass
class Rig:
    """Directories, twins and the worker process."""

    data_dir: Path
    plan: say.RecordingPlan
    epoch: int = 0
    new_stretch: bool = False
    real_core: bool = False  # somebody else serves tap.sock
    stop_at_ns: int | None = None
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        run = self.data_dir / "run"
        run.mkdir(parents=True, exist_ok=True)
        self.spool = self.data_dir / "spool" / TASK
        self.log: IO[bytes] = (self.data_dir / "worker.log").open("ab")
        if not self.real_core:
            self.core = FakeCore(str(run / "tap.sock"), now_ns=TASK0_NS)
        self.server = FakeServer(str(run / "control.sock"), self._assign)

    def _assign(self) -> list[say.ToWorker]:
        self.epoch += 1
        self.server.epochs[TASK] = self.epoch
        assign = say.Assign(
            task_id=TASK,
            epoch=self.epoch,
            spool_dir=str(self.spool),
            plan=self.plan,
            committed=self.server.committed(TASK),
            stop_at_ns=self.stop_at_ns,
            new_stretch=self.new_stretch,
        )
        return [assign]

    def start_worker(self) -> None:
        """Start one; the one before must be dead."""
        command = [sys.executable, "-m", "roomtape.worker", str(self.data_dir / "run"), "--index", "0"]
        source = str(Path(__file__).parents[2] / "src")
        env = os.environ | {"MALLOC_ARENA_MAX": "2", "PYTHONPATH": source} | self.env
        self.process = subprocess.Popen(command, stderr=self.log, env=env)

    def kill_worker(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, at_ns: int) -> None:
        """What the server does on Delete, and after a worker's death meanwhile."""
        self.stop_at_ns = at_ns
        self.server.send(say.Stop(task_id=TASK, epoch=self.epoch, at_ns=at_ns))

    def wait_until_stopped(self, timeout_s: float = PATIENCE_S) -> None:
        if not self.server.wait_for(lambda: TASK in self.server.stopped, timeout_s):
            raise AssertionError(f"not stopped; {self.complaints()}")

    def complaints(self) -> str:
        self.log.flush()
        notes = [f"{n.kind}: {n.text}" for n in self.server.heard if isinstance(n, say.Note)]
        return f"notes {notes}; log {(self.data_dir / 'worker.log').read_text()[-3000:]}"

    def path(self, piece: say.PieceReady) -> Path:
        return self.spool / "pieces" / piece.name

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill_worker()
        self.server.__exit__()
        if not self.real_core:
            self.core.close()
        self.log.close()


@dataclass
class Elementary:
    """What the pieces of an output hold, packet by packet; times in 1/90000 s of task time."""

    pictures: list[tuple[int, int, bytes]] = field(default_factory=list)  # pts, dts, Annex B
    sounds: list[int] = field(default_factory=list)  # pts
    aac: list[bytes] = field(default_factory=list)  # raw frames, without ADTS


def key(user: str, media: str, what: str) -> str:
    return f"{user}\x1f{media}\x1f{what}"


def read_pieces(paths: Iterable[Path]) -> Elementary:
    """Demux transport streams one by one, in order."""
    found = Elementary()
    for path in paths:
        with av.open(str(path), format="mpegts", options={"fflags": "+noparse+nofillin"}) as file:
            for packet in file.demux():
                if packet.size == 0 or packet.pts is None:
                    continue
                assert packet.time_base == Fraction(1, 90_000)
                if packet.stream.type == "video":
                    assert packet.dts is not None
                    found.pictures.append((packet.pts - 900_000, packet.dts - 900_000, bytes(packet)))
                else:
                    data, pts = bytes(packet), Fraction(packet.pts - 900_000)
                    while data:  # a PES may hold several ADTS frames
                        length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
                        found.sounds.append(round(pts))
                        found.aac.append(data[7:length])
                        pts += Fraction(1024 * 90_000, ADTS_RATES[data[2] >> 2 & 15])
                        data = data[length:]
    return found


def strip_aud(data: bytes) -> bytes:
    """An access unit without the delimiter a transport stream puts before it."""
    return data[6:] if data.startswith(b"\x00\x00\x00\x01\x09") else data
