"""Processes of a recording stack killed at random: what its recordings then lack, in seconds.

Rounds of two rooms, each with a recording: two people by WebRTC, one by RTMP, every picture numbered. The dice kill
workers, the server, everything, or everything with a power cut; after the death of a server the publishers begin
again from picture 0, which tells the lives of a publisher apart in one playlist.
"""

from __future__ import annotations

import base64
import contextlib
import math
import os
import random
import signal
import sqlite3
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from roomtape.cli.client import Admin
from roomtape.cli.say import Failure
from roomtape.supervisor import ask
from tests.support import power
from tests.support.bots import BotPublisher
from tests.support.numbered import Pictures, joined, pictures
from tests.support.numbered_media import pictures as coded_pictures
from tests.support.numbered_media import sounds as coded_sounds
from tests.support.publisher import FPS
from tests.support.publishers import Publisher, publish_rtmp, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, until

WORKER, SERVER, EVERYTHING, POWER, STOP = "worker", "server", "everything", "power", "stop"
SHARES = {WORKER: 0.84, SERVER: 0.09, EVERYTHING: 0.03, POWER: 0.04}
ROUND_KILLS = 24
MEDIA_S = 150  # the WebRTC publishers' files; a life is shorter, so that numbers only rise in it
LIFE_S = 110.0
SETTLED_S = 2.0  # a server dies only while workers read: with one dead nobody has read since, and both faults add up
BETWEEN_S = (0.05, 2.5)
BACK_S = 60.0
SEATS = (("a", "alice", "whip"), ("a", "bob", "rtmp"), ("b", "carol", "whip"))


@dataclass
class Life:
    """One publisher's session: up at `up_s`, over at `end_s` (monotonic) by the death of `cause`."""

    up_s: float
    end_s: float = 0.0
    cause: str = STOP


@dataclass
class Seat:
    """A user of a room and all their lives; pictures are numbered from 0 in each."""

    room: str
    user: str
    kind: str
    publisher: BotPublisher | Publisher | None = None
    lives: list[Life] = field(default_factory=list)


@dataclass
class Tally:
    """What was done and what it cost."""

    kills: Counter[str] = field(default_factory=Counter)
    recordings: int = 0
    lives: int = 0
    stored_s: float = 0.0
    holes_s: float = 0.0  # within a life: the deaths of workers alone
    tails_s: dict[str, list[float]] = field(default_factory=dict)  # by cause, lost at the end of each life
    heads_s: list[float] = field(default_factory=list)  # lost at the beginning of a later life
    back_s: dict[str, list[float]] = field(default_factory=dict)
    cut_bytes: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another stack's work in."""
        self.kills += other.kills
        self.recordings += other.recordings
        self.lives += other.lives
        self.stored_s += other.stored_s
        self.holes_s += other.holes_s
        self.heads_s += other.heads_s
        self.cut_bytes += other.cut_bytes
        self.faults += other.faults
        for mine, its in ((self.tails_s, other.tails_s), (self.back_s, other.back_s)):
            for cause, values in its.items():
                mine.setdefault(cause, []).extend(values)

    def report(self) -> dict[str, Any]:
        """Figures for the record; seconds."""
        return {
            "kills": dict(sorted(self.kills.items())),
            "recordings": self.recordings,
            "sessions": self.lives,
            "stored_s": round(self.stored_s),
            "lost_worker_s": round(self.holes_s, 3),
            "lost_s": {cause: spread(values) for cause, values in sorted(self.tails_s.items())},
            "late_s": spread(self.heads_s),
            "back_s": {cause: spread(values) for cause, values in sorted(self.back_s.items())},
            "unsynced_bytes_cut": self.cut_bytes,
            "faults": self.faults,
        }


def spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {
        "count": len(values),
        "median": round(statistics.median(values), 3),
        "p95": round(sorted(values)[math.ceil(0.95 * len(values)) - 1], 3),
        "max": round(max(values), 3),
    }


