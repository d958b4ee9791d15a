"""The pool of media processes: who is there, who holds which task, and who gets the next one.

The pool knows processes and messages, nothing of recordings. It keeps no state that is not lost with the
connections: which epoch a task is in is the business of its owner, who writes it to SQL before it sends
an Assign.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from roomtape.control.messages import Beat, Drain, Hello, ToServer, ToWorker

log = structlog.get_logger(__name__)


class Link(Protocol):
    """One connected worker as the pool sees it; `send` never waits and never raises."""

    def send(self, message: ToWorker) -> None: ...

    def close(self) -> None: ...


class TaskOwner(Protocol):
    """Who decides about tasks: told of workers, their deaths, and what they say, in order."""

    def worker_ready(self, index: int) -> None: ...

    def tasks_orphaned(self, task_ids: Iterable[str]) -> None: ...

    def said(self, index: int, message: ToServer) -> None: ...


@dataclass(slots=True)
class Worker:
    """One live media process; `load` orders candidates for the next task."""

    index: int
    pid: int
    link: Link
    tasks: set[str] = field(default_factory=set)
    beat: Beat = field(default_factory=Beat)

    @property
    def load(self) -> tuple[int, int]:
        return (len(self.tasks), self.index)


class Workers:
    """All connected workers of this node."""

    def __init__(self) -> None:
        self._by_index: dict[int, Worker] = {}
        self._holder: dict[str, int] = {}
        self._owner: TaskOwner | None = None
        self._draining = False
        self._counted: Counter[str] = Counter()  # by workers that are gone

    def serve(self, owner: TaskOwner) -> None:
        """Name the one who is told of everything from here on."""
        self._owner = owner

    @property
    def live(self) -> list[Worker]:
        return list(self._by_index.values())

    def counters(self) -> Counter[str]:
        """What the workers counted since the server began, the dead ones' last word included."""
        total = Counter(self._counted)
        for worker in self._by_index.values():
            total.update(worker.beat.counters)
        return total

    def __len__(self) -> int:
        return len(self._by_index)

    def holder(self, task_id: str) -> int | None:
        """The index of the worker that holds a task."""
        return self._holder.get(task_id)

    def choose(self) -> int | None:
        """The worker with the fewest tasks; None while there is none, or while the node drains."""
        if self._draining or not self._by_index:
            return None
        return min(self._by_index.values(), key=lambda worker: worker.load).index

    def give(self, index: int, task_id: str, message: ToWorker) -> bool:
        """Hand a task to a worker; False when that worker has gone meanwhile."""
        worker = self._by_index.get(index)
        if worker is None:
            return False
        self._release(task_id)
        worker.tasks.add(task_id)
        self._holder[task_id] = index
        worker.link.send(message)
        return True

    def tell(self, task_id: str, message: ToWorker) -> bool:
        """Say something to the holder of a task; False when nobody holds it."""
        index = self._holder.get(task_id)
        if index is None:
            return False
        self._by_index[index].link.send(message)
        return True

    def answer(self, index: int, message: ToWorker) -> None:
        """Answer a worker whether or not it still holds the task."""
        worker = self._by_index.get(index)
        if worker is not None:
            worker.link.send(message)

    def release(self, task_id: str) -> None:
        """A task is over: its worker is free of it."""
        self._release(task_id)

    def joined(self, hello: Hello, link: Link) -> Worker:
        """A process said Hello; one that had its number before is dead, whatever its socket says."""
        former = self._by_index.get(hello.index)
        if former is not None:
            self.left(former)
        worker = Worker(hello.index, hello.pid, link)
        self._by_index[hello.index] = worker
        log.info("worker_joined", index=hello.index, worker_pid=hello.pid)
        if self._owner is not None:
            self._owner.worker_ready(hello.index)
        return worker

    def left(self, worker: Worker) -> None:
        """Its connection is gone; its tasks need another holder."""
        if self._by_index.get(worker.index) is not worker:
            return
        del self._by_index[worker.index]
        self._counted.update(worker.beat.counters)
        worker.link.close()
        orphans = sorted(worker.tasks)
        for task_id in orphans:
            self._holder.pop(task_id, None)
        log.warning("worker_left", index=worker.index, worker_pid=worker.pid, tasks=len(orphans))
        if self._owner is not None:
            self._owner.tasks_orphaned(orphans)

    def heard(self, worker: Worker, message: ToServer) -> None:
        """One message of a worker, in the order it sent them."""
        if self._by_index.get(worker.index) is not worker:
            return
        if isinstance(message, Beat):
            worker.beat = message
        elif self._owner is not None:
            self._owner.said(worker.index, message)

    def drain(self) -> None:
        """Ask every worker to close its tasks at a clean place; nothing is assigned any more."""
        self._draining = True
        for worker in self._by_index.values():
            worker.link.send(Drain())

    def _release(self, task_id: str) -> None:
        index = self._holder.pop(task_id, None)
        if index is not None and index in self._by_index:
            self._by_index[index].tasks.discard(task_id)
