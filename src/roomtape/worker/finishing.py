"""Makes MP4 and AAC files from committed pieces, beside the recording loop, until the server answers."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from roomtape.control import messages as say

REPEAT_NS = 2_000_000_000

_Result = say.FileReady | say.Finalised


class Finisher:
    """One thread that does one job after the other; its results are told on the loop's thread.

    `Finalised` follows when every file of the job was answered.
    """

    def __init__(self, tell: Callable[[say.ToServer], None]) -> None:
        self._tell = tell
        self._jobs: queue.SimpleQueue[say.Finalise] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[_Result] = queue.SimpleQueue()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._taken: set[tuple[str, int, str]] = set()
        self._files: dict[str, say.FileReady] = {}  # by name, not answered yet
        self._ended: list[say.Finalised] = []
        self._repeat_at = 0
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        return self._read

    def take(self, job: say.Finalise) -> None:
        """Begin a job, unless it is already in work."""
        key = job.task_id, job.epoch, job.job
        if key in self._taken:
            return
        self._taken.add(key)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="finish", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def on_readable(self) -> None:
        """Take up what the thread has done."""
        os.read(self._read, 4096)
        while not self._results.empty():
            result = self._results.get()
            if isinstance(result, say.FileReady):
                self._files[result.name] = result
                self._tell(result)
            else:
                self._ended.append(result)
                self._say_ended()

    def on_committed(self, message: say.FileCommitted) -> None:
        self._files.pop(message.name, None)
        self._say_ended()

    def tick(self, now_ns: int) -> None:
        if now_ns >= self._repeat_at:
            self._repeat_at = now_ns + REPEAT_NS
            for ready in self._files.values():
                self._tell(ready)

    def _say_ended(self) -> None:
        for ended in list(self._ended):
            owed = any((f.task_id, f.job) == (ended.task_id, ended.job) for f in self._files.values())
            if not owed:
                self._ended.remove(ended)
                self._taken.discard((ended.task_id, ended.epoch, ended.job))
                self._tell(ended)

    def _work(self) -> None:
        from roomtape.recording.finalise import finalise  # FFmpeg's muxers are loaded when they are needed

        while True:
            job = self._jobs.get()
            error = ""
            try:
                for ready in finalise(job):
                    self._give(ready)
            except Exception as failure:  # the job fails, the worker does not
                error = f"{type(failure).__name__}: {failure}"
            self._give(say.Finalised(task_id=job.task_id, epoch=job.epoch, job=job.job, error=error))

    def _give(self, result: _Result) -> None:
        self._results.put(result)
        os.write(self._write, b".")
