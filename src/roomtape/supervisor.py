"""The process tree: one server and N workers, started, watched, reaped and started again.

Opens no network socket and sees no media; `run/supervisor.sock` takes orders of the same machine's user.
Holds the lock on the data directory for as long as it lives: whoever holds it owns the node's tasks.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import secrets
import selectors
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from roomtape.config import Config, ConfigError, save_effective
from roomtape.process import (
    LIFELINE_ENV,
    READY,
    REPORT_NAME,
    ServerReport,
    read_report,
    rss_bytes,
    write_private,
)

TICK_S = 0.2
WORKER_SILENCE_S = 3.0
SERVER_SILENCE_S = 15.0
FIRST_SIGN_S = 60.0  # from the start of a process to its first sign of life: imports on a busy machine
READY_S = 120.0
STOP_S = 10.0
SERVER_STOP_S = 8.0
RSS_PATIENCE_S = 2.0
RSS_EVERY_S = 1.0
BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
LONG_LIFE_S = 10.0  # a process that lived so long starts again at once
SOCKET_PATH_BYTES = 107  # sun_path without its zero

FAULT_ENVS = frozenset({"ROOMTAPE_FAULT", "ROOMTAPE_FAULT_DIR"})
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

DEV_JSON = "dev.json"
LOCK = "lock"
EFFECTIVE = "effective.json"
CONTROL = "supervisor.sock"
ADMIN_TOKEN = "admin.token"  # who can read it may administer


class SupervisorError(Exception):
    """The tree cannot be started; the text says why and what to do."""


@dataclass(slots=True, eq=False)
class Child:
    """One place in the tree, and the process that fills it now, if any."""

    role: str
    index: int
    argv: list[str]
    silence_s: float
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1
    lifeline: int = -1
    started: float = 0.0
    started_ms: int = 0
    last_sign: float | None = None
    start_at: float = 0.0
    short_lives: int = 0
    heavy_since: float | None = None
    why: str = ""  # it was killed by us

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def backoff(self, now: float) -> float:
        """Seconds to wait before the next start: none after a long life, growing after short ones."""
        self.short_lives = 0 if now - self.started >= LONG_LIFE_S else self.short_lives + 1
        return BACKOFF_S[min(self.short_lives, len(BACKOFF_S) - 1)]

    def is_silent(self, now: float) -> bool:
        if self.last_sign is None:
            return now - self.started > FIRST_SIGN_S
        return now - self.last_sign > self.silence_s


@dataclass(slots=True)
class Supervisor:
    """`run()` is the whole life of the tree; everything happens on its one thread.

    `on_ready` is called once, when the server serves. `reload` makes a new configuration on request: of
    `config reload`, and of SIGHUP unless that ends the tree, as it must where it means a closed terminal.
    """

    config: Config
    on_ready: Callable[[ServerReport], None] | None = None
    reload: Callable[[], Config] | None = None
    hangup_ends: bool = False
    server_argv: Sequence[str] = ()
    worker_argv: Sequence[str] = ()
    _children: list[Child] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _listener: socket.socket | None = None
    _stopping_since: float | None = None
    _ready: bool = False
    _failed: str = ""
    _exit_code: int = 0
    _rss_at: float = 0.0
    _calls: dict[socket.socket, bytearray] = field(default_factory=dict)
    _restarts: Counter[tuple[str, str]] = field(default_factory=Counter)  # role, cause

    def run(self) -> int:
        """Start the tree, keep it, take it down. Returns the exit code.

        Raises:
            SupervisorError: the data directory is in use, not writable, or its path is too long.
        """
        run_path = self.config.run_path
        lock = self._take_lock()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, lock)
            stack.callback(self._selector.close)
            for name in ("control.sock", "tap.sock", CONTROL, REPORT_NAME):
                (run_path / name).unlink(missing_ok=True)
            stack.callback((self.config.data_path / DEV_JSON).unlink, missing_ok=True)
            stack.callback((run_path / REPORT_NAME).unlink, missing_ok=True)
            (self.config.data_path / DEV_JSON).unlink(missing_ok=True)
            save_effective(self.config, run_path / EFFECTIVE)
            if not (run_path / ADMIN_TOKEN).exists():
                write_private(run_path / ADMIN_TOKEN, secrets.token_urlsafe(32).encode())
            stack.enter_context(self._signal_pipe())
            self._listen()
            stack.callback(self._close)
            self._plan()
            stack.callback(self._kill_all)
            self._loop()
        return self._exit_code

    # --- beginning --------------------------------------------------------------------------------

    def _take_lock(self) -> int:
        run_path = self.config.run_path
        if len(os.fsencode(run_path / CONTROL)) > SOCKET_PATH_BYTES:
            raise SupervisorError(
                f"{self.config.data_path}: too long a path for the sockets in it; choose a shorter --data-dir"
            )
        try:
            run_path.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.config.data_path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise SupervisorError(
                f"{self.config.data_path}: {error.strerror}; choose a directory that can be written"
            ) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(fd, 32).decode().strip() or "another process"
            os.close(fd)
            raise SupervisorError(
                f"{self.config.data_path}: in use by a running roomtape (pid {owner}); stop it or choose "
                "another --data-dir"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd

    def _plan(self) -> None:
        run_path = self.config.run_path
        server = list(self.server_argv) or [sys.executable, "-m", "roomtape.app"]
        worker = list(self.worker_argv) or [sys.executable, "-m", "roomtape.worker"]
        self._children.append(
            Child("server", 0, [*server, str(run_path / EFFECTIVE)], SERVER_SILENCE_S),
        )
        for index in range(self.config.worker_count):
            argv = [*worker, str(run_path), "--index", str(index)]
            self._children.append(Child("worker", index, argv, WORKER_SILENCE_S))

    @contextlib.contextmanager
    def _signal_pipe(self) -> Any:
        """Signals become readable bytes; everything else happens in the loop."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        old_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        old = {sig: signal.signal(sig, lambda *_: None) for sig in SIGNALS}
        self._selector.register(reader, selectors.EVENT_READ, lambda: self._signalled(reader))
        try:
            yield
        finally:
            self._selector.unregister(reader)
            signal.set_wakeup_fd(old_fd)
            for sig, handler in old.items():
                signal.signal(sig, handler)
            os.close(reader)
            os.close(writer)

    # --- the loop ---------------------------------------------------------------------------------

    def _loop(self) -> None:
        while True:
            now = time.monotonic()
            self._start_due(now)
            self._watch(now)
            if self._stopping_since is not None and self._step_down(now):
                return
            for key, _ in self._selector.select(TICK_S):
                key.data()

    def _start_due(self, now: float) -> None:
        if self._stopping_since is not None:
            return
        for child in self._children:
            if child.process is None and child.start_at <= now:
                self._start(child)

    def _start(self, child: Child) -> None:
        """A process starts only here, and only when its predecessor was reaped: that is the fence."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        child.process = subprocess.Popen(
            child.argv,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            pass_fds=(writer,),
            env={**self._environment(child.role), LIFELINE_ENV: str(writer)},
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then says who ends when
        )
        os.close(writer)
        if child.role == "worker" and self.config.workers.address_space_mb:
            limit = self.config.workers.address_space_mb << 20
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(child.pid, resource.RLIMIT_AS, (limit, limit))
        child.pidfd = os.pidfd_open(child.pid)
        child.lifeline = reader
        child.started, child.started_ms = time.monotonic(), time.time_ns() // 1_000_000
        child.last_sign = child.heavy_since = None
        self._selector.register(reader, selectors.EVENT_READ, lambda: self._signs(child))
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._reap(child))
        _say("process_started", role=child.role, index=child.index, pid=child.pid)

    def _environment(self, role: str) -> Mapping[str, str]:
        env = {k: v for k, v in os.environ.items() if k not in FAULT_ENVS}
        if role == "worker":
            env = {k: v for k, v in env.items() if not k.startswith("ROOMTAPE_")}
            env["MALLOC_ARENA_MAX"] = "2"
        if self.config.dev and "ROOMTAPE_FAULT" in os.environ:  # fault points are a matter of tests
            (self.config.run_path / "faults").mkdir(exist_ok=True)
            env["ROOMTAPE_FAULT"] = os.environ["ROOMTAPE_FAULT"]
            env["ROOMTAPE_FAULT_DIR"] = str(self.config.run_path / "faults")
        return env

    def _signs(self, child: Child) -> None:
        try:
            signs = os.read(child.lifeline, 4096)
        except BlockingIOError:
            return
        if not signs:  # closed: the process is ending, its pidfd will say so
            self._selector.unregister(child.lifeline)
            os.close(child.lifeline)
            child.lifeline = -1
            return
        child.last_sign = time.monotonic()
        if child.role == "server" and READY in signs:
            self._server_is_ready()

    def _server_is_ready(self) -> None:
        try:
            report = read_report(self.config.run_path)
        except (OSError, msgspec.DecodeError) as error:
            _say("server_report_missing", error=str(error))
            return
        if self._ready:
            _say("server_back", pid=self._children[0].pid)
            return
        self._ready = True
        self._pin(report)
        self._write_dev_json(report)
        if self.on_ready:
            self.on_ready(report)

    def _pin(self, report: ServerReport) -> None:
        """From now on the ports that were picked for 0 are the ones asked for."""
        self.config.server.http_port = report.http_port
        self.config.rtmp.port = report.rtmp_port
        if report.webrtc_addrs:
            self.config.webrtc.port = int(report.webrtc_addrs[0].rpartition(":")[2])
        save_effective(self.config, self.config.run_path / EFFECTIVE)

    def _write_dev_json(self, report: ServerReport) -> None:
        if report.dev is None:
            return
        http_url = http_url_of(report)
        content = {
            **msgspec.structs.asdict(report.dev),
            "http_url": http_url,
            "rtmp_url": f"rtmp://{_host(report.rtmp_host)}:{report.rtmp_port}",
            "webrtc_addr": report.webrtc_addrs[0] if report.webrtc_addrs else "",
            "console_url": f"{http_url}/console",
            "data_dir": str(self.config.data_path),
            "pid": os.getpid(),
        }
        write_private(self.config.data_path / DEV_JSON, json.dumps(content, indent=2).encode())

    def _watch(self, now: float) -> None:
        """Kill who hangs and who is too heavy; what comes after is the reaping's business."""
        for child in self._children:
            if child.process is not None and child.is_silent(now):
                _say("process_silent", role=child.role, index=child.index, pid=child.pid)
                child.why = "silent"
                self._kill(child)
                child.last_sign = now  # once
        server = self._children[0]
        if not self._ready and server.process is not None and now - server.started > READY_S:
            self._fail(f"the server did not get ready in {READY_S:.0f} s; its log is above")
        if now - self._rss_at >= RSS_EVERY_S:
            self._rss_at = now
            for child in self._children[1:]:
                self._weigh(child, now)

    def _weigh(self, child: Child, now: float) -> None:
        """Replace a worker over its limit for two seconds: its death leaves no gap, a full machine might."""
        if child.process is None or rss_bytes(child.pid) <= self.config.workers.max_rss_mb << 20:
            child.heavy_since = None
        elif child.heavy_since is None:
            child.heavy_since = now
        elif now - child.heavy_since >= RSS_PATIENCE_S:
            _say("worker_too_heavy", index=child.index, pid=child.pid)
            child.why = "memory"
            self._kill(child)

    def _kill(self, child: Child, sig: signal.Signals = signal.SIGKILL) -> None:
        if child.process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.pidfd, sig)

    def _reap(self, child: Child) -> None:
        if child.process is None:
            return
        code = child.process.wait()
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        if child.lifeline >= 0:
            self._signs(child)
        if child.lifeline >= 0:
            self._selector.unregister(child.lifeline)
            os.close(child.lifeline)
        pid = child.pid
        child.process, child.pidfd, child.lifeline = None, -1, -1
        _say("process_ended", role=child.role, index=child.index, pid=pid, code=code)
        if self._stopping_since is not None:
            return
        if child.role == "server" and not self._ready:
            self._fail("" if code > 0 else f"the server died at its start (code {code}); its log is above")
            return
        cause = child.why or ("signal" if code < 0 else "error" if code else "left")
        child.why = ""
        self._restarts[child.role, cause] += 1
        now = time.monotonic()
        child.start_at = now + child.backoff(now)

    # --- ending -----------------------------------------------------------------------------------

    def _signalled(self, reader: int) -> None:
        """SIGHUP reads the configuration again, or ends the tree as all else does: see `hangup_ends`."""
        try:
            numbers = os.read(reader, 64)
        except BlockingIOError:
            return
        if self.reload is not None and not self.hangup_ends and signal.SIGHUP in numbers:
            _say("reload_ordered", **self._reload())
            numbers = numbers.replace(bytes([signal.SIGHUP]), b"")
        for _ in numbers:
            if self._stopping_since is None:
                self._begin_stop()
            else:
                _say("ending_at_once")
                self._kill_all()

    def _fail(self, reason: str) -> None:
        self._exit_code = 1
        if reason:
            print(f"roomtape: {reason}", file=sys.stderr)
        self._begin_stop()

    def _begin_stop(self) -> None:
        """The server drains its workers and ends; workers left over are told when it has."""
        if self._stopping_since is not None:
            return
        self._stopping_since = time.monotonic()
        _say("stopping")
        (self.config.data_path / DEV_JSON).unlink(missing_ok=True)
        self._kill(self._children[0], signal.SIGTERM)

    def _step_down(self, now: float) -> bool:
        """One step of the graceful end; True when nobody is left."""
        assert self._stopping_since is not None
        alive = [child for child in self._children if child.process is not None]
        if not alive:
            return True
        waited = now - self._stopping_since
        server_gone = self._children[0].process is None
        if server_gone or waited > SERVER_STOP_S:
            for child in alive:
                if child.start_at != -1.0:
                    child.start_at = -1.0  # told
                    self._kill(child, signal.SIGTERM)
        if waited > STOP_S:
            self._kill_all()
        return False

    def _kill_all(self) -> None:
        for child in self._children:
            self._kill(child)

    def _close(self) -> None:
        for call in list(self._calls):
            self._hang_up(call)
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            (self.config.run_path / CONTROL).unlink(missing_ok=True)

    # --- orders of the same machine ---------------------------------------------------------------

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        path = self.config.run_path / CONTROL
        old = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(old)
        listener.listen(8)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            call, _ = self._listener.accept()
        except BlockingIOError:
            return
        call.setblocking(False)
        self._calls[call] = bytearray()
        self._selector.register(call, selectors.EVENT_READ, lambda: self._hear(call))

    def _hear(self, call: socket.socket) -> None:
        try:
            data = call.recv(4096)
        except OSError:
            data = b""
        heard = self._calls[call]
        heard += data
        if data and b"\n" not in heard and len(heard) < 4096:
            return
        if b"\n" in heard:
            answer = json.dumps(self._obey(bytes(heard))).encode() + b"\n"
            with contextlib.suppress(OSError):  # small: fits the socket's buffer, or the caller is gone
                call.send(answer)
        self._hang_up(call)

    def _hang_up(self, call: socket.socket) -> None:
        self._calls.pop(call, None)
        self._selector.unregister(call)
        call.close()

    def _obey(self, line: bytes) -> object:
        try:
            order = json.loads(line)
            match order["cmd"]:
                case "tree":
                    return self.tree()
                case "restarts":
                    return self.restarts()
                case "kill_worker":
                    child = self._children[1:][int(order["index"])]
                    pid = child.pid
                    child.why = "ordered"
                    self._kill(child)
                    return {"pid": pid}
                case "reload":
                    return self._reload()
        except (ValueError, KeyError, TypeError, IndexError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        return {"error": "no such command; there are tree, restarts, kill_worker and reload"}

    def tree(self) -> list[dict[str, object]]:
        """Who lives now."""
        own: dict[str, object] = {
            "role": "supervisor",
            "index": 0,
            "pid": os.getpid(),
            "started_ms": _own_start_ms(),
            "rss_bytes": rss_bytes(),
        }
        return [own] + [
            {
                "role": child.role,
                "index": child.index,
                "pid": child.pid,
                "started_ms": child.started_ms,
                "rss_bytes": rss_bytes(child.pid),
            }
            for child in self._children
            if child.process is not None
        ]

    def restarts(self) -> list[dict[str, object]]:
        """How often processes were started again, and why: silent, memory, ordered, signal, error, left."""
        return [
            {"role": role, "cause": cause, "count": count}
            for (role, cause), count in sorted(self._restarts.items())
        ]

    def _reload(self) -> dict[str, object]:
        """Read the configuration again and tell the server; ports and directories keep their values.

        Certificate files may have other names from now on. They are tried here: the server is started
        again with them, should it die, and must be able to.
        """
        if self.reload is None:
            return {"error": "started without a configuration file"}
        own = self.config.server
        try:
            fresh = self.reload()
            files = (fresh.server.tls_cert, fresh.server.tls_key)
            if files != (own.tls_cert, own.tls_key):
                _try_certificate(own.tls_cert, *files)
        except Exception as error:  # whatever is wrong with the file, the tree goes on as it is
            return {"error": str(error)}
        kept = ("data_dir", "dev", "webrtc", "rtmp", "admin", "database", "workers")
        self.config = msgspec.structs.replace(
            fresh,
            server=msgspec.structs.replace(own, tls_cert=files[0], tls_key=files[1]),
            **{name: getattr(self.config, name) for name in kept},
        )
        save_effective(self.config, self.config.run_path / EFFECTIVE)
        self._kill(self._children[0], signal.SIGHUP)
        return {"reloaded": True}


def _try_certificate(former: str, cert: str, key: str) -> None:
    """Raise ConfigError when a running listener cannot go over to these files."""
    if bool(former) != bool(cert):
        raise ConfigError("server.tls_cert: TLS begins and ends with a restart, not with a reload")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except OSError as error:
        raise ConfigError(f"server.tls_cert, server.tls_key: {cert}, {key}: {error}") from None


def ask(run_path: Path, **order: object) -> Any:
    """Send one order to the supervisor of a data directory and return its answer.

    Raises:
        OSError: nobody answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as call:
        call.settimeout(5)
        call.connect(str(run_path / CONTROL))
        call.sendall(json.dumps(order).encode() + b"\n")
        heard = b""
        while not heard.endswith(b"\n") and (data := call.recv(65536)):
            heard += data
    return json.loads(heard)


def http_url_of(report: ServerReport) -> str:
    scheme = "https" if report.tls else "http"
    return f"{scheme}://{_host(report.http_host)}:{report.http_port}"


def _host(host: str) -> str:
    """An address as a URL shows it; every-address listeners are reached by loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _own_start_ms() -> int:
    """Wall time at which this process started. Source: proc(5), stat field 22 in ticks since boot."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return int((time.time() - since_boot_s) * 1000)


def _say(event: str, **facts: object) -> None:
    """One line of JSON on stderr, as the server's log has them."""
    line = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "from": "supervisor", "event": event}
    print(json.dumps(line | facts), file=sys.stderr, flush=True)
