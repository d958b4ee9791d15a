"""`roomtape node`: the process tree of a running server."""

from __future__ import annotations

from typing import Any

from roomtape.cli import place
from roomtape.cli.client import Admin
from roomtape.cli.say import AsJson, Failure, show
from roomtape.supervisor import ask


def node(data_dir: place.DataDir = place.DEFAULT, as_json: AsJson = False) -> None:
    """List supervisor, server and workers with what they hold."""
    try:
        tree: list[dict[str, Any]] = ask(data_dir.absolute() / "run", cmd="tree")
    except OSError:
        raise Failure(
            f"{data_dir}: no server runs there; start `roomtape dev` or name its --data-dir"
        ) from None
    tasks = _tasks_by_pid(data_dir)
    for process in tree:
        process["tasks"] = tasks.get(process["pid"], 0)
    show(tree, as_json, ("role", "index", "pid", "started_ms", "tasks", "rss_bytes"))


def _tasks_by_pid(data_dir: Any) -> dict[int, int]:
    """Tasks per worker as the server knows them; none while it is away."""
    try:
        return {worker["pid"]: worker["tasks"] for worker in Admin(data_dir).get("/workers")}
    except Failure:
        return {}
