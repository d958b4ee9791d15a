"""After a whole recording, its failures and a new master key: no secret is anywhere but where it belongs."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sqlite3
import ssl
import stat
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from roomtape.state.resealing import COLUMNS
from roomtape.state.sealing import Sealer, SealError
from tests.support.publishers import publish_rtmp, publish_whip
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, start_stack, until

pytestmark = pytest.mark.slow

ACCESS_KEY = "AKIAZZBUCKETACCESSKEY01"
BUCKET_SECRET = "zz/Bucket+Secret0123456789abcdefghijklmn"
CALLBACK_KEY = "zzCallbackKey0123456789abcdefghi"
TICKET = "zz-PrivateMapKey*0123456789_abcdefghijklmnop"
FORGED = "eJzzForgedUserSig0123456789abcdefghijklmnopqrstuvwxyz"
AUTO_SECRET = "zz/Automatic+Secret0123456789abcdefghijk"
BEARER = "eJzzBearer0123456789abcdefghijklmnopqrstuvwxyz"
# Whoever asks for the file may read it as its owner only; this is where the secrets belong.
KEEPERS = {"dev.json", "master.key", "run/server.json", "run/admin.token"}
USER_SIG = re.compile(rb"eJ[A-Za-z0-9*_-]{60,}")


def spellings(secret: str) -> set[bytes]:
    """The forms in which a secret might have been written down."""
    raw = secret.encode()
    encoded = base64.b64encode(raw).decode().rstrip("=")
    return {
        raw,
        encoded[:-1].encode(),
        raw.hex().encode(),
        urllib.parse.quote(secret, safe="").encode(),
        json.dumps(secret)[1:-1].encode(),
    }


def files(data_dir: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the data directory but the keepers, with its name."""
    for path in sorted(data_dir.rglob("*")):
        name = str(path.relative_to(data_dir))
        if name not in KEEPERS and stat.S_ISREG(path.lstat().st_mode):
            yield name, path.read_bytes()


def sealed_secrets(data_dir: Path) -> Iterator[tuple[str, str]]:
    """Every sealed value of the database, opened: what is sealed is a secret, whatever it is one day."""
    ring = Sealer.load(data_dir / "master.key")
    with sqlite3.connect(f"file:{data_dir}/roomtape.db?mode=ro", uri=True) as db:
        for place in COLUMNS:
            column = f"{place.column.table.name}.{place.column.name}"
            query = f"SELECT {place.name_from.name}, {place.column.name} FROM {place.column.table.name}"
            for name, sealed in db.execute(f"{query} WHERE {place.column.name} IS NOT NULL"):
                for text in _leaves(_opened(ring, sealed, [c.format(name) for c in place.contexts])):
                    yield f"{column} of {name}", text
    db.close()


def _opened(ring: Sealer, sealed: bytes, contexts: list[str]) -> bytes:
    for context in contexts:
        try:
            return ring.open(sealed, context).reveal_bytes()
        except SealError:
            continue
    raise AssertionError("a sealed value that nobody can open")


def _leaves(opened: bytes) -> Iterator[str]:
    """The texts in a sealed object that are long enough to be nobody else's; other values as they are."""
    try:
        told = json.loads(opened)
    except ValueError:
        told = opened.decode("latin-1")
    waiting = [told]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += (value for name, value in one.items() if name != "secret_id")  # which is public
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str) and len(one) > 15:
            yield one


def temporary_key(stack: Stack, answers: list[bytes]) -> dict[str, str]:
    """A temporary key that has called, with its token and with a wrong one."""
    made: dict[str, str] = json.loads(stack.cli("key", "create", "--lifetime", "3600", "--json"))
    cases = ((made["token"], "ResourceNotFound"), (made["token"][::-1], "AuthFailure.TokenFailure"))
    for token, code in cases:
        client = stack.sdk()
        client.credential = credential.Credential(made["secret_id"], made["secret_key"], token)
        with pytest.raises(TencentCloudSDKException) as refused:
            client.call_json("DescribeCloudRecording", {"SdkAppId": stack.sdk_app_id, "TaskId": "nobody"})
        assert refused.value.get_code() == code
        answers.append(str(refused.value).encode())
    return made


def without_banner(log: str) -> str:
    """The log but for what `dev` prints to its user on stdout, which is in the same file here."""
    begin = log.index("roomtape dev is ready")
    banner = log[begin:].partition("\ntimestamp=")[0]
    return log.replace(banner, "")


