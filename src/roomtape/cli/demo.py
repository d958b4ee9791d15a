"""`roomtape demo`: the main job from end to end, checked: publish, record, kill, stop, look at the files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from roomtape.cli import place
from roomtape.cli.client import Admin, Api
from roomtape.cli.receiver import Callback, Receiver
from roomtape.cli.record import local_bucket
from roomtape.cli.say import AsJson, Failure, note
from roomtape.supervisor import ask

T = TypeVar("T")
ROOM = "demo"
ROBOT = "recorder"
PEOPLE = {"alice": "whip", "bob": "rtmp"}
START_S, UP_S, END_S = 60.0, 30.0, 90.0
CALLBACKS = ("room", "media", "record")
WANTED = (301, 303, 307, 304, 302, 310)
NAMES = {
    301: "recorder started", 302: "recorder left", 303: "upload started", 304: "playlist stored",
    305: "HLS stored", 307: "first piece", 310: "MP4 stored",
}  # fmt: skip


@dataclass(slots=True)
class Inbox:
    """Callbacks as they arrive, and a way to wait for one."""

    callbacks: list[Callback] = field(default_factory=list)
    change: threading.Condition = field(default_factory=threading.Condition)

    def put(self, callback: Callback) -> None:
        with self.change:
            self.callbacks.append(callback)
            self.change.notify_all()

    def of_task(self, task_id: str) -> list[Callback]:
        with self.change:
            return [c for c in self.callbacks if c.info.get("TaskId") == task_id]

    def wait(self, task_id: str, type_: int, seconds: float) -> Callback:
        with self.change:
            found = self.change.wait_for(
                lambda: next(
                    (c for c in self.callbacks if c.type == type_ and c.info.get("TaskId") == task_id), None
                ),
                seconds,
            )
        if found is None:
            seen = [c.type for c in self.of_task(task_id)]
            raise Failure(f"no callback {type_} within {seconds:.0f} s (came: {seen}); see the server's log")
        return found


def demo(
    seconds: Annotated[float, typer.Option(min=8, max=600, help="How long to record.")] = 20.0,
    data_dir: Annotated[Path, typer.Option(help="Kept afterwards, with the files.")] = Path("roomtape-demo"),
    url: Annotated[
        str, typer.Option(help="A running dev server to use instead of one of its own (with its --data-dir).")
    ] = "",
    as_json: AsJson = False,
) -> int:
    """Record two people and check every frame. One by WHIP, one by RTMP; a worker is killed in between."""
    with ExitStack() as stack:
        if url:
            dev = place.dev_file(data_dir)
            if dev is None or dev.http_url != url.rstrip("/"):
                raise Failure(f"{url}: name the --data-dir of that server, where its dev.json is")
        else:
            dev = stack.enter_context(_own_server(data_dir))
        job = Job(dev, Path(dev.data_dir), seconds)
        return job.run(as_json)


@contextmanager
def _own_server(data_dir: Path) -> Iterator[place.DevFile]:
    """A fresh `roomtape dev` on free ports; its log in the data directory."""
    if (data_dir / "dev.json").exists():
        raise Failure(f"{data_dir}: a server runs there; use --url, or another --data-dir")
    if data_dir.exists():
        if not (data_dir / "run" / "effective.json").exists() and any(data_dir.iterdir()):
            raise Failure(f"{data_dir}: not empty and not a data directory; choose another --data-dir")
        shutil.rmtree(data_dir)
    data_dir.mkdir(parents=True)
    ports = [part for name in ("http", "webrtc", "rtmp") for part in (f"--{name}", "127.0.0.1:0")]
    command = [sys.executable, "-m", "roomtape", "dev", "--data-dir", str(data_dir), *ports]
    log_path = data_dir / "server.log"
    with log_path.open("wb") as log:
        # its banner holds keys: they belong on a terminal, not in a file
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
    try:

        def ready() -> place.DevFile | None:
            if server.poll() is not None:
                raise Failure(f"the server ended with {server.returncode}; see {log_path}")
            return place.dev_file(data_dir)

        yield _until(f"the server (see {log_path})", ready, START_S)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@dataclass(slots=True)
class Job:
    """One run of the demo against one server."""

    dev: place.DevFile
    data_dir: Path
    seconds: float
    inbox: Inbox = field(default_factory=Inbox)

    def run(self, as_json: bool) -> int:
        note(f"server      {self.dev.http_url} (pid {self.dev.pid})")
        receiver = Receiver("127.0.0.1", 0, self.dev.callback_key, self.inbox.put)
        people: list[subprocess.Popen[str]] = []
        try:
            before = self._aim_callbacks(dict.fromkeys(CALLBACKS, receiver.url))
            for user, kind in PEOPLE.items():
                people.append(self._publisher(user, kind))
            _until("all four tracks in the room", self._all_tracks, UP_S)
            note("published   alice by WHIP (H.264 + Opus), bob by RTMP (H.264 + AAC)")
            task_id, begin = self._create(), time.monotonic()
            note(f"recording   task {task_id}")
            killed = self._kill_in_the_middle(task_id, begin)
            _sleep_until(begin + self.seconds)
            recorded_s = time.monotonic() - begin
            self._call("DeleteCloudRecording", TaskId=task_id)
            note(f"stopped     after {recorded_s:.1f} s")
        finally:
            for person in people:
                person.terminate()
            for person in people:
                try:
                    person.wait(10)
                except subprocess.TimeoutExpired:
                    person.kill()
                    person.wait()
        try:
            last = self.inbox.wait(task_id, 310, END_S)
            self.inbox.wait(task_id, 302, END_S)
        finally:
            receiver.close()
            self._aim_callbacks(dict.fromkeys(CALLBACKS, "") | before)
        return self._report(task_id, recorded_s, killed, last, as_json)

    def _aim_callbacks(self, urls: dict[str, str]) -> dict[str, str]:
        """Set the application's callback URLs; returns those it had."""
        admin, path = Admin(self.data_dir), f"/apps/{self.dev.sdk_app_id}"
        before: dict[str, str] = admin.get(path)["callback_urls"]
        admin.patch(path, urls=urls)
        return before

    def _publisher(self, user: str, kind: str) -> subprocess.Popen[str]:
        sig = self._sig(user)
        app = self.dev.sdk_app_id
        if kind == "whip":
            url = f"{self.dev.http_url}/v2/pub/{app}/{ROOM}?SessionID={user}"
        else:
            url = f"{self.dev.rtmp_url}/push/{ROOM}?sdkappid={app}&userid={user}&usersig={sig}"
        command = [sys.executable, "-m", "roomtape.cli.demo_media", kind, url, "--token", sig]
        with (self.data_dir / f"{user}.log").open("w") as log:
            person = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert person.stdout is not None
        line = person.stdout.readline().strip()
        if line != "up":
            person.wait()
            raise Failure(f"{user} could not publish by {kind}: {line or 'no word'}; see {log.name}")
        return person

    def _sig(self, user: str) -> str:
        answer = Admin(self.data_dir).post("/usersig", sdk_app_id=self.dev.sdk_app_id, user=user)
        return str(answer["user_sig"])

    def _all_tracks(self) -> bool:
        try:
            room = Admin(self.data_dir).get(f"/rooms/{self.dev.sdk_app_id}/s/{ROOM}")
        except Failure:
            return False
        live = {(track["user_id"], track["kind"]) for track in room["tracks"] if track["stopped_ms"] is None}
        return live >= {(user, kind) for user in PEOPLE for kind in ("audio", "video")}

    def _call(self, action: str, **members: object) -> dict[str, Any]:
        return Api.of(self.data_dir).call(action, SdkAppId=self.dev.sdk_app_id, **members)

    def _create(self) -> str:
        answer = self._call(
            "CreateCloudRecording",
            RoomId=ROOM,
            RoomIdType=0,
            UserId=ROBOT,
            UserSig=self._sig(ROBOT),
            RecordParams={"RecordMode": 1, "MaxIdleTime": 30, "OutputFormat": 1, "AvMerge": 1},
            StorageParams={"CloudStorage": local_bucket("recordings")},
        )
        return str(answer["TaskId"])

    def _kill_in_the_middle(self, task_id: str, begin: float) -> int:
        """SIGKILL the worker that records, half way; returns its pid."""
        _sleep_until(begin + self.seconds / 2)
        index = Admin(self.data_dir).get(f"/recordings/{task_id}")["worker"]
        if index is None:
            raise Failure("no worker records the task; see the server's log")
        pid = int(ask(self.data_dir / "run", cmd="kill_worker", index=index)["pid"])
        note(f"killed      worker {index} (pid {pid}) with SIGKILL, half way")
        return pid

    # --- the verdict ------------------------------------------------------------------------------

    def _report(self, task_id: str, recorded_s: float, killed: int, last: Callback, as_json: bool) -> int:
        from roomtape.cli.demo_check import measure

        directory = self.data_dir / "recordings" / task_id
        files = sorted([*directory.glob("*.m3u8"), *directory.glob("*.mp4")])
        rows: list[dict[str, Any]] = []
        faults = self._callback_faults(task_id, last)
        if len(files) != 2 * len(PEOPLE):
            faults.append(f"{len(files)} files instead of {2 * len(PEOPLE)}")
        for path in files:
            held = measure(path)
            wrong = held.faults(recorded_s)
            faults += [f"{path.name}: {fault}" for fault in wrong]
            rows.append(
                {
                    "file": path.name,
                    "tracks": held.tracks,
                    "duration_s": round(held.duration_s, 3),
                    "pictures": held.pictures,
                    "missing": held.missing,
                    "samples": held.samples,
                    "offset_ms": round(held.offset_s * 1000, 1) if held.offsets_s else None,
                    "size": held.size,
                    "good": not wrong,
                }
            )
        callbacks = self.inbox.of_task(task_id)
        result = {
            "ok": not faults,
            "task_id": task_id,
            "recorded_s": round(recorded_s, 3),
            "killed_worker": killed,
            "files": rows,
            "callbacks": [{"type": c.type, "signed": c.signed} for c in callbacks],
            "faults": faults,
            "directory": str(directory),
        }
        if as_json:
            print(json.dumps(result, indent=2))
        else:
            _print(rows, callbacks, faults, directory, self.data_dir)
        return 0 if not faults else 1

    def _callback_faults(self, task_id: str, last: Callback) -> list[str]:
        got = self.inbox.of_task(task_id)
        faults = [
            f"callback {wanted} did not come" for wanted in WANTED if wanted not in {c.type for c in got}
        ]
        faults += [f"callback {c.type} is not signed right" for c in got if not c.signed]
        if any(c.type == 306 for c in got):
            faults.append("306 came: the worker's death was not hidden")
        if last.info.get("Payload", {}).get("Status") != 0:
            faults.append(f"310 says {last.info.get('Payload')}")
        return faults


