"""`roomtape library`: what the media library has, fresh links, removal."""

from __future__ import annotations

from typing import Annotated

import typer

from roomtape.cli import place
from roomtape.cli.client import Admin
from roomtape.cli.say import AsJson, show

command = typer.Typer(help="Files of the media library: list, link, remove.", no_args_is_help=True)
FileId = Annotated[str, typer.Argument(metavar="FILEID", help="As event 311 names it.")]
COLUMNS = ("file_id", "name", "user_id", "state", "size", "stored_ms", "expires_at_ms", "task_id")


@command.command("list")
def list_files(
    sdk_app_id: Annotated[int | None, typer.Option(help="Only those of this application.")] = None,
    task_id: Annotated[str | None, typer.Option(help="Only those of this recording.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List the files, oldest first; removed and failed ones, too."""
    show(Admin(data_dir).get("/library", sdk_app_id=sdk_app_id, task_id=task_id), as_json, COLUMNS)


@command.command("link")
def link(
    file_id: FileId,
    valid_s: Annotated[float | None, typer.Option(min=1, help="Seconds; default: library.link_s.")] = None,
    data_dir: place.DataDir = place.DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a fresh playback link."""
    show(Admin(data_dir).post(f"/library/{file_id}/link", valid_s=valid_s), as_json)


@command.command("remove")
def remove(file_id: FileId, data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """End a file now: its links stop working, its bytes are deleted."""
    show(Admin(data_dir).post(f"/library/{file_id}/remove"), as_json)
