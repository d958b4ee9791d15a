"""`roomtape config`: look at a configuration before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from roomtape.cli import place
from roomtape.cli.say import AsJson, Failure, note, show
from roomtape.config import Config, ConfigError, load, settings
from roomtape.supervisor import ask

command = typer.Typer(help="Check a configuration, list all settings, reload.", no_args_is_help=True)


def checked(config: Config) -> Config:
    """The configuration, its accounts file read. Raises ConfigError."""
    if config.access.accounts_file:
        from roomtape.access import declared  # the database's library is slow to load

        try:
            declared.read(Path(config.access.accounts_file))
        except declared.BadDeclaration as error:
            raise ConfigError(f"access.accounts_file: {error}") from None
    return config


@command.command("check")
def check(
    file: Annotated[Path | None, typer.Argument(envvar="ROOMTAPE_CONFIG_FILE", help="The TOML file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a file and the environment. Names the wrong key and the nearest right one."""
    config = checked(load(file))
    if as_json:
        show(msgspec.to_builtins(config), True)
    note(f"the configuration is right: {file or 'no file, the defaults'} and the environment")


@command.command("list")
def list_settings(as_json: AsJson = False) -> None:
    """Every setting with its type, default and meaning."""
    rows = [msgspec.structs.asdict(setting) for setting in settings()]
    show(rows, as_json, ("key", "type", "default", "meaning"))


@command.command("reload")
def reload(data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """Make a running server read its files again. A wrong configuration or certificate changes nothing."""
    try:
        answer = ask(data_dir.absolute() / "run", cmd="reload")
    except OSError:
        raise Failure(f"{data_dir}: no server runs there; name its --data-dir") from None
    if error := answer.get("error"):
        raise Failure(error)
    show(answer, as_json)


@command.command("password")
def password() -> None:
    """Print the hash of a password of the console. It is what admin.password_hash wants."""
    from argon2 import PasswordHasher

    given = typer.prompt("Password of the console", hide_input=True, confirmation_prompt=True, err=True)
    print(PasswordHasher().hash(given))
