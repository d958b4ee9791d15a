"""A real S3 server for tests: versitygw on a free loopback port, with files in a directory.

`make test` installs it as `.cache/bin/versitygw` in the version of requirements/go.txt; one on PATH or in
GOPATH will do as well.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.stack import REPO, until

ACCESS_KEY = "AKIDversityTest0001"
SECRET_KEY = "versitySecretForTests/0123456789+abcdef"


@dataclass(frozen=True)
class S3Server:
    """`endpoint` is its URL; every bucket is a directory below `root`."""

    endpoint: str
    root: Path
    pid: int
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    @property
    def host_port(self) -> str:
        return self.endpoint.removeprefix("http://")

    def bucket(self, name: str) -> Path:
        """Make a bucket; returns its directory."""
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    def objects(self, bucket: str) -> dict[str, bytes]:
        """All objects of a bucket by key."""
        base = self.root / bucket
        found = (path for path in base.rglob("*") if path.is_file() and ".sgwtmp" not in path.parts)
        return {str(path.relative_to(base)): path.read_bytes() for path in found}

    def unfinished(self, bucket: str) -> list[Path]:
        """Parts of multipart uploads that are neither complete nor aborted."""
        return [path for path in (self.root / bucket / ".sgwtmp").rglob("*") if path.is_file()]


def executable() -> str:
    own = REPO / ".cache" / "bin" / "versitygw"
    places = [own, Path(os.environ.get("GOPATH", Path.home() / "go")) / "bin" / "versitygw"]
    found = next((str(path) for path in places if path.exists()), None) or shutil.which("versitygw")
    if found is None:
        raise RuntimeError("versitygw is missing; `python tools/check.py integration` installs it")
    return found


@contextmanager
def s3_server(
    root: Path, port: int = 0, *, tls: tuple[Path, Path] | None = None, virtual_domain: str = ""
) -> Iterator[S3Server]:
    """Run it until the block ends; `tls` are certificate and key files.

    `virtual_domain`: buckets are named by the host, below this name, and not by the path.
    """
    root.mkdir(parents=True, exist_ok=True)
    sidecar = root.with_name(f"metadata-of-{root.name}")  # a tmpfs may have no extended attributes
    sidecar.mkdir(exist_ok=True)
    port = port or _free_port()
    secure = ["--cert", str(tls[0]), "--key", str(tls[1])] if tls else []
    hosted = ["--virtual-domain", virtual_domain] if virtual_domain else []
    command = [executable(), *secure, *hosted, "--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive", "posix", "--sidecar", str(sidecar), str(root)]
    env = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with root.with_name(f"{root.name}.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
    try:

        def up() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"versitygw ended with {process.returncode}")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until("the S3 server", up, 20)
        yield S3Server(f"{'https' if tls else 'http'}://127.0.0.1:{port}", root, process.pid)
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
