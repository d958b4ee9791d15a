"""`roomtape config`: look at a configuration before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from roomtape.cli import place
from roomtape.cli.say import AsJson, Failure, note, show
from roomtape.config import load, settings
from roomtape.supervisor import ask

command = typer.Typer(help="Check a configuration, list all settings, reload.", no_args_is_help=True)


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


@command.command("reload")
def reload(data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """Make a running server read its configuration and certificate again; a wrong one changes nothing."""
    try:
        answer = ask(data_dir.absolute() / "run", cmd="reload")
    except OSError:
        raise Failure(f"{data_dir}: no server runs there; name its --data-dir") from None
    if error := answer.get("error"):
        raise Failure(error)
    show(answer, as_json)


@command.command("password")
def password() -> None:
    """Ask for the console's password and print its hash, for admin.password_hash."""
    from argon2 import PasswordHasher

    given = typer.prompt("Password of the console", hide_input=True, confirmation_prompt=True, err=True)
    print(PasswordHasher().hash(given))
