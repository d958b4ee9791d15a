"""`roomtape config`: look at a configuration before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from roomtape.cli.say import AsJson, note, show
from roomtape.config import load, settings

command = typer.Typer(help="Check a configuration, list all settings.", no_args_is_help=True)


@command.command("check")
def check(
    file: Annotated[Path | None, typer.Argument(envvar="ROOMTAPE_CONFIG_FILE", help="The TOML file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read the file and the environment; name the wrong key and the nearest right one."""
    config = load(file)
    if as_json:
        show(msgspec.to_builtins(config), True)
    note("the configuration is right")


@command.command("list")
def list_settings(as_json: AsJson = False) -> None:
    """Every setting with its type, default and meaning."""
    rows = [msgspec.structs.asdict(setting) for setting in settings()]
    show(rows, as_json, ("key", "type", "default", "meaning"))
