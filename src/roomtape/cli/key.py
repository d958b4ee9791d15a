"""`roomtape key`: the keys that sign API calls."""

from __future__ import annotations

from typing import Annotated

import typer

from roomtape.cli import place
from roomtape.cli.client import Admin
from roomtape.cli.say import AsJson, show

command = typer.Typer(help="API keys: create, list, disable.", no_args_is_help=True)


@command.command("create")
def create(
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    uin: Annotated[int | None, typer.Option(help="Its account; default: the first one.")] = None,
    app: Annotated[
        list[int] | None, typer.Option(help="An application it is limited to; may be repeated.")
    ] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a key; its SecretKey is shown now and never again."""
    show(Admin(data_dir).post("/keys", name=name, uin=uin, sdk_app_ids=app or None), as_json)


@command.command("list")
def list_keys(data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """List the keys, without what is secret."""
    columns = ("secret_id", "name", "uin", "sdk_app_ids", "disabled", "created_ms")
    show(Admin(data_dir).get("/keys"), as_json, columns)


@command.command("rotate-master")
def rotate_master(data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """Draw a new master key and seal every secret of the database under it.

    The former key stays in master.key for a minute more, until nothing can need it; a backup of the
    database made before can only be read with a copy of master.key made before.
    """
    show(Admin(data_dir).post("/master-key"), as_json)


@command.command("disable")
def disable(
    secret_id: Annotated[str, typer.Argument(metavar="SECRETID")],
    undo: Annotated[bool, typer.Option("--undo", help="Accept it again.")] = False,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Refuse a key from now on."""
    show(Admin(data_dir).patch(f"/keys/{secret_id}", disabled=not undo), as_json)