def test_no_secret_is_anywhere_but_where_it_belongs(tmp_path: Path) -> None:
    receiver = CallbackReceiver()
    answers: list[bytes] = []
    found: dict[str, bytes] = {}
    data = tmp_path / "d"
    with start_stack(data, env={"ROOMTAPE_LOG__LEVEL": "debug"}) as stack:
        stack.set_callbacks(receiver.url, key=CALLBACK_KEY)
        robot_sig, master = stack.usersig("robot"), [(data / "master.key").read_text().strip()]
        publishers = [
            publish_whip(stack, "vault", "alice", seconds=60), publish_rtmp(stack, "vault", "bob", seconds=60),
        ]  # fmt: skip
        for publisher in publishers:
            publisher.wait_up()

        def create(**changes: object) -> str:
            """What the official client tells of a Create with distinctive secrets."""
            storage = {
                "Vendor": 1, "Region": "us-east-1", "Bucket": "recordings",
                "AccessKey": ACCESS_KEY, "SecretKey": BUCKET_SECRET,
            }  # fmt: skip
            members = {
                "RoomId": "vault", "RoomIdType": 0, "UserId": "robot", "UserSig": robot_sig,
                "PrivateMapKey": TICKET, "RecordParams": {"RecordMode": 1, "OutputFormat": 1},
                "StorageParams": {"CloudStorage": storage}, **changes,
            }  # fmt: skip
            try:
                answer = stack.call("CreateCloudRecording", members)
            except Exception as refused:  # the client's own exception, whose text is the answer
                answers.append(str(refused).encode())
                return ""
            answers.append(json.dumps(answer).encode())
            return str(answer["TaskId"])

        temporary = temporary_key(stack, answers)
        automatic = {"RecordParams": {"RecordMode": 1}, "StorageParams": {"CloudStorage": {
            "Vendor": 1, "Region": "us-east-1", "Bucket": "zz", "AccessKey": ACCESS_KEY, "SecretKey": AUTO_SECRET}}}  # fmt: skip
        (tmp_path / "automatic.json").write_text(json.dumps(automatic))
        other = json.loads(stack.cli("app", "create", "--json"))["sdk_app_id"]
        answers.append(stack.cli("app", "set", str(other), "--auto-record", str(tmp_path / "automatic.json")).encode())
        admin_token = (data / "run" / "admin.token").read_text().strip()
        successor = json.loads(stack.cli("key", "rotate", dev_id := stack.dev["secret_id"], "--json"))
        assert successor["former"] == dev_id
        second_app_key = json.loads(stack.cli("app", "add-key", str(other), "--json"))["app_secret_key"]
        task = create()
        assert task
        receiver.wait(301, task_id=task)
        assert create(UserSig=FORGED) == ""
        assert create(RoomId=17, UserSig=FORGED) == ""
        assert create(RecordParams={"RecordMode": 2}, UserId="other") == ""
        nowhere = {
            "Vendor": 0, "Region": "ap-guangzhou", "Bucket": "zz", "AccessKey": ACCESS_KEY,
            "SecretKey": BUCKET_SECRET, "EndpointUrl": "http://127.0.0.1:9",
        }  # fmt: skip
        create(RoomId="elsewhere", StorageParams={"CloudStorage": nowhere})
        answers.append(json.dumps(stack.describe(task)).encode())
        door = urllib.request.Request(
            stack.whip_url("vault", "eve"), b"v=0", {"Content-Type": "application/sdp"}
        )
        door.add_header("Authorization", f"Bearer {BEARER}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(door, timeout=10)
        answers.append(refused.value.read())

        # A worker that dies with all of it in hand, and a new master key in the middle.
        os.kill(stack.pid_of("worker"), signal.SIGABRT)
        answers.append(stack.cli("key", "rotate-master").encode())
        master.append((data / "master.key").read_text().split()[0])
        assert master[0] != master[1]
        assert stat.S_IMODE((data / "master.key").stat().st_mode) == 0o600
        for words in (("app", "list"), ("key", "list"), ("record", "list"), ("callback", "list"), ("node",), ("library", "list")):
            answers.append(stack.cli(*words, "--json", check=False).encode())
        until("the task is still there", lambda: task in stack.cli("record", "list", "--json"))
        stack.delete(task)
        receiver.wait(310, task_id=task, timeout_s=60)
        for publisher in publishers:
            publisher.end()
        found |= {f"while running: {name}": content for name, content in files(data)}
        dev = dict(stack.dev)
        for keeper in KEEPERS:
            assert stat.S_IMODE((data / keeper).stat().st_mode) == 0o600, keeper
        database = found["while running: roomtape.db"] + found["while running: roomtape.db-wal"]
        assert task.encode() in database, "the right database was read"
        sigs = [robot_sig, FORGED, BEARER]
    receiver.close()
    found |= {f"afterwards: {name}": content for name, content in files(data)}
    found["the log"] = without_banner(stack.log()).encode()
    found |= {f"callback {i}": event.raw for i, event in enumerate(receiver.events())}
    found |= {f"answer {i}": answer for i, answer in enumerate(answers)}
    found |= {str(path): path.read_bytes() for path in tmp_path.rglob("core*") if path.is_file()}

    secrets = {
        "bucket access key": ACCESS_KEY, "bucket secret": BUCKET_SECRET, "callback key": CALLBACK_KEY,
        "PrivateMapKey": TICKET, "API secret": dev["secret_key"], "UserSig key": dev["app_secret_key"],
        "bucket secret of automatic recordings": AUTO_SECRET, "admin token": admin_token,
        "secret of a key's successor": successor["secret_key"], "second UserSig key": second_app_key,
        "secret of a temporary key": temporary["secret_key"], "its token": temporary["token"],
        **{f"UserSig {i}": sig for i, sig in enumerate(sigs)},
        **{f"master key {i}": key for i, key in enumerate(master)},
    }  # fmt: skip
    opened = dict(sealed_secrets(data))
    assert {place.partition(" of ")[0] for place in opened} == {f"{c.column.table.name}.{c.column.name}" for c in COLUMNS}
    secrets |= opened
    leaks = [
        f"{what} in {where}"
        for what, secret in secrets.items()
        for spelling in spellings(secret)
        for where, content in found.items()
        if spelling in content
    ]
    leaks += [
        f"a master key's bytes in {where}"
        for key in master
        for where, content in found.items()
        if base64.b64decode(key) in content
    ]
    leaks += [
        f"a UserSig in {where}"
        for where, content in found.items()
        if not where.endswith((".ts", ".mp4", ".j")) and USER_SIG.search(content)
    ]
    assert leaks == []
    assert USER_SIG.fullmatch(robot_sig.encode()), "what is looked for is what a UserSig looks like"
    assert dev["secret_key"] in stack.log(), "the banner is read, and is all that is left out"
    assert task.encode() in found["the log"], "the right log was read"
    assert len(found) > 20


def test_the_keys_of_tls_stay_in_their_files(tmp_path: Path) -> None:
    data = tmp_path / "d"
    keepers = {"tls/ca.key", "tls/server.key"}
    with start_stack(data, args=("--tls",), env={"ROOMTAPE_LOG__LEVEL": "debug"}) as stack:
        trust = ssl.create_default_context(cafile=data / "tls" / "ca.pem")
        with urllib.request.urlopen(f"{stack.dev['http_url']}/livez", context=trust, timeout=10) as answer:
            answers = [answer.read()]
        good = (data / "tls" / "server.pem").read_bytes()
        former = (data / "tls" / "server.key").read_text()
        (data / "tls" / "server.pem").unlink()
        answers.append(stack.cli("config", "reload").encode())  # a new leaf with a new key
        until("the reload", lambda: "configuration_reloaded" in stack.log())
        (data / "tls" / "server.key").write_text(former)  # which is not the certificate's
        answers.append(stack.cli("config", "reload", check=False).encode())
        until("the refusal", lambda: "certificate_not_renewed" in stack.log())
        keys = [former, (data / "tls" / "ca.key").read_text()]
        (data / "tls" / "server.pem").write_bytes(good)
        for keeper in keepers:
            assert stat.S_IMODE((data / keeper).stat().st_mode) == 0o600, keeper
    found = {name: content for name, content in files(data) if name not in keepers}
    found["the log"] = stack.log().encode()
    found |= {f"answer {i}": answer for i, answer in enumerate(answers)}
    # The first two lines of base64 hold the private number, what follows is the public key.
    lines = [line.encode() for key in keys for line in key.splitlines()[1:3]]
    assert {len(line) for line in lines} == {64}
    assert [name for name, content in found.items() for line in lines if line in content] == []
