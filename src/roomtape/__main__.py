"""`roomtape` and `python -m roomtape`: the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command and exit with its code: 0 done, 1 failed, 2 wrong usage."""
    from roomtape.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
