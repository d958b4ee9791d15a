"""The one place where a fact becomes the JSON that a receiver gets.

Members stand in the documented order, in the documented types, quirks included; the text is compact and
raw UTF-8. What is signed are exactly these bytes.

Source: pages 647/39558 (rooms, media), 54913 (relay), 54914 (recording), 62717 (ingest), read 2026-11.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Fact = Mapping[str, Any]
Info = dict[str, Any]

# EventTs is a JSON string in these and a number elsewhere: samples and observed traffic agree on it.
_TEXT_SECONDS = frozenset({301, 302, 307})

_AFTER_USER: dict[int, tuple[tuple[str, str], ...]] = {  # members after UserId: (wire name, fact's name)
    103: (
        ("Role", "role"),
        ("TerminalType", "terminal_type"),
        ("UserType", "user_type"),
        ("Reason", "reason"),
    ),
    104: (("Role", "role"), ("Reason", "reason")),
    105: (("Role", "role"),),
}
_REASON_ZERO = frozenset({202, 204, 206})  # the samples carry it although it means nothing


def encode(group: int, type: int, fact: Fact, *, at_ms: int, sent_ms: int) -> bytes:
    """The whole body: `at_ms` is when it happened, `sent_ms` when it became head of its queue.

    Raises:
        KeyError: the fact lacks a member its type needs.
        ValueError: no body is documented for this group and type.
    """
    body = {
        "EventGroupId": group,
        "EventType": type,
        "CallbackMsTs" if group == 7 else "CallbackTs": sent_ms,
        "EventInfo": event_info(group, type, fact, at_ms),
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def event_info(group: int, type: int, fact: Fact, at_ms: int) -> Info:
    """The EventInfo member. Raises as `encode`."""
    if group in (1, 2):
        return _room_info(type, fact, at_ms)
    if group == 3:
        return _recording_info(type, fact, at_ms)
    if group == 4 and type == 401:
        return _relay_info(fact, at_ms)
    if group == 7 and type in (701, 702):
        return {"EventMsTs": at_ms, "TaskId": fact["task_id"], "Status": fact["status"]}
    raise ValueError(f"no body is known for event {type} of group {group}")


def _room(fact: Fact) -> int | str:
    """The room in the type its clients use: a number or a string."""
    return int(fact["room_id"]) if fact["room_type"] == "i" else str(fact["room_id"])


def _room_info(type: int, fact: Fact, at_ms: int) -> Info:
    if type not in range(101, 106) and type not in range(201, 207):
        raise ValueError(f"no room or media event has the number {type}")
    info: Info = {"RoomId": _room(fact), "EventTs": at_ms // 1000, "EventMsTs": at_ms}
    if type != 102:
        info["UserId"] = fact["user_id"]
    for wire, name in _AFTER_USER.get(type, ()):
        info[wire] = fact[name]
    if type in _REASON_ZERO:
        info["Reason"] = 0
    return info


def _recording_info(type: int, fact: Fact, at_ms: int) -> Info:
    payload = _PAYLOADS.get(type)
    if payload is None:
        raise ValueError(f"no recording event has the number {type}")
    seconds = at_ms // 1000
    return {
        "RoomId": _room(fact),
        "EventTs": str(seconds) if type in _TEXT_SECONDS else seconds,
        "EventMsTs": at_ms,
        "UserId": fact["user_id"],
        "TaskId": fact["task_id"],
        "Payload": payload(fact["payload"]),
    }


def _status(p: Fact) -> Info:
    return {"Status": p["status"]}


def _upload_stop(p: Fact) -> Info:
    # The two pages disagree about the member's name; both readers are served.
    return {"LeaveCode": p["status"], "Status": p["status"]}


def _file_slice(p: Fact) -> Info:
    return {
        "FileName": p["file_name"],
        "UserId": p["user_id"],
        "TrackType": p["track_type"],
        "BeginTimeStamp": p["begin_ms"],
    }


def _mp4_stop(p: Fact) -> Info:
    files = p["files"]
    return {
        "Status": p["status"],
        "FileList": [file["file_name"] for file in files],
        "FileMessage": [
            {
                "FileName": file["file_name"],
                "UserId": file["user_id"],
                "TrackType": file["track_type"],
                "MediaId": file["media_id"],
                "StartTimeStamp": file["start_ms"],
                "EndTimeStamp": file["end_ms"],
            }
            for file in files
        ],
    }


def _vod_commit(p: Fact) -> Info:
    vod = p["vod"]
    if p["status"] == 0:
        return {
            "Status": 0,
            "TencentVod": {
                "UserId": vod["user_id"],
                "TrackType": vod["track_type"],
                "MediaId": vod["media_id"],
                "FileId": vod["file_id"],
                "VideoUrl": vod["video_url"],
                "CacheFile": vod["cache_file"],
                "StartTimeStamp": vod["start_ms"],
                "EndTimeStamp": vod["end_ms"],
            },
        }
    failed = {"UserId": vod["user_id"], "TrackType": vod["track_type"], "CacheFile": vod["cache_file"]}
    return {"Status": p["status"], "Errmsg": p["errmsg"], "TencentVod": failed}


_PAYLOADS: dict[int, Callable[[Fact], Info]] = {
    301: _status,
    302: lambda p: {"LeaveCode": p["leave_code"]},
    303: _status,
    304: lambda p: {"FileList": p["file_list"]},  # one string here, an array in 310
    305: _upload_stop,
    306: _status,
    307: _file_slice,
    308: lambda p: {"Code": p["code"], "Message": p["message"]},
    309: lambda p: {"Url": p["url"]},
    310: _mp4_stop,
    311: _vod_commit,
    312: _status,
}


def _relay_info(fact: Fact, at_ms: int) -> Info:
    payload = fact["payload"]
    return {
        "RoomId": _room(fact),
        "RoomType": 0 if fact["room_type"] == "i" else 1,
        "EventMsTs": at_ms,
        "EventTsMs": at_ms,  # the page's table and its sample spell it differently; both are sent
        "UserId": fact["user_id"],
        "TaskId": fact["task_id"],
        "Payload": {
            "Url": payload["url"],
            "Status": payload["status"],
            "ErrorCode": payload["error_code"],
            "ErrorMsg": payload["error_msg"],
        },
    }