def _print(
    rows: list[dict[str, Any]], callbacks: list[Callback], faults: list[str], directory: Path, data_dir: Path
) -> None:
    from rich import box
    from rich.table import Table

    from roomtape.cli.say import print_table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="What was recorded", title_justify="left")
    names = ("file", "tracks", "duration", "frames", "missing", "samples", "lip-sync offset", "")
    for name in names:
        table.add_column(name, overflow="fold", justify="left" if name in ("file", "tracks", "") else "right")
    for row in rows:
        offset = "-" if row["offset_ms"] is None else f"{row['offset_ms']:+.1f} ms"
        table.add_row(
            row["file"], row["tracks"], f"{row['duration_s']:.2f} s", str(row["pictures"]),
            str(row["missing"]), str(row["samples"]), offset, "ok" if row["good"] else "WRONG",
        )  # fmt: skip
    print_table(table)
    told = ", ".join(f"{c.type} {NAMES.get(c.type, '')}".strip() for c in callbacks)
    signed = sum(1 for c in callbacks if c.signed)
    print(f"callbacks   {len(callbacks)} received, {signed} with the right signature: {told}")
    print(f"files       {directory}")
    print(f"console     roomtape dev --data-dir {data_dir}, then open its /console")
    for fault in faults:
        print(f"WRONG       {fault}")
    print("all is right" if not faults else f"{len(faults)} things are wrong; see {data_dir}/server.log")


def _until(what: str, probe: Callable[[], T | None], seconds: float) -> T:
    """Ask until the answer is something true. Raises Failure naming what was awaited."""
    deadline = time.monotonic() + seconds
    while True:
        if found := probe():
            return found
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.monotonic()))
