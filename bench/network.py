"""What bad networks and wrong clocks leave of 13 s of sound and picture: the table of docs/reliability.md.

    python -m bench.network [SCENE ...]

The scenes of tests/integration/network/scenes.py (all of them) at once in recorded rooms; one line each. With
ROOMTAPE_RECORD=1 a run of all of them is kept for `make docs`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.cpu import circumstances
from tests.integration.network.scenes import GOALS, SCENES, SEED, Recorded
from tests.integration.network.storm import brewed
from tests.support.record import keep
from tests.support.stack import REPO


def figures(seen: Recorded, seed: int) -> dict[str, Any]:
    """What is left of one scene. Stored: pictures in the file by pictures sent; right: those that show their number."""
    offsets = sorted(seen.measured.av_offsets_s)
    sent = seen.sent["sent_pictures"]
    return {
        "what": SCENES[seen.user].what,
        "seed": seed,
        "lost_percent": round(100 * seen.link["up"]["lost"] / seen.link["up"]["offered"], 1) if seen.link else None,
        "sent": sent,
        "stored_percent": round(100 * len(seen.pictures.numbers) / sent, 2),
        "right_percent": round(100 * seen.share, 2),
        "goal_percent": 100 * GOALS[seen.user] if seen.user in GOALS else None,
        "offset_ms": [round(1000 * offsets[n], 1) for n in (0, len(offsets) // 2, -1)],
    }


def main() -> None:
    names = sys.argv[1:] or list(SCENES)
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "roomtape-bots"], cwd=REPO, check=True)
    print(circumstances(REPO))
    found = {}
    with tempfile.TemporaryDirectory(prefix="rt") as folder, brewed(Path(folder), names) as seen:
        for n, user in enumerate(SCENES):
            if user in names:
                found[user] = figures(seen[user], SEED + n)
                print(f"{user:12} {json.dumps(found[user])}", flush=True)
    if names == list(SCENES):
        keep("network", "python -m bench.network", scenes=found)


if __name__ == "__main__":
    main()
