"""Clients of other makers: where they are, and environments for those whose packages clash with ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.stack import REPO

CLIENTS = REPO / "tests" / "acceptance" / "clients"


def venv_with(requirements: str) -> Path:
    """An environment of its own for a client whose packages clash with ours; kept between runs."""
    folder = REPO / ".cache" / "venvs" / requirements
    python = folder / "bin" / "python"
    locked = REPO / "requirements" / f"{requirements}.txt"
    stamp = folder / "stamp"
    if not stamp.exists() or stamp.read_bytes() != locked.read_bytes():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
        subprocess.run([*install, "-r", str(locked)], check=True)
        stamp.write_bytes(locked.read_bytes())
    return python
