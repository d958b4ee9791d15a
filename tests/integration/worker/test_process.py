"""The worker as a process: what it gives up, how it lives and how it goes."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from roomtape.control import messages as say
from roomtape.media.frames import NS
from roomtape.recording.journal import Journal
from tests.integration.worker.test_recording import play, publish
from tests.support.recordings import PATIENCE_S, TASK, TASK0_NS, Rig

SOURCE = str(Path(__file__).parents[3] / "src")
EXIT_S = 2  # how long a worker may take to go when the server has gone

ESCAPES = {
    "a socket": "socket.socket()",
    "a pair of sockets": "socket.socketpair()",
    "another program": "os.execv('/bin/true', ['true'])",
    "a child": "os.fork()",
    "a subprocess": "subprocess.run(['/bin/true'])",
    "a signal to its parent": "os.kill(os.getppid(), 0)",
    "a trace": "libc.ptrace(16, os.getppid(), 0, 0) and check()",
    "another's memory": "libc.syscall(310, os.getppid(), 0, 0, 0, 0, 0) and check()",
    "a namespace": "libc.unshare(0x10000000) and check()",
    "io_uring": "libc.syscall(425, 1, 0) and check()",
    "bpf": "libc.syscall(321, 0, 0, 0) and check()",
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES.keys())
def test_a_sealed_process_cannot_have(escape: str, tmp_path: Path) -> None:
    program = f"""
import ctypes, errno, os, socket, subprocess, sys
from pathlib import Path
from roomtape.worker import sandbox
libc = ctypes.CDLL(None, use_errno=True)
def check():
    raise OSError(ctypes.get_errno(), "refused")
sandbox.limit_memory()
sandbox.seal([Path({str(tmp_path)!r})])
try:
    {escape}
except OSError as error:
    sys.exit(0 if error.errno == errno.EPERM else error.errno)
sys.exit(99)
"""
    env = os.environ | {"PYTHONPATH": SOURCE}
    assert subprocess.run([sys.executable, "-c", program], env=env, check=False).returncode == 0


def test_a_sealed_process_can_still_code_with_threads_and_write_its_spool(tmp_path: Path) -> None:
    program = f"""
import threading
from fractions import Fraction
from pathlib import Path
import av
from roomtape.worker import sandbox
spool = Path({str(tmp_path)!r})
sandbox.limit_memory()
guarded = sandbox.seal([spool])
codec = av.CodecContext.create("libx264", "w")
codec.width, codec.height, codec.pix_fmt, codec.thread_count = 64, 64, "yuv420p", 4
codec.time_base = Fraction(1, 30)
frame = av.VideoFrame(64, 64, "yuv420p")
frame.pts = 0
assert codec.encode(frame) + codec.encode(None)
thread = threading.Thread(target=lambda: (spool / "part").write_bytes(b"x"))
thread.start()
thread.join()
(spool / "part").rename(spool / "whole")
if guarded:
    try:
        Path({str(tmp_path.parent)!r}, "elsewhere").write_bytes(b"x")
    except OSError:
        pass
    else:
        raise SystemExit("wrote outside its spool")
