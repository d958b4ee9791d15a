"""Two accounts over every action: what is another's is answered exactly as what does not exist."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roomtape.contract.members import members
from roomtape.contract.regions import REGIONS
from roomtape.contract.shapes import Part
from roomtape.rooms.model import Session
from roomtape.rooms.names import RoomName
from tests.support.api import Stand
from tests.support.requests import KNOWN, body, request_of

SHAPED = sorted(KNOWN)
ROOM, USER = "class_7", "amy"
NUMBER_ROOM = 70012

# How the built actions answer for what is not there: these requests got as far as the look-up.
NO_TASK, NO_ROOM = "ResourceNotFound", "FailedOperation.RoomNotExist"
REACHED = {
    **dict.fromkeys(("DescribeCloudRecording", "ModifyCloudRecording", "DeleteCloudRecording"), NO_TASK),
    **dict.fromkeys(
        ("RemoveUser", "RemoveUserByStrRoomId", "DismissRoom", "DismissRoomByStrRoomId"), NO_ROOM
    ),
    **dict.fromkeys(("SetUserBlocked", "SetUserBlockedByStrRoomId"), NO_ROOM),
}


def filled(action: str, marks: dict[str, Any]) -> dict[str, Any]:
    """A legal request with every member in it that can name somebody's thing."""
    shape = request_of(action)
    made = body(action)
    for member in members(shape):
        if member.name in marks:
            made[member.name] = None
    return _marked(shape, made, marks)


def _marked(shape: type[Part], made: dict[str, Any], marks: dict[str, Any]) -> dict[str, Any]:
    for member in members(shape):
        number = f"{member.name}:number"  # a room's, where the action takes numbers
        if member.name not in made:
            continue
        if member.kind == "uint64" and number in marks:
            made[member.name] = marks[number]
        elif member.name in marks:
            made[member.name] = [marks[member.name]] if member.is_list else marks[member.name]
        elif member.shape is not None:
            parts = made[member.name] if member.is_list else [made[member.name]]
            for part in parts:
                _marked(member.shape, part, marks)
    return made


def without_ids(response: dict[str, Any]) -> str:
    """The answer but for its RequestId."""
    return json.dumps({k: v for k, v in response.items() if k != "RequestId"}, sort_keys=True)


async def someones_things(api: Stand) -> str:
    """A task, and a user in a room of either type, of the stand's account; returns the task."""
    created = await api.call("CreateCloudRecording", await api.create_request(RoomId=ROOM))
    for handle, (kind, room) in enumerate((("s", ROOM), ("i", str(NUMBER_ROOM)))):
        session = Session("main", "whip", handle)
        api.rooms.enter(RoomName(api.app.sdk_app_id, kind, room), USER, session)  # type: ignore[arg-type]
    return str(created.response["TaskId"])


def unharmed(api: Stand) -> bool:
    """Whether the user is still in both rooms."""
    rooms = [
        api.rooms.room(RoomName(api.app.sdk_app_id, *name)) for name in (("s", ROOM), ("i", str(NUMBER_ROOM)))
    ]
    return all(room is not None and USER in room.members for room in rooms)


@pytest.mark.parametrize("action", SHAPED)
async def test_section5_foreign_and_unknown_things_are_answered_alike(api: Stand, action: str) -> None:
    task = await someones_things(api)
    stranger = await api.access.create_account("stranger")
    own, _ = await api.access.create_app("own", uin=stranger.uin)
    key = await api.access.create_key(stranger.uin)
    signer = {"secret_id": key.secret_id, "secret_key": key.secret_key.reveal()}
    signer["region"] = next(iter(REGIONS.get(action) or ("ap-singapore",)))

    foreign: dict[str, Any] = {
        "TaskId": task,
        "RoomId": ROOM,
        "StrRoomId": ROOM,
        "UserId": USER,
        "UserIds": USER,
    }
    unknown: dict[str, Any] = {
        "TaskId": task[::-1], "RoomId": "nowhere", "StrRoomId": "nowhere", "UserId": "nobody",
        "UserIds": "nobody",
    }  # fmt: skip
    foreign["RoomId:number"], unknown["RoomId:number"] = NUMBER_ROOM, NUMBER_ROOM + 1
    foreign["CommId"] = f"{api.app.sdk_app_id}_{NUMBER_ROOM}_1700000000"
    unknown["CommId"] = f"{api.app.sdk_app_id}_{NUMBER_ROOM + 1}_1700000000"

    async def ask(marks: dict[str, Any]) -> str:
        await api.clock.advance(16)  # the slowest action's bucket fills in 15 s
        body = filled(action, {**marks, "SdkAppId": own.sdk_app_id, "SdkAppid": own.sdk_app_id})
        answer = await api.call(action, body, **signer)
        if action in REACHED:
            assert answer.code == REACHED[action], (answer.message, body)
        text = without_ids(answer.response)
        for mark in marks.values():  # what the caller wrote may be repeated to him
            text = text.replace(str(mark), "<mark>")
        return text

    assert await ask(foreign) == await ask(unknown)
    assert unharmed(api)
    shown = await api.call("DescribeCloudRecording", {"SdkAppId": api.app.sdk_app_id, "TaskId": task})
    assert (shown.code, shown.response["Status"]) == ("OK", "Idle")


@pytest.mark.parametrize("action", SHAPED)
async def test_section5_a_foreign_application_is_never_acted_on(api: Stand, action: str) -> None:
    task = await someones_things(api)
    stranger = await api.access.create_account("stranger")
    key = await api.access.create_key(stranger.uin)
    marks: dict[str, Any] = {
        "TaskId": task,
        "RoomId": ROOM,
        "StrRoomId": ROOM,
        "UserId": USER,
        "UserIds": USER,
    }
    marks |= {"SdkAppId": api.app.sdk_app_id, "SdkAppid": api.app.sdk_app_id, "RoomId:number": NUMBER_ROOM}
    if not {"SdkAppId", "SdkAppid"} & {member.name for member in members(request_of(action))}:
        pytest.skip("names no application")
    answer = await api.call(
        action,
        filled(action, marks),
        secret_id=key.secret_id,
        secret_key=key.secret_key.reveal(),
        region=next(iter(REGIONS.get(action) or ("ap-singapore",))),
    )
    assert answer.code != "OK"
    assert "TaskId" not in answer.response
    assert unharmed(api)
    shown = await api.call("DescribeCloudRecording", {"SdkAppId": api.app.sdk_app_id, "TaskId": task})
    assert (shown.code, shown.response["Status"]) == ("OK", "Idle")
