"""The six room actions over real rooms and a twin of the media core."""

from __future__ import annotations

from typing import Any

import pytest

from roomtape.rooms.model import Session
from roomtape.rooms.names import RoomName
from tests.support.api import Answer, Stand

NUMBER = {"RoomId": 70012}
NAME = {"RoomId": "lecture-9"}
STR_NAME = {"StrRoomId": "lecture-9"}


def enter(api: Stand, user: str, handle: int, room: str = "lecture-9", kind: Any = "s") -> RoomName:
    name = RoomName(api.app.sdk_app_id, kind, room)
    api.rooms.enter(name, user, Session("main", "whip", handle))
    return name


def members(api: Stand, name: RoomName) -> list[str]:
    room = api.rooms.room(name)
    return [] if room is None else sorted(room.members)


async def call(api: Stand, action: str, **given: Any) -> Answer:
    return await api.call(action, {"SdkAppId": api.app.sdk_app_id} | given)


async def test_removed_users_are_out_and_the_rest_stays(api: Stand) -> None:
    room = enter(api, "amy", 1)
    enter(api, "bob", 2)
    answer = await call(api, "RemoveUserByStrRoomId", **NAME, UserIds=["amy", "nobody", "amy"])
    assert set(answer.response) == {"RequestId"}
    assert members(api, room) == ["bob"]


@pytest.mark.parametrize(
    ("action", "room"), [("RemoveUser", NUMBER), ("RemoveUserByStrRoomId", {"RoomId": "70012"})]
)
async def test_a_number_and_a_name_are_two_rooms(api: Stand, action: str, room: dict[str, Any]) -> None:
    kind = "s" if action == "RemoveUser" else "i"
    other = enter(api, "amy", 1, "70012", kind)
    assert (await call(api, action, **room, UserIds=["amy"])).code == "FailedOperation.RoomNotExist"
    assert members(api, other) == ["amy"]


async def test_a_dismissed_room_is_gone(api: Stand) -> None:
    room = enter(api, "amy", 1)
    enter(api, "bob", 2)
    assert (await call(api, "DismissRoomByStrRoomId", **NAME)).code == "OK"
    assert members(api, room) == []
    await api.clock.advance(1)
    answer = await call(api, "DismissRoomByStrRoomId", **NAME)
    assert answer.code == "FailedOperation.RoomNotExist"
    number = enter(api, "amy", 3, "70012", "i")
    assert (await call(api, "DismissRoom", **NUMBER)).code == "OK"
    assert members(api, number) == []


async def test_a_request_that_is_resent_acts_once(api: Stand) -> None:
    room = enter(api, "amy", 1)
    assert (await call(api, "RemoveUserByStrRoomId", **NAME, UserIds=["amy"])).code == "OK"
    enter(api, "amy", 2)  # is back before the same signed request comes again
    assert (await call(api, "RemoveUserByStrRoomId", **NAME, UserIds=["amy"])).code == "OK"
    assert members(api, room) == ["amy"]
    assert (await call(api, "DismissRoomByStrRoomId", **NAME)).code == "OK"
    assert (await call(api, "DismissRoomByStrRoomId", **NAME)).code == "OK"


@pytest.mark.parametrize(
    ("is_mute", "blocked"), [(0, (False, False)), (1, (True, True)), (2, (True, False)), (3, (False, True))]
)
@pytest.mark.parametrize("action", ["SetUserBlocked", "SetUserBlockedByStrRoomId"])
async def test_a_block_sets_both_media_absolutely(
    api: Stand, action: str, is_mute: int, blocked: tuple[bool, bool]
) -> None:
    by_name = action.endswith("StrRoomId")
    name = enter(api, "amy", 1) if by_name else enter(api, "amy", 1, "70012", "i")
    given = (STR_NAME if by_name else NUMBER) | {"UserId": "amy"}
    assert (await call(api, action, **given, IsMute=1)).code == "OK"
    await api.clock.advance(1)
    assert (await call(api, action, **given, IsMute=is_mute)).code == "OK"
    assert api.core.blocked[(name.key, "amy")] == blocked


async def test_blocking_is_the_one_that_misses_a_user(api: Stand) -> None:
    enter(api, "amy", 1)
    given = STR_NAME | {"UserId": "bob", "IsMute": 1}
    assert (await call(api, "SetUserBlockedByStrRoomId", **given)).code == "FailedOperation.UserNotExist"
    elsewhere = {"StrRoomId": "x", "UserId": "amy", "IsMute": 1}
    assert (await call(api, "SetUserBlockedByStrRoomId", **elsewhere)).code == "FailedOperation.RoomNotExist"


