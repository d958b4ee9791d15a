"""What every tool of the project needs: its root, an environment in which the toolchains are found, a runner.

Only the standard library: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = ROOT / ".make"


class Broken(Exception):
    """A step failed: what, and what to do."""


def environment() -> dict[str, str]:
    """The environment of every step: a HOME that exists, a Rust toolchain that is found, the venv first."""
    env = dict(os.environ)
    if not env.get("HOME"):
        env["HOME"] = str(ROOT / ".cache" / "home")
        Path(env["HOME"]).mkdir(parents=True, exist_ok=True)
    env["PATH"] = f"{VENV / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["VIRTUAL_ENV"] = str(VENV)
    env.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    env.setdefault("CARGO_TERM_COLOR", "never" if not sys.stdout.isatty() else "auto")
    cargo = shutil.which("cargo", path=env["PATH"])
    if cargo and not _answers(cargo, env):
        # rustup's proxies look for the toolchain under HOME; it lies beside them instead
        env["RUSTUP_HOME"] = str(Path(cargo).parents[2] / ".rustup")
    return env


def _answers(cargo: str, env: dict[str, str]) -> bool:
    return (
        subprocess.run([cargo, "--version"], env=env, cwd=ROOT, capture_output=True, check=False).returncode
        == 0
    )


def need(tool: str, why: str, env: dict[str, str]) -> str:
    """The path of a tool. Raises Broken."""
    found = shutil.which(tool, path=env["PATH"])
    if found is None:
        raise Broken(f"{tool} is missing: {why}")
    return found


def run(command: Sequence[str | Path], env: dict[str, str]) -> None:
    """Run a step with its output shown. Raises Broken."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise Broken(f"`{' '.join(words)}` ended with {done.returncode}")


def digest(paths: Iterable[Path], *more: str) -> str:
    """One hash over names and contents of files, and further text."""
    total = hashlib.sha256("\0".join(more).encode())
    for path in sorted(paths):
        total.update(str(path.relative_to(ROOT)).encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def is_fresh(stamp: str, value: str) -> bool:
    """Whether a step was done for these very inputs."""
    path = STAMPS / stamp
    return path.exists() and path.read_text() == value


def done(stamp: str, value: str) -> None:
    STAMPS.mkdir(exist_ok=True)
    (STAMPS / stamp).write_text(value)
