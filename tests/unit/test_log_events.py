"""Every event of the log has one name for ever and stands on its page; no other stands there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import roomtape

SOURCE = Path(roomtape.__file__).parent
PAGE = SOURCE.parents[1] / "docs" / "log-events.md"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def events() -> Iterator[tuple[str, str]]:
    """(event, where) of each call that writes a log line; an event that is no literal is ""."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        if "structlog" not in text and path.name != "supervisor.py":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and _writes(node.func) and node.args:
                first = node.args[0]
                name = first.value if isinstance(first, ast.Constant) else ""
                yield str(name), f"{path.relative_to(SOURCE)}:{node.lineno}"


def _writes(called: ast.expr) -> bool:
    match called:
        case ast.Attribute(value=ast.Name(id="log"), attr=level):
            return level in LEVELS
        case ast.Name(id="say" | "_say" | "Often"):
            return True
        case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id="log"), *_]):
            return True
    return False


def test_names_are_literal_and_in_one_style() -> None:
    wrong = [(name, where) for name, where in events() if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)]
    assert wrong == []


def test_the_page_names_exactly_what_is_written() -> None:
    found = {name for name, _ in events()}
    written = re.findall(r"^\| `([a-z_]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert len(found) > 40, "the source is being looked at"
    assert sorted(written) == sorted(found)
