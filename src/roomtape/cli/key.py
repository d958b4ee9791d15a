"""`roomtape key`: the keys that sign API calls."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

import typer

from roomtape.cli import place
from roomtape.cli.client import Admin
from roomtape.cli.say import AsJson, show

command = typer.Typer(
    help="API keys: create, list, bind to addresses, rotate, disable.", no_args_is_help=True
)

Allow = Annotated[
    list[str] | None, typer.Option(metavar="NET", help="A network it may be used from; may be repeated.")
]
Deny = Annotated[
    list[str] | None, typer.Option(metavar="NET", help="A network it may not be used from; may be repeated.")
]


@command.command("create")
def create(
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    uin: Annotated[int | None, typer.Option(help="Its account; default: the first one.")] = None,
    app: Annotated[
        list[int] | None, typer.Option(help="An application it is limited to; may be repeated.")
    ] = None,
    allow: Allow = None,
    deny: Deny = None,
    lifetime: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", min=1, help="Make a temporary key, which comes with a token."),
    ] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its SecretKey, and the token of a temporary one, are shown now and never again."""
    made = Admin(data_dir).post(
        "/keys",
        name=name,
        uin=uin,
        sdk_app_ids=app or None,
        allow=allow or [],
        deny=deny or [],
        lifetime_s=lifetime,
    )
    show(made, as_json)


@command.command("import")
def import_key(
    secret_id: Annotated[str, typer.Argument(metavar="SECRETID")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    uin: Annotated[int | None, typer.Option(help="Its account; default: the first one.")] = None,
    app: Annotated[
        list[int] | None, typer.Option(help="An application it is limited to; may be repeated.")
    ] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Take over a key that was made elsewhere.

    Its SecretKey is read from standard input, or asked for.
    """
    secret_key = getpass.getpass("SecretKey: ") if sys.stdin.isatty() else sys.stdin.readline()
    made = Admin(data_dir).post(
        "/keys/import",
        secret_id=secret_id,
        secret_key=secret_key.strip(),
        name=name,
        uin=uin,
        sdk_app_ids=app or None,
    )
    show(made, as_json)


@command.command("list")
def list_keys(data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """List the keys, without what is secret."""
    columns = ("secret_id", "name", "uin", "sdk_app_ids", "allow", "deny", "disabled", "expires_ms")
    show(Admin(data_dir).get("/keys"), as_json, columns)


@command.command("addresses")
def addresses(
    secret_id: Annotated[str, typer.Argument(metavar="SECRETID")],
    allow: Allow = None,
    deny: Deny = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Say where a key may be used from. It replaces what was said before; with neither option, everywhere."""
    change = {"allow": allow or [], "deny": deny or []}
    show(Admin(data_dir).patch(f"/keys/{secret_id}", **change), as_json)


@command.command("rotate")
def rotate(
    secret_id: Annotated[
        str | None, typer.Argument(metavar="[SECRETID]", help="Without one: the master key.")
    ] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a second key with the rights of this one.

    It is of the same account, and bound to the same applications and addresses. Both are good until the
    former is disabled, so that callers can change over one by one. Its SecretKey is shown now and never
    again. Without a SECRETID it is the master key: as `key rotate-master`.
    """
    if secret_id is None:
        rotate_master(data_dir, as_json)
    else:
        show(Admin(data_dir).post(f"/keys/{secret_id}/rotate"), as_json)


@command.command("rotate-master")
def rotate_master(data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """Seal every secret under a new master key.

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
