"""`make bench`: every scenario of bench/ in turn; each prints its own table."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from project import PYTHON, ROOT, Broken, environment, run


def main() -> int:
    failed = []
    for path in sorted((ROOT / "bench").glob("*.py")):
        if not _is_scenario(path):
            continue
        print(f"\n== {path.name}", flush=True)
        try:
            run([PYTHON, "-m", f"bench.{path.stem}"], environment())
        except Broken as broken:
            failed.append(str(broken))
    for text in failed:
        print(f"bench: {text}", file=sys.stderr)
    return 1 if failed else 0


def _is_scenario(path: Path) -> bool:
    """Whether the file can be run by itself; the others are what scenarios share."""
    tree = ast.parse(path.read_text())
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body)


if __name__ == "__main__":
    sys.exit(main())
