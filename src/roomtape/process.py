"""What each process does about its own life: die with its parent, show signs of life, weigh itself.

A leaf module: the supervisor, the server and the workers import it, it imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from pathlib import Path

import msgspec

LIFELINE_ENV = "ROOMTAPE_LIFELINE_FD"
BEAT = b"."
READY = b"R"
BEAT_INTERVAL_S = 1.0

_PR_SET_PDEATHSIG = 1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def die_with_parent(sig: int = signal.SIGKILL) -> None:
    """Ask the kernel to send `sig` to this process when its parent dies; call it first thing.

    Exits at once when the parent is gone already: a signal is only sent for a death that comes later.
    Raises:
        OSError: the kernel refused.
    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, sig, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    if parent == 1 or os.getppid() != parent:
        os._exit(1)


def lifeline_fd() -> int | None:
    """The write end of the pipe the supervisor watches, or None when nobody does."""
    raw = os.environ.get(LIFELINE_ENV, "")
    return int(raw) if raw.isdigit() else None


def beat(fd: int | None, sign: bytes = BEAT) -> bool:
    """Write one sign of life, never blocking. False when nobody reads it any more."""
    if fd is None:
        return True
    try:
        os.write(fd, sign)
    except BlockingIOError:
        return True  # the pipe is full of our signs: the reader is slow, not gone
    except OSError:
        return False
    return True


def tell_ready(fd: int | None) -> bool:
    """Say once that this process serves: the supervisor waits for it before it writes `dev.json`."""
    return beat(fd, READY)


async def heartbeat(fd: int | None) -> None:
    """Beat once a second on the running loop until cancelled or until nobody listens.

    It runs on the loop on purpose: a loop that hangs is a process that is dead.
    """
    if fd is None:
        return
    os.set_blocking(fd, False)
    while beat(fd):
        await asyncio.sleep(BEAT_INTERVAL_S)


def rss_bytes(pid: int | None = None) -> int:
    """Resident memory of a process (default: this one); 0 when it is gone.

    Source: proc(5), /proc/pid/statm, second field in pages.
    """
    try:
        fields = Path("/proc", str(pid or os.getpid()), "statm").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * _PAGE_BYTES


class DevKeys(msgspec.Struct, kw_only=True):
    """The credentials `roomtape dev` prints; made by the server at its first start in `dev`."""

    secret_id: str
    secret_key: str
    sdk_app_id: int
    app_secret_key: str
    callback_key: str


class ServerReport(msgspec.Struct, kw_only=True):
    """Where the server really listens, told to the supervisor before READY (a port of 0 was picked)."""

    http_host: str
    http_port: int
    webrtc_addrs: list[str]
    rtmp_host: str
    rtmp_port: int
    tls: bool = False
    dev: DevKeys | None = None


REPORT_NAME = "server.json"


def write_report(run_path: Path, report: ServerReport) -> None:
    """Leave the report in the run directory, mode 0600, replacing an older one at once."""
    write_private(run_path / REPORT_NAME, msgspec.json.encode(report))


def read_report(run_path: Path) -> ServerReport:
    """Raises OSError when there is none, msgspec.DecodeError when it is not one."""
    return msgspec.json.decode((run_path / REPORT_NAME).read_bytes(), type=ServerReport)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one only its owner can read; never a half-written one."""
    temporary = path.with_name(f".tmp-{path.name}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    temporary.replace(path)
