"""Bodies byte for byte: member order and types as the vendor's pages print them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roomtape.callbacks.bodies import encode
from tests.unit.callbacks.test_signing import S1, S2

ROOM = {"room_type": "i", "room_id": "12345"}
TASK = {"room_type": "s", "room_id": "r1", "user_id": "rec", "task_id": "T"}
AT, SENT = 1700000000100, 1700000000123


def _body(group: int, type: int, fact: dict[str, Any], at_ms: int = AT, sent_ms: int = SENT) -> str:
    return encode(group, type, fact, at_ms=at_ms, sent_ms=sent_ms).decode()


def test_the_signature_vectors_bodies_come_out_byte_for_byte() -> None:
    enter = {**ROOM, "user_id": "test", "role": 20, "terminal_type": 2, "user_type": 3, "reason": 1}
    assert _body(1, 103, enter) == S1
    file = {
        "file_name": "a.mp4",
        "user_id": "",
        "track_type": "audio_video",
        "media_id": "mix",
        "start_ms": 1700000001000,
        "end_ms": 1700000009000,
    }
    task = {"room_type": "s", "room_id": "room-房1", "user_id": "rec_bot", "task_id": "T-1"}
    done = {**task, "payload": {"status": 0, "files": [file]}}
    assert _body(3, 310, done, 1700000009900, 1700000009999) == S2


USER = '"RoomId":12345,"EventTs":1700000000,"EventMsTs":1700000000100,"UserId":"u"'


@pytest.mark.parametrize(
    ("group", "type", "fact", "info"),
    [
        (1, 101, {}, USER),
        (1, 102, {}, '"RoomId":12345,"EventTs":1700000000,"EventMsTs":1700000000100'),
        (1, 104, {"role": 20, "reason": 2}, USER + ',"Role":20,"Reason":2'),
        (1, 105, {"role": 21}, USER + ',"Role":21'),
        (2, 201, {}, USER),
        (2, 202, {}, USER + ',"Reason":0'),
        (2, 203, {}, USER),
        (2, 204, {}, USER + ',"Reason":0'),
        (2, 205, {}, USER),
        (2, 206, {}, USER + ',"Reason":0'),
    ],
)
def test_room_and_media_events(group: int, type: int, fact: dict[str, Any], info: str) -> None:
    expected = (
        f'{{"EventGroupId":{group},"EventType":{type},"CallbackTs":1700000000123,"EventInfo":{{{info}}}}}'
    )
    assert _body(group, type, {**ROOM, "user_id": "u", **fact}) == expected


def test_a_string_room_is_a_string_even_when_it_looks_like_a_number() -> None:
    body = json.loads(_body(1, 101, {"room_type": "s", "room_id": "123", "user_id": "u"}))
    assert body["EventInfo"]["RoomId"] == "123"


VOD = {
    "user_id": "u1",
    "track_type": "audio_video",
    "media_id": "main",
    "file_id": "f1",
    "video_url": "http://host/f1.mp4",
    "cache_file": "x.mp4",
    "start_ms": 1,
    "end_ms": 2,
}


@pytest.mark.parametrize(
    ("type", "payload", "wire"),
    [
        (301, {"status": 0}, '{"Status":0}'),
        (302, {"leave_code": 99}, '{"LeaveCode":99}'),
        (303, {"status": 1}, '{"Status":1}'),
        (304, {"file_list": "a.m3u8"}, '{"FileList":"a.m3u8"}'),
        (305, {"status": 2}, '{"LeaveCode":2,"Status":2}'),
        (306, {"status": 0}, '{"Status":0}'),
        (
            307,
            {"file_name": "a.m3u8", "user_id": "u", "track_type": "audio", "begin_ms": 1700000000001},
            '{"FileName":"a.m3u8","UserId":"u","TrackType":"audio","BeginTimeStamp":1700000000001}',
        ),
        (308, {"code": "AccessDenied", "message": "no"}, '{"Code":"AccessDenied","Message":"no"}'),
        (309, {"url": "http://x/y.png"}, '{"Url":"http://x/y.png"}'),
        (310, {"status": 2, "files": []}, '{"Status":2,"FileList":[],"FileMessage":[]}'),
        (
            311,
            {"status": 0, "errmsg": "", "vod": VOD},
            '{"Status":0,"TencentVod":{"UserId":"u1","TrackType":"audio_video","MediaId":"main","FileId":"f1",'
            '"VideoUrl":"http://host/f1.mp4","CacheFile":"x.mp4","StartTimeStamp":1,"EndTimeStamp":2}}',
        ),
        (
            311,
            {"status": 2, "errmsg": "full", "vod": VOD},
            '{"Status":2,"Errmsg":"full","TencentVod":{"UserId":"u1","TrackType":"audio_video",'
            '"CacheFile":"x.mp4"}}',
        ),
        (312, {"status": 0}, '{"Status":0}'),
    ],
)
def test_recording_events(type: int, payload: dict[str, Any], wire: str) -> None:
    seconds = '"1700000000"' if type in (301, 302, 307) else "1700000000"
    expected = (
        f'{{"EventGroupId":3,"EventType":{type},"CallbackTs":1700000000123,"EventInfo":{{"RoomId":"r1",'
        f'"EventTs":{seconds},"EventMsTs":1700000000100,"UserId":"rec","TaskId":"T","Payload":{wire}}}}}'
    )
    assert _body(3, type, {**TASK, "payload": payload}) == expected


def test_relay_events_code_the_room_type_the_other_way_round() -> None:
    """The page's own example: 1 is a string room."""
    payload = {"url": "rtmp://host/app/key", "status": 2, "error_code": 0, "error_msg": ""}
    fact = {**TASK, "user_id": "mcu_bot", "payload": payload}
    assert _body(4, 401, fact, 1622186275900, 1622186275913) == (
        '{"EventGroupId":4,"EventType":401,"CallbackTs":1622186275913,"EventInfo":{"RoomId":"r1","RoomType":1,'
        '"EventMsTs":1622186275900,"EventTsMs":1622186275900,"UserId":"mcu_bot","TaskId":"T","Payload":'
        '{"Url":"rtmp://host/app/key","Status":2,"ErrorCode":0,"ErrorMsg":""}}}'
    )
    numeric = json.loads(_body(4, 401, {**fact, "room_type": "i", "room_id": "7"}))
    assert (numeric["EventInfo"]["RoomId"], numeric["EventInfo"]["RoomType"]) == (7, 0)


def test_ingest_events_have_the_short_info_and_the_other_time_member() -> None:
    assert _body(7, 701, {"task_id": "xx", "status": 0}, 1701937900013, 1701937900012) == (
        '{"EventGroupId":7,"EventType":701,"CallbackMsTs":1701937900012,"EventInfo":'
        '{"EventMsTs":1701937900013,"TaskId":"xx","Status":0}}'
    )


@pytest.mark.parametrize(("group", "type"), [(1, 100), (2, 207), (3, 313), (4, 402), (7, 703), (5, 501)])
def test_undocumented_events_are_refused(group: int, type: int) -> None:
    with pytest.raises(ValueError, match=str(type)):
        _body(group, type, {**TASK, "payload": {}})
