"""`make build`: virtual environment, locked dependencies, Rust core; does nothing that is done already."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from project import PYTHON, ROOT, VENV, Broken, digest, done, environment, is_fresh, need, run

PYTHON_MIN = (3, 11)
CORE_SUFFIXES = {".rs", ".toml", ".lock"}


def main() -> int:
    try:
        build(environment())
    except Broken as broken:
        print(f"build: {broken}", file=sys.stderr)
        return 1
    return 0


def build(env: dict[str, str]) -> None:
    if sys.version_info < PYTHON_MIN:
        raise Broken(f"Python {sys.version.split()[0]} is too old: install 3.11 or later")
    _venv(env)
    _dependencies(env)
    _core(env)


def _venv(env: dict[str, str]) -> None:
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    if is_fresh("venv", wanted) and PYTHON.exists():
        return
    if not PYTHON.exists():
        run([sys.executable, "-m", "venv", VENV], env)
    done("venv", wanted)


def _dependencies(env: dict[str, str]) -> None:
    """Exactly what is locked, by hash, and nothing a package asks for besides."""
    lock = ROOT / "requirements" / "dev.txt"
    wanted = digest([lock], sys.version)
    if is_fresh("dependencies", wanted) and (VENV / "bin" / "maturin").exists():
        return
    pip = [PYTHON, "-m", "pip", "install", "--no-input", "--quiet"]
    run([*pip, "--require-hashes", "--no-deps", "-r", lock], env)
    done("dependencies", wanted)


def _core(env: dict[str, str]) -> None:
    """The binding, optimised, and the `roomtape` command beside it."""
    wanted = digest(_core_inputs(), sys.version)
    built = list((ROOT / "src" / "roomtape").glob("_core*.so"))
    if is_fresh("core", wanted) and built and (VENV / "bin" / "roomtape").exists():
        return
    need("cargo", "install Rust 1.95 or later (rustup.rs)", env)
    need("cc", "install a C compiler (apt-get install build-essential)", env)
    quiet = {**env, "PIP_QUIET": "1"}
    run([VENV / "bin" / "maturin", "develop", "--release", "--locked", "--quiet"], quiet)
    done("core", wanted)


def _core_inputs() -> Iterator[Path]:
    yield ROOT / "Cargo.toml"
    yield ROOT / "Cargo.lock"
    yield ROOT / "pyproject.toml"
    for path in (ROOT / "crates").rglob("*"):
        if path.suffix in CORE_SUFFIXES and path.is_file():
            yield path


if __name__ == "__main__":
    sys.exit(main())
