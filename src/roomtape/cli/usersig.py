"""`roomtape usersig`: the tickets of users."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from roomtape.access import usersig
from roomtape.access.errors import BadUserSig
from roomtape.cli import place
from roomtape.cli.client import Admin
from roomtape.cli.say import AsJson, Failure, show

command = typer.Typer(help="UserSig and PrivateMapKey: issue, check.", no_args_is_help=True)
User = Annotated[str, typer.Argument(metavar="USERID")]
App = Annotated[int | None, typer.Option("--sdk-app-id", help="The application; default: that of dev.json.")]
Key = Annotated[str | None, typer.Option(help="Its key, to work without a server.")]


@command.command("issue")
def issue(
    user: User,
    sdk_app_id: App = None,
    key: Key = None,
    expire_s: Annotated[int, typer.Option(help="Seconds it is valid.")] = 86_400,
    room: Annotated[str | None, typer.Option(help="Make a PrivateMapKey for this room as well.")] = None,
    integer_room: Annotated[bool, typer.Option(help="That room is an integer room.")] = False,
    rights: Annotated[int, typer.Option(help="Rights in it, bits as published; 255: all.")] = 255,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Issue a UserSig (and a PrivateMapKey). Without --json prints the UserSig alone."""
    app = place.sdk_app_id(data_dir, sdk_app_id)
    answer: dict[str, Any]
    if key is not None:
        if room is not None:
            raise Failure("--room: a PrivateMapKey is made by the server; leave --key out")
        sig = usersig.issue(key, app, user, time_s=int(time.time()), expire_s=expire_s)
        answer = {"sdk_app_id": app, "user": user, "user_sig": sig}
    else:
        answer = Admin(data_dir).post(
            "/usersig", sdk_app_id=app, user=user, expire_s=expire_s, room=room,
            room_type="i" if integer_room else "s", rights=rights,
        )  # fmt: skip
    if as_json:
        show(answer, True)
        return
    print(answer["user_sig"])
    if "private_map_key" in answer:
        print(answer["private_map_key"])


@command.command("check")
def check(
    user: User,
    sig: Annotated[str, typer.Argument(metavar="USERSIG")],
    sdk_app_id: App = None,
    key: Key = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Say what a UserSig holds, and if it is good. Ends with 1 when it is not."""
    app = place.sdk_app_id(data_dir, sdk_app_id)
    dev = place.dev_file(data_dir)
    if key is None and (dev is None or dev.sdk_app_id != app):
        raise Failure(f"no key of application {app} at hand; give it with --key")
    try:
        content = usersig.verify(
            sig, [key or (dev.app_secret_key if dev else "")], app, user, now_s=int(time.time())
        )
    except BadUserSig as bad:
        raise Failure(f"{bad} ({bad.native_code})") from None
    left_s = content.expires_at_s - int(time.time())
    show({"user": content.user, "sdk_app_id": content.sdk_app_id, "seconds_left": left_s}, as_json)
