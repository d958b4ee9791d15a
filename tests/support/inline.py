"""A recording task driven in the test's own thread: a twin of the core, the driver, and what it says."""

from __future__ import annotations

import selectors
from pathlib import Path
from typing import Any

from roomtape.control import messages as say
from roomtape.media.frames import NS
from roomtape.media.tap import TapClient
from roomtape.recording.journal import Journal
from roomtape.recording.pipeline import Place, Recorder
from tests.support.fakecore import FakeCore
from tests.support.measure import Measured, measure_bytes
from tests.support.recordings import (
    PATIENCE_S,
    ROOM,
    TASK,
    TASK0_NS,
    Elementary,
    Source,
    key,
    plan,
    read_pieces,
)
from tests.support.signals import Frame


class Inline:
    """`sources` play while `until` runs; times in seconds of the task."""

    def __init__(self, directory: Path, **changes: object) -> None:
        self.directory = directory
        self.plan = plan(**({"flush_ms": 100} | changes))
        self.core = FakeCore(str(directory / "tap.sock"), now_ns=TASK0_NS)
        self.said: list[say.ToServer] = []
        self.pieces: dict[tuple[str, int], say.PieceReady] = {}
        self.sources: list[Source] = []
        self.videos: set[int] = set()
        self.commit = True
        self.now_s = 0.0
        self.epoch = 0
        self.boot_id = "boot-1"
        self._readers = 0
        self._answered = 0
        self._clients: list[TapClient] = []

    def start(
        self, *, new_stretch: bool = False, stop_at_s: float | None = None, paused: bool = False
    ) -> None:
        """A driver, on whatever the one before left."""
        self.epoch += 1
        self._readers += 1
        self.client = TapClient.connect(self.core.path)
        self._clients.append(self.client)
        last: dict[str, say.PieceReady] = {}
        for (output, number), piece in sorted(self.pieces.items(), key=lambda item: item[0][1]):
            assert number == piece.piece_no
            last[output] = piece
        assign = say.Assign(
            task_id=TASK,
            epoch=self.epoch,
            spool_dir=str(self.directory / "spool"),
            plan=self.plan,
            committed=[
                say.CommittedPiece(output=o, piece_no=p.piece_no, end_ns=p.end_ns, counters=p.counters)
                for o, p in last.items()
            ],
            new_stretch=new_stretch,
            paused=paused,
            stop_at_ns=None if stop_at_s is None else TASK0_NS + round(stop_at_s * NS),
        )
        journal = Journal.open(Path(assign.spool_dir), self.epoch)
        place = Place(Path(assign.spool_dir), self.boot_id, self._readers)
        self.recorder = Recorder(assign, journal, self.client, self._hear, place)
        self.recorder.start(self._now_ns)
        self._answer()

    def die(self) -> None:
        """The driver is gone without a word."""
        self.client.close()
        self.recorder.close()

    def reboot(self) -> None:
        """The core is gone and another one is there: its log is empty."""
        self.core.close()
        self.sources.clear()
        self.boot_id += "+"
        self.core = FakeCore(str(self.directory / "tap.sock"), boot_id=self.boot_id, now_ns=self._now_ns)

    def publish(
        self,
        user: str,
        kind: str,
        frames: tuple[Frame, ...],
        *,
        at_s: float | None = None,
        codec: str = "",
        clock: int = 0,
        **more: object,
    ) -> Source:
        """A track from now on; its media time 0 is at `at_s` (default now)."""
        audio = kind == "audio"
        codec = codec or ("opus" if audio else "h264")
        at_ns = TASK0_NS + round((self.now_s if at_s is None else at_s) * NS)
        started = {"started_ns": at_ns, "entered_ns": at_ns} | more
        number = self.core.start_track(ROOM, user, kind, codec, **started)  # type: ignore[arg-type]
        if not audio:
            self.videos.add(number)
        source = Source(number, frames, clock or (48_000 if audio else 90_000), at_ns)
        self.sources.append(source)
        return source

    def unpublish(self, source: Source, cause: str = "closed") -> None:
        self.core.stop_track(source.track, at_ns=self._now_ns, cause=cause)
        self.sources.remove(source)
        self._turn_until(lambda: True)

    def until(self, to_s: float, step_s: float = 0.5) -> None:
        """Play on to `to_s`."""
        while self.now_s < to_s - 1e-9:
            self.now_s = min(to_s, self.now_s + step_s)
            at = self._now_ns
            for source in self.sources:
                source.push(self.core, at)
            self.core.advance(ROOM, at)
            self._turn_until(lambda: self._has_read(self._now_ns))
            self.recorder.tick(at)
            self._answer()

    def play_to(self, to_s: float) -> None:
        """Push everything up to `to_s`, and let the task do what it can with it; it may be behind."""
        self.now_s = to_s
        for source in self.sources:
            source.push(self.core, self._now_ns)
        self.core.advance(ROOM, self._now_ns)
        self._turn_until(lambda: True)
        self.recorder.tick(self._now_ns)
        self._answer()

    def until_read(self, to_s: float) -> None:
        """Wait for a task that was behind."""
        at = TASK0_NS + round(to_s * NS)
        self._turn_until(lambda: self.recorder.watermark_ns >= at)

    def stop(self) -> None:
        """Stop now, and wait for the end."""
        at = self._now_ns
        self.recorder.on_control(say.Stop(task_id=TASK, epoch=self.epoch, at_ns=at), at)
        self._turn_until(lambda: self.recorder.stopped)
        self.recorder.tick(at + 10 * NS)
        self._answer()
        assert self.recorder.done, self.said[-5:]

    def control(self, message: say.ToWorker) -> None:
        self.recorder.on_control(message, self._now_ns)
        self._answer()

    def of(self, user: str, media: str, what: str) -> list[say.PieceReady]:
        name = key(user, media, what)
        return [piece for (output, _no), piece in sorted(self.pieces.items()) if output == name]

    def elementary(self, user: str, media: str, what: str) -> Elementary:
        return read_pieces([self.path(piece) for piece in self.of(user, media, what)])

    def elementary_of(self, piece: say.PieceReady) -> Elementary:
        return read_pieces([self.path(piece)])

    def measured(self, user: str, media: str, what: str) -> Measured:
        """All pieces, one after the other; times are task time."""
        data = b"".join(self.path(piece).read_bytes() for piece in self.of(user, media, what))
        return measure_bytes(data, "mpegts", origin_s=10)

    def path(self, piece: say.PieceReady) -> Path:
        return self.directory / "spool" / "pieces" / piece.name

    def notes(self, kind: str) -> list[say.Note]:
        return [m for m in self.said if isinstance(m, say.Note) and m.kind == kind]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.core.close()

    def _has_read(self, at_ns: int) -> bool:
        read = self.recorder.watermark_ns >= at_ns and self.recorder.caught_up
        return read or self.recorder.stopped

    @property
    def _now_ns(self) -> int:
        return TASK0_NS + round(self.now_s * NS)

    def _hear(self, message: say.ToServer) -> None:
        self.said.append(message)

    def _turn_until(self, condition: object) -> None:
        assert callable(condition)
        with selectors.DefaultSelector() as selector:
            selector.register(self.client, selectors.EVENT_READ)
            while True:
                if self.client.wants_write:
                    self.client.on_writable()
                ready = selector.select(0.02 if condition() else PATIENCE_S)
                if not ready:
                    assert condition(), f"nothing came; said {self.said[-5:]}"
                    return
                for message in self.client.on_readable():
                    self.recorder.on_tap(message, self._now_ns)
                if condition():
                    return

    def _answer(self) -> None:
        """Commit what was said ready, as the server does."""
        while self._answered < len(self.said):
            message = self.said[self._answered]
            self._answered += 1
            row: dict[str, Any] = {"task_id": TASK, "epoch": self.epoch}
            if isinstance(message, say.PieceReady) and self.commit:
                known = self.pieces.setdefault((message.output, message.piece_no), message)
                assert known.sha256 == message.sha256
                self.recorder.on_control(
                    say.PieceCommitted(**row, output=message.output, piece_no=message.piece_no), self._now_ns
                )
            elif isinstance(message, say.Stopped) and not self.recorder.done:
                self.recorder.on_control(say.StoppedCommitted(**row), self._now_ns)
