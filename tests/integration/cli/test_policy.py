"""`roomtape policy` against a running server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Bench


async def test_a_sub_user_is_made_given_rights_and_deprived_of_them(bench: Bench, tmp_path: Path) -> None:
    app = (await bench.json("app", "create"))["sdk_app_id"]
    user = (await bench.json("policy", "user", "--name", "ci"))["uin"]

    async def decision(action: str, *more: str) -> str:
        return str((await bench.json("policy", "test", str(user), action, *more))["decision"])

    assert await decision("DescribeCloudRecording", "--app", str(app)) == "deny"
    attached = await bench.json("policy", "attach", str(user), "QcloudTRTCReadonlyAccess")
    assert attached["policies"] == ["QcloudTRTCReadonlyAccess"]
    assert await decision("DescribeCloudRecording", "--app", str(app)) == "allow"
    assert await decision("DeleteCloudRecording", "--app", str(app)) == "deny"

    document = {
        "version": "2.0",
        "statement": [
            {
                "effect": "allow",
                "action": "name/trtc:DeleteCloudRecording",
                "resource": f"qcs::trtc::uin/:sdkappid/{app}",
                "condition": {"ip_equal": {"qcs:ip": "10.0.0.0/8"}},
            }
        ],
    }
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(document))
    await bench.json("policy", "attach", str(user), "stop", "--file", str(file))
    delete = ("DeleteCloudRecording", "--app", str(app))
    assert await decision(*delete, "--address", "10.1.2.3") == "allow"
    assert await decision(*delete, "--address", "192.0.2.1") == "deny"
    assert await decision("DeleteCloudRecording", "--app", "5", "--address", "10.1.2.3") == "deny"
    assert (await bench.json("policy", "list", str(user)))[1] == {"name": "stop", "document": document}

    await bench.json("policy", "detach", str(user), "stop")
    assert await decision(*delete, "--address", "10.1.2.3") == "deny"
    row = (await bench.json("policy", "list"))[-1]
    assert (row["uin"], row["name"], row["policies"]) == (user, "ci", ["QcloudTRTCReadonlyAccess"])
    key = await bench.json("key", "create", "--uin", str(user))
    held = await bench.access.key(key["secret_id"])
    assert held is not None
    assert held.account.uin == user


async def test_accounts_own_their_applications(bench: Bench) -> None:
    first = await bench.json("app", "create")
    other = await bench.json("policy", "account", "--name", "school", "--uin", "200000000001")
    assert other == {"uin": 200000000001, "owner_uin": None, "name": "school"}
    theirs = await bench.json("app", "create", "--uin", "200000000001")
    user = await bench.json("policy", "user", "--owner", "200000000001")
    owners = {row["sdk_app_id"]: row["uin"] for row in await bench.json("app", "list")}
    assert owners == {theirs["sdk_app_id"]: 200000000001, first["sdk_app_id"]: owners[first["sdk_app_id"]]}
    assert owners[first["sdk_app_id"]] not in (200000000001, user["uin"])
    for line, says in (
        (("app", "create", "--uin", "5"), "no root account 5"),
        (("app", "create", "--uin", str(user["uin"])), "no root account"),
        (("policy", "account", "--uin", "200000000001"), "is there already"),
    ):
        code, out, err = await bench.command(*line)
        assert (code, out, says in err, err.count("\n")) == (1, "", True, 1)


async def test_an_account_is_blocked_and_let_in_again(bench: Bench) -> None:
    user = (await bench.json("policy", "user"))["uin"]
    await bench.json("policy", "block", str(user))
    assert (await bench.json("policy", "list"))[-1]["blocked"] is True
    await bench.json("policy", "block", str(user), "--undo")
    assert (await bench.json("policy", "list"))[-1]["blocked"] is False


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[]", "JSON object"),
        ('{"version": "1.0", "statement": []}', 'version must be "2.0"'),
        (None, "No such file"),
    ],
)
async def test_a_document_that_does_not_read_is_refused_in_one_line(
    bench: Bench, tmp_path: Path, content: str | None, says: str
) -> None:
    user = (await bench.json("policy", "user"))["uin"]
    file = tmp_path / "policy.json"
    if content is not None:
        file.write_text(content)
    code, out, err = await bench.command("policy", "attach", str(user), "p", "--file", str(file))
    assert (code, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1
    code, _, err = await bench.command("policy", "attach", str(user), "NoSuchPreset")
    assert (code, "QcloudTRTCFullAccess" in err) == (1, True)
