"""The process tree with real processes: who starts when, who is killed when, who ends first."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roomtape.supervisor import ask
from tests.support.stack import REPO, until

CHILD = REPO / "tests" / "support" / "tree_child.py"
RUN = """
import sys
from roomtape.config import Config, Limits, Workers
from roomtape.supervisor import Supervisor, SupervisorError
fresh = Config(data_dir="/elsewhere", limits=Limits(per_account=7))
reload = None if {dev} else lambda: fresh
child = [sys.executable, {child!r}]
config = Config(data_dir={data!r}, dev={dev}, workers=Workers(count=2, max_rss_mb=200))
try:
    argv = dict(server_argv=[*child, "server"], worker_argv=[*child, "worker"])
    sys.exit(Supervisor(config, reload=reload, **argv).run())
except SupervisorError as error:
    print(error)
    sys.exit(3)
"""


class Tree:
    """A supervisor in a process of its own over stand-in children."""

    def __init__(self, data: Path, *, dev: bool = True, env: dict[str, str] | None = None) -> None:
        self.data, self.run = data, data / "run"
        self.run.mkdir(parents=True, exist_ok=True)
        code = RUN.format(child=str(CHILD), data=str(data), dev=dev)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{REPO}/src:{REPO}", **(env or {})},
        )

    def ready(self) -> dict[str, Any]:
        until("dev.json", (self.data / "dev.json").exists)
        until("both workers", lambda: len(self.lines("worker", "start")) >= 2)
        dev: dict[str, Any] = json.loads((self.data / "dev.json").read_text())
        return dev

    def lines(self, role: str, word: str) -> list[list[str]]:
        """Log lines of a role that hold the word, each as [ns, index, pid, ...]."""
        path = self.run / f"{role}.log"
        text = path.read_text() if path.exists() else ""
        return [line.split() for line in text.splitlines() if word in line]

    def pids(self, role: str) -> list[int]:
        return [p["pid"] for p in ask(self.run, cmd="tree") if p["role"] == role]

    def effective(self) -> dict[str, Any]:
        effective: dict[str, Any] = json.loads((self.run / "effective.json").read_text())
        return effective

    def end(self, sig: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(20)


@pytest.fixture
def tree() -> Iterator[Callable[..., Tree]]:
    made: list[Tree] = []
    with tempfile.TemporaryDirectory(prefix="rt-") as directory:

        def make(**kwargs: Any) -> Tree:
            made.append(Tree(Path(directory) / "d", **kwargs))
            return made[-1]

        yield make
        for one in made:
            if one.process.poll() is None:
                one.process.kill()
            one.process.communicate()


def test_dev_json_tells_the_real_ports_to_its_owner_only_and_goes_at_the_end(
    tree: Callable[..., Tree],
) -> None:
    one = tree()
    dev = one.ready()
    assert dev["http_url"] == "http://127.0.0.1:18080"
    assert dev["rtmp_url"] == "rtmp://127.0.0.1:11935"
    assert dev["webrtc_addr"] == "127.0.0.1:18443"
    assert dev["pid"] == one.process.pid
    assert dev["sdk_app_id"] == 1400000001
    for name in ("dev.json", "run/effective.json", "run/supervisor.sock"):
        assert stat.S_IMODE((one.data / name).stat().st_mode) == 0o600
    pinned = json.loads((one.run / "effective.json").read_text())
    assert (pinned["server"]["http_port"], pinned["webrtc"]["port"], pinned["rtmp"]["port"]) == (
        18080,
        18443,
        11935,
    )
    assert one.end() == 0
    assert not (one.data / "dev.json").exists()


def test_f1_a_killed_worker_is_reaped_before_its_successor_starts(tree: Callable[..., Tree]) -> None:
    one = tree()
    one.ready()
    old = ask(one.run, cmd="kill_worker", index=1)["pid"]
    until("a successor", lambda: len([x for x in one.lines("worker", "start") if x[1] == "1"]) == 2)
    assert not Path("/proc", str(old)).exists()
    assert len(one.pids("worker")) == 2
    assert old not in one.pids("worker")


def test_f2_a_killed_server_comes_back_and_dev_json_is_not_touched(tree: Callable[..., Tree]) -> None:
    one = tree()
    one.ready()
    before = (one.data / "dev.json").stat()
    os.kill(one.pids("server")[0], signal.SIGKILL)
    until("a second server", lambda: len(one.lines("server", "start")) == 2)
    after = (one.data / "dev.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_f4_a_worker_that_gives_no_sign_of_life_is_killed_and_replaced(tree: Callable[..., Tree]) -> None:
    one = tree()
    one.ready()
    frozen = one.pids("worker")[0]
    os.kill(frozen, signal.SIGSTOP)
    until("a successor", lambda: len([x for x in one.lines("worker", "start") if x[1] == "0"]) == 2, 15)
    starts = [x for x in one.lines("worker", "start") if x[1] == "0"]
    assert starts[0][2] == str(frozen)
    assert (int(starts[1][0]) - int(starts[0][0])) / 1e9 > 3, "not before three seconds of silence"
    assert not Path("/proc", str(frozen)).exists()


def test_f3_r_lost_4_a_worker_above_its_memory_limit_is_replaced(tree: Callable[..., Tree]) -> None:
    one = tree()
    one.ready()
    (one.run / "worker.fat").write_text("250")
    first = ask(one.run, cmd="kill_worker", index=0)["pid"]
    until("a heavy worker", lambda: len([x for x in one.lines("worker", "start") if x[1] == "0"]) == 2)
    heavy = [x for x in one.lines("worker", "start") if x[1] == "0"][1][2]
    (one.run / "worker.fat").unlink()
    until("a light one", lambda: len([x for x in one.lines("worker", "start") if x[1] == "0"]) == 3, 15)
    assert not Path("/proc", heavy).exists()
    assert first != int(heavy)


def test_f3_r_drain_1_the_server_ends_before_the_workers_are_told(tree: Callable[..., Tree]) -> None:
    one = tree()
    one.ready()
    assert one.end() == 0
    server_end = int(one.lines("server", "end")[0][0])
    told = [int(line[0]) for line in one.lines("worker", "SIGTERM")]
    assert len(told) == 2
    assert min(told) > server_end


def test_f3_r_drain_1_children_that_do_not_listen_are_killed_after_ten_seconds(tree: Callable[..., Tree]) -> None:
    one = tree()
    (one.run / "worker.deaf").touch()
    one.ready()
    pids = one.pids("worker")
    assert one.end() == 0
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)


def test_f3_r_drain_1_a_second_signal_ends_everything_at_once(tree: Callable[..., Tree]) -> None:
    one = tree()
    (one.run / "server.deaf").touch()
    one.ready()
    one.process.send_signal(signal.SIGTERM)
    until("the server was asked", lambda: one.lines("server", "SIGTERM"))
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(3) == 0


def test_children_die_with_a_killed_supervisor(tree: Callable[..., Tree]) -> None:
    one = tree()
    one.ready()
    pids = one.pids("worker") + one.pids("server")
    one.end(signal.SIGKILL)
    until("all children gone", lambda: not any(Path("/proc", str(pid)).exists() for pid in pids))


def test_a_second_supervisor_on_the_same_data_is_refused_and_says_whose_it_is(
    tree: Callable[..., Tree],
) -> None:
    one = tree()
    one.ready()
    two = tree()
    out, _ = two.process.communicate(timeout=20)
    assert two.process.returncode == 3
    assert f"pid {one.process.pid}" in out
    assert one.pids("server"), "the first one goes on"


def test_a_server_that_cannot_start_ends_the_tree_with_1(tree: Callable[..., Tree]) -> None:
    one = tree()
    (one.run / "server.refuse").touch()
    assert one.process.wait(20) == 1
    assert not (one.data / "dev.json").exists()


def test_workers_get_no_secret_and_faults_only_in_dev(tree: Callable[..., Tree]) -> None:
    env = {"ROOMTAPE_FAULT": "before-ack", "ROOMTAPE_MASTER_KEY": "secret"}
    one = tree(env=env)
    one.ready()
    assert {line[4] for line in one.lines("worker", "start")} == {"fault=before-ack"}
    assert {line[5] for line in one.lines("worker", "start")} == {"key=None"}
    assert [line[5] for line in one.lines("server", "start")] == ["key=secret"]
    one.end()
    for name in ("worker.log", "server.log"):
        (one.run / name).unlink()
    two = tree(dev=False, env=env)
    until("both workers", lambda: len(two.lines("worker", "start")) >= 2)
    assert {line[4] for line in two.lines("worker", "start")} == {"fault=None"}


def test_a_reload_changes_limits_and_keeps_ports_and_places(tree: Callable[..., Tree]) -> None:
    one = tree(dev=False)
    until("both workers", lambda: len(one.lines("worker", "start")) >= 2)
    until("the ports are pinned", lambda: one.effective()["rtmp"]["port"] == 11935)
    assert ask(one.run, cmd="reload") == {"reloaded": True}
    assert one.effective()["limits"]["per_account"] == 7
    assert one.effective()["data_dir"] == str(one.data)
    assert one.effective()["rtmp"]["port"] == 11935
    until("the server is told", lambda: one.lines("server", "SIGHUP"))
    (one.run / "server.log").unlink()
    one.process.send_signal(signal.SIGHUP)
    until("the server is told again", lambda: one.lines("server", "SIGHUP"))
    assert one.end() == 0


def test_a_terminal_that_closes_ends_dev_in_order(tree: Callable[..., Tree]) -> None:
    one = tree()
    one.ready()
    assert one.end(signal.SIGHUP) == 0
    assert one.lines("server", "end")


def test_orders_that_make_no_sense_are_answered(tree: Callable[..., Tree]) -> None:
    one = tree()
    one.ready()
    for order in ({"cmd": "dance"}, {"cmd": "kill_worker", "index": 9}, {}, {"cmd": "reload"}):
        assert "error" in ask(one.run, **order)
    assert len(one.pids("worker")) == 2
