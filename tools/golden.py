"""`make golden`: rewrite the golden answers from the present code, to be looked at with `git diff`."""

from __future__ import annotations

import sys

from project import PYTHON, Broken, environment, run


def main() -> int:
    try:
        run([PYTHON, "-m", "pytest", "tests/golden"], {**environment(), "ROOMTAPE_GOLDEN": "write"})
    except Broken as broken:
        print(f"golden: {broken}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
