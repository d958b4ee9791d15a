"""Answers of this server to fixed requests, whole: a change of any word shows here.

`make golden` writes `answers.json` anew; it is never edited by hand.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Answer, Stand
from tests.support.taskrows import FileView

ANSWERS = Path(__file__).with_name("answers.json")
CREATE, DESCRIBE, MODIFY, DELETE = (
    *("CreateCloudRecording", "DescribeCloudRecording", "ModifyCloudRecording", "DeleteCloudRecording"),
)
APP = 1400000001


async def create(api: Stand, **members: Any) -> Answer:
    return await api.call(CREATE, await api.create_request(**members))


async def _describe(api: Stand) -> Answer:
    task_id = (await create(api)).response["TaskId"]
    api.recording.files = [
        FileView("amy", "1400000001_x__UserId_s_YW15__UserId_e_main_video.m3u8", "video", 1772352900125)
    ]
    return await api.call(DESCRIBE, {"SdkAppId": APP, "TaskId": task_id})


async def _chinese(api: Stand) -> Answer:
    return await api.call(DELETE, {"SdkAppId": APP}, extra={"x-tc-language": "zh-CN"})


async def _signature(api: Stand) -> Answer:
    return await api.call(DELETE, {}, secret_key="wrong")


async def _no_credentials(api: Stand) -> Answer:
    return await api.send("POST")


async def _expired(api: Stand) -> Answer:
    return await api.call(DELETE, {}, timestamp=str(api.clock.now_ms() // 1000 - 301))


CASES = {
    "create": create,
    "describe": _describe,
    "delete of an unknown task": lambda api: api.call(DELETE, {"SdkAppId": APP, "TaskId": "xx"}),
    "delete without a task": lambda api: api.call(DELETE, {"SdkAppId": APP}),
    "the same in Chinese": _chinese,
    "a name the action does not have": lambda api: api.call(MODIFY, {"SdkAppId": APP, "taskId": "x"}),
    "a quoted number": lambda api: api.call(DELETE, {"SdkAppId": str(APP), "TaskId": "x"}),
    "an unknown application": lambda api: api.call(DELETE, {"SdkAppId": 5, "TaskId": "x"}),
    "a string room taken for an integer one": lambda api: create(api, RoomIdType=None),
    "a value out of range": lambda api: create(api, RecordParams={"RecordMode": 1, "MaxIdleTime": 4}),
    "a UserSig that does not verify": lambda api: create(api, UserSig="x"),
    "a mix": lambda api: create(api, RecordParams={"RecordMode": 2}),
    "no credentials": _no_credentials,
    "a wrong signature": _signature,
    "an old request": _expired,
    "an unknown action": lambda api: api.call("Nonsense", {}),
    "a retired action": lambda api: api.call("DescribeCallDetail", {}),
    "a foreign region": lambda api: api.call(DELETE, {}, region="na-toronto"),
    "an action that is not built": lambda api: api.call(
        "DescribeScaleInfo", {"SdkAppId": APP, "StartTime": 1_700_000_000, "EndTime": 1_700_000_001}
    ),
    "a room that is not open": lambda api: api.call("DismissRoom", {"SdkAppId": APP, "RoomId": 5}),
}


def steady(answer: Answer) -> dict[str, Any]:
    """The answer with what is drawn at random named instead."""
    response = dict(answer.response)
    response["RequestId"] = "<RequestId>"
    if "TaskId" in response:
        response["TaskId"] = "<TaskId>"
    return {"Response": response}


@pytest.mark.parametrize("name", CASES)
async def test_the_answer_is_the_recorded_one(api: Stand, name: str) -> None:
    answer = steady(await CASES[name](api))
    recorded: dict[str, Any] = json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
    if os.environ.get("ROOMTAPE_GOLDEN") == "write":
        recorded[name] = answer
        kept = {case: recorded[case] for case in CASES if case in recorded}
        ANSWERS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
        return
    assert answer == recorded[name]


def test_no_recorded_answer_is_without_its_request() -> None:
    assert list(json.loads(ANSWERS.read_text())) == list(CASES)
