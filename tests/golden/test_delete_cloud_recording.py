"""The published page of DeleteCloudRecording, word for word: example, regions, rate and codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roomtape.api.dispatch import ACTIONS
from roomtape.api.errors import COMMON_CODES, FAULT_CODES, OFF_LIST, WIRE_CODES
from roomtape.contract.codes import COMMON, LISTED
from roomtape.contract.recording import DeleteCloudRecordingResponse
from roomtape.contract.regions import REGIONS
from tests.support.api import Stand

NAME = "DeleteCloudRecording"
PAGE: dict[str, Any] = json.loads(Path(__file__).with_name("delete_cloud_recording.json").read_text())


@pytest.fixture
async def page_app(api: Stand) -> Stand:
    """The stand, with the application number of the page's example."""
    api.app, _ = await api.access.create_app("page", uin=api.account.uin, sdk_app_id=1234)
    return api


async def test_the_pages_example_is_understood_and_its_task_is_unknown(page_app: Stand) -> None:
    answer = await page_app.call(NAME, PAGE["input"])
    assert answer.code == "ResourceNotFound"


async def test_a_running_task_is_answered_in_the_shape_of_the_example(page_app: Stand) -> None:
    created = await page_app.call("CreateCloudRecording", await page_app.create_request())
    answer = await page_app.call(NAME, PAGE["input"] | {"TaskId": created.response["TaskId"]})
    response, example = answer.response, PAGE["output"]["Response"]
    assert list(response) == list(example) == PAGE["response_members"]
    assert response["TaskId"] == created.response["TaskId"]
    assert [len(part) for part in response["RequestId"].split("-")] == [
        len(part) for part in example["RequestId"].split("-")
    ]


async def test_the_example_output_reads_into_our_response() -> None:
    response = PAGE["output"]["Response"]
    assert DeleteCloudRecordingResponse(task_id=response["TaskId"]).task_id == response["TaskId"]


async def test_it_takes_the_five_regions_of_the_page_and_no_other(page_app: Stand) -> None:
    assert list(REGIONS[NAME]) == PAGE["regions"]
    for region in PAGE["regions"]:
        assert (await page_app.call(NAME, PAGE["input"], region=region)).code == "ResourceNotFound"
    for region in ("ap-hongkong", "na-toronto", "AP-BEIJING", "eu-frankfurt"):
        assert (await page_app.call(NAME, PAGE["input"], region=region)).code == "UnsupportedRegion"


async def test_it_takes_twenty_calls_a_second(page_app: Stand) -> None:
    codes = [(await page_app.call(NAME, PAGE["input"])).code for _ in range(PAGE["rate_per_s"] + 1)]
    assert codes == ["ResourceNotFound"] * PAGE["rate_per_s"] + ["RequestLimitExceeded"]


@pytest.mark.parametrize("member", PAGE["request_members"])
async def test_each_member_is_required(page_app: Stand, member: str) -> None:
    given = {name: value for name, value in PAGE["input"].items() if name != member}
    assert (await page_app.call(NAME, given)).code == f"MissingParameter.{member}"


async def test_a_member_it_does_not_have_is_unknown(page_app: Stand) -> None:
    for member in ("RoomId", "UserId", "Taskid", "RequestId"):
        answer = await page_app.call(NAME, PAGE["input"] | {member: "x"})
        assert answer.code == "UnknownParameter"


def test_its_thirteen_codes_are_the_pages() -> None:
    assert len(PAGE["codes"]) == 13
    assert set(PAGE["codes"]) == LISTED[NAME]


def test_every_code_it_can_answer_is_listed_or_common() -> None:
    action = ACTIONS[NAME]
    ours = {WIRE_CODES.get((action.family, error)) or COMMON_CODES[error] for error in action.raises}
    ours.add(FAULT_CODES[action.family])
    assert ours <= LISTED[NAME] | COMMON
    assert not [key for key in OFF_LIST if key[0] == NAME]
    assert "FailedOperation" not in ours
