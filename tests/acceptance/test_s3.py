"""Recordings in a bucket of another server: the official SDK names an S3 endpoint, the files are there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import CALLBACK_KEY
from tests.support.measure import measure
from tests.support.numbered import joined, pictures
from tests.support.publishers import publish_whip
from tests.support.receiver import CallbackReceiver
from tests.support.s3 import S3Server, s3_server
from tests.support.stack import Stack, until

ROOM = "bucket_room"
BUCKET = "tenant-bucket"
EARLY_S, LATE_S = 0.040, 0.060


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "buckets") as server:
        server.bucket(BUCKET)
        yield server


def storage(s3: S3Server, **changes: Any) -> dict[str, Any]:
    place = {
        "Vendor": 1,
        "Region": "us-east-1",
        "Bucket": BUCKET,
        "AccessKey": s3.access_key,
        "SecretKey": s3.secret_key,
        "FileNamePrefix": ["school", "2026"],
        "EndpointUrl": s3.endpoint,
        **changes,
    }
    return {"CloudStorage": place}


def create(stack: Stack, robot: str, place: dict[str, Any], **record: Any) -> str:
    params = {
        "RoomId": ROOM,
        "RoomIdType": 0,
        "UserId": robot,
        "UserSig": stack.usersig(robot),
        "RecordParams": {"RecordMode": 1, "MaxIdleTime": 30, **record},
        "StorageParams": place,
    }
    return str(stack.call("CreateCloudRecording", params)["TaskId"])


@dataclass
class Recorded:
    """One call, recorded into the bucket, and into one that refuses."""

    task: str
    refused: str
    sent: dict[str, Any]
    directory: Path


@pytest.fixture(scope="module")
def recorded(stack: Stack, callbacks: CallbackReceiver, s3: S3Server) -> Recorded:
    alice = publish_whip(stack, ROOM, "alice", seconds=40)
    try:
        alice.wait_up()
        task = create(stack, "to_bucket", storage(s3), OutputFormat=1, AvMerge=1)
        refused = create(
            stack, "to_nobody", storage(s3, AccessKey="AKIDofNobodyAtAll", SecretKey="secretOfNobodyAtAll")
        )
        callbacks.wait(304, task_id=task, timeout_s=30)
        callbacks.wait(308, task_id=refused, timeout_s=30)
    finally:
        sent = alice.end()
    stack.delete(task)
    callbacks.wait(310, task_id=task, timeout_s=30)
    stack.delete(refused)
    callbacks.wait(305, task_id=refused, timeout_s=30)
    return Recorded(task, refused, sent, s3.root / BUCKET / "school" / "2026" / task)


def test_the_files_are_in_the_bucket_under_their_published_names(
    recorded: Recorded, s3: S3Server, stack: Stack
) -> None:
    keys = sorted(s3.objects(BUCKET))
    assert all(key.startswith(f"school/2026/{recorded.task}/{stack.sdk_app_id}_") for key in keys)
    assert {key.rsplit(".", 1)[1] for key in keys} == {"m3u8", "ts", "mp4"}
    (described,) = stack.describe(recorded.task)["StorageFileList"]
    assert f"school/2026/{recorded.task}/{described['FileName']}" in keys
    assert s3.unfinished(BUCKET) == []


def test_what_is_in_the_bucket_plays_and_is_complete(recorded: Recorded, tmp_path: Path) -> None:
    (index,) = recorded.directory.glob("*.m3u8")
    lines = index.read_text().splitlines()
    segments = [recorded.directory / line for line in lines if line and not line.startswith("#")]
    assert lines[-1] == "#EXT-X-ENDLIST"
    assert sorted(segments) == sorted(recorded.directory.glob("*.ts"))
    (mp4,) = recorded.directory.glob("*.mp4")
    for file in (joined(segments, tmp_path / "all.ts"), mp4):
        seen = pictures(file)
        assert seen.holes() == []
        assert seen.numbers[-1] >= recorded.sent["pictures"] - 2, "the end of the call is missing"
    offsets = sorted(measure(mp4).av_offsets_s)
    assert len(offsets) >= 3
    assert all(-EARLY_S <= offset <= LATE_S for offset in offsets), offsets


def test_callbacks_are_signed_and_the_same_as_for_a_local_bucket(
    recorded: Recorded, callbacks: CallbackReceiver
) -> None:
    received = callbacks.events(task_id=recorded.task)
    assert all(event.signed_with(CALLBACK_KEY) for event in received)
    types = [e.type for e in sorted(received, key=lambda e: e.info["EventMsTs"])]
    assert types[:2] == [301, 303]
    assert types.index(302) < types.index(305) < types.index(310)
    assert 308 not in types
    (final,) = [e.payload for e in received if e.type == 310]
    assert final["Status"] == 0
    assert [recorded.directory / name for name in final["FileList"]] == list(recorded.directory.glob("*.mp4"))


def test_f6_a_refused_key_is_told_at_once_and_without_it(
    recorded: Recorded, callbacks: CallbackReceiver
) -> None:
    told = [e.payload for e in callbacks.events(308, task_id=recorded.refused)]
    assert told
    assert all(payload["Code"] == "XAdminUserNotFound" for payload in told)
    (held_back,) = [e.payload for e in callbacks.events(305, task_id=recorded.refused)]
    assert held_back["Status"] == 1


def test_no_key_of_a_bucket_is_in_the_log_callbacks_answers_or_database(
    recorded: Recorded, callbacks: CallbackReceiver, s3: S3Server, stack: Stack
) -> None:
    secrets = [s3.access_key, s3.secret_key, "AKIDofNobodyAtAll", "secretOfNobodyAtAll"]
    places = {
        "log": stack.log().encode(),
        "callbacks": b"\n".join(event.raw for event in callbacks.events()),
        "describe": json.dumps([stack.describe(t) for t in (recorded.task, recorded.refused)]).encode(),
        "record show": stack.cli("record", "show", recorded.refused).encode(),
    }
    for path in stack.data_dir.rglob("*"):
        if path.is_file() and path.suffix not in (".ts", ".mp4"):
            places[str(path)] = path.read_bytes()
    assert any(name.endswith("roomtape.db") for name in places)
    found = [(place, secret) for place, text in places.items() for secret in secrets if secret.encode() in text]
    assert found == []


def test_an_endpoint_that_is_not_allowed_is_told_as_such(
    stack: Stack, callbacks: CallbackReceiver, s3: S3Server
) -> None:
    """Development allows loopback and nothing else of what is private: not the clouds' metadata service."""
    alice = publish_whip(stack, ROOM, "alice", seconds=40)
    try:
        alice.wait_up()
        task = create(stack, "to_metadata", storage(s3, EndpointUrl="http://169.254.169.254"))
        told, *_ = callbacks.wait(308, task_id=task, timeout_s=30)
    finally:
        alice.end()
        stack.delete(task)
    assert told.payload["Code"] == "EndpointNotAllowed"
    assert "169.254" not in told.payload["Message"]
    until("Exited", lambda: stack.describe(task)["Status"] == "Exited" or None)
