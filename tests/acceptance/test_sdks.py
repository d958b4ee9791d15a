"""Every official SDK, unmodified, runs the same script against the started product (clients/README.md)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.acceptance.conftest import PREFIX
from tests.support.clients import CLIENTS, venv_with
from tests.support.stack import Stack, start_stack, until

EXPECTED = {
    "create": "ok", "describe": "Idle", "signature": "AuthFailure.SignatureFailure",
    "validation": "InvalidParameter.OutOfRange", "unicode": "ResourceNotFound", "ways": "ok", "limit": "retried", "delete": "ok",
}  # fmt: skip


@pytest.fixture(scope="module")
def tls_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`dev --tls`: what the Node SDK needs, which speaks https only."""
    with start_stack(tmp_path_factory.mktemp("tls") / "data", args=("--tls",)) as running:
        yield running


def environment(stack: Stack, client: str) -> dict[str, str]:
    scheme, endpoint = stack.dev["http_url"].split("://")
    return {
        **os.environ, "ENDPOINT": endpoint, "SCHEME": scheme, "SECRET_ID": stack.dev["secret_id"],
        "SECRET_KEY": stack.dev["secret_key"], "SDK_APP_ID": str(stack.sdk_app_id), "ROOM": f"sdk_{client}",
        "ROBOT": "robot", "USER_SIG": stack.usersig("robot"), "PYTHONPATH": "", "PREFIX": PREFIX,
    }  # fmt: skip


def run(command: list[str], *, cwd: Path, env: dict[str, str]) -> dict[str, str]:
    """Run a client; returns what it saw. Raises AssertionError with its stderr when it failed."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    lines = re.findall(r"\{.*\}", done.stdout)  # Maven wraps it in colours
    assert lines, done.stdout[-1000:] + done.stderr[-1000:]
    seen: dict[str, str] = json.loads(lines[-1])
    return seen


def test_the_international_python_sdk(stack: Stack) -> None:
    env = environment(stack, "python")
    assert run([sys.executable, str(CLIENTS / "python_client.py")], cwd=CLIENTS, env=env) == EXPECTED


def test_the_mainland_python_sdk(stack: Stack) -> None:
    python = venv_with("client-cn")
    env = environment(stack, "python_cn")
    assert run([str(python), str(CLIENTS / "python_client.py")], cwd=CLIENTS, env=env) == EXPECTED


NAMES = """
from tencentcloud.trtc.v20190722 import trtc_client
print(*(name for name in vars(trtc_client.TrtcClient) if name[0].isupper()))
"""


def test_every_action_of_the_mainland_sdk_is_known(stack: Stack) -> None:
    """It has some that the international one has not: they are not built, which is something else than unknown."""
    python = venv_with("client-cn")
    told = subprocess.run([str(python), "-c", NAMES], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    names = told.stdout.split()
    assert len(names) > 60
    sdk, codes = stack.sdk(), {}
    for name in [*names, "MakeCoffee"]:
        try:
            sdk.call_json(name, {})
        except TencentCloudSDKException as refused:
            codes[name] = refused.get_code()
    assert codes.pop("MakeCoffee") == "InvalidAction"
    assert not [name for name, code in codes.items() if code == "InvalidAction"]
    assert codes["CreatePicture"] == "UnsupportedOperation"


def test_the_go_sdk(stack: Stack) -> None:
    seen = run(["go", "run", "."], cwd=CLIENTS / "go", env=environment(stack, "go"))
    assert seen == EXPECTED


def test_the_java_sdk(stack: Stack) -> None:
    command = ["mvn", "-q", "-B", "compile", "exec:java"]
    assert run(command, cwd=CLIENTS / "java", env=environment(stack, "java")) == EXPECTED


def test_the_node_sdk_over_tls(tls_stack: Stack) -> None:
    subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=CLIENTS / "node", check=True)
    env = environment(tls_stack, "node")
    env["NODE_EXTRA_CA_CERTS"] = str(tls_stack.data_dir / "tls" / "ca.pem")
    assert run(["node", "client.js"], cwd=CLIENTS / "node", env=env) == EXPECTED


def test_tccli(stack: Stack) -> None:
    tccli = venv_with("client-tccli").parent / "tccli"
    env = environment(stack, "tccli")
    env |= {"TENCENTCLOUD_SECRET_ID": env["SECRET_ID"], "TENCENTCLOUD_SECRET_KEY": env["SECRET_KEY"],
            "TENCENTCLOUD_REGION": "ap-singapore", "HOME": str(stack.data_dir.parent)}

    given = stack.data_dir.parent / "tccli.json"

    def call(action: str, params: dict[str, object], **changed: str) -> tuple[int, str]:
        given.write_text(json.dumps(params))
        done = subprocess.run(
            [str(tccli), "trtc", action, "--endpoint", stack.dev["http_url"], "--cli-input-json",
             f"file://{given}"],
            env={**env, **changed}, capture_output=True, text=True, timeout=60, check=False,
        )
        return done.returncode, done.stdout + done.stderr

    create = {
        "SdkAppId": stack.sdk_app_id, "RoomId": "sdk_tccli", "RoomIdType": 0, "UserId": "robot", "UserSig": env["USER_SIG"],
        "RecordParams": {"RecordMode": 1, "SubscribeStreamUserIds": {
            "SubscribeAudioUserIds": ["alice", "b.*$"], "UnSubscribeVideoUserIds": []}},
        "MixLayoutParams": {"MixLayoutMode": 4, "WaterMarkList": [], "MixLayoutList": [
            {"Top": 0, "Left": 0, "Width": 640, "Height": 720, "UserId": "alice"},
            {"Top": 0, "Left": 640, "Width": 640, "Height": 720}]},
        "StorageParams": {"CloudStorage": {"Vendor": 1, "Region": "us-east-1", "Bucket": "recordings",
                                           "AccessKey": "AK", "SecretKey": "SK"}},
    }  # fmt: skip
    code, text = call("CreateCloudRecording", create)
    assert code == 0, text
    task = json.loads(text)["TaskId"]
    one: dict[str, object] = {"SdkAppId": stack.sdk_app_id, "TaskId": task}
    assert json.loads(call("DescribeCloudRecording", one)[1])["Status"] == "Idle"
    assert "AuthFailure.SignatureFailure" in call("DescribeCloudRecording", one, TENCENTCLOUD_SECRET_KEY="x" * 32)[1]
    assert "ResourceNotFound" in call("DescribeCloudRecording", {**one, "TaskId": "任务 a+b"})[1]
    wrong = {**create, "RecordParams": {"RecordMode": 7}}
    assert "InvalidParameter.OutOfRange" in call("CreateCloudRecording", wrong)[1]
    # One call in 15 s, so that a program that starts for each call can be too fast.
    span = {"StartTime": "2025-03-04 09:00", "EndTime": "2025-03-04 12:30", "SdkAppid": stack.sdk_app_id}
    with ThreadPoolExecutor(3) as together:  # a slow machine starts them apart, but not by so much
        codes = [text for _, text in together.map(lambda _: call("DescribeTrtcRoomUsage", span), range(3))]
    assert 1 <= sum("RequestLimitExceeded" in text for text in codes) <= 2, codes
    until("the next call", lambda: "RequestLimitExceeded" not in call("DescribeTrtcRoomUsage", span)[1], 60)
    assert json.loads(call("DeleteCloudRecording", one)[1])["TaskId"] == task
