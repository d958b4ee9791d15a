"""`python -m roomtape.worker RUN_DIR --index N`: started by the supervisor, never by hand."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

# One thread per process before numpy is loaded: the sandbox covers threads made after it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(arguments: list[str]) -> int:
    from roomtape import process
    from roomtape.worker.main import Worker

    process.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the supervisor's to handle
    run_dir, _option, index = arguments
    Worker(Path(run_dir), int(index)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
