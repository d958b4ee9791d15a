"""Call quality monitoring: requests and responses as published.

Source: API docs > Call quality monitoring APIs and > Data Types, read 2026-11.
"""

from __future__ import annotations

from roomtape.contract.shapes import I64, U64, Part, Request, Response


class RoomState(Part):
    comm_id: str
    room_string: str
    create_time: U64
    destroy_time: U64
    is_finished: bool
    user_id: str


class EventMessage(Part):
    type: U64
    time: U64
    event_id: U64
    param_one: I64
    param_two: I64


class EventList(Part):
    content: list[EventMessage]
    peer_id: str


class UserInformation(Part):
    room_str: str
    user_id: str
    join_ts: U64
    leave_ts: U64
    device_type: str
    sdk_version: str
    client_ip: str
    finished: bool


class TimeValue(Part):
    time: U64
    value: float


class QualityData(Part):
    content: list[TimeValue]
    user_id: str
    peer_id: str
    data_type: str


class ScaleInfomation(Part):
    time: U64
    user_number: U64
    user_count: U64
    room_numbers: U64


class DescribeRoomInfoRequest(Request):
    sdk_app_id: U64
    start_time: U64
    end_time: U64
    room_id: str | None = None
    page_number: U64 | None = None
    page_size: U64 | None = None


class DescribeRoomInfoResponse(Response):
    total: I64
    room_list: list[RoomState]


class DescribeUserEventRequest(Request):
    comm_id: str
    start_time: U64
    end_time: U64
    user_id: str
    room_id: str
    sdk_app_id: U64


class DescribeUserEventResponse(Response):
    data: list[EventList]


class DescribeCallDetailInfoRequest(Request):
    comm_id: str
    start_time: U64
    end_time: U64
    sdk_app_id: U64
    user_ids: list[str] | None = None
    data_type: list[str] | None = None
    page_number: U64 | None = None
    page_size: U64 | None = None


class DescribeCallDetailInfoResponse(Response):
    total: U64 | None = None
    user_list: list[UserInformation] | None = None
    data: list[QualityData] | None = None


class DescribeUserInfoRequest(Request):
    comm_id: str
    start_time: U64
    end_time: U64
    sdk_app_id: U64
    user_ids: list[str] | None = None
    page_number: U64 | None = None
    page_size: U64 | None = None


class DescribeUserInfoResponse(Response):
    total: U64 | None = None
    user_list: list[UserInformation] | None = None


class DescribeScaleInfoRequest(Request):
    sdk_app_id: U64
    start_time: U64
    end_time: U64


class DescribeScaleInfoResponse(Response):
    total: U64 | None = None
    scale_list: list[ScaleInfomation] | None = None
