"""After a whole recording, its failures and a new master key: no secret is anywhere but where it belongs."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import stat
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.publishers import publish_rtmp, publish_whip
from tests.support.receiver import CallbackReceiver
from tests.support.stack import start_stack, until

pytestmark = pytest.mark.slow

ACCESS_KEY = "AKIAZZBUCKETACCESSKEY01"
BUCKET_SECRET = "zz/Bucket+Secret0123456789abcdefghijklmn"
CALLBACK_KEY = "zzCallbackKey0123456789abcdefghi"
TICKET = "zz-PrivateMapKey*0123456789_abcdefghijklmnop"
FORGED = "eJzzForgedUserSig0123456789abcdefghijklmnopqrstuvwxyz"
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
        for words in (("app", "list"), ("key", "list"), ("record", "list"), ("callback", "list"), ("node",)):
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
        **{f"UserSig {i}": sig for i, sig in enumerate(sigs)},
        **{f"master key {i}": key for i, key in enumerate(master)},
    }  # fmt: skip
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
