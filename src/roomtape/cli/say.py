"""What a verb prints: tables for people, JSON for programs; data to stdout, all else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class Failure(Exception):
    """The verb could not do what was asked: what, why and what to do, in one line."""


def show(data: Any, as_json: bool, columns: Sequence[str] = ()) -> None:
    """Print a list of mappings (or one mapping) as JSON or as a table of these columns."""
    if as_json:
        print(json.dumps(data, indent=2, ensure_ascii=False))
        return
    rows = [data] if isinstance(data, Mapping) else list(data)
    if data == {}:
        note("done")
        return
    if isinstance(data, Mapping) and not columns:
        table = _table(("what", "value"), [(key, _cell(key, value)) for key, value in data.items()])
    elif not rows:
        print("none", file=sys.stderr)
        return
    else:
        names = list(columns) or list(rows[0])
        table = _table(names, [[_cell(name, row.get(name)) for name in names] for row in rows])
    print_table(table)


def print_table(table: Any) -> None:
    """Print a rich table at full width when nobody watches, so that a pipe loses nothing."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


def note(text: str) -> None:
    """Tell a person something that is not the data asked for."""
    print(text, file=sys.stderr)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _cell(name: str, value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_ms") and isinstance(value, int) and value > 1_000_000_000_000:
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{value / 2**20:.1f} MiB"
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_cell(key, part)}" for key, part in value.items())
    if isinstance(value, list):
        simple = all(isinstance(part, (str, int)) for part in value)
        return "\n".join(map(str, value)) if simple else json.dumps(value, ensure_ascii=False)
    return str(value)
