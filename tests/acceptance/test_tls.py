"""TLS of `serve` and `dev`: renewed certificate files are taken over without ending a connection."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509

from roomtape.cli import tls
from roomtape.config import Config
from tests.support.stack import REPO, start_stack, until

pytestmark = pytest.mark.slow


class Served:
    """A running `serve` with certificate files of its own."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.directory, self.process = directory, process
        self.trust = ssl.create_default_context(cafile=directory / "d" / "tls" / "ca.pem")

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def port(self) -> int:
        report = json.loads((self.directory / "d" / "run" / "server.json").read_text())
        return int(report["http_port"])

    def connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.trust)
        connection.connect()
        return connection

    def serial(self) -> int:
        """The certificate that a new connection, which works, is shown."""
        with closing(self.connect()) as connection:
            assert alive(connection) == 200
            return serial_of(connection)

    def reload(self, wanted: str) -> None:
        """SIGHUP, and wait until the server has said so once more."""
        before = self.log.count(wanted)
        self.process.send_signal(signal.SIGHUP)
        until(wanted, lambda: self.log.count(wanted) > before)


def serial_of(connection: http.client.HTTPSConnection) -> int:
    assert isinstance(connection.sock, ssl.SSLSocket)
    der = connection.sock.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def alive(connection: http.client.HTTPSConnection) -> int:
    """Ask on this very connection, which must not be opened anew."""
    connection.auto_open = 0
    connection.request("GET", "/livez")
    answer = connection.getresponse()
    answer.read()
    return answer.status


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="rt-") as name:
        directory = Path(name)
        made = Config(data_dir=str(directory / "d"))
        tls.prepare(made)
        (directory / "roomtape.toml").write_text(
            f"""
data_dir = "{directory}/d"
[server]
http_port = 0
tls_cert = "{made.server.tls_cert}"
tls_key = "{made.server.tls_key}"
[webrtc]
port = 0
[rtmp]
port = 0
[admin]
listen = ""
"""
        )
        command = [sys.executable, "-m", "roomtape", "serve", "--config", str(directory / "roomtape.toml")]
        with (directory / "log").open("wb") as log:
            env = {**os.environ, "PYTHONPATH": str(REPO / "src")}
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=REPO, env=env)
        running = Served(directory, process)

        def ready() -> bool:
            assert process.poll() is None, running.log[-4000:]
            return "roomtape serves on https://" in running.log

        try:
            until("serve is ready", ready, 60)
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_a_renewed_certificate_is_for_new_connections_and_open_ones_stay(served: Served) -> None:
    kept = served.connect()
    former = serial_of(kept)
    assert alive(kept) == 200
    (served.directory / "d" / "tls" / "server.pem").unlink()
    tls.prepare(Config(data_dir=str(served.directory / "d")))
    assert served.serial() == former, "files are read when the operator says so"

    served.reload("configuration_reloaded")
    assert alive(kept) == 200, "the connection went through the reload"
    assert serial_of(kept) == former
    assert served.serial() != former
    kept.close()


def test_renewals_cost_no_request_of_those_that_come_all_the_time(served: Served) -> None:
    over = threading.Event()

    def keep_asking(_: int) -> tuple[set[int], set[int], int]:
        """Statuses, certificates and how often, on connections of two requests each."""
        statuses, serials, count = set(), set(), 0
        while not over.is_set():
            with closing(served.connect()) as connection:
                serials.add(serial_of(connection))
                statuses |= {alive(connection), alive(connection)}
            count += 1
        return statuses, serials, count

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(keep_asking, n) for n in range(4)]
        try:
            for _ in range(5):
                (served.directory / "d" / "tls" / "server.pem").unlink()
                tls.prepare(Config(data_dir=str(served.directory / "d")))
                served.reload("configuration_reloaded")
        finally:
            over.set()
        seen = [client.result() for client in clients]
    assert set().union(*(statuses for statuses, _, _ in seen)) == {200}
    assert len(set().union(*(serials for _, serials, _ in seen))) >= 3, "the clients met the renewals"
    assert min(count for _, _, count in seen) > 5


def test_broken_files_change_nothing_and_are_told(served: Served) -> None:
    before = served.serial()
    cert = served.directory / "d" / "tls" / "server.pem"
    good = cert.read_bytes()
    cert.write_bytes(good[: len(good) // 3])
    try:
        served.reload("certificate_not_renewed")
        assert served.serial() == before
    finally:
        cert.write_bytes(good)


def cli(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "roomtape", *arguments, "--data-dir", str(directory / "d")]
    env = {**os.environ, "PYTHONPATH": str(REPO / "src")}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO, env=env)


def test_files_of_other_names_are_taken_over_and_open_connections_stay(served: Served) -> None:
    kept = served.connect()
    former = serial_of(kept)
    assert alive(kept) == 200
    tls_dir = served.directory / "d" / "tls"
    (tls_dir / "server.pem").unlink()
    tls.prepare(Config(data_dir=str(served.directory / "d")))
    other = served.directory / "other"
    other.mkdir()
    (tls_dir / "server.pem").rename(other / "chain.pem")
    (tls_dir / "server.key").rename(other / "private.pem")
    file = served.directory / "roomtape.toml"
    before = file.read_text()

    file.write_text(before.replace(f"{tls_dir}/server.pem", "/nowhere.pem"))
    refused = cli(served.directory, "config", "reload")
    assert (refused.returncode, "/nowhere.pem" in refused.stderr) == (1, True), "told where it was ordered"
    assert served.serial() == former
    file.write_text(before.replace("tls_cert", "# tls_cert").replace("tls_key", "# tls_key"))
    refused = cli(served.directory, "config", "reload")
    assert (refused.returncode, "restart" in refused.stderr) == (1, True)
    assert served.serial() == former

    after = before.replace(f"{tls_dir}/server.pem", f"{other}/chain.pem")
    file.write_text(after.replace(f"{tls_dir}/server.key", f"{other}/private.pem"))
    count = served.log.count("configuration_reloaded")
    assert cli(served.directory, "config", "reload").returncode == 0
    until("the reload", lambda: served.log.count("configuration_reloaded") > count)
    assert alive(kept) == 200, "the connection went through the reload"
    assert serial_of(kept) == former
    assert served.serial() != former
    kept.close()


def test_dev_renews_its_certificate_on_request(tmp_path: Path) -> None:
    with start_stack(tmp_path / "d", args=("--tls",)) as stack:
        port = int(stack.dev["http_url"].rsplit(":", 1)[1])
        trust = ssl.create_default_context(cafile=tmp_path / "d" / "tls" / "ca.pem")
        kept = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trust)
        kept.connect()
        former = serial_of(kept)
        (tmp_path / "d" / "tls" / "server.pem").unlink()
        assert cli(tmp_path, "config", "reload").returncode == 0
        until("the reload", lambda: "configuration_reloaded" in stack.log())
        with closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trust)) as fresh:
            fresh.connect()
            assert alive(fresh) == 200
            assert serial_of(fresh) != former
        assert alive(kept) == 200
        assert serial_of(kept) == former
        kept.close()
