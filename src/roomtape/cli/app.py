"""`roomtape app`: applications and their settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from roomtape.cli import place
from roomtape.cli.client import Admin
from roomtape.cli.say import AsJson, Failure, show

command = typer.Typer(help="Applications: create, list, show, set.", no_args_is_help=True)
SdkAppId = Annotated[int, typer.Argument(metavar="SDKAPPID", help="The application.")]
Url = Annotated[str | None, typer.Option(help="Where these callbacks go; empty: nowhere.")]
COLUMNS = ("sdk_app_id", "name", "permission_control", "recording", "disabled", "callback_urls")


@command.command("create")
def create(
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    sdk_app_id: Annotated[int | None, typer.Option(help="Its number; default: the next free one.")] = None,
    key: Annotated[str | None, typer.Option(help="The key for UserSigs; default: a new one.")] = None,
    uin: Annotated[int | None, typer.Option(help="Its root account; default: the first one.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make an application. Its key for UserSigs is shown now and never again."""
    show(Admin(data_dir).post("/apps", name=name, sdk_app_id=sdk_app_id, key=key, uin=uin), as_json)


@command.command("list")
def list_apps(data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """List the applications."""
    show(Admin(data_dir).get("/apps"), as_json, COLUMNS)


@command.command("show")
def show_app(sdk_app_id: SdkAppId, data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """Show one application."""
    show(Admin(data_dir).get(f"/apps/{sdk_app_id}"), as_json)


@command.command("add-key")
def add_key(
    sdk_app_id: SdkAppId,
    key: Annotated[str | None, typer.Option(help="The key for UserSigs; default: a new one.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Take UserSigs of one more key, too.

    It is shown now and never again; the former keys stay good. `usersig` issues with the new one from now
    on. When nobody uses a former key any more: `app retire-keys`.
    """
    show(Admin(data_dir).post(f"/apps/{sdk_app_id}/keys", key=key), as_json)


@command.command("retire-keys")
def retire_keys(
    sdk_app_id: SdkAppId, data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False
) -> None:
    """Refuse UserSigs of all keys but the newest."""
    show(Admin(data_dir).post(f"/apps/{sdk_app_id}/keys/retire"), as_json)


@command.command("set")
def set_app(
    sdk_app_id: SdkAppId,
    callback_key: Annotated[str | None, typer.Option(help="Signs callbacks; empty: unsigned.")] = None,
    room_url: Url = None,
    media_url: Url = None,
    record_url: Url = None,
    relay_url: Url = None,
    ingest_url: Url = None,
    permission_control: Annotated[bool | None, typer.Option(help="Every user needs a PrivateMapKey.")] = None,
    recording: Annotated[bool | None, typer.Option(help="Recordings are permitted.")] = None,
    auto_record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Record every new room: JSON with RecordParams and StorageParams of CreateCloudRecording.",
        ),
    ] = None,
    no_auto_record: Annotated[
        bool, typer.Option("--no-auto-record", help="Record no further room by itself.")
    ] = False,
    disabled: Annotated[
        bool | None, typer.Option("--disabled/--enabled", help="Switch it off or on.")
    ] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Change an application; at once, without a restart."""
    given = {
        "room": room_url, "media": media_url, "record": record_url, "relay": relay_url, "ingest": ingest_url,
    }  # fmt: skip
    members: dict[str, Any] = {
        "callback_key": callback_key,
        "urls": {kind: url for kind, url in given.items() if url is not None},
        "permission_control": permission_control,
        "recording": recording,
        "disabled": disabled,
        "auto_record": False if no_auto_record else None if auto_record is None else _members(auto_record),
    }
    show(Admin(data_dir).patch(f"/apps/{sdk_app_id}", **members), as_json)


def _members(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises Failure."""
    try:
        members = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}; name a file that can be read") from None
    except ValueError as error:
        raise Failure(f"{file}: not JSON: {error}") from None
    if not isinstance(members, dict) or not members:
        raise Failure(f"{file}: an object with RecordParams and StorageParams is wanted")
    return members
