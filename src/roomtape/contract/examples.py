"""One request and one answer of each action, for pages and forms; the request is made of its meanings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomtape.contract.meanings import meaning
from roomtape.contract.meanings_media import TASK
from roomtape.contract.meanings_reports import CALL, END, START
from roomtape.contract.members import members
from roomtape.contract.shapes import Part

PLACEHOLDER = "…"  # of what only its owner can fill in, a signature for example

_STAY = {
    "RoomStr": "70012", "UserId": "alice", "JoinTs": START, "LeaveTs": END - 180, "DeviceType": "WebRTC",
    "SdkVersion": "5.8.0", "ClientIp": "192.0.2.14", "Finished": True,
}  # fmt: skip
_CLASSES = ["Audio", "SD", "HD", "FullHD", "2K", "4K"]
_CODED = ["Audio", *(f"{size}{codec}" for codec in ("H264", "H265") for size in _CLASSES[1:])]


def _rows(first: list[float], second: list[float]) -> list[dict[str, Any]]:
    times = ("2025-03-04 00:00:00", "2025-03-04 00:05:00")
    return [{"TimeKey": t, "UsageValue": v} for t, v in zip(times, (first, second), strict=True)]


# The members of a success without RequestId, which the gateway adds.
ANSWERS: Mapping[str, dict[str, Any]] = {
    "RemoveUser": {},
    "RemoveUserByStrRoomId": {},
    "DismissRoom": {},
    "DismissRoomByStrRoomId": {},
    "SetUserBlocked": {},
    "SetUserBlockedByStrRoomId": {},
    "CreateCloudRecording": {"TaskId": TASK},
    "DescribeCloudRecording": {
        "TaskId": TASK,
        "Status": "InProgress",
        "StorageFileList": [
            {
                "UserId": "alice",
                "FileName": "1400000001_ZGVtbw.._YWxpY2U._main_audio_video.m3u8",
                "TrackType": "audio_video",
                "BeginTimeStamp": 1741078800125,
            }
        ],
    },
    "ModifyCloudRecording": {"TaskId": TASK},
    "DeleteCloudRecording": {"TaskId": TASK},
    "StartPublishCdnStream": {"TaskId": TASK},
    "UpdatePublishCdnStream": {"TaskId": TASK},
    "StopPublishCdnStream": {"TaskId": TASK},
    "StartStreamIngest": {"TaskId": TASK},
    "StopStreamIngest": {},
    "DescribeStreamIngest": {"Status": "InProgress"},
    "UpdateStreamIngest": {"Status": "InProgress"},
    "DescribeRoomInfo": {
        "Total": 1,
        "RoomList": [
            {
                "CommId": CALL, "RoomString": "70012", "CreateTime": START, "DestroyTime": START + 1322,
                "IsFinished": True, "UserId": "alice",
            }
        ],
    },
    "DescribeUserEvent": {
        "Data": [
            {
                "Content": [
                    {
                        "Type": 0, "Time": START * 1000 + 120, "EventId": 32788, "ParamOne": -1,
                        "ParamTwo": -1,
                    }
                ],
                "PeerId": "alice",
            }
        ]
    },
    "DescribeCallDetailInfo": {
        "Total": 1,
        "UserList": [_STAY],
        "Data": [
            {
                "Content": [
                    {"Time": START + 2, "Value": 812000}, {"Time": START + 4, "Value": 1204400},
                ],
                "UserId": "alice",
                "PeerId": "",
                "DataType": "bigvBit",
            }
        ],
    },
    "DescribeUserInfo": {"Total": 1, "UserList": [_STAY]},
    "DescribeScaleInfo": {
        "Total": 1,
        "ScaleList": [{"Time": 1741017600, "UserNumber": 380, "UserCount": 1022, "RoomNumbers": 41}],
    },
    "DescribeTrtcUsage": {
        "UsageKey": _CLASSES, "UsageList": _rows([12.5, 0, 30, 0, 0, 0], [10, 0, 25, 5, 0, 0])
    },
    "DescribeRecordingUsage": {
        "UsageKey": _CLASSES, "UsageList": _rows([0, 0, 5, 0, 0, 0], [0, 0, 4.5, 0, 0, 0])
    },
    "DescribeMixTranscodingUsage": {
        "UsageKey": _CODED, "UsageList": _rows([0, 0, 5, *[0] * 8], [0, 0, 2, *[0] * 8])
    },
    "DescribeRelayUsage": {"UsageKey": ["Bandwidth"], "UsageList": _rows([1.62], [1.58])},
    "DescribeTrtcRoomUsage": {
        "Data": "RoomId,Audio,SD,hd,FullHD,2K,4K\n70012,5400,0,0,0,0,0\nlecture-9,300,0,18210,0,0,0\n"
    },
}  # fmt: skip


def request(shape: type[Part]) -> dict[str, Any]:
    """A request with what is required, and what is usual (it has an example)."""
    made: dict[str, Any] = {}
    for member in members(shape):
        told = meaning(shape, member.name)
        usual = told is not None and told.usual
        if not member.required and not usual:
            continue
        value: Any = PLACEHOLDER
        if member.shape is not None:
            value = request(member.shape)
            value = [value] if member.is_list else value
        elif told is not None and told.example is not None:
            value = told.example
        made[member.name] = value
    return made