"""
    env = os.environ | {"PYTHONPATH": SOURCE}
    assert subprocess.run([sys.executable, "-c", program], env=env, check=False).returncode == 0


def test_when_the_server_goes_it_writes_what_it_holds_and_exits_at_once(rig: Callable[..., Rig]) -> None:
    it = rig(av_merge=1)
    sources = publish(it)
    it.start_worker()
    assert it.core.wait_for_reader(TASK, sources[0].track, PATIENCE_S), it.complaints()
    play(it, sources, until_s=5)
    assert it.core.wait_until_acked(sources[1].track, 200, PATIENCE_S)
    it.server.__exit__()
    it.core.close()
    assert it.process is not None
    assert it.process.wait(timeout=EXIT_S) == 0
    journal = Journal.open(it.spool, it.epoch + 1)
    assert journal.recovered is not None
    assert journal.recovered.ended
    assert journal.recovered.checkpoint["ended"] == "stretch"
    sound = [e for e in journal.entries("amy\x1fmain\x1faudiovideo", 0, None) if e.stream == 2]
    assert sound[-1].dts + 1024 >= 200 * 960  # acknowledged sound is not left in the coder
    journal.close()


def test_it_beats_each_second_and_says_how_much_it_holds(rig: Callable[..., Rig]) -> None:
    it = rig()
    read, write = os.pipe()
    command = [sys.executable, "-m", "roomtape.worker", str(it.data_dir / "run"), "--index", "3"]
    env = os.environ | {"PYTHONPATH": SOURCE, "ROOMTAPE_LIFELINE_FD": str(write)}
    it.process = subprocess.Popen(command, env=env, pass_fds=[write], stderr=it.log)
    os.close(write)
    started = time.monotonic()
    signs = b""
    while len(signs) < 3:
        ready, _w, _x = select.select([read], [], [], PATIENCE_S)
        assert ready, it.complaints()
        signs += os.read(read, 64)
    assert time.monotonic() - started >= 0.9
    os.close(read)
    assert it.server.wait_for(
        lambda: any(isinstance(m, say.Beat) and m.tasks for m in it.server.heard), PATIENCE_S
    )
    hello = next(m for m in it.server.heard if isinstance(m, say.Hello))
    assert (hello.index, hello.pid) == (3, it.process.pid)


def test_r_drain_1_drain_ends_the_stretch_and_the_process(rig: Callable[..., Rig]) -> None:
    it = rig()
    sources = publish(it)
    it.start_worker()
    assert it.core.wait_for_reader(TASK, sources[0].track, PATIENCE_S), it.complaints()
    play(it, sources, until_s=3)
    it.server.send(say.Drain())
    assert it.process is not None
    assert it.process.wait(timeout=PATIENCE_S) == 0


def test_a_task_that_cannot_be_opened_does_not_disturb_the_worker(rig: Callable[..., Rig]) -> None:
    it = rig()
    sources = publish(it, long_s=4)
    it.start_worker()
    assert it.core.wait_for_reader(TASK, sources[0].track, PATIENCE_S), it.complaints()
    broken = say.Assign(task_id="task-2", epoch=1, spool_dir="/proc/nowhere", plan=it.plan)
    it.server.send(broken)
    assert it.server.wait_for(
        lambda: any(n.task_id == "task-2" for n in it.server.notes("error")), PATIENCE_S
    )
    play(it, sources, until_s=4)
    it.stop(TASK0_NS + 4 * NS)
    it.wait_until_stopped()
    assert len(it.server.pieces) == 2


def test_f4_an_older_epoch_writes_nothing_more(rig: Callable[..., Rig]) -> None:
    it = rig()
    sources = publish(it)
    it.start_worker()
    assert it.core.wait_for_reader(TASK, sources[0].track, PATIENCE_S), it.complaints()
    play(it, sources, until_s=2)

    def beats_without_tasks() -> int:
        return sum(isinstance(m, say.Beat) and not m.tasks for m in it.server.heard)

    before = beats_without_tasks()  # the one before it was given the task
    it.server.send(say.Forget(task_id=TASK, epoch=it.epoch))
    assert it.server.wait_for(lambda: beats_without_tasks() > before, PATIENCE_S)
    newer = Journal.open(it.spool, it.epoch + 1)
    size = sum(p.stat().st_size for p in it.spool.glob("*.j"))
    for at in (3, 4, 5):
        for source in sources:
            source.push(it.core, TASK0_NS + at * NS)
        it.core.advance(it.plan.room, TASK0_NS + at * NS)
    before = beats_without_tasks()
    assert it.server.wait_for(lambda: beats_without_tasks() > before, PATIENCE_S)
    assert sum(p.stat().st_size for p in it.spool.glob("*.j")) == size
    newer.close()
