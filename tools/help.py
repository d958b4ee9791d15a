"""`make help`: every target of the Makefile with its line."""

from __future__ import annotations

import re

from project import ROOT

TARGET = re.compile(r"^([a-z]+):[^#]*## (.+)$", re.MULTILINE)


def main() -> None:
    for name, text in TARGET.findall((ROOT / "Makefile").read_text()):
        print(f"  make {name:8} {text}")


if __name__ == "__main__":
    main()
