"""Results of runs, kept as JSON in docs/results; `make docs` makes tables of them.

Only where ROOMTAPE_RECORD is set: a run that is no measurement leaves the pages alone.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from bench.cpu import circumstances

from tests.support.stack import REPO

RESULTS = REPO / "docs" / "results"


def keep(name: str, test: str, **figures: Any) -> None:
    """Write docs/results/<name>.json, if asked for: the figures, the test that found them, machine, commit and date."""
    if not os.environ.get("ROOMTAPE_RECORD"):
        return
    RESULTS.mkdir(exist_ok=True)
    whole = {
        "test": test,
        "machine": circumstances(REPO),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        **figures,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=2) + "\n")
