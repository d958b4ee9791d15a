"""What bad networks and wrong clocks leave of 13 s of sound and picture: the table of docs/reliability.md.

    python -m bench.network [SCENE ...]

The scenes of tests/integration/network/scenes.py (all of them) at once in one recorded room; one line each.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.cpu import circumstances
from tests.integration.network.scenes import SCENES, SEED, Recorded
from tests.integration.network.storm import brewed
from tests.support.stack import REPO


def line(seen: Recorded, seed: int) -> str:
    offsets = sorted(seen.measured.av_offsets_s)
    sent, stored = seen.sent["sent_pictures"], len(seen.pictures.numbers)
    lost = f"{100 * seen.link['up']['lost'] / seen.link['up']['offered']:.1f}" if seen.link else "-"
    around = f"{1000 * offsets[0]:.1f} | {1000 * offsets[len(offsets) // 2]:.1f} | {1000 * offsets[-1]:.1f}"
    share = f"{100 * stored / sent:.2f} | {100 * seen.share:.2f}"
    return f"| {seen.user} | {seed} | {lost} | {sent} | {share} | {around} |"


def main() -> None:
    names = sys.argv[1:] or list(SCENES)
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "roomtape-bots"], cwd=REPO, check=True)
    print(circumstances(REPO))
    print("| scene | seed | lost, % | sent | stored, % | shown right, % | sound after picture, ms: least | median | most |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="rt") as folder, brewed(Path(folder), names) as seen:
        for n, user in enumerate(SCENES):
            if user in names:
                print(line(seen[user], SEED + n))


if __name__ == "__main__":
    main()
