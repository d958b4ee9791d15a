"""The pool of workers: who gets the next task, and what a death leaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from roomtape.control.messages import Beat, Drain, Forget, Hello, Started, ToServer, ToWorker
from roomtape.tasks.workers import Worker, Workers


@dataclass
class Ear:
    """A link that keeps what it is told."""

    heard: list[ToWorker] = field(default_factory=list)
    closed: bool = False

    def send(self, message: ToWorker) -> None:
        self.heard.append(message)

    def close(self) -> None:
        self.closed = True


@dataclass
class Owner:
    """A task owner that keeps what it is told."""

    ready: list[int] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    words: list[tuple[int, ToServer]] = field(default_factory=list)

    def worker_ready(self, index: int) -> None:
        self.ready.append(index)

    def tasks_orphaned(self, task_ids: Iterable[str]) -> None:
        self.orphans += task_ids

    def said(self, index: int, message: ToServer) -> None:
        self.words.append((index, message))


def pool() -> tuple[Workers, Owner]:
    workers, owner = Workers(), Owner()
    workers.serve(owner)
    return workers, owner


def join(workers: Workers, index: int) -> tuple[Worker, Ear]:
    ear = Ear()
    return workers.joined(Hello(index=index, pid=100 + index), ear), ear


def give(workers: Workers, task_id: str) -> int:
    index = workers.choose()
    assert index is not None
    assert workers.give(index, task_id, Forget(task_id=task_id, epoch=1))
    return index


def test_the_next_task_goes_to_the_worker_with_the_fewest() -> None:
    workers, owner = pool()
    join(workers, 0)
    join(workers, 1)
    assert owner.ready == [0, 1]
    assert [give(workers, f"t{n}") for n in range(4)] == [0, 1, 0, 1]
    workers.release("t1")
    assert give(workers, "t4") == 1
    assert workers.holder("t4") == 1
    assert workers.holder("t1") is None


def test_a_dead_workers_tasks_are_orphans_and_its_words_are_not_heard() -> None:
    workers, owner = pool()
    dead, ear = join(workers, 0)
    give(workers, "a")
    give(workers, "b")
    workers.left(dead)
    assert (owner.orphans, ear.closed, workers.choose()) == (["a", "b"], True, None)
    workers.heard(dead, Started(task_id="a", epoch=1))
    workers.left(dead)
    assert owner.words == []
    assert owner.orphans == ["a", "b"]
    assert not workers.tell("a", Forget(task_id="a", epoch=1))
    assert not workers.give(0, "a", Forget(task_id="a", epoch=1))


def test_a_new_process_of_the_same_number_means_the_former_is_dead() -> None:
    workers, owner = pool()
    former, ear = join(workers, 0)
    give(workers, "a")
    successor, _ = join(workers, 0)
    assert (owner.orphans, ear.closed) == (["a"], True)
    workers.left(former)
    assert [worker.pid for worker in workers.live] == [successor.pid]


def test_beats_are_the_pools_own_and_the_rest_is_the_owners() -> None:
    workers, owner = pool()
    worker, _ = join(workers, 0)
    workers.heard(worker, Beat(tasks=3, rss_bytes=7))
    workers.heard(worker, Started(task_id="a", epoch=1))
    assert worker.beat.rss_bytes == 7
    assert owner.words == [(0, Started(task_id="a", epoch=1))]


def test_a_draining_pool_gives_nothing_more() -> None:
    workers, _ = pool()
    _, ear = join(workers, 0)
    workers.drain()
    assert workers.choose() is None
    assert ear.heard == [Drain()]
