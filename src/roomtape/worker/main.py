"""The media process: many recording tasks on one selector loop, cut off from everything but its two sockets.

It holds no truth of its own. What it has read is in a journal before it is acknowledged, what it has made
is told to the server until the server answers; so it may die at any instant, and another one goes on.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roomtape import process
from roomtape.control import counters
from roomtape.control import messages as say
from roomtape.control.channel import Channel, ChannelClosed
from roomtape.media.tap import Hello, TapClient, TapClosed, TapMessage
from roomtape.recording.journal import Journal
from roomtape.recording.pipeline import Place, Recorder
from roomtape.recording.reserve import Reserve
from roomtape.recording.syncing import sync_together
from roomtape.worker import sandbox
from roomtape.worker.finishing import Finisher

TICK_S = 0.2
TICK_NS = round(TICK_S * 1e9)
RESERVE_BYTES = 8 << 20  # two pieces of 10 s at 3 Mb/s
CONNECT_EVERY_S = 0.05
SYNC_DEFAULT_S = 0.2
GATHER_S = 0.02  # what is written so soon after the first goes into the same sync
GC_THRESHOLDS = (50_000, 20, 10)
FIRST_RETRY_NS = 1_000_000_000
LAST_RETRY_NS = 30_000_000_000
CALM_NS = 60_000_000_000  # a task that ran this long may fail again as if for the first time


@dataclass(slots=True)
class Slot:
    """One task this worker holds; `recorder` is None while it waits to be tried again."""

    assign: say.Assign
    recorder: Recorder | None = None
    journal: Journal | None = None
    reader: int = 0
    started_ns: int = 0
    retry_at_ns: int = 0
    pause_ns: int = FIRST_RETRY_NS
    stop: say.Stop | None = None
    lists: say.Subscription | None = None


class Syncer(threading.Thread):
    """Makes journals survive a power cut soon after each write, so that a slow disk delays no batch.

    A sync begins `GATHER_S` after a write where none began within `interval_s`; what is written meanwhile
    goes together.
    """

    def __init__(self) -> None:
        super().__init__(name="sync", daemon=True)
        self.interval_s = SYNC_DEFAULT_S
        self.failures: list[tuple[str, str]] = []
        self._journals: dict[str, Journal] = {}
        self._written = threading.Event()
        self._end = threading.Event()

    def watch(self, task_id: str, journal: Journal | None) -> None:
        """Sync `journal` from now on; None: no more."""
        journals = dict(self._journals)
        if journal is None:
            journals.pop(task_id, None)
        else:
            journal.on_write = self._written.set
            journals[task_id] = journal
        self._journals = journals
        self._written.set()  # what its last writer left may not have been synced

    def run(self) -> None:
        while True:
            self._written.wait()
            if self._end.wait(GATHER_S):  # batches of all tasks come together
                return
            began = time.monotonic()
            self._written.clear()  # before the sync: what is written during it waits for the next one
            self.sync_all()
            if self._end.wait(max(0.0, began + self.interval_s - time.monotonic())):
                return

    def sync_all(self) -> None:
        failures = sync_together(self._journals)
        if failures:
            self._written.set()  # to be tried again
        self.failures += [(task_id, str(error)) for task_id, error in failures]

    def stop(self) -> None:
        self._end.set()
        self._written.set()


class Worker:
    """`run` returns when the server or the core has gone, or after Drain."""

    def __init__(self, run_dir: Path, index: int) -> None:
        self._run_dir = run_dir
        self._index = index
        self._slots: dict[str, Slot] = {}
        self._readers: dict[int, str] = {}
        self._next_reader = 1
        self._boot_id = ""
        self._waiting: list[say.Assign] = []  # came before the core said hello
        self._lifeline = process.lifeline_fd()
        self._beat_at = 0.0
        self._tick_at = 0
        self._drained = False
        self._counters: Counter[str] = Counter()
        self._syncer = Syncer()
        self._finisher = Finisher(self._tell)

    def run(self) -> None:
        """Connect, seal, work. Raises SandboxRefused; everything a task raises stays with that task."""
        spool = self._run_dir.parent / "spool"
        spool.mkdir(parents=True, exist_ok=True)
        if self._lifeline is not None:
            os.set_blocking(self._lifeline, False)
        self._control, self._tap = self._connect()
        self._reserve = Reserve(spool / f".reserve-{self._index}", RESERVE_BYTES)
        self._reserve.keep()
        sandbox.limit_memory()
        sandbox.seal([spool, *_fault_dirs()])
        self._syncer.start()
        self._tell(say.Hello(index=self._index, pid=os.getpid()))
        gc.freeze()  # modules stay; and frames come and go by the thousand, in no cycles
        gc.set_threshold(*GC_THRESHOLDS)
        with selectors.DefaultSelector() as selector, contextlib.closing(self._tap):
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._tap, selectors.EVENT_READ)
            selector.register(self._finisher, selectors.EVENT_READ)
            try:
                while not self._drained:
                    self._turn(selector)
            except (ChannelClosed, TapClosed):
                pass  # the server has gone, and the core with it
            self._leave()

    # --- the loop -------------------------------------------------------------------------------------

    def _turn(self, selector: selectors.BaseSelector) -> None:
        for end in (self._control, self._tap):
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if end.wants_write else 0)
            if selector.get_key(end).events != wanted:
                selector.modify(end, wanted)
        for key, events in selector.select(TICK_S):
            if key.fileobj is self._finisher:
                self._finisher.on_readable()
                continue
            if events & selectors.EVENT_WRITE:
                (self._control if key.fileobj is self._control else self._tap).on_writable()
            if events & selectors.EVENT_READ:
                if key.fileobj is self._control:
                    for message in self._control.on_readable():
                        self._on_control(message)
                else:
                    for heard in self._tap.on_readable():
                        self._on_tap(heard)
                        self._beat_if_due()  # a worker that is far behind is slow, not silent
        now = time.monotonic_ns()
        if now >= self._tick_at:
            self._tick_at = now + TICK_NS
            for slot in list(self._slots.values()):
                self._tick(slot, now)
        self._finisher.tick(now)
        self._beat_if_due()

    def _beat_if_due(self) -> None:
        if time.monotonic() >= self._beat_at:
            self._beat()

    def _beat(self) -> None:
        self._beat_at = time.monotonic() + process.BEAT_INTERVAL_S
        process.beat(self._lifeline)
        cpu_ms = round(time.process_time() * 1000)
        self._measure_skew()
        self._tell(
            say.Beat(
                tasks=len(self._slots),
                rss_bytes=process.rss_bytes(),
                cpu_ms=cpu_ms,
                counters=dict(self._counters),
            )
        )
        failures, self._syncer.failures = self._syncer.failures, []
        for task_id, text in failures:
            slot = self._slots.get(task_id)
            if slot is not None:
                self._note(slot, text, kind="sync")

    def _measure_skew(self) -> None:
        for slot in self._slots.values():
            if slot.recorder is not None:
                for skew_ms in slot.recorder.skews_ms():
                    self._counters[counters.skew_bucket_of(skew_ms)] += 1

    def _tick(self, slot: Slot, now: int) -> None:
        if slot.recorder is None:
            if now >= slot.retry_at_ns:
                self._open(slot, now)
            return
        with self._guard(slot):
            slot.recorder.tick(now)
        self._drop_done(slot)

    # --- messages -------------------------------------------------------------------------------------

    def _on_control(self, message: say.ToWorker) -> None:
        if isinstance(message, say.Drain):
            self._drained = True
        elif isinstance(message, say.Assign):
            self._assign(message)
        elif isinstance(message, say.Finalise):
            self._finisher.take(message)
        elif isinstance(message, say.FileCommitted):
            self._finisher.on_committed(message)
        else:
            self._for_task(message)

    def _for_task(
        self,
        message: say.Stop
        | say.Modify
        | say.Pause
        | say.Resume
        | say.PieceCommitted
        | say.StoppedCommitted
        | say.Forget,
    ) -> None:
        slot = self._slots.get(message.task_id)
        if slot is None or slot.assign.epoch != message.epoch:
            return
        if isinstance(message, say.Forget):
            self._forget(slot)
            return
        if isinstance(message, say.Stop):
            slot.stop = message
        elif isinstance(message, say.Modify):
            slot.lists = message.subscription
        elif isinstance(message, say.Pause | say.Resume):
            slot.assign.paused = isinstance(message, say.Pause)
        if slot.recorder is not None:
            with self._guard(slot):
                slot.recorder.on_control(message, time.monotonic_ns())
            self._drop_done(slot)

    def _on_tap(self, message: TapMessage) -> None:
        if isinstance(message, Hello):
            self._boot_id = message.boot_id
            waiting, self._waiting = self._waiting, []
            for assign in waiting:
                self._assign(assign)
            return
        slot = self._slots.get(self._readers.get(message.reader, ""))
        if slot is None or slot.recorder is None or slot.reader != message.reader:
            return
        with self._guard(slot):
            slot.recorder.on_tap(message, time.monotonic_ns())
        self._drop_done(slot)

    def _assign(self, assign: say.Assign) -> None:
        if not self._boot_id:
            self._waiting.append(assign)
            return
        held = self._slots.get(assign.task_id)
        if held is not None:
            if held.assign.epoch >= assign.epoch:
                return
            self._forget(held)
        slot = Slot(assign)
        self._slots[assign.task_id] = slot
        self._syncer.interval_s = assign.plan.sync_ms / 1000
        self._open(slot, time.monotonic_ns())

    def _open(self, slot: Slot, now: int) -> None:
        slot.reader = self._next_reader
        self._next_reader += 1
        self._readers[slot.reader] = slot.assign.task_id
        slot.started_ns = now
        with self._guard(slot):
            spool = Path(slot.assign.spool_dir)
            journal = Journal.open(spool, slot.assign.epoch)
            journal.reserve = self._reserve
            slot.journal = journal
            place = Place(spool, self._boot_id, slot.reader)
            slot.recorder = Recorder(slot.assign, journal, self._tap, self._tell, place)
            self._syncer.watch(slot.assign.task_id, journal)
            slot.recorder.start(now)
            if slot.lists is not None:
                changed = say.Modify(
                    task_id=slot.assign.task_id, epoch=slot.assign.epoch, subscription=slot.lists
                )
                slot.recorder.on_control(changed, now)
            if slot.stop is not None:
                slot.recorder.on_control(slot.stop, now)
        self._drop_done(slot)

    # --- one task's trouble stays with that task ------------------------------------------------------

    @contextlib.contextmanager
    def _guard(self, slot: Slot) -> Iterator[None]:
        try:
            yield
        except (ChannelClosed, TapClosed):
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._note(slot, f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
            self._set_aside(slot)

    def _set_aside(self, slot: Slot) -> None:
        """Try this task again from its journal after a while; the log keeps what comes meanwhile."""
        now = time.monotonic_ns()
        if now - slot.started_ns > CALM_NS:
            slot.pause_ns = FIRST_RETRY_NS
        slot.retry_at_ns = now + slot.pause_ns
        slot.pause_ns = min(2 * slot.pause_ns, LAST_RETRY_NS)
        self._close(slot)

    def _close(self, slot: Slot) -> None:
        self._readers.pop(slot.reader, None)
        self._syncer.watch(slot.assign.task_id, None)
        if slot.recorder is not None:
            slot.recorder.close()
        elif slot.journal is not None:
            slot.journal.close()
        slot.recorder = slot.journal = None

    def _forget(self, slot: Slot) -> None:
        self._close(slot)
        self._slots.pop(slot.assign.task_id, None)

    def _drop_done(self, slot: Slot) -> None:
        if slot.recorder is not None and slot.recorder.done:
            self._forget(slot)

    def _note(self, slot: Slot, text: str, kind: str = "error") -> None:
        note = say.Note(task_id=slot.assign.task_id, epoch=slot.assign.epoch, kind=kind, text=text)
        self._tell(note)

    # --- beginning and end ----------------------------------------------------------------------------

    def _connect(self) -> tuple[Channel, TapClient]:
        """Both sockets; waits for as long as it takes, beating meanwhile."""
        control: Channel | None = None
        while True:
            try:
                control = control or Channel.connect(str(self._run_dir / "control.sock"))
                return control, TapClient.connect(str(self._run_dir / "tap.sock"))
            except OSError:
                process.beat(self._lifeline)
                time.sleep(CONNECT_EVERY_S)

    def _tell(self, message: say.ToServer) -> None:
        if isinstance(message, say.Note):
            cause = message.kind.removeprefix("gap_")
            if cause in counters.LOST:
                self._counters[counters.lost(cause)] += message.count
        self._control.send(message)

    def _leave(self) -> None:
        """Write what the coders hold, make it durable, and go."""
        now = time.monotonic_ns()
        for slot in list(self._slots.values()):
            if slot.recorder is not None:
                with contextlib.suppress(Exception):
                    slot.recorder.close_stretch(now)
        self._syncer.stop()
        self._syncer.sync_all()


def _fault_dirs() -> list[Path]:
    directory = os.environ.get("ROOMTAPE_FAULT_DIR")
    return [Path(directory)] if directory else []
