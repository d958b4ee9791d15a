"""Usage statistics: requests and responses as published.

Source: API docs > Usage statistics APIs and > Data Types, read 2026-11.
"""

from __future__ import annotations

from roomtape.contract.shapes import U64, Part, Request, Response


class TrtcUsage(Part):
    time_key: str
    usage_value: list[float]
    time_stamp_key: U64 | None = None  # domestic edition only


class DescribeTrtcUsageRequest(Request):
    start_time: str
    end_time: str
    sdk_app_id: U64 | None = None


class DescribeTrtcUsageResponse(Response):
    usage_key: list[str]
    usage_list: list[TrtcUsage]


class DescribeRecordingUsageRequest(Request):
    start_time: str
    end_time: str
    mix_type: str
    sdk_app_id: U64 | None = None


class DescribeRecordingUsageResponse(Response):
    usage_key: list[str]
    usage_list: list[TrtcUsage]


class DescribeMixTranscodingUsageRequest(Request):
    start_time: str
    end_time: str
    sdk_app_id: U64 | None = None


class DescribeMixTranscodingUsageResponse(Response):
    usage_key: list[str]
    usage_list: list[TrtcUsage]


class DescribeRelayUsageRequest(Request):
    start_time: str
    end_time: str
    sdk_app_id: U64 | None = None


class DescribeRelayUsageResponse(Response):
    usage_key: list[str]
    usage_list: list[TrtcUsage]


class DescribeTrtcRoomUsageRequest(Request):
    sdk_appid: U64
    start_time: str
    end_time: str


class DescribeTrtcRoomUsageResponse(Response):
    data: str | None = None
