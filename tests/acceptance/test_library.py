"""The media library and automatic recording through the outside only: official SDK, signed links, callbacks."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from roomtape.console.pages import cell
from tests.acceptance.conftest import CALLBACK_KEY
from tests.support.measure import measure
from tests.support.numbered import joined, pictures
from tests.support.publishers import publish_rtmp, publish_whip
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, until

ROOM = "library"
CALL_S = 13.0
TOLD_OF_NO_LIBRARY = {303, 304, 305, 307, 308, 310}
TASKS: dict[str, dict[str, Any]] = {
    "mp4": {"MediaType": 0},
    "hls": {"MediaType": 1, "UserDefineRecordId": "lesson-7"},
    "both": {"MediaType": 3, "ExpireTime": 86_400},
}


def fetch(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, {k.lower(): v for k, v in refused.headers.items()}, refused.read()


@dataclass
class Call:
    """What the recorded call left behind."""

    callbacks: CallbackReceiver
    tasks: dict[str, str]
    live: dict[str, dict[str, Any]]

    def told(self, task: str, suffix: str, user: str = "alice") -> dict[str, Any]:
        """The library's word on a user's file of that ending."""
        events = self.callbacks.events(311, task_id=self.tasks[task])
        found = [
            e.payload["TencentVod"]
            for e in events
            if e.payload["TencentVod"]["CacheFile"].endswith(suffix) and e.payload["TencentVod"]["UserId"] == user
        ]
        assert len(found) == 1, [e.payload for e in events]
        vod: dict[str, Any] = found[0]
        return vod


@pytest.fixture(scope="module")
def call(stack: Stack, callbacks: CallbackReceiver) -> Call:
    alice = publish_whip(stack, ROOM, "alice", seconds=CALL_S + 40)
    bob = publish_rtmp(stack, ROOM, "bob", seconds=CALL_S + 40)
    tasks: dict[str, str] = {}
    try:
        alice.wait_up()
        bob.wait_up()
        for name, vod in TASKS.items():
            robot = f"robot_{name}"
            params = {
                "RoomId": ROOM,
                "RoomIdType": 0,
                "UserId": robot,
                "UserSig": stack.usersig(robot),
                "RecordParams": {"RecordMode": 1, "AvMerge": 1},
                "StorageParams": {"CloudVod": {"TencentVod": vod}},
            }
            tasks[name] = str(stack.call("CreateCloudRecording", params)["TaskId"])
        for name in ("hls", "both"):  # "both" began last: the others are at least as long
            segments = stack.data_dir / "library" / tasks[name]
            until("a segment of each user", lambda d=segments: len(list(d.glob("*.ts"))) >= 2, timeout_s=30)
        live = {name: stack.describe(task) for name, task in tasks.items()}
    finally:
        alice.end()
        bob.end()
    for task in tasks.values():
        stack.delete(task)
    for task in tasks.values():
        callbacks.wait(312, task_id=task, timeout_s=30)
    return Call(callbacks, tasks, live)


@pytest.mark.parametrize("task", TASKS)
def test_events_are_those_of_a_library_signed_and_end_with_one_312(call: Call, task: str) -> None:
    arrived = call.callbacks.events(task_id=call.tasks[task])
    # Delivery is at least once: what a receiver answered too late comes again, under the same id.
    events = list({e.headers["x-event-id"]: e for e in arrived}.values())
    types = [e.type for e in events]
    files = {"mp4": 2, "hls": 2, "both": 4}[task]
    assert sorted(types) == sorted([301, 302, *[311] * files, 312]), [(e.type, e.headers) for e in events]
    assert types[-1] == 312
    assert events[-1].payload == {"Status": 0}
    assert all(e.signed_with(CALLBACK_KEY) for e in events)
    for event in (e for e in events if e.type == 311):
        assert event.payload["Status"] == 0
        vod = event.payload["TencentVod"]
        assert list(vod) == [
            "UserId", "TrackType", "MediaId", "FileId", "VideoUrl", "CacheFile", "StartTimeStamp", "EndTimeStamp",
        ]  # fmt: skip
        assert (vod["TrackType"], vod["MediaId"]) == ("audio_video", "main")
        assert vod["EndTimeStamp"] - vod["StartTimeStamp"] >= 10_000
        assert vod["FileId"] in vod["VideoUrl"]


def test_describe_names_no_files(call: Call) -> None:
    assert {task["Status"] for task in call.live.values()} == {"InProgress"}
    assert all(task["StorageFileList"] == [] for task in call.live.values())


@pytest.mark.parametrize("task", ["mp4", "both"])
@pytest.mark.parametrize("user", ["alice", "bob"])
def test_an_mp4_plays_through_its_link(call: Call, task: str, user: str, tmp_path: Path) -> None:
    status, headers, content = fetch(call.told(task, ".mp4", user)["VideoUrl"])
    assert status == 200
    assert headers["content-type"] == "video/mp4"
    assert headers["access-control-allow-origin"] == "*"
    path = tmp_path / "played.mp4"
    path.write_bytes(content)
    assert pictures(path).holes() == []
    offsets = sorted(measure(path).av_offsets_s)
    assert len(offsets) >= 9
    assert abs(offsets[len(offsets) // 2]) <= 0.020


@pytest.mark.parametrize("task", ["hls", "both"])
@pytest.mark.parametrize("user", ["alice", "bob"])
def test_an_hls_plays_through_its_link_and_the_links_inside(
    call: Call, task: str, user: str, tmp_path: Path
) -> None:
    url = call.told(task, ".m3u8", user)["VideoUrl"]
    status, headers, content = fetch(url)
    assert status == 200
    assert headers["content-type"] == "application/vnd.apple.mpegurl"
    lines = content.decode().splitlines()
    assert lines[-1] == "#EXT-X-ENDLIST"
    parts = []
    for number, line in enumerate(line for line in lines if not line.startswith("#")):
        status, headers, segment = fetch(urllib.parse.urljoin(url, line))
        assert (status, headers["content-type"]) == (200, "video/mp2t")
        parts.append(tmp_path / f"{number}.ts")
        parts[-1].write_bytes(segment)
    assert len(parts) >= 2
    seen = pictures(joined(parts, tmp_path / "all.ts"))
    assert seen.holes() == []
    assert len(seen.numbers) >= 9 * 30  # one segment is whole; a task begins at its own key picture


def test_a_part_of_a_file_can_be_asked_for(call: Call) -> None:
    url = call.told("mp4", ".mp4")["VideoUrl"]
    _, _, whole = fetch(url)
    status, headers, part = fetch(url, Range="bytes=100-199")
    assert status == 206
    assert headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert part == whole[100:200]


def test_a_link_that_was_altered_is_refused(call: Call) -> None:
    url = call.told("mp4", ".mp4")["VideoUrl"]
    parts = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(parts.query))
    later = urllib.parse.urlencode({**query, "exp": str(int(query["exp"]) + 1)})
    for wrong in (later, "", f"exp={query['exp']}"):
        assert fetch(parts._replace(query=wrong).geturl())[0] == 403
    other = call.told("both", ".mp4")["FileId"]
    assert fetch(url.replace(call.told("mp4", ".mp4")["FileId"], other))[0] == 403


def test_names_are_those_of_the_library(call: Call) -> None:
    for vod in (call.told("mp4", ".mp4"), call.told("hls", ".m3u8")):
        assert "__UserId" not in vod["CacheFile"]
        assert "_UserId_s_YWxpY2U._UserId_e_main" in vod["CacheFile"]
    assert call.told("hls", ".m3u8")["CacheFile"].startswith("lesson-7__UserDefine_u_")


def test_a_link_ends(call: Call, stack: Stack) -> None:
    file_id = call.told("mp4", ".mp4")["FileId"]
    made = json.loads(stack.cli("library", "link", file_id, "--valid-s", "2", "--json"))
    assert fetch(made["url"])[0] == 200
    until("the link to be refused", lambda: fetch(made["url"])[0] == 403, timeout_s=10)
    fresh = json.loads(stack.cli("library", "link", file_id, "--json"))
    assert fetch(fresh["url"])[0] == 200


def test_the_operator_sees_how_full_it_is_what_it_holds_and_until_when(call: Call, stack: Stack) -> None:
    vod = call.told("both", ".mp4")
    status, page = stack.http("/console/library")
    text = page.decode()
    assert status == 200
    for word in (vod["FileId"], vod["CacheFile"], "disk free bytes", "expires at", f"/console/recordings/{call.tasks['both']}"):
        assert word in text
    (row,) = [r for r in json.loads(stack.cli("library", "list", "--json")) if r["file_id"] == vod["FileId"]]
    assert row["expires_at_ms"] is not None
    assert cell("expires_at_ms", row["expires_at_ms"]) in text
    assert vod["VideoUrl"] not in text, "a link plays for whoever has it"
    assert "/console/library" in stack.http("/console")[1].decode()
    (checked,) = [f for f in json.loads(stack.cli("doctor", "--json", check=False)) if f["check"] == "library"]
    assert checked["state"] == "ok"
    assert str(stack.data_dir) in checked["found"]


def test_a_file_that_was_removed_is_gone(call: Call, stack: Stack) -> None:
    vod = call.told("both", ".m3u8", "bob")
    stack.cli("library", "remove", vod["FileId"])
    until("the file to be gone", lambda: fetch(vod["VideoUrl"])[0] == 404, timeout_s=10)
    listed = json.loads(stack.cli("library", "list", "--task-id", call.tasks["both"], "--json"))
    until(
        "its bytes to be deleted",
        lambda: not (stack.data_dir / "library" / call.tasks["both"] / vod["CacheFile"]).exists(),
        timeout_s=10,
    )
    assert len(listed) == 4


@pytest.fixture
def recorded_by_itself(stack: Stack, callbacks: CallbackReceiver, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The application records every new room while a test runs; the members it was told."""
    members = {
        "RecordParams": {"RecordMode": 1, "MaxIdleTime": 5, "AvMerge": 1},
        "StorageParams": {"CloudVod": {"TencentVod": {"MediaType": 0}}},
    }
    file = tmp_path / "auto.json"
    file.write_text(json.dumps(members))
    stack.cli("app", "set", str(stack.sdk_app_id), "--auto-record", str(file))
    yield members
    stack.cli("app", "set", str(stack.sdk_app_id), "--no-auto-record")


