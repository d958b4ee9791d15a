"""The release: the built wheel in an empty environment, started there, far from the source tree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from tests.support.stack import REPO, until

pytestmark = pytest.mark.slow

G20_S = 300


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `make wheel` builds it; a build that has nothing to do takes seconds."""
    dist = tmp_path_factory.mktemp("dist")
    maturin = Path(sys.executable).with_name("maturin")
    command = [str(maturin), "build", "--release", "--locked", "--out", str(dist)]
    subprocess.run(command, cwd=REPO, check=True, capture_output=True, timeout=1800)
    built = list(dist.glob("*.whl"))
    assert len(built) == 1
    return built[0]


@pytest.fixture(scope="module")
def clean(wheel: Path) -> Iterator[Path]:
    """An empty virtual environment with the wheel and what it asks for, as locked; its `bin` directory."""
    with tempfile.TemporaryDirectory(prefix="rt-") as directory:
        venv.create(directory, with_pip=True)
        python = Path(directory) / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]
        lock = REPO / "requirements" / "runtime.txt"
        for what in (["--require-hashes", "-r", str(lock)], [str(wheel)]):
            done = subprocess.run([*pip, *what], capture_output=True, text=True, check=False, timeout=900)
            assert done.returncode == 0, done.stderr
        check = subprocess.run(
            [str(python), "-m", "pip", "check"], capture_output=True, text=True, check=False
        )
        assert check.returncode == 0, f"the locked packages do not satisfy the wheel: {check.stdout}"
        yield Path(directory) / "bin"


def test_the_wheel_fits_every_python_from_3_11_on(wheel: Path) -> None:
    assert "-cp311-abi3-" in wheel.name


def test_the_wheel_holds_the_pages_of_the_console(wheel: Path) -> None:
    package = REPO / "src" / "roomtape"
    files = {path.relative_to(package.parent).as_posix() for path in (package / "console").rglob("*.*")}
    wanted = {name for name in files if name.endswith((".html", ".css", ".js", ".mjs"))}
    assert len(wanted) >= 10
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_package_its_licence_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "roomtape/_core.abi3.so" in names
    assert "roomtape/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.startswith("roomtape/state/migrations/versions/") for name in names)
    assert [name for name in names if name.startswith("tests/") or "__pycache__" in name] == []


def test_g20_two_commands_lead_from_an_empty_environment_to_files_that_play(clean: Path) -> None:
    """The first was the installation, the second is this one; it says what it found, and we look for ourselves."""
    with tempfile.TemporaryDirectory(prefix="rt-") as directory:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "ROOMTAPE"))}
        done = subprocess.run(
            [str(clean / "roomtape"), "demo", "--json", "--data-dir", str(Path(directory) / "d")],
            capture_output=True, text=True, timeout=G20_S, cwd=directory, env=env, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        result = json.loads(done.stdout)
        assert result["faults"] == []
        films = sorted(Path(result["directory"]).glob("*.mp4"))
        assert len(films) == 2
        for film in films:
            with av.open(str(film)) as container:
                kinds = [type(frame).__name__ for frame in container.decode(video=0, audio=0)]
            assert set(kinds) == {"VideoFrame", "AudioFrame"}


def test_dev_runs_from_the_wheel_alone(clean: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="rt-") as directory:
        data = Path(directory) / "d"
        ports = [part for name in ("http", "webrtc", "rtmp") for part in (f"--{name}", "127.0.0.1:0")]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "ROOMTAPE"))}
        log = Path(directory) / "log"
        with log.open("w") as out:
            server = subprocess.Popen(
                [str(clean / "roomtape"), "dev", "--data-dir", str(data), *ports],
                stdout=out, stderr=out, cwd=directory, env=env,
            )  # fmt: skip

        def ready() -> bool:
            assert server.poll() is None, log.read_text()[-4000:]
            return (data / "dev.json").exists()

        try:
            until("dev.json", ready, 60)
            dev = json.loads((data / "dev.json").read_text())
            with urllib.request.urlopen(f"{dev['http_url']}/readyz", timeout=10) as answer:
                assert answer.status == 200
            listed = subprocess.run(
                [str(clean / "roomtape"), "node", "--json", "--data-dir", str(data)],
                capture_output=True, text=True, cwd=directory, env=env, check=True,
            )  # fmt: skip
            roles = [process["role"] for process in json.loads(listed.stdout)]
            assert roles[:2] == ["supervisor", "server"]
            assert "worker" in roles
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(30)
        assert code == 0, log.read_text()[-4000:]
