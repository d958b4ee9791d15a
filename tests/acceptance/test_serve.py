"""`roomtape serve`: a production start from a file, its admin listener, its login, its reload."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import trtc_client

from tests.support.rawhttp import code_of, signed
from tests.support.stack import REPO, until

pytestmark = pytest.mark.slow
PASSWORD = "open sesame"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    """A running `serve` and how to ask it."""

    directory: Path
    admin: str
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        return self.directory / "roomtape.toml"

    def get(self, path: str, password: str | None = None, base: str = "") -> int:
        request = urllib.request.Request((base or self.admin) + path)
        if password is not None:
            request.add_header(
                "Authorization", "Basic " + base64.b64encode(f"op:{password}".encode()).decode()
            )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "roomtape", *words, "--data-dir", str(self.directory / "d")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPO, check=False)

    def effective(self) -> dict[str, dict[str, object]]:
        text = (self.directory / "d" / "run" / "effective.json").read_text()
        effective: dict[str, dict[str, object]] = json.loads(text)
        return effective


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="rt-") as name:
        directory = Path(name)
        port = free_port()
        password_hash = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
        (directory / "roomtape.toml").write_text(
            f"""
data_dir = "{directory}/d"
[server]
http_port = 0
[webrtc]
port = 0
[rtmp]
port = 0
[admin]
listen = "127.0.0.1:{port}"
password_hash = "{password_hash}"
"""
        )
        with (directory / "log").open("wb") as log:
            command = [
                sys.executable,
                "-m",
                "roomtape",
                "serve",
                "--config",
                str(directory / "roomtape.toml"),
            ]
            env = {**os.environ, "ROOMTAPE_FAULT": "before-commit"}  # must not reach the children
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=REPO, env=env)
        running = Served(directory, f"http://127.0.0.1:{port}", process)

        def ready() -> bool:
            assert process.poll() is None, (directory / "log").read_text()[-4000:]
            return "roomtape serves on" in (directory / "log").read_text()

        try:
            until("serve is ready", ready, 60)
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_health_and_metrics_are_on_the_admin_listener(served: Served) -> None:
    assert [served.get(path) for path in ("/livez", "/readyz", "/metrics")] == [200, 200, 200]
    public = json.loads((served.directory / "d" / "run" / "server.json").read_text())
    base = f"http://127.0.0.1:{public['http_port']}"
    assert served.get("/livez", base=base) == 200
    assert [
        served.get(path, base=base) for path in ("/metrics", "/console", "/demo/", "/admin/api/apps")
    ] == [404] * 4


def test_the_console_opens_by_the_operators_password_alone(served: Served) -> None:
    assert served.get("/console") == 401
    assert served.get("/console", "open sesam") == 401
    assert served.get("/console", PASSWORD) == 200


def test_nothing_is_made_and_no_key_is_told_before_the_operator_asks(served: Served) -> None:
    assert not (served.directory / "d" / "dev.json").exists()
    assert "SecretKey" not in (served.directory / "log").read_text()
    before = json.loads(served.cli("key", "list", "--json").stdout)
    made = json.loads(served.cli("app", "create", "--name", "school", "--json").stdout)
    key = json.loads(served.cli("key", "create", "--json").stdout)
    assert before == []
    answer = served.cli(
        "room", "dismiss", "nowhere", "--sdk-app-id", str(made["sdk_app_id"]),
        "--secret-id", key["secret_id"], "--secret-key", key["secret_key"],
    )  # fmt: skip
    assert answer.returncode == 1
    assert "RoomNotExist" in answer.stderr, "the new key signs, the new application is known"


def test_limits_reload_without_a_restart_and_a_wrong_file_changes_nothing(served: Served) -> None:
    good = served.config.read_text()
    served.config.write_text(good + "[limits]\nper_acount = 7\n")
    refused = served.cli("config", "reload")
    assert refused.returncode == 1
    assert "limits.per_acount: no such key; the nearest is limits.per_account" in refused.stderr
    assert served.effective()["limits"]["per_account"] == 200
    served.config.write_text(good + "[limits]\nper_account = 7\n")
    assert served.cli("config", "reload").returncode == 0
    assert served.effective()["limits"]["per_account"] == 7
    until("the server took it", lambda: "configuration_reloaded" in (served.directory / "log").read_text())
    assert served.get("/readyz") == 200


def test_the_gateway_judges_by_reloaded_limits_at_once(served: Served) -> None:
    app = json.loads(served.cli("app", "create", "--json").stdout)
    key = json.loads(served.cli("key", "create", "--json").stdout)
    report = json.loads((served.directory / "d" / "run" / "server.json").read_text())
    host = f"127.0.0.1:{report['http_port']}"
    good = served.config.read_text().partition("[limits]")[0]

    def codes(limits: str) -> list[str]:
        """What twenty calls at once are answered after a SIGHUP to these limits."""
        log = served.directory / "log"
        before = log.read_text().count("configuration_reloaded")
        served.config.write_text(good + limits)
        served.process.send_signal(signal.SIGHUP)
        until("the reload", lambda: log.read_text().count("configuration_reloaded") > before)
        body = json.dumps({"SdkAppId": app["sdk_app_id"], "TaskId": "x"}).encode()
        found = []
        for _ in range(20):
            raw = signed(host, key["secret_id"], key["secret_key"], "DescribeCloudRecording", body)
            head, _, content = raw.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            request = urllib.request.Request(f"http://{host}/", content, headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                found.append(code_of(answer.read()))
        return found

    assert "RequestLimitExceeded.UinLimitExceeded" in codes("[limits]\nper_account = 1\n")
    assert "RequestLimitExceeded" in codes(
        "[limits]\nper_account = 500\n[limits.per_action]\nDescribeCloudRecording = 1\n"
    )
    # a bucket fills by the new rate from its first use on; at this one a millisecond is worth more than the calls
    raised = codes("[limits]\nper_account = 100000\n[limits.per_action]\nDescribeCloudRecording = 100000\n")
    assert set(raised[1:]) == {"ResourceNotFound"}


def test_accounts_keys_and_policies_are_what_their_file_says(served: Served) -> None:
    """The official SDK asks; the file is changed, read again, and asks again: no process is another."""
    file, good = served.directory / "accounts.toml", served.config.read_text().partition("[limits]")[0]
    log = served.directory / "log"
    text = """