class Killing:
    """One stack under fire. `stack` must have been started with `power.noting(sync_log)`."""

    def __init__(
        self, stack: Stack, receiver: CallbackReceiver, work: Path, sync_log: Path, dice: random.Random,
        say: Callable[[str], None] = print,
    ) -> None:  # fmt: skip
        self.stack, self.receiver, self.work, self.dice, self.say = stack, receiver, work, dice, say
        self.sync_log = sync_log
        self.tally = Tally()
        self.seats: list[Seat] = []
        self.tasks: dict[str, str] = {}
        self._pictures = coded_pictures(work / "numbered.h264", MEDIA_S, bps=300_000)
        self._sounds = coded_sounds(work / "beeps.opus20", MEDIA_S)

    def run(self, kills: int, until_s: float) -> Tally:
        """Rounds until so many kills are done, or it is `until_s` (monotonic)."""
        try:
            number = 0
            while self.tally.kills.total() < kills and time.monotonic() < until_s:
                number += 1
                self.round(number, min(ROUND_KILLS, kills - self.tally.kills.total()))
                self.say(f"round {number}: {dict(self.tally.kills)}, {len(self.tally.faults)} faults")
        finally:
            self.cut_off()
        with contextlib.closing(sqlite3.connect(self.stack.data_dir / "roomtape.db")) as connection:
            if (verdict := connection.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
                self.tally.faults.append(f"database: {verdict}")
        return self.tally

    def round(self, number: int, kills: int) -> None:
        self.seats = [Seat(f"round{number}{room}", user, kind) for room, user, kind in SEATS]
        self.publish()
        self.tasks = {
            room: self.stack.create_recording(room, OutputFormat=1, AvMerge=1, MaxIdleTime=300)
            for room in dict.fromkeys(seat.room for seat in self.seats)
        }
        for task in self.tasks.values():
            self.receiver.wait(301, task_id=task)
        born = time.monotonic()
        for _ in range(kills):
            pause(self.dice.uniform(*BETWEEN_S))
            cause = self.dice.choices(list(SHARES), list(SHARES.values()))[0]
            if cause == WORKER:
                self.kill_worker()
            else:
                self.kill_server(cause)
                born = time.monotonic()
            self.tally.kills[cause] += 1
            if time.monotonic() - born > LIFE_S:
                break
        self._settle()
        now = time.monotonic()
        for task in self.tasks.values():
            self.stack.delete(task)
        for seat in self.seats:
            seat.lives[-1].end_s = now
        for room, task in self.tasks.items():
            try:
                self.receiver.wait(310, task_id=task, timeout_s=120)
            except TimeoutError as error:
                self.tally.faults.append(f"{room} ({task}): {error}")
        self.cut_off()
        for room in self.tasks:
            self._judge(room)

    # --- publishers --------------------------------------------------------------------------------

    def publish(self) -> None:
        for seat in self.seats:
            if seat.kind == "whip":
                seat.publisher = BotPublisher(
                    self.stack.whip_url(seat.room, seat.user), token=self.stack.usersig(seat.user),
                    seconds=MEDIA_S, pictures=[self._pictures], sounds=self._sounds,
                )  # fmt: skip
            else:
                seat.publisher = publish_rtmp(self.stack, seat.room, seat.user, seconds=2 * MEDIA_S)
        with ThreadPoolExecutor(len(self.seats)) as waiting:  # each is timed when it says that it is up
            for seat, up_s in zip(self.seats, waiting.map(_up, self.seats), strict=True):
                seat.lives.append(Life(up_s))

    def cut_off(self) -> None:
        """End all publishers, as a cable that is cut does."""
        for seat in self.seats:
            if isinstance(seat.publisher, BotPublisher):
                seat.publisher.kill()
            elif seat.publisher is not None:
                seat.publisher.cut()
            seat.publisher = None

    # --- deaths ------------------------------------------------------------------------------------

    def kill_worker(self) -> None:
        """One that holds a task, if any does."""
        workers = live_workers(self.stack)
        held = [worker for worker in workers if worker["tasks"]] or workers
        if not held:
            return
        victim = int(self.dice.choice(held)["pid"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)

    def kill_server(self, cause: str) -> None:
        self._settle()
        tree = ask(self.stack.data_dir / "run", cmd="tree")
        server = next(int(p["pid"]) for p in tree if p["role"] == "server")
        victims = [server] if cause == SERVER else [int(p["pid"]) for p in tree]
        self.dice.shuffle(victims)
        at = time.monotonic()
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):  # its parent's death was its own
                os.kill(pid, signal.SIGKILL)
        for seat in self.seats:
            seat.lives[-1].end_s, seat.lives[-1].cause = at, cause
        self.cut_off()
        if cause != SERVER:
            self.stack.stop()
            if cause == POWER:
                data = self.stack.data_dir
                self.tally.cut_bytes += power.cut(self.sync_log, data / "spool", data / "recordings")["bytes"]
            at = time.monotonic()
            self.stack.start()
        until("the server is back", lambda: is_back(self.stack, server), BACK_S, every_s=0.02)
        self.tally.back_s.setdefault(cause, []).append(time.monotonic() - at)
        self.publish()

    def _settle(self) -> None:
        """Wait until workers hold every task, and have then had time to read."""
        self._wait_held()
        pause(SETTLED_S)
        self._wait_held()

    def _wait_held(self) -> None:
        until("workers with all tasks", lambda: sum(w["tasks"] for w in live_workers(self.stack)) >= len(self.tasks), BACK_S)

    # --- the verdict -------------------------------------------------------------------------------

    def _judge(self, room: str) -> None:
        """Hold every file of a room's task against the lives of its publishers."""
        task = self.tasks[room]
        told = {event.headers["x-event-id"]: event for event in self.receiver.events(task_id=task)}
        types = Counter(event.type for event in told.values())
        if (types[301], types[302], types[305], types[310], types[306]) != (1, 1, 1, 1, 0):
            self._fault(room, f"events {dict(types)}")
        if [event.payload["Status"] for event in told.values() if event.type == 310] != [0]:
            self._fault(room, "310 does not say 0")
        self.tally.recordings += 1
        for seat in (seat for seat in self.seats if seat.room == room):
            self.tally.lives += len(seat.lives)
            playlists = [p for p in recordings(self.stack, task, ".m3u8") if enc(seat.user) in p.name]
            films = [p for p in recordings(self.stack, task, ".mp4") if enc(seat.user) in p.name]
            if (len(playlists), len(films)) != (1, 1):
                self._fault(room, f"{seat.user}: {len(playlists)} playlists, {len(films)} MP4")
                continue
            lines = playlists[0].read_text().splitlines()
            parts = [line for line in lines if not line.startswith("#")]
            if len(parts) != len(set(parts)) or lines[-1] != "#EXT-X-ENDLIST":
                self._fault(room, f"{seat.user}: the playlist names a piece twice or has no end")
            if lines.count("#EXT-X-DISCONTINUITY") > len(seat.lives) - 1:
                self._fault(room, f"{seat.user}: more marks than deaths of a server")
            whole = joined(
                [playlists[0].parent / part for part in parts], self.work / f"{room}-{seat.user}.ts"
            )
            self._measure(room, seat, pictures(whole))
            whole.unlink()
            film = runs(pictures(films[0]).numbers)
            if len(film) != len(seat.lives) or any(hole_s(run) for run in film):
                self._fault(room, f"{seat.user}: MP4 holds {[(r[0], r[-1], len(r)) for r in film]}")

    def _measure(self, room: str, seat: Seat, seen: Pictures) -> None:
        stretches = runs(seen.numbers)
        if len(stretches) != len(seat.lives):
            lived = [(round((life.end_s - life.up_s) * FPS), life.cause) for life in seat.lives]
            self._fault(room, f"{seat.user}: {[(r[0], r[-1]) for r in stretches]} of {lived}")
            return
        for n, (run, life) in enumerate(zip(stretches, seat.lives, strict=True)):
            self.tally.stored_s += len(run) / FPS
            if hole := hole_s(run):
                self.tally.holes_s += hole
                self._fault(room, f"{seat.user}: a hole of {hole:.2f} s in session {n}")
            tail = max(0.0, life.end_s - life.up_s - (run[-1] + 1) / FPS)
            self.tally.tails_s.setdefault(life.cause, []).append(tail)
            if n:
                self.tally.heads_s.append(run[0] / FPS)

    def _fault(self, room: str, what: str) -> None:
        self.tally.faults.append(f"{room}: {what}")
        self.say(f"FAULT {room} ({self.tasks[room]}): {what}")


def live_workers(stack: Stack) -> list[dict[str, Any]]:
    """Those that are connected, with the count of their tasks; none while there is no server."""
    try:
        workers: list[dict[str, Any]] = Admin(stack.data_dir).get("/workers")
    except Failure:
        return []
    return workers


def is_back(stack: Stack, old: int) -> bool:
    """Whether another server than that process serves."""
    try:
        tree = ask(stack.data_dir / "run", cmd="tree")
        other = any(p["role"] == "server" and int(p["pid"]) != old for p in tree)
        return other and stack.http("/readyz")[0] == 200
    except (OSError, ValueError):
        return False


def _up(seat: Seat) -> float:
    assert seat.publisher is not None
    seat.publisher.wait_up()
    return time.monotonic()


def runs(numbers: list[int]) -> list[list[int]]:
    """Stretches of rising numbers; a picture shown on and on (the filled hole of an MP4) counts once."""
    out: list[list[int]] = [[numbers[0]]] if numbers else []
    for before, after in pairwise(numbers):
        if after == before:
            continue
        if after < before:
            out.append([])
        out[-1].append(after)
    return out


def hole_s(run: list[int]) -> float:
    """Seconds of pictures that a stretch skips."""
    return (run[-1] - run[0] + 1 - len(run)) / FPS


def enc(text: str) -> str:
    """A name as file names have it."""
    return base64.b64encode(text.encode()).decode().replace("/", "-").replace("=", ".")


def pause(seconds: float) -> None:
    """Let time pass: kills come at moments the dice chose, nothing is waited for."""
    threading.Event().wait(max(0.0, seconds))