REMOVE, REMOVE_NAME = "RemoveUser", "RemoveUserByStrRoomId"
BLOCK, BLOCK_NAME = "SetUserBlocked", "SetUserBlockedByStrRoomId"


@pytest.mark.parametrize(
    ("action", "given", "code"),
    [
        (REMOVE, {"UserIds": ["a"]}, "MissingParameter.RoomId"),
        (REMOVE, {"RoomId": 0, "UserIds": ["a"]}, "InvalidParameter.RoomId"),
        (REMOVE, {"RoomId": "5", "UserIds": ["a"]}, "InvalidParameter.RoomId"),
        (REMOVE, {"RoomId": 2**32, "UserIds": ["a"]}, "InvalidParameterValue.RoomId"),
        (REMOVE, NUMBER, "MissingParameter.UserIds"),
        (REMOVE, NUMBER | {"UserIds": []}, "MissingParameter.UserIds"),
        (REMOVE, NUMBER | {"UserIds": None}, "MissingParameter.UserIds"),
        (REMOVE, NUMBER | {"UserIds": ["a"] * 11}, "InvalidParameter.UserIds"),
        (REMOVE, NUMBER | {"UserIds": ["a", ""]}, "InvalidParameter.UserIds"),
        (REMOVE, NUMBER | {"UserIds": ["a b"]}, "InvalidParameter.UserIds"),
        (REMOVE, NUMBER | {"UserIds": "a"}, "InvalidParameter.UserIds"),
        (REMOVE_NAME, {"RoomId": "", "UserIds": ["a"]}, "MissingParameter.RoomId"),
        (REMOVE_NAME, {"RoomId": "a/b", "UserIds": ["a"]}, "InvalidParameter.RoomId"),
        (REMOVE_NAME, {"StrRoomId": "x", "UserIds": ["a"]}, "UnknownParameter"),
        ("DismissRoom", {}, "MissingParameter.RoomId"),
        ("DismissRoom", {"RoomId": 2**32}, "InvalidParameterValue.RoomId"),
        ("DismissRoomByStrRoomId", {"RoomId": "房"}, "InvalidParameter.RoomId"),
        (BLOCK, {"UserId": "a", "IsMute": 1}, "MissingParameter.RoomId"),
        (BLOCK, NUMBER | {"IsMute": 1}, "MissingParameter"),
        (BLOCK, NUMBER | {"UserId": "a"}, "MissingParameter"),
        (BLOCK, NUMBER | {"UserId": "a b", "IsMute": 1}, "InvalidParameter.UserId"),
        (BLOCK, NUMBER | {"UserId": "a", "IsMute": 4}, "InvalidParameter"),
        (BLOCK, {"RoomId": 2**32, "UserId": "a", "IsMute": 1}, "InvalidParameterValue.RoomId"),
        (BLOCK_NAME, {"UserId": "a", "IsMute": 1}, "MissingParameter.RoomId"),
        (BLOCK_NAME, STR_NAME | {"IsMute": 1}, "MissingParameter.UserId"),
        (BLOCK_NAME, STR_NAME | {"UserId": "a"}, "MissingParameter"),
        (BLOCK_NAME, {"StrRoomId": "x" * 65, "UserId": "a", "IsMute": 1}, "InvalidParameter.RoomId"),
        (BLOCK_NAME, {"RoomId": "x", "UserId": "a", "IsMute": 1}, "UnknownParameter"),
    ],
)
async def test_wrong_parameters(api: Stand, action: str, given: dict[str, Any], code: str) -> None:
    assert (await call(api, action, **given)).code == code


@pytest.mark.parametrize(
    ("action", "code"), [(REMOVE, "InvalidParameter.SdkAppId"), (BLOCK, "FailedOperation.SdkAppIdNotExist")]
)
async def test_an_unknown_application(api: Stand, action: str, code: str) -> None:
    given = NUMBER | ({"UserIds": ["a"]} if action == REMOVE else {"UserId": "a", "IsMute": 1})
    assert (await api.call(action, given | {"SdkAppId": 5})).code == code
    assert (await api.call(action, given)).code == "MissingParameter.SdkAppId"


async def test_the_get_form_of_the_page(api: Stand) -> None:
    room = enter(api, "amy", 1, "70012", "i")
    flat = {"SdkAppId": str(api.app.sdk_app_id), "RoomId": "70012", "UserIds.0": "amy"}
    assert (await api.get("RemoveUser", flat)).code == "OK"
    assert members(api, room) == []
