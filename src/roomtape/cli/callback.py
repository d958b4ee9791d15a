"""`roomtape callback`: webhooks, received and looked at."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from roomtape.cli import place
from roomtape.cli.client import Admin
from roomtape.cli.receiver import Callback, Receiver
from roomtape.cli.say import AsJson, Failure, note, show
from roomtape.config import split_address

command = typer.Typer(help="Callbacks: listen, list, show, replay, test.", no_args_is_help=True)


class State(StrEnum):
    """Where a delivery is."""

    waiting = "waiting"
    head = "head"
    slow = "slow"
    delivered = "delivered"
    dead = "dead"


class Kind(StrEnum):
    """The URLs of an application."""

    room = "room"
    media = "media"
    record = "record"
    relay = "relay"
    ingest = "ingest"


@command.command("listen")
def listen(
    address: Annotated[str, typer.Option("--listen", help="host:port to receive on.")] = "127.0.0.1:8090",
    key: Annotated[str | None, typer.Option(help="The callback key; default: that of dev.json.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Receive, check and print callbacks. Until Ctrl-C."""
    if key is None:
        dev = place.dev_file(data_dir)
        key = dev.callback_key if dev else None

    def told(callback: Callback) -> None:
        verdict = {True: "signature ok", False: "WRONG SIGNATURE", None: "not checked"}[callback.signed]
        if as_json:
            print(json.dumps({"signed": callback.signed, **callback.body}, ensure_ascii=False), flush=True)
        else:
            info = json.dumps(callback.info, ensure_ascii=False)
            print(f"{callback.group}/{callback.type} {verdict} {info}", flush=True)

    host, port = split_address(address, "--listen")
    try:
        receiver = Receiver(host, port, key, told)
    except OSError as error:
        raise Failure(f"{address}: {error.strerror}; choose another --listen") from None
    note(
        f"receiving on {receiver.url} ({'checking signatures' if key else 'no key to check signatures with'})"
    )
    try:
        receiver.wait()
    except KeyboardInterrupt:
        receiver.close()


@command.command("list")
def list_callbacks(
    sdk_app_id: Annotated[int | None, typer.Option(help="Only those of this application.")] = None,
    state: Annotated[State | None, typer.Option(help="Only those that are so.")] = None,
    task_id: Annotated[str | None, typer.Option(help="Only those of this task.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List deliveries, newest first, with how they went."""
    rows = Admin(data_dir).get("/callbacks", sdk_app_id=sdk_app_id, state=state, task_id=task_id)
    columns = ("id", "group_id", "type", "url", "state", "tries", "last_status", "last_error", "at_ms")
    show(rows, as_json, columns)


@command.command("show")
def show_callback(
    delivery: Annotated[int, typer.Argument(metavar="ID", help="Of `callback list`.")],
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Every attempt of one delivery."""
    columns = ("number", "started_ms", "duration_ms", "outcome", "status", "error")
    show(Admin(data_dir).get(f"/callbacks/{delivery}"), as_json, columns)


@command.command("replay")
def replay(
    delivery: Annotated[int | None, typer.Argument(metavar="ID", help="Of `callback list`.")] = None,
    dead_of: Annotated[
        int | None, typer.Option("--dead-of", metavar="SDKAPPID", help="All its dead letters instead.")
    ] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Send an event again. Or all that could not be delivered to an application."""
    show(Admin(data_dir).post("/callbacks/replay", id=delivery, dead_of=dead_of), as_json)


@command.command("test")
def send_test(
    kind: Annotated[Kind, typer.Option(help="Which URL.")] = Kind.room,
    sdk_app_id: Annotated[int | None, typer.Option(help="The application; default: dev's.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Send a signed test event to the application. Say what its URL answered."""
    app = place.sdk_app_id(data_dir, sdk_app_id)
    show(Admin(data_dir).post("/callbacks/test", sdk_app_id=app, kind=kind), as_json)
