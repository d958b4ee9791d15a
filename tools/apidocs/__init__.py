"""The pages of docs/api: prose from `templates/`, tables and worked examples from the contract.

A template is Markdown; a line that holds `{{name}}` alone is replaced by the block of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from apidocs import blocks, reference

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "api"
TEMPLATES = Path(__file__).resolve().parent / "templates"
MADE = "<!-- made by `make docs`, do not edit -->"
BLOCK = re.compile(r"^\{\{(\w+)\}\}$", re.MULTILINE)


class UnknownBlock(Exception):
    """A template names a block that there is not."""


def pages() -> Iterator[tuple[Path, str]]:
    """Every page with its text."""
    for template in sorted(TEMPLATES.glob("*.md")):
        yield FOLDER / template.name, _finished(_filled(template.read_text()))
    for name, text in reference.actions():
        yield FOLDER / "actions" / f"{name}.md", _finished(text)


def _filled(text: str) -> str:
    def block(match: re.Match[str]) -> str:
        made = blocks.BLOCKS.get(match[1])
        if made is None:
            raise UnknownBlock(match[1])
        return made().strip("\n")

    return BLOCK.sub(block, text)


def _finished(text: str) -> str:
    return f"{MADE}\n\n{text.strip()}\n"
