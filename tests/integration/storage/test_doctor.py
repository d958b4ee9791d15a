"""What `doctor` says of stores and disks that are really so: an S3 server, a full disk, one that is read-only."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roomtape.cli import doctor, tls
from roomtape.config import Config
from tests.support.faulty_s3 import Answer, FaultyS3
from tests.support.s3 import S3Server, s3_server


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Server, Path]]:
    """An S3 server with a certificate, and the file of the authority that made it."""
    directory = tmp_path_factory.mktemp("tls")
    config = Config(data_dir=str(directory))
    tls.prepare(config)
    with s3_server(directory / "s3", tls=(Path(config.server.tls_cert), Path(config.server.tls_key))) as server:
        yield server, next(directory.rglob("*ca*.pem"))


def of_store(directory: Path, url: str, *, ca_file: str = "", allow: str = "127.0.0.0/8") -> doctor.Finding:
    config = Config(data_dir=str(directory))
    config.storage.endpoints = {"1.us-east-1": url}
    config.storage.ca_file = ca_file
    config.fetching.allow = [allow] if allow else []
    (finding,) = doctor._stores(config)
    assert finding.check == "store 1.us-east-1"
    assert bool(finding.fix) is (finding.state != "ok")
    return finding


def test_a_store_that_answers_is_good(s3: S3Server, faulty: FaultyS3, tmp_path: Path) -> None:
    assert of_store(tmp_path, s3.endpoint).state == "ok"
    assert of_store(tmp_path, faulty.endpoint + "/").state == "ok"


def test_an_authority_that_is_not_known_is_said(secure: tuple[S3Server, Path], tmp_path: Path) -> None:
    server, authority = secure
    assert of_store(tmp_path, server.endpoint, ca_file=str(authority)).state == "ok"
    assert of_store(tmp_path, server.endpoint.removeprefix("https://"), ca_file=str(authority)).state == "ok"
    unknown = of_store(tmp_path, server.endpoint)
    assert (unknown.state, "storage.ca_file" in unknown.fix) == ("fail", True)


def test_an_address_recordings_may_not_go_to_is_said(s3: S3Server, tmp_path: Path) -> None:
    refused = of_store(tmp_path, s3.endpoint, allow="")
    assert (refused.state, "fetching.allow" in refused.fix) == ("fail", True)
    assert "not a public one" in refused.found


def test_nobody_there_and_no_such_name(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = of_store(tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert (gone.state, "refused" in gone.found) == ("fail", True)
    assert of_store(tmp_path, "http://store.invalid").state == "fail"


def test_a_web_page_is_no_store(faulty: FaultyS3, tmp_path: Path) -> None:
    faulty.fault = lambda _request: Answer(200, raw=b"<html>the console is here</html>")
    page = of_store(tmp_path, faulty.endpoint)
    assert (page.state, page.found) == ("fail", f"{faulty.endpoint} answers 200, but not as an S3 store")


def test_clocks_that_differ_are_said(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = time.time
    monkeypatch.setattr(doctor.time, "time", lambda: really() + 3600)
    skewed = of_store(tmp_path, s3.endpoint)
    assert (skewed.state, "-36" in skewed.found, "clock" in skewed.fix) == ("fail", True, True)


@pytest.mark.parametrize(("prepare", "word"), [("fill", "make room"), ("mount -o remount,ro none", "remount,rw")])
def test_f5_a_disk_that_takes_nothing_is_said_with_its_remedy(tmp_path: Path, prepare: str, word: str) -> None:
    prepare = 'head -c 1040000 /dev/zero > "$1/filler"' if prepare == "fill" else f'{prepare} "$1"'
    script = (
        f'mount -t tmpfs -o size=1M none "$1" || exit 77; {prepare}; exec "$0" -c \'import json, sys; '
        "from roomtape.cli import doctor; from roomtape.config import Config; "
        "print(json.dumps([(f.check, f.state, f.fix) for f in doctor._disk(Config(data_dir=sys.argv[1]))]))\' \"$1\""
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("no mount namespaces for this user")
    assert done.returncode == 0, done.stderr
    found = {check: (state, fix) for check, state, fix in json.loads(done.stdout)}
    state, fix = found["disk write"]
    assert (state, word in fix) == ("fail", True)
