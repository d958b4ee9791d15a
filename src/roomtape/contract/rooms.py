"""Room management: requests and responses as published.

Source: API docs > Room management APIs and > Data Types, read 2026-11.
"""

from __future__ import annotations

from roomtape.contract.shapes import U64, Request, Response


class RemoveUserRequest(Request):
    sdk_app_id: U64
    room_id: U64
    user_ids: list[str]


class RemoveUserResponse(Response):
    """Nothing but the RequestId."""


class RemoveUserByStrRoomIdRequest(Request):
    sdk_app_id: U64
    room_id: str
    user_ids: list[str]


class RemoveUserByStrRoomIdResponse(Response):
    """Nothing but the RequestId."""


class DismissRoomRequest(Request):
    sdk_app_id: U64
    room_id: U64


class DismissRoomResponse(Response):
    """Nothing but the RequestId."""


class DismissRoomByStrRoomIdRequest(Request):
    sdk_app_id: U64
    room_id: str


class DismissRoomByStrRoomIdResponse(Response):
    """Nothing but the RequestId."""


class SetUserBlockedRequest(Request):
    sdk_app_id: U64
    room_id: U64
    user_id: str
    is_mute: U64


class SetUserBlockedResponse(Response):
    """Nothing but the RequestId."""


class SetUserBlockedByStrRoomIdRequest(Request):
    sdk_app_id: U64
    str_room_id: str
    user_id: str
    is_mute: U64


class SetUserBlockedByStrRoomIdResponse(Response):
    """Nothing but the RequestId."""
