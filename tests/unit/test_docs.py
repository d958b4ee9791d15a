"""Pages that are made from the code say what the code says, and the others name what is there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from roomtape.config import settings

ROOT = Path(__file__).resolve().parents[2]


def test_generated_pages_are_what_the_code_says() -> None:
    """`make docs` mends it."""
    done = subprocess.run(
        [sys.executable, "tools/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": "src"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_id_of_the_reliability_list_has_a_test_or_a_reason_and_no_test_has_an_unknown_one() -> None:
    spec = importlib.util.spec_from_file_location("promises", ROOT / "tools" / "promises.py")
    assert spec is not None
    assert spec.loader is not None
    promises = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(promises)
    carried = set(promises.carriers())
    assert carried - promises.PROMISES.keys() == set()
    assert promises.PROMISES.keys() - carried - promises.WITHOUT.keys() == set()
    assert promises.WITHOUT.keys() & carried == set(), "tested, so the reason is gone"


def test_every_setting_is_documented_with_its_variable() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert [row.key for row in settings() if f"`{row.key}`<br>`{row.env}`" not in page] == []


def test_every_action_of_the_readme_has_a_state() -> None:
    rows = re.findall(r"^\| ([A-Z]\w+) \| (works|no: .+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    states = dict(rows)
    assert len(states) == len(rows) >= 27
    assert states["CreateCloudRecording"] == "works"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=str)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text())
    assert [t for t in targets if not (path.parent / t).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=lambda p: p.stem)
def test_a_decision_has_its_four_parts(path: Path) -> None:
    text = path.read_text()
    assert re.match(rf"# {path.stem[:4]}: ", text)
    for part in ("Status: ", "## Context", "## Decision", "## Consequences"):
        assert part in text
    assert len(text.splitlines()) < 80, "one page"


def test_the_makefile_has_every_promised_target() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets >= {
        *("help", "build", "demo", "test", "lint", "fix", "bench", "docs", "golden", "wheel", "soak", "fuzz"),
    }


def test_every_verb_of_the_command_is_in_the_readme() -> None:
    from roomtape.cli.main import command

    verbs = {c.name for c in command.registered_commands} | {g.name for g in command.registered_groups}
    readme = (ROOT / "README.md").read_text()
    assert [verb for verb in verbs if f"`{verb}`" not in readme] == []