[[account]]
uin = 300000000001
[[account.app]]
sdk_app_id = 1400000300
keys = ["usersig-key"]
[[account.user]]
uin = 300000000002
presets = ["QcloudTRTCReadonlyAccess"]
[[account.user.key]]
secret_id = "AKIDdeclared"
secret_key = "first-secret"
"""

    def declare(changed: str) -> None:
        file.write_text(changed)
        before = log.read_text().count("accounts_taken_over")
        assert served.cli("config", "reload").returncode == 0
        until("they are taken over", lambda: log.read_text().count("accounts_taken_over") > before)

    def call(secret: str = "first-secret", action: str = "DescribeCloudRecording", app: int = 1400000300) -> str:
        report = json.loads((served.directory / "d" / "run" / "server.json").read_text())
        http = HttpProfile(protocol="http", endpoint=f"127.0.0.1:{report['http_port']}")
        client = trtc_client.TrtcClient(
            credential.Credential("AKIDdeclared", secret), "ap-singapore", ClientProfile(httpProfile=http)
        )
        try:
            client.call_json(action, {"SdkAppId": app, "TaskId": "nobody"})
        except TencentCloudSDKException as told:
            return str(told.get_code())
        return "OK"

    processes = {p["pid"] for p in json.loads(served.cli("node", "--json").stdout)}
    file.touch(0o600)
    served.config.write_text(good + f'[access]\naccounts_file = "{file}"\n')
    declare(text)
    assert call() == "ResourceNotFound"
    assert call(app=1) == "InvalidParameter.SdkAppId"
    assert call(action="DeleteCloudRecording") == "AuthFailure.UnauthorizedOperation"
    declare(text.replace("Readonly", "Full"))
    assert call(action="DeleteCloudRecording") == "ResourceNotFound"
    declare(text.replace("first-secret", "second-secret"))
    assert (call(), call("second-secret")) == ("AuthFailure.SignatureFailure", "ResourceNotFound")
    wrong = text.replace("QcloudTRTCReadonlyAccess", "Readonly")
    file.write_text(wrong)
    refused = served.cli("config", "reload")
    assert (refused.returncode, "no preset Readonly" in refused.stderr) == (1, True)
    checked = subprocess.run(
        [sys.executable, "-m", "roomtape", "config", "check", str(served.config)],
        capture_output=True, text=True, timeout=60, cwd=REPO, check=False,
    )  # fmt: skip
    assert (checked.returncode, "access.accounts_file: " in checked.stderr) == (1, True)
    assert call("second-secret") == "ResourceNotFound"
    declare(text.replace("AKIDdeclared", "AKIDanother"))
    assert call("second-secret") == "AuthFailure.SecretIdNotFound"
    assert {p["pid"] for p in json.loads(served.cli("node", "--json").stdout)} == processes
    assert not re.search("(first|second)-secret|usersig-key", log.read_text())
    served.config.write_text(good)
    assert served.cli("config", "reload").returncode == 0


def test_faults_cannot_be_injected(served: Served) -> None:
    servers = [p for p in json.loads(served.cli("node", "--json").stdout) if p["role"] != "supervisor"]
    for process in servers:
        environment = Path("/proc", str(process["pid"]), "environ").read_bytes()
        assert b"ROOMTAPE_FAULT" not in environment
