"""The pages of docs/api: complete, nothing left over, and what they show to be run gives what they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from roomtape.api.openapi import codes, described
from roomtape.contract.codes import COMMON, LISTED
from roomtape.contract.explanations import EXPLANATIONS, explain

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "api"
TEMPLATES = ROOT / "tools" / "apidocs" / "templates"
SHOWN = re.compile(r"^```sh\n(.+?)\n```\n\n```text\n(.+?)\n```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str, str]]:
    return [(page.stem, *match) for page in sorted(FOLDER.rglob("*.md")) for match in SHOWN.findall(page.read_text())]


def test_there_is_a_page_for_every_action_and_no_other() -> None:
    assert {path.stem for path in (FOLDER / "actions").iterdir()} == described().keys()
    assert {path.name for path in FOLDER.glob("*.md")} == {path.name for path in TEMPLATES.iterdir()}


def test_every_page_is_reached_from_the_first() -> None:
    reached, waiting = set(), [FOLDER / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in re.findall(r"\]\((?!https?://)([^)#]+\.md)", page.read_text()):
            there = (page.parent / target).resolve()
            if there.is_relative_to(FOLDER):
                waiting.append(there)
    assert reached == set(FOLDER.rglob("*.md"))


@pytest.mark.parametrize("page", sorted(FOLDER.rglob("*.md")), ids=lambda path: path.stem)
def test_anchors_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        there = page if not target else page.parent / target
        heads = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_every_code_is_explained_and_no_other() -> None:
    known = COMMON | set().union(*LISTED.values()) | {code for name in described() for code in codes(name)}
    assert [code for code in sorted(known) if explain(code) is None] == []
    assert EXPLANATIONS.keys() <= known


@pytest.mark.parametrize(("page", "command", "shown"), blocks(), ids=[page for page, _, _ in blocks()])
def test_what_is_shown_to_be_run_prints_what_is_shown(page: str, command: str, shown: str) -> None:
    env = {**os.environ, "PYTHONPATH": "src", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.rstrip("\n") == shown


def test_every_block_to_be_run_shows_what_it_prints() -> None:
    for page in FOLDER.rglob("*.md"):
        text = page.read_text()
        assert text.count("```sh\n") == len(SHOWN.findall(text)), page
