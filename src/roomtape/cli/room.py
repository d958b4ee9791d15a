"""`roomtape room`: who is where."""

from __future__ import annotations

from typing import Annotated

import typer

from roomtape.cli import place
from roomtape.cli.client import Admin, Api
from roomtape.cli.say import AsJson, show
from roomtape.cli.user import IntegerRoom, SecretId, SecretKey, of_room

command = typer.Typer(help="Rooms: list, show, dismiss.", no_args_is_help=True)
App = Annotated[int | None, typer.Option("--sdk-app-id", help="The application; default: that of dev.json.")]


@command.command("list")
def list_rooms(
    sdk_app_id: Annotated[int | None, typer.Option(help="Only rooms of this application.")] = None,
    closed: Annotated[bool, typer.Option(help="Rooms that have ended, too.")] = False,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List the rooms, newest first."""
    rows = Admin(data_dir).get("/rooms", sdk_app_id=sdk_app_id, closed="true" if closed else None)
    show(rows, as_json, ("sdk_app_id", "room_type", "room_id", "users", "created_ms", "destroyed_ms"))


@command.command("show")
def show_room(
    room: Annotated[str, typer.Argument(metavar="ROOM")],
    integer_room: Annotated[bool, typer.Option(help="It is an integer room.")] = False,
    sdk_app_id: App = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show a room: its users, what they send, who records it."""
    app = place.sdk_app_id(data_dir, sdk_app_id)
    found = Admin(data_dir).get(f"/rooms/{app}/{'i' if integer_room else 's'}/{room}")
    if as_json:
        show(found, True)
        return
    show({name: found[name] for name in ("room_id", "comm_id", "created_ms", "destroyed_ms")}, False)
    show(found["users"], False, ("user_id", "role", "device_type", "seats", "entered_ms", "left_ms"))
    show(found["tracks"], False, ("user_id", "kind", "codec", "started_ms", "stopped_ms"))
    show(found["tasks"], False, ("task_id", "kind", "status", "created_ms"))


@command.command("dismiss")
def dismiss(
    room: Annotated[str, typer.Argument(metavar="ROOM")],
    integer_room: IntegerRoom = False,
    sdk_app_id: App = None,
    secret_id: SecretId = None,
    secret_key: SecretKey = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Close a room and send everybody out. DismissRoom, or DismissRoomByStrRoomId."""
    action = "DismissRoom" if integer_room else "DismissRoomByStrRoomId"
    members = of_room(data_dir, sdk_app_id, room, integer_room)
    show(Api.of(data_dir, secret_id, secret_key).call(action, **members), as_json)
