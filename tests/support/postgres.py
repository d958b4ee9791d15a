"""A private PostgreSQL cluster for tests: real server, Unix socket only, thrown away at the end.

The server refuses to run as root; then it runs as `postgres` or `nobody`. Durability is switched off:
these tests do not cut the power.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

_PLACES = ["/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"]


def binaries() -> Path | None:
    """The directory of `initdb` and `postgres`, or None when PostgreSQL is not installed."""
    found = shutil.which("initdb")
    places = [*_PLACES, *([str(Path(found).resolve().parent)] if found else [])]
    return next(
        (Path(p) for p in places if Path(p, "initdb").exists() and Path(p, "postgres").exists()), None
    )


def _as_unprivileged() -> tuple[list[str], int | None]:
    """Command prefix and uid that make the server run as somebody other than root."""
    if os.geteuid() != 0:
        return [], None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
            return ["setpriv", *ids, "--clear-groups", "--"], user.pw_uid
    raise RuntimeError("no user `postgres` or `nobody` to run PostgreSQL as")


@dataclass
class Cluster:
    """A running server; each test takes a database of its own."""

    directory: Path
    count: int = 0

    def dsn(self, database: str) -> str:
        return f"host={self.directory} user=roomtape dbname={database}"

    def create_database(self) -> str:
        """Make an empty database and return its URL for `Database.open`."""
        self.count += 1
        name = f"t{self.count}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://roomtape@/{name}?host={self.directory}"


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a cluster in a short temporary directory (socket paths are limited) and stop it at exit."""
    bin_dir = binaries()
    if bin_dir is None:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    prefix, uid = _as_unprivileged()
    directory = Path(tempfile.mkdtemp(prefix="rt-pg-"))
    log = directory / "log"
    try:
        if uid is not None:
            os.chown(directory, uid, -1)
        with log.open("wb") as out:
            how = ["-U", "roomtape", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
            subprocess.run(
                [*prefix, str(bin_dir / "initdb"), "-D", str(directory / "data"), *how],
                stdout=out,
                stderr=subprocess.STDOUT,
                check=True,
                cwd="/",
            )
            options = {
                "listen_addresses": "",
                "unix_socket_directories": str(directory),
                "fsync": "off",
                "full_page_writes": "off",
                "max_connections": "40",
                "shared_buffers": "16MB",
                "autovacuum": "off",
            }
            server = subprocess.Popen(
                [*prefix, str(bin_dir / "postgres"), "-D", str(directory / "data")]
                + [part for key, value in options.items() for part in ("-c", f"{key}={value}")],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
            )
        try:
            _wait_ready(server, Cluster(directory).dsn("postgres"), log)
            yield Cluster(directory)
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_ready(server: subprocess.Popen[bytes], dsn: str, log: Path) -> None:
    """Ask the server until it takes connections; there is no event to wait for."""
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            psycopg.connect(dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.05)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
