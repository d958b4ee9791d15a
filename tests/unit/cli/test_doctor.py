"""What `doctor` finds of the disk, the buckets, the sandbox and the clock, and that it says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from roomtape.cli import doctor
from roomtape.config import Config, LocalBucket

ALL = 1e9  # GB: more than any disk has


@pytest.fixture
def config(tmp_path: Path) -> Config:
    made = Config(data_dir=str(tmp_path / "data"), dev=True)
    made.server.http_port = made.webrtc.port = made.rtmp.port = 0
    for level in ("warn", "refuse", "pause"):
        setattr(made.disk, f"{level}_percent", 0)
    made.storage.local = {"one": LocalBucket(dir="one"), "two": LocalBucket(dir="two")}
    return made


def found(config: Config) -> dict[str, doctor.Finding]:
    return {finding.check: finding for finding in doctor.examine(config)}


@pytest.mark.parametrize(
    ("reached", "state", "word"),
    [
        ((), "ok", "free of"),
        (("warn",), "warn", "soon"),
        (("warn", "refuse"), "fail", "new recordings are refused"),
        (("warn", "refuse", "pause"), "fail", "youngest recordings wait"),
    ],
)
def test_the_worst_level_of_the_disk_is_told(
    config: Config, reached: tuple[str, ...], state: str, word: str
) -> None:
    for level in reached:
        setattr(config.disk, f"{level}_percent", 100)
        setattr(config.disk, f"{level}_gb", ALL)
    disk = found(config)["disk"]
    assert (disk.state, word in disk.found) == (state, True)
    assert bool(disk.fix) is (state != "ok")


@pytest.mark.parametrize(
    ("host", "advertise", "dev", "state", "word"),
    [
        ("0.0.0.0", [], False, "warn", "webrtc.advertise"),
        ("127.0.0.1", [], False, "warn", "webrtc.host"),
        ("127.0.0.1", [], True, "ok", ""),
        ("0.0.0.0", ["203.0.113.9"], False, "ok", ""),
    ],
)
def test_r_nat_3_candidates_nobody_reaches_are_told_with_the_remedy(
    config: Config, host: str, advertise: list[str], dev: bool, state: str, word: str
) -> None:
    config.webrtc.host, config.webrtc.advertise, config.dev = host, advertise, dev
    candidates = found(config)["candidates"]
    assert candidates.state == state
    assert word in candidates.fix
    for address in advertise:
        assert address in candidates.found
    assert found(config)["port webrtc udp 0"].state == found(config)["port webrtc tcp 0"].state == "ok"


def test_each_bucket_is_written_to(config: Config, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "two").write_bytes(b"in the way")
    findings = found(config)
    assert findings["bucket one"].state == "ok"
    assert "buckets" not in findings, "the check itself did not break"
    assert findings["bucket two"].state == "fail"
    assert "storage.local.two.dir" in findings["bucket two"].fix
    assert list((tmp_path / "data").glob(".roomtape-doctor*")) == []


def test_a_worker_can_be_sealed_here_and_what_is_missing_is_said(config: Config) -> None:
    findings = found(config)
    assert findings["worker sandbox"].state == "ok"
    landlock = findings["landlock"]
    assert (landlock.state == "ok") is bool(doctor.landlock_abi())
    assert bool(landlock.fix) is (landlock.state != "ok")
    assert findings["clock"].state in ("ok", "warn")
    assert findings["disk sync"].found.endswith("for 1 MB")


@pytest.mark.parametrize(
    ("limit_gb", "state", "word"), [(0, "ok", "no limit"), (1, "ok", "of 1"), (0.001, "warn", "library.max_gb")]
)
def test_the_library_says_how_full_it_is(
    config: Config, tmp_path: Path, limit_gb: float, state: str, word: str
) -> None:
    config.library.max_gb = limit_gb
    config.library_path.mkdir(parents=True)
    (config.library_path / "film.mp4").write_bytes(bytes(950_000))
    library = found(config)["library"]
    assert library.state == state
    assert word in library.found + library.fix
