"""A stand-in for the server or a worker in tests of the supervisor: same signs of life, no media.

    python tests/support/tree_child.py server EFFECTIVE_JSON
    python tests/support/tree_child.py worker RUN_DIR --index N

What it does beyond living is told by files in the run directory: `<role>.refuse` (end at once with 1),
`<role>.deaf` (ignore SIGTERM), `<role>.mute` (stop giving signs of life), `<role>.fat` (take that many MB).
It appends what happens to it to `<role>.log`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from roomtape import process


def main() -> int:
    process.die_with_parent()
    role = sys.argv[1]
    run_path = Path(sys.argv[2]).parent if role == "server" else Path(sys.argv[2])
    index = sys.argv[4] if role == "worker" else "0"
    lifeline = process.lifeline_fd()

    def note(text: str) -> None:
        with (run_path / f"{role}.log").open("a") as log:
            log.write(f"{time.monotonic_ns()} {index} {os.getpid()} {text}\n")

    def asked(what: str) -> bool:
        return (run_path / f"{role}.{what}").exists()

    if asked("refuse"):
        return 1
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        note("SIGTERM")
        ended = not asked("deaf")

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, lambda *_: note("SIGHUP"))
    note(f"start fault={os.environ.get('ROOMTAPE_FAULT')} key={os.environ.get('ROOMTAPE_MASTER_KEY')}")
    if role == "server":
        keys = process.DevKeys(
            secret_id="AKID", secret_key="s", sdk_app_id=1400000001, app_secret_key="a", callback_key="c"
        )
        process.write_report(
            run_path,
            process.ServerReport(
                http_host="127.0.0.1", http_port=18080, webrtc_addrs=["127.0.0.1:18443"],
                rtmp_host="127.0.0.1", rtmp_port=11935, dev=keys,
            ),
        )  # fmt: skip
        process.tell_ready(lifeline)
    weight = b"x" * (int((run_path / f"{role}.fat").read_text()) << 20) if asked("fat") else b""
    while not ended:
        if not asked("mute"):
            process.beat(lifeline)
        time.sleep(0.05)
    note(f"end {len(weight)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
