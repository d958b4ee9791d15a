"""A power cut for a stack whose processes are dead: files become what had been forced to disk.

The harshest reading of POSIX: a name is there after the cut only if its directory was synced since, and of a
file only the bytes that a sync covered. What was deleted stays deleted. SQLite's own files are left alone: it syncs
by itself, and tests/integration/state/test_power_cut.py cuts its log.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.stack import REPO

HOOK = Path(__file__).parent / "powercut"


def noting(log: Path) -> Mapping[str, str]:
    """The environment of a stack that writes its syncs down in `log`."""
    return {"PYTHONPATH": f"{HOOK}:{REPO / 'src'}", "TEST_SYNC_LOG": str(log)}


def cut(log: Path, *roots: Path) -> dict[str, int]:
    """Take from all files below `roots` what no sync has covered. Returns counts of files and bytes taken."""
    sizes: dict[int, int] = {}
    names: dict[int, set[tuple[str, int]]] = {}
    # Syncs of threads overlap: what counts is which began last, not which ended last.
    noted = [line.split(" ", 3) for line in log.read_text().splitlines()]
    for kind, inode, _, rest in sorted(noted, key=lambda fields: int(fields[2])):
        if kind == "F":
            sizes[int(inode)] = int(rest)
        else:
            pairs = (entry.rsplit(":", 1) for entry in rest.split("/") if entry)
            names[int(inode)] = {(name, int(number)) for name, number in pairs}
    taken = {"files": 0, "bytes": 0}
    for root in roots:
        for folder, _, files in os.walk(root):
            known = names.get(Path(folder).stat().st_ino, set())
            for name in files:
                path = Path(folder) / name
                found = path.stat()
                held = sizes.get(found.st_ino, 0) if (name, found.st_ino) in known else -1
                if held < 0:
                    path.unlink()
                    taken["files"] += 1
                elif held < found.st_size:
                    os.truncate(path, held)
                    taken["bytes"] += found.st_size - held
    return taken
