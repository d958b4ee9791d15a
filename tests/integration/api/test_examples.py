"""What the pages show as the answer of a built action is what its answer has."""

from __future__ import annotations

from typing import Any

import pytest

from roomtape.api.dispatch import ACTIONS
from roomtape.contract import examples
from roomtape.rooms.model import Session
from roomtape.rooms.names import RoomName
from tests.support.api import Stand


def shape_of(value: Any) -> Any:
    """Names and kinds, without the values."""
    if isinstance(value, dict):
        return {name: shape_of(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape_of(one) for one in value]
    return type(value).__name__


@pytest.mark.parametrize("action", sorted(ACTIONS))
async def test_the_example_is_answered_as_it_says(api: Stand, action: str) -> None:
    task = (await api.call("CreateCloudRecording", await api.create_request())).response["TaskId"]
    session = Session("main", "whip", 1)
    api.rooms.enter(RoomName(api.app.sdk_app_id, "s", "demo"), "alice", session)
    api.rooms.enter(RoomName(api.app.sdk_app_id, "i", "1234"), "alice", Session("main", "whip", 2))
    request = examples.request(ACTIONS[action].request) | {"SdkAppId": api.app.sdk_app_id}
    own = {"TaskId": task, "UserSig": await api.robot("recorder")}
    answer = await api.call(action, request | {name: own[name] for name in own.keys() & request.keys()})
    assert answer.code == "OK", answer.response
    told = {name: value for name, value in answer.response.items() if name != "RequestId"}
    shown = examples.ANSWERS[action]
    if action == "DescribeCloudRecording":  # no media here: no file yet
        assert told.pop("StorageFileList") == []
        shown = {name: value for name, value in shown.items() if name != "StorageFileList"}
    assert shape_of(told) == shape_of(shown)
