"""Regions and published call rates of each action: validated, and otherwise without effect here.

Source: each action's page ("This API only supports ...", "A maximum of ... requests") and API Category,
read 2026-11. DismissRoomByStrRoomId, DescribeTrtcUsage, Describe- and ModifyCloudRecording, Stop- and
DescribeStreamIngest take the regions of their siblings: their pages were not to be had.
"""

from __future__ import annotations

_ROOM = ("ap-beijing", "ap-guangzhou", "ap-singapore")
_DETAIL = ("ap-beijing", "ap-guangzhou", "ap-mumbai", "ap-singapore")
_SCALE = (*_DETAIL, "na-toronto")
_USAGE = ("ap-guangzhou", "ap-singapore")
_RECORDING = ("ap-beijing", "ap-guangzhou", "ap-mumbai", "ap-shanghai", "ap-singapore")
_RELAY = ("ap-guangzhou", "ap-hongkong", "ap-singapore")
_INGEST = ("ap-bangkok", "ap-guangzhou", "ap-jakarta", "ap-mumbai", "ap-singapore", "ap-tokyo")

# An action that is not here does not require a region, and ignores one.
REGIONS: dict[str, tuple[str, ...]] = {
    "RemoveUser": _ROOM,
    "RemoveUserByStrRoomId": _ROOM,
    "DismissRoom": _ROOM,
    "DismissRoomByStrRoomId": _ROOM,
    "SetUserBlocked": _ROOM,
    "SetUserBlockedByStrRoomId": _ROOM,
    "DescribeRoomInfo": _SCALE,
    "DescribeScaleInfo": _SCALE,
    "DescribeUserEvent": _DETAIL,
    "DescribeCallDetailInfo": _DETAIL,
    "DescribeUserInfo": _DETAIL,
    "DescribeTrtcUsage": _USAGE,
    "DescribeRecordingUsage": _USAGE,
    "DescribeMixTranscodingUsage": _USAGE,
    "DescribeRelayUsage": _USAGE,
    "DescribeTrtcRoomUsage": _USAGE,
    "CreateCloudRecording": _RECORDING,
    "DescribeCloudRecording": _RECORDING,
    "ModifyCloudRecording": _RECORDING,
    "DeleteCloudRecording": _RECORDING,
    "StartPublishCdnStream": _RELAY,
    "UpdatePublishCdnStream": _RELAY,
    "StopPublishCdnStream": _RELAY,
    "StartStreamIngest": _INGEST,
    "UpdateStreamIngest": _INGEST,
    "StopStreamIngest": _INGEST,
    "DescribeStreamIngest": _INGEST,
}

DEFAULT_RATE = 20.0
# Calls per second of an account, where they are not DEFAULT_RATE.
RATES: dict[str, float] = {
    "DescribeTrtcUsage": 5.0,
    "DescribeRecordingUsage": 5.0,
    "DescribeMixTranscodingUsage": 5.0,
    "DescribeRelayUsage": 5.0,
    "DescribeTrtcRoomUsage": 1 / 15,
    "ControlAIConversation": 50.0,
    "StartAITranscription": 50.0,
}
