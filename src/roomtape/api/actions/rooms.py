"""The six room actions. A numeric room and a string room of the same text are two rooms."""

from __future__ import annotations

from roomtape.access.errors import AccountBlocked, UnknownApp
from roomtape.api.actions.limits import is_string_room, is_user_id
from roomtape.api.dispatch import action
from roomtape.api.errors import ApiError, Family
from roomtape.api.messages import Text, between
from roomtape.api.services import Services
from roomtape.contract.rooms import (
    DismissRoomByStrRoomIdRequest,
    DismissRoomByStrRoomIdResponse,
    DismissRoomRequest,
    DismissRoomResponse,
    RemoveUserByStrRoomIdRequest,
    RemoveUserByStrRoomIdResponse,
    RemoveUserRequest,
    RemoveUserResponse,
    SetUserBlockedByStrRoomIdRequest,
    SetUserBlockedByStrRoomIdResponse,
    SetUserBlockedRequest,
    SetUserBlockedResponse,
)
from roomtape.rooms.errors import RoomNotFound, UserNotInRoom

MAX_USERS = 10
MAX_NUMBER = 0xFFFFFFFF
AUDIO_BLOCKED = frozenset({1, 2})  # IsMute
VIDEO_BLOCKED = frozenset({1, 3})

_RAISES = (UnknownApp, AccountBlocked, RoomNotFound)


def _check_number(room: int) -> None:
    if room == 0:
        raise ApiError("InvalidParameter.RoomId", between("RoomId", 1, MAX_NUMBER))
    if room > MAX_NUMBER:
        raise ApiError("InvalidParameterValue.RoomId", between("RoomId", 1, MAX_NUMBER))


def _check_name(field: str, room: str) -> None:
    if not is_string_room(room):
        raise ApiError(
            "InvalidParameter.RoomId",
            Text(
                f"{field} must be 1 to 64 letters, digits, spaces or of !#$%&()+-:;<=.>?@[]^_{{}}|~,",
                f"{field} 必须是 1 到 64 个合法字符。",
            ),
        )


def _check_users(users: list[str]) -> None:
    if len(users) > MAX_USERS or not all(is_user_id(user) for user in users):
        raise ApiError(
            "InvalidParameter.UserIds",
            Text(f"UserIds must be 1 to {MAX_USERS} UserIds.", f"UserIds 最多 {MAX_USERS} 个合法用户。"),
        )


def _check_block(user: str, is_mute: int) -> None:
    if not is_user_id(user):
        raise ApiError(
            "InvalidParameter.UserId",
            Text(
                "UserId must be 1 to 64 letters, digits or of _-.@#:+=", "UserId 必须是 1 到 64 个合法字符。"
            ),
        )
    if is_mute > 3:
        raise ApiError("InvalidParameter", between("IsMute", 0, 3))


def check_remove(req: RemoveUserRequest) -> None:
    _check_number(req.room_id)
    _check_users(req.user_ids)


def check_remove_by_name(req: RemoveUserByStrRoomIdRequest) -> None:
    _check_name("RoomId", req.room_id)
    _check_users(req.user_ids)


def check_dismiss(req: DismissRoomRequest) -> None:
    _check_number(req.room_id)


def check_dismiss_by_name(req: DismissRoomByStrRoomIdRequest) -> None:
    _check_name("RoomId", req.room_id)


def check_block(req: SetUserBlockedRequest) -> None:
    _check_number(req.room_id)
    _check_block(req.user_id, req.is_mute)


def check_block_by_name(req: SetUserBlockedByStrRoomIdRequest) -> None:
    _check_name("StrRoomId", req.str_room_id)
    _check_block(req.user_id, req.is_mute)


@action("RemoveUser", Family.ROOMS, mutating=True, remembers=False, check=check_remove, raises=_RAISES)
async def remove_user(req: RemoveUserRequest, services: Services) -> RemoveUserResponse:
    """Put users out of a numeric room; those who are not there are skipped. Not a ban.

    Source: API docs > Room Management APIs > RemoveUser, read 2026-11.
    """
    await services.rooms.remove_users(req.sdk_app_id, "i", str(req.room_id), dict.fromkeys(req.user_ids))
    return RemoveUserResponse()


@action(
    "RemoveUserByStrRoomId",
    Family.ROOMS,
    mutating=True,
    remembers=False,
    check=check_remove_by_name,
    raises=_RAISES,
)
async def remove_user_by_name(
    req: RemoveUserByStrRoomIdRequest, services: Services
) -> RemoveUserByStrRoomIdResponse:
    """Put users out of a string room; those who are not there are skipped. Not a ban.

    Source: API docs > Room Management APIs > RemoveUserByStrRoomId, read 2026-11.
    """
    await services.rooms.remove_users(req.sdk_app_id, "s", req.room_id, dict.fromkeys(req.user_ids))
    return RemoveUserByStrRoomIdResponse()


@action("DismissRoom", Family.ROOMS, mutating=True, remembers=False, check=check_dismiss, raises=_RAISES)
async def dismiss_room(req: DismissRoomRequest, services: Services) -> DismissRoomResponse:
    """Put everyone out of a numeric room and end it, with its recordings.

    Source: API docs > Room Management APIs > DismissRoom, read 2026-11.
    """
    await services.rooms.dismiss(req.sdk_app_id, "i", str(req.room_id))
    return DismissRoomResponse()


@action(
    "DismissRoomByStrRoomId",
    Family.ROOMS,
    mutating=True,
    remembers=False,
    check=check_dismiss_by_name,
    raises=_RAISES,
)
async def dismiss_room_by_name(
    req: DismissRoomByStrRoomIdRequest, services: Services
) -> DismissRoomByStrRoomIdResponse:
    """Put everyone out of a string room and end it, with its recordings.

    Source: API docs > Room Management APIs > DismissRoomByStrRoomId, read 2026-11.
    """
    await services.rooms.dismiss(req.sdk_app_id, "s", req.room_id)
    return DismissRoomByStrRoomIdResponse()


@action(
    "SetUserBlocked",
    Family.BLOCKING,
    mutating=True,
    remembers=False,
    check=check_block,
    raises=(*_RAISES, UserNotInRoom),
)
async def set_user_blocked(req: SetUserBlockedRequest, services: Services) -> SetUserBlockedResponse:
    """Drop a user's sound, picture or both in a numeric room; IsMute sets the state, it adds nothing.

    Source: API docs > Room Management APIs > SetUserBlocked, read 2026-11.
    """
    await services.rooms.block(
        req.sdk_app_id,
        "i",
        str(req.room_id),
        req.user_id,
        audio=req.is_mute in AUDIO_BLOCKED,
        video=req.is_mute in VIDEO_BLOCKED,
    )
    return SetUserBlockedResponse()


@action(
    "SetUserBlockedByStrRoomId",
    Family.BLOCKING,
    mutating=True,
    remembers=False,
    check=check_block_by_name,
    raises=(*_RAISES, UserNotInRoom),
)
async def set_user_blocked_by_name(
    req: SetUserBlockedByStrRoomIdRequest, services: Services
) -> SetUserBlockedByStrRoomIdResponse:
    """Drop a user's sound, picture or both in a string room; IsMute sets the state, it adds nothing.

    Source: API docs > Room Management APIs > SetUserBlockedByStrRoomId, read 2026-11.
    """
    await services.rooms.block(
        req.sdk_app_id,
        "s",
        req.str_room_id,
        req.user_id,
        audio=req.is_mute in AUDIO_BLOCKED,
        video=req.is_mute in VIDEO_BLOCKED,
    )
    return SetUserBlockedByStrRoomIdResponse()
