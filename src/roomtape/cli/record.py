"""`roomtape record`: recordings, by the same signed calls any client makes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from roomtape.cli import place
from roomtape.cli.client import Admin, Api
from roomtape.cli.say import AsJson, show

command = typer.Typer(help="Recordings: list, show, start, stop.", no_args_is_help=True)
App = Annotated[int | None, typer.Option("--sdk-app-id", help="The application; default: that of dev.json.")]
Task = Annotated[str, typer.Argument(metavar="TASKID")]
SecretId = Annotated[str | None, typer.Option(help="The API key; default: environment, or dev.json.")]
SecretKey = Annotated[str | None, typer.Option(help="Its secret.")]


class Status(StrEnum):
    """Where a task is in its life."""

    idle = "idle"
    in_progress = "in_progress"
    exited = "exited"
    gone = "gone"


@command.command("list")
def list_recordings(
    sdk_app_id: Annotated[int | None, typer.Option(help="Only those of this application.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only those that are so.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List recording tasks, newest first."""
    rows = Admin(data_dir).get("/recordings", sdk_app_id=sdk_app_id, status=status)
    show(rows, as_json, ("task_id", "room_id", "status", "created_ms", "pieces", "worker", "last_error"))


@command.command("show")
def show_recording(task_id: Task, data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """Show a task's whole life. Steps, notes, outputs, pieces, files, uploads and callbacks."""
    found = Admin(data_dir).get(f"/recordings/{task_id}")
    if as_json:
        show(found, True)
        return
    lists = ("life", "notes", "outputs", "pieces", "files", "jobs", "uploads", "callbacks")
    show({name: value for name, value in found.items() if name not in (*lists, "spec")}, False)
    for name, columns in (
        ("life", ("at_ms", "what", "more", "count", "last_ms")),
        ("outputs", ("user_id", "media", "type", "bytes", "duration_us", "holes", "width", "height")),
        ("pieces", ("piece_no", "name", "size", "start_ms", "duration_us", "upload_state")),
        ("files", ("name", "size", "start_ms", "end_ms", "upload_state")),
        ("jobs", ("user_id", "media", "kind", "state", "tries", "error")),
        ("uploads", ("object_key", "state", "tries", "next_at_ms", "last_error")),
        ("callbacks", ("task_event_no", "type", "at_ms", "state", "tries", "last_status", "last_error")),
    ):
        print(f"{name}:")
        show(found[name], False, columns)


@command.command("start")
def start(
    room: Annotated[str, typer.Argument(metavar="ROOM")],
    integer_room: Annotated[bool, typer.Option(help="It is an integer room.")] = False,
    robot: Annotated[str, typer.Option(help="The UserId of the recorder.")] = "recorder",
    output_format: Annotated[int, typer.Option(help="0 HLS, 1 HLS+MP4, 2 HLS+AAC, 3 MP4, 4 AAC.")] = 1,
    av_merge: Annotated[int, typer.Option(help="1: sound and picture in one file.")] = 1,
    max_idle_time: Annotated[int, typer.Option(help="Seconds without anchors after which it ends.")] = 30,
    bucket: Annotated[
        str, typer.Option(help="The bucket; `recordings` is a directory in dev.")
    ] = "recordings",
    parameters: Annotated[
        str, typer.Option(help="More members of the request: JSON, or @file; they win.")
    ] = "{}",
    sdk_app_id: App = None,
    secret_id: SecretId = None,
    secret_key: SecretKey = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Start recording a room: CreateCloudRecording."""
    app = place.sdk_app_id(data_dir, sdk_app_id)
    sig = Admin(data_dir).post("/usersig", sdk_app_id=app, user=robot, expire_s=30 * 86_400)
    members: dict[str, Any] = {
        "SdkAppId": app,
        "RoomId": room,
        "RoomIdType": 1 if integer_room else 0,
        "UserId": robot,
        "UserSig": sig["user_sig"],
        "RecordParams": {
            "RecordMode": 1,
            "StreamType": 0,
            "MaxIdleTime": max_idle_time,
            "OutputFormat": output_format,
            "AvMerge": av_merge,
        },
        "StorageParams": {"CloudStorage": local_bucket(bucket)},
        **place.read_json(parameters),
    }
    answer = Api.of(data_dir, secret_id, secret_key).call("CreateCloudRecording", **members)
    if as_json:
        show(answer, True)
    else:
        print(answer["TaskId"])


@command.command("stop")
def stop(
    task_id: Task,
    sdk_app_id: App = None,
    secret_id: SecretId = None,
    secret_key: SecretKey = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Stop a recording: DeleteCloudRecording. What is stored stays, what is not yet is uploaded."""
    app = place.sdk_app_id(data_dir, sdk_app_id)
    api = Api.of(data_dir, secret_id, secret_key)
    show(api.call("DeleteCloudRecording", SdkAppId=app, TaskId=task_id), as_json)


def local_bucket(bucket: str) -> dict[str, Any]:
    """`CloudStorage` for a bucket that is a directory of the server: the credentials are a formality."""
    return {"Vendor": 1, "Region": "us-east-1", "Bucket": bucket, "AccessKey": "local", "SecretKey": "local"}