def test_a_room_is_recorded_by_itself_whole_and_beside_the_api(
    stack: Stack, callbacks: CallbackReceiver, recorded_by_itself: dict[str, Any], tmp_path: Path
) -> None:
    alice = publish_whip(stack, "by_itself", "alice", seconds=30)
    alice.wait_up()
    asked = stack.create_recording("by_itself", OutputFormat=0)

    def started() -> list[str]:
        events = [e for e in callbacks.events(301) if e.info["RoomId"] == "by_itself"]
        return [e.info["TaskId"] for e in events if e.info["TaskId"] != asked]

    [task] = until("an automatic recording", started, timeout_s=20)
    callbacks.wait(301, task_id=asked)
    until("the call to be recorded", lambda: stack.describe(task)["Status"] == "InProgress", timeout_s=15)
    callbacks.wait(304, task_id=asked, timeout_s=20)  # ten seconds are in the bucket
    stack.delete(asked)
    sent = alice.end()
    left = callbacks.wait(302, task_id=task, timeout_s=30)[0]
    assert left.payload == {"LeaveCode": 99}
    robot = left.info["UserId"]
    assert robot not in {"alice", "robot"}
    vod = callbacks.wait(311, task_id=task, timeout_s=30)[0].payload["TencentVod"]
    assert callbacks.wait(312, task_id=task, timeout_s=30)[0].payload == {"Status": 0}
    path = tmp_path / "played.mp4"
    path.write_bytes(fetch(vod["VideoUrl"])[2])
    seen = pictures(path)
    assert seen.holes() == []
    assert seen.numbers[0] <= 3, "the beginning of the call is missing"
    assert seen.numbers[-1] >= sent["pictures"] - 2, "the end of the call is missing"
    entered = [e.info["UserId"] for e in callbacks.events(103) if e.info["RoomId"] == "by_itself"]
    assert entered == ["alice"]
    assert [e.payload["LeaveCode"] for e in callbacks.events(302, task_id=asked)] == [0]
    assert started() == [task]
