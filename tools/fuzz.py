"""`make fuzz`: each target of crates/fuzz on mutated input for ROOMTAPE_FUZZ_S seconds (default 600)."""

from __future__ import annotations

import os
import sys

from project import ROOT, Broken, environment, run


def main() -> int:
    seconds = os.environ.get("ROOMTAPE_FUZZ_S", "600")
    targets = sorted(path.stem for path in (ROOT / "crates" / "fuzz" / "src" / "bin").glob("*.rs"))
    if not targets:
        print("fuzz: crates/fuzz has no target", file=sys.stderr)
        return 1
    try:
        for target in targets:
            run(
                ["cargo", "run", "--release", "-p", "roomtape-fuzz", "--bin", target, "--", seconds],
                environment(),
            )
    except Broken as broken:
        print(f"fuzz: {broken}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
