"""The started product, as a user starts it: `roomtape dev` in a process of its own, found by its dev.json."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from roomtape.access.usersig import issue

REPO = Path(__file__).resolve().parents[2]
START_S = 40.0  # a cold start on a loaded 2-core machine takes up to 10 s
T = TypeVar("T")


def until(what: str, probe: Callable[[], T | None], timeout_s: float = 20, every_s: float = 0.05) -> T:
    """Poll `probe` until it returns something true. Raises TimeoutError that says what was awaited."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(every_s)


class Stack:
    """One `roomtape dev` with its data directory. Use `start_stack()`."""

    def __init__(
        self, data_dir: Path, *, args: tuple[str, ...] = (), env: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir.parent / f"{data_dir.name}.log"
        self._args = args
        self._env = {**os.environ, "PYTHONPATH": str(REPO / "src"), **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.dev: dict[str, Any] = {}

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        self.launch()
        until("dev.json", self.is_ready, START_S)

    def launch(self) -> None:
        """Start it and wait for nothing."""
        command = [sys.executable, "-m", "roomtape", "dev", "--data-dir", str(self.data_dir)]
        command += ["--http", "127.0.0.1:0", "--webrtc", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", *self._args]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._env, cwd=REPO)

    def is_ready(self) -> bool:
        """Whether it serves. Raises RuntimeError when it has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"dev ended with {self._process.returncode}:\n{self.log()[-4000:]}")
        try:
            self.dev = json.loads((self.data_dir / "dev.json").read_text())
        except FileNotFoundError:
            return False
        return bool(self.dev["pid"] == self._process.pid)  # not the file of one that was killed

    def stop(self, sig: int = signal.SIGTERM, timeout_s: float = 20) -> int:
        """End it by signal and wait. Returns the exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(sig)
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        self._process = None
        return code

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # --- the command line ---------------------------------------------------------------------

    def cli(self, *args: str, check: bool = True) -> str:
        """Run a verb of the command against this stack; returns stdout."""
        done = subprocess.run(
            [sys.executable, "-m", "roomtape", *args, "--data-dir", str(self.data_dir)],
            capture_output=True,
            text=True,
            env=self._env,
            cwd=REPO,
            timeout=60,
            check=False,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{args} ended with {done.returncode}: {done.stderr}\n{done.stdout}")
        return done.stdout

    def set_callbacks(self, url: str, *, key: str | None = None) -> None:
        """Point every callback slot of the application at `url`."""
        slots = [part for slot in ("room", "media", "record") for part in (f"--{slot}-url", url)]
        extra = ["--callback-key", key] if key else []
        self.cli("app", "set", str(self.dev["sdk_app_id"]), *slots, *extra)

    def tree(self) -> list[dict[str, Any]]:
        tree: list[dict[str, Any]] = json.loads(self.cli("node", "--json"))
        return tree

    def pid_of(self, role: str) -> int:
        return next(int(p["pid"]) for p in self.tree() if p["role"] == role)

    # --- the API, by the official SDK ----------------------------------------------------------

    def sdk(self) -> Any:
        """The unmodified official Python client, only its endpoint changed."""
        from tencentcloud.common import credential
        from tencentcloud.common.profile.client_profile import ClientProfile
        from tencentcloud.common.profile.http_profile import HttpProfile
        from tencentcloud.trtc.v20190722 import trtc_client

        scheme, host = self.dev["http_url"].split("://", 1)
        http = HttpProfile(protocol=scheme, endpoint=host)
        if scheme == "https":
            http.certification = str(self.data_dir / "tls" / "ca.pem")
        cred = credential.Credential(self.dev["secret_id"], self.dev["secret_key"])
        return trtc_client.TrtcClient(cred, "ap-singapore", ClientProfile(httpProfile=http))

    def call(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        """One call through the official client; returns the answer without its envelope."""
        from tencentcloud.trtc.v20190722 import models

        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps({"SdkAppId": self.sdk_app_id, **params}))
        answer: dict[str, Any] = json.loads(getattr(self.sdk(), action)(request).to_json_string())
        return answer

    def create_recording(
        self, room: str, *, robot: str = "robot", room_id_type: int | None = 0, **record: Any
    ) -> str:
        """CreateCloudRecording into the local bucket; `record` are members of RecordParams. A type of None
        leaves RoomIdType out."""
        params = {
            "RoomId": room,
            **({} if room_id_type is None else {"RoomIdType": room_id_type}),
            "UserId": robot,
            "UserSig": self.usersig(robot),
            "RecordParams": {"RecordMode": 1, "MaxIdleTime": 30, **record},
            "StorageParams": {
                "CloudStorage": {
                    "Vendor": 1,
                    "Region": "us-east-1",
                    "Bucket": "recordings",
                    "AccessKey": "AK",
                    "SecretKey": "SK",
                }
            },
        }
        return str(self.call("CreateCloudRecording", params)["TaskId"])

    def describe(self, task_id: str) -> dict[str, Any]:
        return self.call("DescribeCloudRecording", {"TaskId": task_id})

    def delete(self, task_id: str) -> dict[str, Any]:
        return self.call("DeleteCloudRecording", {"TaskId": task_id})

    # --- media doors ---------------------------------------------------------------------------

    @property
    def sdk_app_id(self) -> int:
        return int(self.dev["sdk_app_id"])

    def usersig(self, user: str) -> str:
        return issue(
            self.dev["app_secret_key"], self.sdk_app_id, user, time_s=int(time.time()), expire_s=86_400
        )

    def whip_url(self, room: str, user: str, **query: str) -> str:
        extra = "".join(f"&{k}={v}" for k, v in query.items())
        return f"{self.dev['http_url']}/v2/pub/{self.sdk_app_id}/{room}?SessionID={user}{extra}"

    def whep_url(self, room: str, viewer: str, **query: str) -> str:
        extra = "".join(f"&{k}={v}" for k, v in query.items())
        return f"{self.dev['http_url']}/v2/sub/{self.sdk_app_id}/{room}?SessionID={viewer}{extra}"

    def rtmp_url(self, room: str, user: str) -> str:
        sig = self.usersig(user)
        return f"{self.dev['rtmp_url']}/push/{room}?sdkappid={self.sdk_app_id}&userid={user}&usersig={sig}"

    # --- files ---------------------------------------------------------------------------------

    def bucket(self, task_id: str) -> Path:
        return self.data_dir / "recordings" / task_id

    def http(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(self.dev["http_url"] + path, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()


@contextmanager
def start_stack(
    data_dir: Path, *, args: tuple[str, ...] = (), env: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    stack = Stack(data_dir, args=args, env=env)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
