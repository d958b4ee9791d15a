"""CPU time and memory of process trees, from /proc. CPU-seconds, never wall time: machines are noisy."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """All live descendants of `pid`."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            direct = [int(p) for p in (task / "children").read_text().split()]
        except OSError:
            continue
        for child in direct:
            found += [child, *children(child)]
    return found


def tree(pid: int) -> list[int]:
    return [pid, *children(pid)]


def cpu_s(pids: list[int]) -> float:
    """User plus system seconds used so far by these processes and what they have already reaped."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        except OSError:
            continue
        total += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return total / TICKS


@dataclass(frozen=True, slots=True)
class ThreadTime:
    """Seconds of CPU of the threads of one name: all of it to the nanosecond, the system's part by clock ticks."""

    all_s: float
    system_s: float

    def __sub__(self, before: ThreadTime) -> ThreadTime:
        return ThreadTime(self.all_s - before.all_s, self.system_s - before.system_s)


def threads(pid: int) -> dict[str, ThreadTime]:
    """What each thread of a process used so far, by its name; threads of the same name together."""
    used: dict[str, ThreadTime] = {}
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            head, rest = (task / "stat").read_text().rsplit(") ", 1)
            all_s = int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue  # it has ended
        name, so_far = head.split("(", 1)[1], ThreadTime(all_s, int(rest.split()[12]) / TICKS)
        if before := used.get(name):
            so_far = ThreadTime(before.all_s + so_far.all_s, before.system_s + so_far.system_s)
        used[name] = so_far
    return used


def process_cpu_s(pid: int) -> float:
    """User plus system seconds of a running process, its threads that ended too, to the nanosecond.

    Source: clock_getcpuclockid(3), whose formula this is; /proc counts in ticks of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


def rss_mib(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return total * PAGE / 2**20


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number; `goal` is the bound it should stay under, None when there is none."""

    name: str
    value: float
    unit: str
    goal: float | None = None

    def line(self) -> str:
        verdict = "" if self.goal is None else f"  goal <= {self.goal:g}  {'ok' if self.value <= self.goal else 'MISSED'}"
        return f"{self.name:<58} {self.value:9.3f} {self.unit}{verdict}"


def circumstances(root: Path) -> str:
    """Machine and commit, for the record beside every result."""
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, Python {platform.python_version()}, commit {commit}"
