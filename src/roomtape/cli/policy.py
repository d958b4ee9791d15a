"""`roomtape policy`: sub-users and what they may do, in the grammar of CAM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from roomtape.cli import place
from roomtape.cli.client import Admin
from roomtape.cli.say import AsJson, Failure, show

command = typer.Typer(help="Accounts and their sub-users: what their keys may do.", no_args_is_help=True)

Uin = Annotated[int, typer.Argument(metavar="UIN", help="The account's number.")]


@command.command("account")
def account(
    name: Annotated[str, typer.Option(help="Whose it is.")] = "",
    uin: Annotated[int | None, typer.Option(help="Its number; default: the next free one.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a root account. It may do everything with what it owns, and sees nothing of other accounts.

    Then: `app create --uin` and `key create --uin`.
    """
    show(Admin(data_dir).post("/accounts", name=name, root=True, uin=uin), as_json)


@command.command("user")
def user(
    name: Annotated[str, typer.Option(help="Whose it is.")] = "",
    owner: Annotated[int | None, typer.Option(help="Its root account; default: the first one.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a sub-user, who may nothing yet. Then: attach a policy, and `key create --uin`."""
    show(Admin(data_dir).post("/accounts", name=name, owner_uin=owner), as_json)


@command.command("list")
def list_accounts(
    uin: Annotated[int | None, typer.Argument(metavar="[UIN]", help="Show this account's documents.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List accounts with their policies, or the policies of one."""
    if uin is None:
        columns = ("uin", "owner_uin", "name", "blocked", "policies")
        show(Admin(data_dir).get("/accounts"), as_json, columns)
    else:
        show(Admin(data_dir).get(f"/accounts/{uin}/policies"), as_json, ("name", "document"))


@command.command("attach")
def attach(
    uin: Uin,
    name: Annotated[str, typer.Argument(help="Its name; without --file a preset: QcloudTRTCFullAccess ...")],
    file: Annotated[Path | None, typer.Option(help="The policy document, JSON.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Attach a policy, replacing one of the same name."""
    document = None if file is None else _document(file)
    show(Admin(data_dir).post(f"/accounts/{uin}/policies", name=name, document=document), as_json)


@command.command("detach")
def detach(
    uin: Uin,
    name: Annotated[str, typer.Argument()],
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Take a policy off an account."""
    show(Admin(data_dir).post(f"/accounts/{uin}/policies/detach", name=name), as_json)


@command.command("block")
def block(
    uin: Uin,
    undo: Annotated[bool, typer.Option("--undo", help="Accept it again.")] = False,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Refuse everything of an account."""
    show(Admin(data_dir).patch(f"/accounts/{uin}", blocked=not undo), as_json)


@command.command("test")
def try_out(
    uin: Uin,
    action: Annotated[str, typer.Argument(help="An action, for example DeleteCloudRecording.")],
    app: Annotated[int | None, typer.Option(help="The application it names.")] = None,
    address: Annotated[str, typer.Option(help="Where the call comes from.")] = "",
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Say whether the account's policies would let a call pass."""
    answer = Admin(data_dir).post(
        f"/accounts/{uin}/policies/test", action=action, sdk_app_id=app, address=address
    )
    show(answer, as_json)


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text())
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}; name a readable file with --file") from None
    except ValueError:
        raise Failure(f"{file}: not JSON; see the examples of the page Custom Policies") from None
    if not isinstance(document, dict):
        raise Failure(f"{file}: a policy is a JSON object with version and statement")
    return document
