"""`roomtape doctor`: what this machine lacks, and what to do about it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from roomtape.cli import place
from roomtape.cli.dev import dev_config
from roomtape.cli.say import AsJson, Failure, show
from roomtape.config import Config, load, split_address
from roomtape.fetching.guard import AddressRefused, Guard, check_port
from roomtape.worker.sandbox import landlock_abi

GB = 1_000_000_000
SLOW_SYNC_MS = 50.0
FILES_WANTED = 4096
LIBRARY_NEARLY_FULL = 0.9
STORE_WAIT_S = 10.0
STORE_READ_BYTES = 65_536
STORE_SKEW_S = 300  # S3 refuses at 15 minutes, some stores at 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `state` is ok, warn or fail; `fix` says what to do when it is not ok."""

    check: str
    state: str
    found: str
    fix: str = ""


def doctor(
    config: Annotated[Path | None, typer.Option("--config", help="Of `serve`; default: `dev`'s.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> int:
    """Say what this machine lacks, and the fix.

    Ports, clock, disk, codecs, sandbox and stores; ends with 1 when something fails.
    """
    settings = load(config) if config else _present(data_dir)
    findings = list(examine(settings))
    show([asdict(finding) for finding in findings], as_json, ("check", "state", "found", "fix"))
    return 1 if any(finding.state == "fail" for finding in findings) else 0


def _present(data_dir: Path) -> Config:
    """What the server of that directory works with now, or what `dev` would."""
    try:
        place.report(data_dir)
        return place.effective(data_dir)
    except Failure:
        return dev_config(data_dir)


def examine(config: Config) -> Iterator[Finding]:
    """All findings, in the order a person would fix them."""
    checks: tuple[Callable[[Config], Iterator[Finding]], ...] = (
        _ports, _candidates, _clock, _disk, _database, _buckets, _stores, _library, _codecs, _sandbox, _files,
    )  # fmt: skip
    for check in checks:
        try:
            yield from check(config)
        except Exception as error:  # one broken check must not hide the others
            name = check.__name__.removeprefix("_")
            yield Finding(
                name, "fail", f"{type(error).__name__}: {error}", "report this with the text beside it"
            )


# --- network --------------------------------------------------------------------------------------


def _ports(config: Config) -> Iterator[Finding]:
    own = _own_ports(config)
    server, webrtc, rtmp = config.server, config.webrtc, config.rtmp
    yield _port("http", server.http_host, server.http_port, socket.SOCK_STREAM, own, "server.http_port")
    for lane in range(webrtc.lanes):
        port = webrtc.port + lane if webrtc.port else 0
        yield _port(f"webrtc udp {lane}", webrtc.host, port, socket.SOCK_DGRAM, own, "webrtc.port")
        yield _port(f"webrtc tcp {lane}", webrtc.host, port, socket.SOCK_STREAM, own, "webrtc.port")
    yield _port("rtmp", rtmp.host, rtmp.port, socket.SOCK_STREAM, own, "rtmp.port")
    if config.admin.listen:
        host, port = split_address(config.admin.listen, "admin.listen")
        yield _port("admin", host, port, socket.SOCK_STREAM, own, "admin.listen")


def _own_ports(config: Config) -> set[int]:
    """Ports the running server of this data directory holds: in use, and rightly so."""
    try:
        report = place.report(config.data_path)
    except Failure:
        return set()
    lanes = {int(address.rpartition(":")[2]) for address in report.webrtc_addrs}
    return {report.http_port, report.rtmp_port, *lanes}


def _port(name: str, host: str, port: int, kind: socket.SocketKind, own: set[int], key: str) -> Finding:
    check = f"port {name}"
    if port in own:
        return Finding(check, "ok", f"{host}:{port} held by the running server")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            fix = {
                errno.EADDRINUSE: f"stop who uses it (ss -lntup), or set {key}",
                errno.EACCES: f"ports below 1024 need a privilege; set {key} above it",
                errno.EADDRNOTAVAIL: f"{host} is no address of this machine; bind one that is, or 0.0.0.0",
            }.get(error.errno or 0, f"set {key}")
            return Finding(check, "fail", f"{host}:{port}: {error.strerror}", fix)
    return Finding(check, "ok", f"{host}:{port} is free")


def _candidates(config: Config) -> Iterator[Finding]:
    webrtc = config.webrtc
    if webrtc.advertise:
        yield Finding("candidates", "ok", f"offered: {', '.join(webrtc.advertise)}")
    elif webrtc.host in ("0.0.0.0", "::"):
        fix = "set webrtc.advertise to the addresses clients reach this machine by"
        yield Finding("candidates", "warn", "bound to every address, none to offer", fix)
    elif config.dev:
        yield Finding("candidates", "ok", f"offered: {webrtc.host}, to clients on this machine")
    elif webrtc.host.startswith("127."):
        fix = "set webrtc.host to 0.0.0.0 and webrtc.advertise to the public address"
        yield Finding("candidates", "warn", f"offered: {webrtc.host}, which no other machine reaches", fix)
    else:
        yield Finding("candidates", "ok", f"offered: {webrtc.host}")


def _clock(config: Config) -> Iterator[Finding]:
    """Signed requests are refused when the clocks differ by 300 s. Source: adjtimex(2)."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(256))
    if state == 5:  # TIME_ERROR: not disciplined by anybody
        fix = "run chrony or systemd-timesyncd; requests with a clock 300 s off are refused"
        yield Finding("clock", "warn", "nobody keeps the clock of this machine", fix)
    elif state < 0:
        yield Finding("clock", "warn", "the kernel does not tell", "check by hand that the clock is right")
    else:
        yield Finding("clock", "ok", time.strftime("synchronised, %Y-%m-%d %H:%M:%S UTC", time.gmtime()))


# --- storage --------------------------------------------------------------------------------------


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _disk(config: Config) -> Iterator[Finding]:
    where = _existing(config.data_path)
    usage = shutil.disk_usage(where)
    disk = config.disk
    found = f"{usage.free / GB:.1f} GB free of {usage.total / GB:.1f} at {where}"
    levels = (
        ("fail", disk.pause_percent, disk.pause_gb, "the youngest recordings wait"),
        ("fail", disk.refuse_percent, disk.refuse_gb, "new recordings are refused"),
        ("warn", disk.warn_percent, disk.warn_gb, "new recordings are refused soon"),
    )
    for state, percent, gb, effect in levels:
        if usage.free < min(percent / 100 * usage.total, gb * GB):
            fix = "make room, or put --data-dir on a larger disk"
            yield Finding("disk", state, f"{found}: {effect}", fix)
            break
    else:
        yield Finding("disk", "ok", found)
    try:
        took_ms = _sync_ms(where)
    except OSError as error:
        fix = {
            errno.ENOSPC: "make room; recordings wait in memory until there is some",
            errno.EDQUOT: "raise the quota of the server's user; recordings wait in memory until then",
            errno.EROFS: "mount it for writing (mount -o remount,rw); kernels do this to a disk that fails",
            errno.EACCES: f"let the server's user write {where}, or set --data-dir",
        }.get(error.errno or 0, "look at the kernel's log (dmesg): the disk may be failing")
        yield Finding("disk write", "fail", f"{where}: {error.strerror}", fix)
        return
    if took_ms > SLOW_SYNC_MS:
        fix = "a slow disk costs up to that much of sound and picture at a power cut; see spool.sync_s"
        yield Finding("disk sync", "warn", f"{took_ms:.0f} ms for 1 MB", fix)
    else:
        yield Finding("disk sync", "ok", f"{took_ms:.0f} ms for 1 MB")


def _sync_ms(directory: Path) -> float:
    """Milliseconds to write 1 MB and force it to disk."""
    path = directory / f".roomtape-doctor-{os.getpid()}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            begin = time.monotonic()
            if os.write(fd, bytes(1 << 20)) < 1 << 20:  # how a full disk shows itself first
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(fd)
            return (time.monotonic() - begin) * 1000
        finally:
            os.close(fd)
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _database(config: Config) -> Iterator[Finding]:
    if config.database_url.startswith("sqlite"):
        yield Finding("database", "ok", f"SQLite {sqlite3.sqlite_version} in the data directory")
        return
    import psycopg

    url = config.database_url.replace("postgresql+psycopg:", "postgresql:", 1)
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            version = connection.info.server_version // 10_000
    except psycopg.Error as error:
        text = str(error).splitlines()[0]
        yield Finding("database", "fail", text, "check database.url and that PostgreSQL takes the connection")
        return
    yield Finding("database", "ok", f"PostgreSQL {version}")


def _buckets(config: Config) -> Iterator[Finding]:
    """Write, read back and remove one object in each bucket that is a directory."""
    for name, bucket in config.storage.local.items():
        directory = config.data_path / bucket.dir
        where = _existing(directory)
        probe = where / f".roomtape-doctor-{os.getpid()}"
        try:
            probe.write_bytes(b"roomtape")
            good = probe.read_bytes() == b"roomtape"
        except OSError as error:
            fix = f"let the server's user write {where}, or set storage.local.{name}.dir"
            yield Finding(f"bucket {name}", "fail", f"{where}: {error.strerror}", fix)
            continue
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
        yield Finding(f"bucket {name}", "ok" if good else "fail", f"{directory} can be written")


def _stores(config: Config) -> Iterator[Finding]:
    """Ask each endpoint of `storage.endpoints` for a word, as the server would reach it; without a key."""
    guard = Guard(config.fetching.allow, allow_loopback=config.dev)
    for name, text in sorted(config.storage.endpoints.items()):
        url = text if "://" in text else f"https://{text}"
        try:
            yield _store(f"store {name}", url, guard, config.storage.ca_file)
        except AddressRefused as refused:
            fix = "add its address to fetching.allow if recordings may go there"
            yield Finding(f"store {name}", "fail", f"{url}: {refused}", fix)
        except ssl.SSLCertVerificationError as error:
            fix = "set storage.ca_file to the authority of its certificate, or renew it"
            yield Finding(f"store {name}", "fail", f"{url}: {error.verify_message}", fix)
        except (OSError, HTTPException, ValueError) as error:
            fix = "check storage.endpoints, and the way there; recordings wait in the spool meanwhile"
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            yield Finding(f"store {name}", "fail", f"{url}: {why}", fix)


def _store(check: str, url: str, guard: Guard, ca_file: str) -> Finding:
    """Raises OSError and ValueError where nothing answers."""
    guard.check_url(url)
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    check_port(port)
    for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        guard.check(ip_address(str(address[0]).split("%")[0]))
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if ca_file:
            context.load_verify_locations(ca_file)
        connection: HTTPConnection = HTTPSConnection(host, port, timeout=STORE_WAIT_S, context=context)
    else:
        connection = HTTPConnection(host, port, timeout=STORE_WAIT_S)
    with contextlib.closing(connection):
        connection.request("GET", f"{parts.path}/", headers={"User-Agent": "roomtape"})
        answer = connection.getresponse()
        body = answer.read(STORE_READ_BYTES)
    if not any(word in body for word in (b"<Error", b"ListAllMyBucketsResult")):
        fix = "name the address of its S3 API, not that of a web page beside it"
        return Finding(check, "fail", f"{url} answers {answer.status}, but not as an S3 store", fix)
    with contextlib.suppress(TypeError, ValueError):
        skew_s = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
        if abs(skew_s) > STORE_SKEW_S:
            fix = "set the clock of this machine, or the store's: signatures are refused when they differ"
            return Finding(check, "fail", f"{url}: its clock is {skew_s:+.0f} s from ours", fix)
    return Finding(check, "ok", f"{url} answers as an S3 store")


def _library(config: Config) -> Iterator[Finding]:
    """Whether the media library can be written, and how near it is to its limit."""
    directory = config.library_path
    where = _existing(directory)
    if not os.access(where, os.W_OK):
        fix = f"let the server's user write {where}, or set library.dir"
        yield Finding("library", "fail", f"{where} cannot be written", fix)
        return
    used = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    most = config.library.max_gb * GB
    found = f"{used / GB:.2f} GB in {directory}"
    if not most:
        yield Finding("library", "ok", f"{found}, no limit of its own (library.max_gb)")
    elif used > LIBRARY_NEARLY_FULL * most:
        fix = "make room: roomtape library remove, a smaller ExpireTime, or a larger library.max_gb"
        yield Finding(
            "library", "warn", f"{found} of {most / GB:g}: files are held back when it is full", fix
        )
    else:
        yield Finding("library", "ok", f"{found} of {most / GB:g}")


# --- the machine ----------------------------------------------------------------------------------


def _codecs(config: Config) -> Iterator[Finding]:
    import av

    needed = (("libx264", "w"), ("h264", "r"), ("vp8", "r"), ("opus", "r"), ("aac", "w"), ("aac", "r"))
    missing = []
    for name, mode in needed:
        try:
            av.Codec(name, "w" if mode == "w" else "r")
        except ValueError:
            missing.append(f"{name} ({'encoder' if mode == 'w' else 'decoder'})")
    if missing:
        fix = "install the PyAV wheel: pip install --only-binary av av"
        yield Finding("codecs", "fail", f"missing: {', '.join(missing)}", fix)
    else:
        yield Finding("codecs", "ok", f"PyAV {av.__version__}: H.264, VP8, Opus, AAC")


def _sandbox(config: Config) -> Iterator[Finding]:
    """Seal a process as a worker is sealed, and whether the kernel has Landlock besides."""
    where = _existing(config.data_path)
    program = "import sys; from pathlib import Path; from roomtape.worker import sandbox; "
    program += "sandbox.limit_memory(); sandbox.seal([Path(sys.argv[1])])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(where)], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        text = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        fix = "allow seccomp filters to this process: workers do not run without"
        yield Finding("worker sandbox", "fail", text, fix)
    else:
        yield Finding("worker sandbox", "ok", "a worker can give up what it does not need")
    version = landlock_abi()
    if version > 0:
        yield Finding("landlock", "ok", f"version {version}: workers reach their spool only")
        return
    fix = "boot a kernel >= 5.13 with landlock among its lsm; until then seccomp alone holds workers back"
    yield Finding("landlock", "warn", "not there: file access of workers is not limited", fix)


def _files(config: Config) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= FILES_WANTED or soft == resource.RLIM_INFINITY:
        yield Finding("open files", "ok", f"limit {soft}")
    else:
        fix = f"ulimit -n {FILES_WANTED} (or LimitNOFILE= of the unit); each connection takes one"
        yield Finding("open files", "warn", f"limit {soft} of {hard}", fix)
