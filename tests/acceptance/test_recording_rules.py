"""Rules of a recording that are seen only over its life: who ends it, what it waits for, what it says."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.support.browser import chromium, client_page
from tests.support.numbered import pictures
from tests.support.publishers import Publisher, publish_rtmp, publish_whip, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, until

START_S = 1.0  # Create to the first frame in the file, sound or picture
STOPPED_MP4_S = 2.0


def status(stack: Stack, task: str) -> str:
    return str(stack.describe(task)["Status"])


def leave_codes(callbacks: CallbackReceiver, task: str) -> list[int]:
    return [e.payload["LeaveCode"] for e in callbacks.events(302, task_id=task)]


def test_an_empty_room_ends_the_task_after_its_idle_time(stack: Stack, callbacks: CallbackReceiver) -> None:
    started = time.monotonic()
    task = stack.create_recording("empty", MaxIdleTime=5)
    assert status(stack, task) == "Idle"
    callbacks.wait(305, task_id=task, timeout_s=15)
    assert 4.5 <= time.monotonic() - started <= 8
    assert leave_codes(callbacks, task) == [99]
    assert status(stack, task) == "Exited"
    assert stack.describe(task)["StorageFileList"] == []


def test_the_same_robot_ends_the_first_task(stack: Stack, callbacks: CallbackReceiver) -> None:
    first = stack.create_recording("twice", robot="robot")
    callbacks.wait(301, task_id=first)
    second = stack.create_recording("twice", robot="robot", MaxIdleTime=40)
    callbacks.wait(302, task_id=first)
    assert leave_codes(callbacks, first) == [101]
    assert status(stack, second) == "Idle"
    stack.delete(second)
    callbacks.wait(305, task_id=second)


def test_a_stop_may_be_repeated_and_is_told_once(stack: Stack, callbacks: CallbackReceiver) -> None:
    task = stack.create_recording("again")
    assert stack.delete(task)["TaskId"] == task
    assert stack.delete(task)["TaskId"] == task
    callbacks.wait(305, task_id=task)
    assert leave_codes(callbacks, task) == [0]


def test_g3_a_recording_starts_at_once_in_a_live_room_and_its_mp4_is_there_soon(
    stack: Stack, callbacks: CallbackReceiver
) -> None:
    alice = publish_whip(stack, "soon", "alice", seconds=40)
    alice.wait_up()
    callbacks.wait(201, timeout_s=10)
    created_ms = time.time_ns() // 1_000_000
    task = stack.create_recording("soon", OutputFormat=1, AvMerge=1)
    until("InProgress", lambda: status(stack, task) == "InProgress", timeout_s=5)
    assert time.time_ns() // 1_000_000 - created_ms <= 3000
    callbacks.wait(307, task_id=task, timeout_s=20)
    (began,) = [e.payload["BeginTimeStamp"] for e in callbacks.events(307, task_id=task)]
    assert -1000 <= began - created_ms <= START_S * 1000, "a group of pictures from before Create is allowed"
    alice.end()
    stopped = time.monotonic()
    stack.delete(task)
    callbacks.wait(310, task_id=task, timeout_s=20)
    assert time.monotonic() - stopped <= STOPPED_MP4_S + 1.5, "the stop itself waits for a watermark"


def test_a_publisher_who_comes_later_is_recorded_from_the_first_picture(
    stack: Stack, callbacks: CallbackReceiver
) -> None:
    task = stack.create_recording("later", OutputFormat=1, AvMerge=1)
    callbacks.wait(301, task_id=task)
    for publish in (publish_whip, publish_rtmp):
        user = "alice" if publish is publish_whip else "bob"
        sent = publish(stack, "later", user, seconds=3, extra=("--gop-s", "2")).finish()
        assert sent["pictures"] == 90
    stack.delete(task)
    callbacks.wait(310, task_id=task, timeout_s=20)
    files = recordings(stack, task, ".mp4")
    assert [pictures(f).numbers for f in files] == [list(range(90))] * 2


def test_the_second_picture_of_a_user_is_a_file_of_its_own(stack: Stack, callbacks: CallbackReceiver) -> None:
    url, token = stack.whip_url("aux", "alice", stream="aux"), stack.usersig("alice")
    main = publish_whip(stack, "aux", "alice", seconds=6)
    aux = Publisher("whip", url, token=token, seconds=6, extra=("--no-sound", "--size", "480x270"))
    main.wait_up()
    aux.wait_up()
    both = stack.create_recording("aux", robot="r0", MediaId=0, OutputFormat=1, AvMerge=1)
    only = stack.create_recording("aux", robot="r2", MediaId=2, OutputFormat=1, AvMerge=1)
    main.finish()
    aux.finish()
    for task in (both, only):
        stack.delete(task)
        callbacks.wait(310, task_id=task, timeout_s=20)
    assert sorted(p.name.split("_e_")[1] for p in recordings(stack, both, ".mp4")) == ["aux.mp4", "main.mp4"]
    (file,) = recordings(stack, only, ".mp4")
    assert file.name.endswith("_e_aux.mp4")
    assert set(pictures(file).sizes) == {(480, 270)}
    assert {e.info["UserId"] for e in callbacks.events(205) if e.info["RoomId"] == "aux"} == {"alice"}


def test_a_user_taken_off_the_list_ends_his_files_and_comes_back(stack: Stack, callbacks: CallbackReceiver) -> None:
    alice = publish_whip(stack, "modify", "alice", seconds=70)
    bob = publish_rtmp(stack, "modify", "bob", seconds=70)
    alice.wait_up()
    bob.wait_up()
    task = stack.create_recording("modify", AvMerge=1)
    callbacks.wait(307, task_id=task, timeout_s=20, count=2)  # both have a file
    lists = {"SubscribeAudioUserIds": ["bob"], "SubscribeVideoUserIds": ["bob"]}
    stack.call("ModifyCloudRecording", {"TaskId": task, "SubscribeStreamUserIds": lists})
    ended = until(
        "the end of Alice's playlist",
        lambda: next((p for p in recordings(stack, task, ".m3u8") if "_YWxpY2U." in p.name and "ENDLIST" in p.read_text()), None),
        timeout_s=15,
    )  # fmt: skip
    assert "#EXT-X-DISCONTINUITY" not in ended.read_text()
    bobs = next(p for p in recordings(stack, task, ".m3u8") if p != ended)
    until("ten more seconds of Bob alone", lambda: bobs.read_text().count("#EXTINF") >= 2, timeout_s=25)
    stack.call("ModifyCloudRecording", {"TaskId": task})
    until("her playlist to go on", lambda: "ENDLIST" not in ended.read_text(), timeout_s=25)
    alice.end()
    bob.end()
    stack.delete(task)
    callbacks.wait(305, task_id=task, timeout_s=20)
    # Away for less than MaxIdleTime: a file of both media fills the time, so its segments follow each other.
    text = ended.read_text()
    assert text.rstrip().endswith("#EXT-X-ENDLIST")
    starts = [int(line.split(":")[1].split(",")[0]) for line in text.splitlines() if "FILE-ATTR" in line]
    lengths = [round(float(line.split(":")[1].rstrip(",")) * 1000) for line in text.splitlines() if "#EXTINF" in line]
    assert len(starts) >= 3
    assert [a + length for a, length in zip(starts, lengths, strict=True)][:-1] == starts[1:]
    assert "#EXT-X-DISCONTINUITY" not in text


def test_a_room_of_the_other_kind_is_named_in_so_many_words(stack: Stack, callbacks: CallbackReceiver) -> None:
    alice = publish_whip(stack, "4711", "alice", seconds=20)
    alice.wait_up()
    callbacks.wait(103, timeout_s=10)
    task = stack.create_recording("4711", room_id_type=1, MaxIdleTime=60)
    words = 'string room "4711" has 1 anchor'
    until("the log says so", lambda: words in stack.log(), timeout_s=10)
    assert words in stack.cli("record", "show", task)
    alice.end()
    stack.delete(task)


def test_a_room_of_numbers_is_a_number_in_names_and_callbacks_until_it_is_dismissed(
    stack: Stack, callbacks: CallbackReceiver
) -> None:
    """Nothing says RoomIdType to the API: an integer room is its default."""
    room = "20741"

    def told(*types: int) -> list[dict[str, Any]]:
        return [{"type": e.type, **e.info} for e in callbacks.events(*types) if e.info["RoomId"] == int(room)]

    alice = Publisher("whip", stack.whip_url(room, "alice", RoomIdType="1"), token=stack.usersig("alice"), seconds=60)
    alice.wait_up()
    bob = Publisher("rtmp", stack.rtmp_url(room, "bob") + "&use_number_room_id=1", seconds=60)
    bob.wait_up()
    until("both publish", lambda: len(told(201)) == 2)
    removed, dismissed = (
        stack.create_recording(room, robot=robot, room_id_type=None, OutputFormat=1, AvMerge=1) for robot in ("out", "end"))
    for task in (removed, dismissed):
        until("InProgress", lambda task=task: status(stack, task) == "InProgress")
    flowing = time.monotonic()
    until("pictures as well, for which a key picture is waited for 1 s", lambda: time.monotonic() - flowing > 2)
    stack.call("RemoveUser", {"RoomId": int(room), "UserIds": ["out"]})
    callbacks.wait(310, task_id=removed, timeout_s=20)
    assert leave_codes(callbacks, removed) == [1]
    assert told(104) == [], "a robot was never in the room"
    assert status(stack, dismissed) == "InProgress"
    stack.call("DismissRoom", {"RoomId": int(room)})
    callbacks.wait(310, task_id=dismissed, timeout_s=20)
    assert leave_codes(callbacks, dismissed) == [2]
    until("the end of the room", lambda: told(102))
    ends = told(102, 104)
    assert {(e["UserId"], e["Reason"]) for e in ends[:2]} == {("alice", 3), ("bob", 3)}
    assert ends[2]["type"] == 102
    alice.cut()
    bob.cut()
    for task in (removed, dismissed):
        files = recordings(stack, task, ".mp4")
        assert [f.name.split("__UserId_s_")[0] for f in files] == [f"{stack.sdk_app_id}_{room}"] * 2
        assert [pictures(f).holes() for f in files] == [[], []]
        (message,) = [e.info for e in callbacks.events(310, task_id=task)]
        assert message["RoomId"] == int(room)
        assert sorted(message["Payload"]["FileList"]) == [f.name for f in files]


@pytest.mark.parametrize(("changed", "code"), [
    ({"RecordParams": {"RecordMode": 2}}, "UnsupportedOperation"),
    ({"UserSig": "eJw"}, "InvalidParameter.UserSig"),
    ({"RecordParams": {"RecordMode": 1, "MaxIdleTime": 4}}, "InvalidParameter.OutOfRange"),
    ({"SdkAppId": 1499999999}, "InvalidParameter.SdkAppId"),
])  # fmt: skip
def test_what_cannot_be_is_refused_with_its_own_code(stack: Stack, changed: dict[str, Any], code: str) -> None:
    params = {
        "RoomId": "refused", "RoomIdType": 0, "UserId": "robot", "UserSig": stack.usersig("robot"),
        "RecordParams": {"RecordMode": 1},
        "StorageParams": {"CloudStorage": {
            "Vendor": 1, "Region": "us-east-1", "Bucket": "recordings", "AccessKey": "AK", "SecretKey": "SK"}},
        **changed,
    }  # fmt: skip
    with pytest.raises(TencentCloudSDKException) as refused:
        stack.call("CreateCloudRecording", params)
    assert refused.value.get_code() == code


def test_a_camera_that_changes_its_size_stays_one_file(stack: Stack, callbacks: CallbackReceiver) -> None:
    with chromium() as browser:
        page = client_page(browser, stack.dev["http_url"])
        page.evaluate("whip", {"url": stack.whip_url("resize", "chrome"), "token": stack.usersig("chrome"),
                               "video": True, "audio": True, "width": 640})
        task = stack.create_recording("resize", OutputFormat=1, AvMerge=1)
        callbacks.wait(301, task_id=task)
        until("InProgress", lambda: status(stack, task) == "InProgress")
        for width in (320, 640):
            page.evaluate(
                "(w) => pub.getSenders().find(s => s.track.kind === 'video').track"
                ".applyConstraints({width: w, height: w * 3 / 4})", width)
            until("that size", lambda w=width: page.evaluate("outbound()")["video"]["width"] == w, timeout_s=20)
            page.wait_for_timeout(2500)
        stack.delete(task)
        callbacks.wait(310, task_id=task, timeout_s=20)
    (file,) = recordings(stack, task, ".mp4")
    seen = pictures(file)
    assert {320, 640} <= {w for w, _ in seen.sizes}, "a busy machine may add sizes between"
    changes = sum(a != b for a, b in zip(seen.sizes, seen.sizes[1:], strict=False))
    assert seen.complaints == []
    (playlist,) = recordings(stack, task, ".m3u8")
    assert playlist.read_text().count("#EXT-X-DISCONTINUITY") == changes >= 2
