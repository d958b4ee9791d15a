"""Who may do what, by the command on one side and the official SDK on the other: every change is at once.

Each step asks right after the command has returned; the server is never restarted. One test starts the command
as a user does; in the others the same command line is run in this process, which spares some sixty starts.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models, trtc_client

from roomtape.cli.main import run
from tests.support.stack import Stack

pytestmark = pytest.mark.slow
DESCRIBE, DELETE, USAGE = "DescribeCloudRecording", "DeleteCloudRecording", "DescribeTrtcUsage"
DENIED = "AuthFailure.UnauthorizedOperation"
# What a call is answered that was let through: there is no such task; the usage is not built.
PASSED = {DESCRIBE: "ResourceNotFound", DELETE: "ResourceNotFound", USAGE: "UnsupportedOperation"}
DAY = {"StartTime": "2025-03-04", "EndTime": "2025-03-04"}


Command = Callable[..., str]


def here(stack: Stack) -> Command:
    """The command as `Stack.cli` runs it, without a process of its own."""

    def command(*arguments: str) -> str:
        told, complaints = io.StringIO(), io.StringIO()
        with redirect_stdout(told), redirect_stderr(complaints):
            code = run([*arguments, "--data-dir", str(stack.data_dir)])
        if code:
            raise RuntimeError(f"{arguments} ended with {code}: {complaints.getvalue()}")
        return told.getvalue()

    return command


class SubUser:
    """A sub-user with a key, and what its calls are answered."""

    def __init__(self, stack: Stack, command: Command, tmp_path: Path, **key: str) -> None:
        self.stack, self.command, self.tmp_path = stack, command, tmp_path
        self.uin = str(self.json("policy", "user", "--name", "outside")["uin"])
        self.key = self.json("key", "create", "--uin", self.uin, *(part for pair in key.items() for part in pair))
        self.server = self.pid()

    def pid(self) -> int:
        return next(int(process["pid"]) for process in self.json("node") if process["role"] == "server")

    def json(self, *arguments: str) -> Any:
        return json.loads(self.command(*arguments, "--json"))

    def attach(self, name: str, *statements: dict[str, Any]) -> None:
        if not statements:
            self.command("policy", "attach", self.uin, name)
            return
        file = self.tmp_path / f"{name}.json"
        file.write_text(json.dumps({"version": "2.0", "statement": list(statements)}))
        self.command("policy", "attach", self.uin, name, "--file", str(file))

    def detach(self, name: str) -> None:
        self.command("policy", "detach", self.uin, name)

    def call(self, action: str, app: int | None = None, task: str = "nobody") -> str:
        """The code the official SDK raises."""
        http = HttpProfile(protocol="http", endpoint=self.stack.dev["http_url"].split("://", 1)[1])
        made = credential.Credential(self.key["secret_id"], self.key["secret_key"], self.key.get("token"))
        client = trtc_client.TrtcClient(made, "ap-singapore", ClientProfile(httpProfile=http))
        request = getattr(models, f"{action}Request")()
        members: dict[str, Any] = {"SdkAppId": self.stack.sdk_app_id if app is None else app}
        members |= DAY if action == USAGE else {"TaskId": task}
        request.from_json_string(json.dumps(members))
        try:
            getattr(client, action)(request)
        except TencentCloudSDKException as error:
            told = error
        else:
            return "passed"
        assert told.get_request_id()
        code: str = told.get_code()
        return "passed" if code == PASSED[action] else code


@pytest.fixture
def sub_user(stack: Stack, tmp_path: Path) -> Iterator[Callable[..., SubUser]]:
    made: list[SubUser] = []

    def make(command: Command | None = None, **key: str) -> SubUser:
        made.append(SubUser(stack, command or here(stack), tmp_path, **key))
        return made[-1]

    yield make
    for user in made:
        assert user.pid() == user.server, "nothing of this takes a restart"


def resource(app: int | str) -> str:
    return f"qcs::trtc::uin/:sdkappid/{app}"


def allow(action: str, on: str = "*", **condition: Any) -> dict[str, Any]:
    given = {"effect": "allow", "action": [f"name/trtc:{action}"], "resource": [on]}
    return given | ({"condition": condition} if condition else {})


def test_presets(sub_user: Callable[..., SubUser], stack: Stack) -> None:
    user = sub_user(stack.cli)
    assert user.call(DESCRIBE) == DENIED, "a sub-user may nothing at first"
    user.attach("QcloudTRTCReadonlyAccess")
    assert (user.call(DESCRIBE), user.call(DELETE), user.call(USAGE)) == ("passed", DENIED, "passed")
    user.attach("QcloudTRTCFullAccess")
    assert user.call(DELETE) == "passed"
    user.detach("QcloudTRTCFullAccess")
    assert user.call(DELETE) == DENIED
    user.detach("QcloudTRTCReadonlyAccess")
    assert user.call(DESCRIBE) == DENIED


def test_an_explicit_deny_wins(sub_user: Callable[..., SubUser]) -> None:
    user = sub_user()
    user.attach("QcloudTRTCFullAccess")
    user.attach("no-stop", {"effect": "deny", "action": "name/trtc:Delete*", "resource": resource(user.stack.sdk_app_id)})
    assert (user.call(DESCRIBE), user.call(DELETE)) == ("passed", DENIED)
    user.detach("no-stop")
    assert user.call(DELETE) == "passed"


def test_one_application(sub_user: Callable[..., SubUser], stack: Stack) -> None:
    user = sub_user()
    other = user.json("app", "create")["sdk_app_id"]
    user.attach("one", allow("DescribeCloudRecording", resource(stack.sdk_app_id)))
    assert (user.call(DESCRIBE), user.call(DESCRIBE, other), user.call(DELETE)) == ("passed", DENIED, DENIED)
    user.attach("one", allow("DescribeCloudRecording", resource(other)))  # replaces that of the same name
    assert (user.call(DESCRIBE), user.call(DESCRIBE, other)) == (DENIED, "passed")


def test_an_action_that_allows_only_everything(sub_user: Callable[..., SubUser], stack: Stack) -> None:
    user = sub_user()
    user.attach("usage", allow(USAGE, resource(stack.sdk_app_id)))
    assert user.call(USAGE) == DENIED, "an application cannot be named for this one"
    user.attach("usage", allow(USAGE, "*"))
    assert user.call(USAGE) == "passed"


def test_conditions(sub_user: Callable[..., SubUser]) -> None:
    user = sub_user()
    user.attach("here", allow(DESCRIBE, ip_equal={"qcs:ip": ["127.0.0.0/8", "::1"]}))
    assert user.call(DESCRIBE) == "passed"
    user.attach("here", allow(DESCRIBE, ip_equal={"qcs:ip": "10.0.0.0/8"}))
    assert user.call(DESCRIBE) == DENIED
    user.attach("here", allow(DESCRIBE, ip_not_equal={"qcs:ip": "10.0.0.0/8"}))
    assert user.call(DESCRIBE) == "passed"

    def at(offset_s: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + offset_s))

    user.attach("here", allow(DESCRIBE, date_less_than={"qcs:current_time": at(3600)}))
    assert user.call(DESCRIBE) == "passed"
    user.attach("here", allow(DESCRIBE, date_less_than={"qcs:current_time": at(-3600)}))
    assert user.call(DESCRIBE) == DENIED


def test_where_a_key_may_be_used_from(sub_user: Callable[..., SubUser], stack: Stack) -> None:
    user = sub_user(**{"--allow": "127.0.0.0/8"})
    user.attach("QcloudTRTCFullAccess")
    assert user.call(DESCRIBE) == "passed"
    secret_id = user.key["secret_id"]
    user.command("key", "addresses", secret_id, "--allow", "10.0.0.0/8")
    assert user.call(DESCRIBE) == "IpNotInWhitelist"
    user.command("key", "addresses", secret_id, "--deny", "127.0.0.1")
    assert user.call(DESCRIBE) == "IpInBlacklist"
    user.command("key", "addresses", secret_id)
    assert user.call(DESCRIBE) == "passed"
    row = next(row for row in user.json("key", "list") if row["secret_id"] == secret_id)
    assert (row["allow"], row["deny"]) == ([], [])
    with pytest.raises(RuntimeError, match="is no address or network"):
        user.command("key", "addresses", secret_id, "--allow", "10.0.0.1/8")


def test_a_temporary_key_needs_its_token(sub_user: Callable[..., SubUser], stack: Stack) -> None:
    user = sub_user(**{"--lifetime": "3600"})
    user.attach("QcloudTRTCFullAccess")
    assert user.call(DESCRIBE) == "passed"
    token = user.key.pop("token")
    assert user.call(DESCRIBE) == "AuthFailure.TokenFailure"
    user.key["token"] = token[::-1]
    assert user.call(DESCRIBE) == "AuthFailure.TokenFailure"
    user.key["token"] = token
    user.command("key", "disable", user.key["secret_id"])
    assert user.call(DESCRIBE) == "AuthFailure.SecretIdNotFound"
    user.command("key", "disable", user.key["secret_id"], "--undo")
    assert user.call(DESCRIBE) == "passed"


def test_a_key_is_followed_by_another(sub_user: Callable[..., SubUser], stack: Stack) -> None:
    user = sub_user()
    user.attach("QcloudTRTCFullAccess")
    former = user.key
    user.key = user.json("key", "rotate", former["secret_id"])
    assert user.call(DESCRIBE) == "passed"
    user.detach("QcloudTRTCFullAccess")
    assert user.call(DESCRIBE) == DENIED, "it is of the same account"
    user.attach("QcloudTRTCFullAccess")
    following, user.key = user.key, former
    assert user.call(DESCRIBE) == "passed", "both are good"
    user.command("key", "disable", former["secret_id"])
    assert user.call(DESCRIBE) == "AuthFailure.SecretIdNotFound"
    user.key = following
    assert user.call(DESCRIBE) == "passed"


def test_another_account_sees_nothing_of_the_first(sub_user: Callable[..., SubUser], stack: Stack) -> None:
    """A task of the first account's application is as good as none; an application is not the other's."""
    user = sub_user()
    other = user.json("policy", "account", "--name", "other")["uin"]
    theirs = user.json("app", "create", "--uin", str(other))["sdk_app_id"]
    user.key = user.json("key", "create", "--uin", str(other))
    task = stack.create_recording("first_account")
    assert user.call(DESCRIBE, theirs) == "passed", "without a policy: it is a root account"
    assert user.call(DESCRIBE) == user.call(DESCRIBE, 1499999999) == "InvalidParameter.SdkAppId"
    assert user.call(DESCRIBE, theirs, task=task) == user.call(DESCRIBE, theirs)
    assert user.call(DELETE, theirs, task=task) == "passed"
    assert stack.describe(task)["Status"] == "Idle"
    user.key = {"secret_id": stack.dev["secret_id"], "secret_key": stack.dev["secret_key"]}
    assert user.call(DESCRIBE, theirs) == "InvalidParameter.SdkAppId"
    stack.delete(task)


def test_an_account_is_blocked_at_once(sub_user: Callable[..., SubUser], stack: Stack) -> None:
    user = sub_user()
    user.attach("QcloudTRTCFullAccess")
    user.command("policy", "block", user.uin)
    assert user.call(DESCRIBE) == "AuthFailure"
    user.command("policy", "block", user.uin, "--undo")
    assert user.call(DESCRIBE) == "passed"
