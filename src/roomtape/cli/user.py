"""`roomtape user`: users of a room, by the same signed calls any client makes."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from roomtape.cli import place
from roomtape.cli.client import Admin, Api
from roomtape.cli.say import AsJson, show

command = typer.Typer(help="Users of a room: list, remove, block.", no_args_is_help=True)
Room = Annotated[str, typer.Argument(metavar="ROOM")]
User = Annotated[str, typer.Argument(metavar="USERID")]
Users = Annotated[list[str], typer.Argument(metavar="USERID...")]
IntegerRoom = Annotated[bool, typer.Option("--integer-room", help="It is an integer room.")]
App = Annotated[int | None, typer.Option("--sdk-app-id", help="The application; default: that of dev.json.")]
SecretId = Annotated[str | None, typer.Option(help="The API key; default: environment, or dev.json.")]
SecretKey = Annotated[str | None, typer.Option(help="Its secret.")]


class Media(Enum):
    """What is blocked, and the published number of it."""

    all = "all"
    audio = "audio"
    video = "video"
    none = "none"


IS_MUTE = {Media.none: 0, Media.all: 1, Media.audio: 2, Media.video: 3}


@command.command("list")
def list_users(
    room: Room,
    integer_room: IntegerRoom = False,
    sdk_app_id: App = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Who is in a room now, and who was in this life of it."""
    app = place.sdk_app_id(data_dir, sdk_app_id)
    found = Admin(data_dir).get(f"/rooms/{app}/{'i' if integer_room else 's'}/{room}")
    columns = ("user_id", "role", "device_type", "client_ip", "seats", "entered_ms", "lost_ms", "left_ms")
    show(found["users"], as_json, columns)


@command.command("remove")
def remove(
    room: Room,
    users: Users,
    integer_room: IntegerRoom = False,
    sdk_app_id: App = None,
    secret_id: SecretId = None,
    secret_key: SecretKey = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Remove users from a room: RemoveUser, or RemoveUserByStrRoomId."""
    members = {**of_room(data_dir, sdk_app_id, room, integer_room), "UserIds": users}
    action = "RemoveUser" if integer_room else "RemoveUserByStrRoomId"
    show(Api.of(data_dir, secret_id, secret_key).call(action, **members), as_json)


@command.command("block")
def block(
    room: Room,
    user: User,
    media: Annotated[Media, typer.Option(help="What is blocked; none: nothing any more.")] = Media.all,
    integer_room: IntegerRoom = False,
    sdk_app_id: App = None,
    secret_id: SecretId = None,
    secret_key: SecretKey = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Keep a user's sound or picture from a room. SetUserBlocked, or SetUserBlockedByStrRoomId."""
    named = of_room(data_dir, sdk_app_id, room, integer_room)
    if not integer_room:
        named["StrRoomId"] = named.pop("RoomId")
    action = "SetUserBlocked" if integer_room else "SetUserBlockedByStrRoomId"
    api = Api.of(data_dir, secret_id, secret_key)
    show(api.call(action, **named, UserId=user, IsMute=IS_MUTE[media]), as_json)


def of_room(data_dir: Any, sdk_app_id: int | None, room: str, integer_room: bool) -> dict[str, Any]:
    """The members that name a room; raises a usage error when an integer room's name is no number."""
    if integer_room and not room.isdecimal():
        raise typer.BadParameter(f"{room!r} is not a number", param_hint="ROOM")
    app = place.sdk_app_id(data_dir, sdk_app_id)
    return {"SdkAppId": app, "RoomId": int(room) if integer_room else room}
