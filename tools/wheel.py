"""`make wheel`: the abi3 wheel in dist/, which installs without a compiler."""

from __future__ import annotations

import sys

from project import ROOT, VENV, Broken, environment, run


def main() -> int:
    try:
        run(
            [VENV / "bin" / "maturin", "build", "--release", "--locked", "--out", ROOT / "dist"],
            environment(),
        )
    except Broken as broken:
        print(f"wheel: {broken}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
