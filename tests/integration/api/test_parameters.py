"""Members of every action against the copied schema and the published tables, through the whole gateway.

An action that is not built judges its request all the same: `UnsupportedOperation` is for a legal one only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

import pytest

from roomtape.api.dispatch import PLANNED
from roomtape.contract.codes import COMMON, LISTED
from roomtape.contract.regions import REGIONS
from tests.support.api import Answer, Stand
from tests.support.requests import KNOWN, Path, body, put, without

SPEC = File(__file__).parents[3] / "spec"
FILES = [json.loads((SPEC / name).read_text()) for name in ("actions.json", "extra_actions.json")]
PUBLISHED: dict[str, Any] = {name: action for file in FILES for name, action in file["actions"].items()}
STRUCTS: dict[str, Any] = {name: struct for file in FILES for name, struct in file["structs"].items()}
WRONG: dict[str, list[Any]] = {
    "integer": ["1", 1.5, True, [], {}, -(2**63) - 1, 2**64],
    "string": [1, True, [], {}, "a\0b"],
    "boolean": [1, "true", [], {}],
    "float": ["1", True, [], {}],
}
# Where a page has a code of its own for an absent member, or none: protocol and error pages, and ADR 0025.
MISSING = {
    ("DescribeUserEvent", "SdkAppId"): "MissingParameter.CommIdOrSdkAppId",
    ("DescribeTrtcRoomUsage", "SdkAppid"): "MissingParameter.SdkAppId",
    ("SetUserBlockedByStrRoomId", "StrRoomId"): "MissingParameter.RoomId",
    **{
        (action, time): f"MissingParameter.{sub}"
        for action, row in PUBLISHED.items()
        for time, sub in (("StartTime", "StartTs"), ("EndTime", "EndTs"))
        if f"MissingParameter.{sub}" in LISTED[action]
    },
    **{("StopStreamIngest", name): "InvalidParameter.BodyParamsError" for name in ("SdkAppId", "TaskId")},
    **{
        ("StartStreamIngest", name): "InvalidParameter.BodyParamsError"
        for name in ("RoomIdType", "UserId", "UserSig")
    },
}


def walk(members: list[dict[str, Any]], path: Path = ()) -> Iterator[tuple[dict[str, Any], Path]]:
    for member in members:
        at = (*path, member["name"])
        yield member, at
        if "struct" in member:
            inner = (*at, "0") if member.get("list") else at
            yield from walk(STRUCTS[member["struct"]]["members"], inner)


def expected_missing(action: str, name: str) -> str:
    code = MISSING.get((action, name), f"MissingParameter.{name}")
    return code if code in LISTED[action] or (action, name) in MISSING else "MissingParameter"


def wrong_values(member: dict[str, Any]) -> list[Any]:
    if member.get("list"):
        return [1, "x", {}, [None], [[]]]
    if "struct" in member:
        return [1, "x", [], True]
    values = WRONG[member["type"]]
    return [*values, -1] if member.get("wire") == "uint64" else values


class Caller:
    """Calls one action with changes of a legal request."""

    def __init__(self, api: Stand, action: str) -> None:
        self.api, self.action = api, action
        api.config.limits.per_action = {action: 10**6}
        api.config.limits.per_account = api.config.limits.per_address = 10**6
        api.restart()
        regions = REGIONS[action]
        self.region = regions[0]

    def legal(self, path: Path = ()) -> dict[str, Any]:
        own = self.api.app.sdk_app_id
        names = {member["name"] for member in PUBLISHED[self.action]["request"]}
        values: dict[str, Any] = {name: own for name in ("SdkAppId", "SdkAppid") if name in names}
        if "CommId" in names:
            values["CommId"] = f"{own}_70012_1741078800"
        return body(self.action, path, **values)

    async def __call__(self, request: dict[str, Any] | bytes) -> Answer:
        return await self.api.call(self.action, request, region=self.region)

    async def code(self, request: dict[str, Any] | bytes) -> str:
        return (await self(request)).code


@pytest.fixture
def caller(api: Stand, action: str) -> Caller:
    return Caller(api, action)


@pytest.mark.parametrize("action", sorted(PUBLISHED))
async def test_every_member_is_judged_as_the_schema_says(caller: Caller, action: str) -> None:
    base = await caller.code(caller.legal())
    assert not base.startswith(("MissingParameter", "Unknown")), base
    assert (base == "UnsupportedOperation") == (action in PLANNED)
    assert await caller.code({**caller.legal(), "Unheard": 1}) == "UnknownParameter"
    seen = 0
    for member, path in walk(PUBLISHED[action]["request"]):
        seen += 1
        given, where = caller.legal(path), f"{action} {'.'.join(path)}"
        name = member["name"]
        for wrong in wrong_values(member):
            answer = await caller(put(given, path, wrong))
            # An empty list or text stands for absence.
            if wrong == [] and member.get("list"):
                continue
            assert answer.code.startswith("InvalidParameter"), f"{where} = {wrong!r}: {answer.code}"
            assert answer.code in LISTED[action] | COMMON | {"InvalidParameter.SdkAppid", "InvalidParameter.SdkAppId"}
            assert name in answer.message, answer.message
        absent = [without(given, path), put(given, path, None)]
        if member.get("list") and member.get("required"):
            absent.append(put(given, path, []))
        elif member["type"] == "string" and not member.get("list"):
            absent.append(put(given, path, ""))
        if name in ("SdkAppId", "SdkAppid"):
            absent.append(put(given, path, 0))
        for request in absent:
            code = await caller.code(request)
            if member.get("required"):
                assert code == expected_missing(action, name), f"{where} absent: {code}"
            else:
                assert not code.startswith("Unknown"), f"{where} absent: {code}"
        if "struct" in member:
            inner = (*path, "0") if member.get("list") else path
            assert await caller.code(put(given, (*inner, "Unheard"), 1)) == "UnknownParameter", where
    assert seen == sum(1 for _ in walk(PUBLISHED[action]["request"]))


NOW_S = 1_700_000_000  # of the stand's clock, which stands still
FORTNIGHT_S = 14 * 86_400
TASK = "A" * 63 + "1"
OK = "UnsupportedOperation"  # what a legal request of an action that is not built is answered
RANGE, BODY = "InvalidParameter", "InvalidParameter.BodyParamsError"
TARGET = {"PublishCdnUrl": "rtmp://push.example.com/live/demo"}
ROOM_BACK = {"RoomId": "stage", "RoomIdType": 1, "UserId": "mix", "UserSig": "x"}
ENCODE = {"Width": 1280, "Height": 720, "Fps": 15, "BitRate": 1500, "Gop": 2}
SOUND = {"SampleRate": 48_000, "Channel": 2, "BitRate": 64}
STORE = {"Vendor": 1, "Region": "r", "Bucket": "b", "AccessKey": "a", "SecretKey": "s"}


def video(**members: Any) -> dict[str, Any]:
    return {"VideoParams": {"VideoEncode": ENCODE, **members}}


def window(**members: Any) -> dict[str, Any]:
    return video(LayoutParams={"MixLayoutMode": 4, "MixLayoutList": [members]})


def hours(count: float, *, start: int = NOW_S - 90_000) -> dict[str, Any]:
    return {"StartTime": start, "EndTime": start + int(count * 3600)}


# Rows of the published tables: what is changed in a legal request, and the answer. None takes a member away.
RULES: dict[str, list[tuple[dict[str, Any], str]]] = {
    "DescribeRoomInfo": [
        (hours(24), OK),
        (hours(24) | {"PageNumber": 0, "PageSize": 100, "RoomId": "70012"}, OK),
        (hours(24.01), "InvalidParameter.QueryScaleOversize"),
        (hours(1) | {"StartTime": 0}, "InvalidParameter.StartTs"),
        (hours(0), "InvalidParameter.EndTs"),
        (hours(-1), "InvalidParameter.EndTs"),
        (hours(1, start=NOW_S - FORTNIGHT_S), OK),
        (hours(1, start=NOW_S - FORTNIGHT_S - 1), "InvalidParameter.StartTsOversize"),
        (hours(1) | {"PageNumber": -1}, "InvalidParameter.PageNumber"),
        (hours(1) | {"PageSize": 0}, "InvalidParameter.PageSize"),
        (hours(1) | {"PageSize": 101}, "InvalidParameter.PageSizeOversize"),
        (hours(1) | {"RoomId": 70012}, "InvalidParameter"),
    ],
    "DescribeUserInfo": [
        (hours(4), OK),
        (hours(4.01), "InvalidParameter.QueryScaleOversize"),
        (hours(0), "InvalidParameter"),
        (hours(4) | {"UserIds": ["u"] * 100}, OK),
        (hours(4) | {"UserIds": ["u"] * 101}, "InvalidParameter"),
        (hours(4) | {"UserIds": ["a b"]}, "InvalidParameter"),
        (hours(4) | {"CommId": "70012_1741078800"}, "InvalidParameter"),
        (hours(4) | {"CommId": "7_70012_1741078800"}, "InvalidParameter.SdkAppid"),
        (hours(4) | {"CommId": None}, "MissingParameter.CommId"),
        (hours(4) | {"CommId": None, "SdkAppId": None}, "MissingParameter.CommIdOrSdkAppId"),
        (hours(4) | {"CommId": None, "SdkAppId": 0}, "MissingParameter.CommIdOrSdkAppId"),
    ],
    "DescribeCallDetailInfo": [
        (hours(4) | {"PageSize": 100, "UserIds": ["u"] * 100}, OK),
        (hours(4) | {"DataType": []}, OK),
        (hours(4.01), "InvalidParameter.QueryScaleOversize"),
        (hours(1) | {"DataType": ["all", "rtt"], "PageSize": 6, "UserIds": ["u"] * 6}, OK),
        (hours(1.01) | {"DataType": ["all"]}, "InvalidParameter.QueryScaleOversize"),
        (hours(1) | {"DataType": ["all"], "UserIds": ["u"] * 7}, "InvalidParameter.UserIdsMorethanSix"),
        (hours(1) | {"DataType": ["all"], "PageSize": 7}, "InvalidParameter.PageSize"),
        (hours(1) | {"DataType": ["all"], "PageSize": 101}, "InvalidParameter.PageSizeOversize"),
        (hours(1) | {"DataType": ["bigVBit"]}, "InvalidParameter"),
        (hours(1) | {"StartTime": "1"}, "InvalidParameter.StartTs"),
    ],
    "DescribeUserEvent": [
        (hours(1000), OK),
        (hours(0), "InvalidParameter.EndTs"),
        (hours(1) | {"UserId": "a b"}, "InvalidParameter.UserId"),
        (hours(1) | {"RoomId": None}, "MissingParameter.RoomId"),
        (hours(1) | {"SdkAppId": "1"}, "InvalidParameter.SdkAppid"),
        (hours(1) | {"SdkAppId": 9, "CommId": "9_1_2"}, "InvalidParameter.SdkAppid"),
        (hours(1) | {"CommId": None, "SdkAppId": None}, "MissingParameter.CommIdOrSdkAppId"),
    ],
    "DescribeScaleInfo": [
        (hours(1), OK),
        (hours(24 * 13, start=NOW_S - FORTNIGHT_S), OK),
        (hours(0), "InvalidParameter.EndTs"),
        (hours(1, start=NOW_S - FORTNIGHT_S - 1), "InvalidParameter.StartTsOversize"),
    ],
    "DescribeTrtcUsage": [
        ({"StartTime": "2022-01-01", "EndTime": "2022-01-31"}, OK),
        ({"StartTime": "2022-01-01", "EndTime": "2022-02-01"}, "InvalidParameter.QueryScaleOversize"),
        ({"StartTime": "2022-01-02", "EndTime": "2022-01-01"}, OK),
        ({"StartTime": "2022-02-01", "EndTime": "2022-01-01"}, "InvalidParameter.QueryScaleOversize"),
        ({"StartTime": "2022-01-01 00:00:00", "EndTime": "2022-01-01 23:59:59"}, OK),
        ({"StartTime": "2022-02-30", "EndTime": "2022-03-01"}, "InvalidParameter"),
        ({"StartTime": "2022-1-1", "EndTime": "2022-03-01"}, "InvalidParameter"),
        ({"StartTime": "2022-01-01T00:00:00", "EndTime": "2022-01-01"}, "InvalidParameter"),
        ({"StartTime": 1, "EndTime": "2022-01-01"}, "InvalidParameter"),
        ({"SdkAppId": None}, OK),
        ({"SdkAppId": 9}, "InvalidParameter.SdkAppId"),
    ],
    "DescribeRecordingUsage": [
        ({"MixType": "multi"}, OK),
        ({"MixType": "Multi"}, "InvalidParameter"),
        ({"MixType": None}, "MissingParameter"),
    ],
    "DescribeMixTranscodingUsage": [({"EndTime": None}, "MissingParameter")],
    "DescribeRelayUsage": [({"EndTime": "2025-13-01"}, "InvalidParameter")],
    "DescribeTrtcRoomUsage": [
        ({"StartTime": "2025-03-04 09:00", "EndTime": "2025-03-05 09:00"}, OK),
        ({"StartTime": "2025-03-04 09:00", "EndTime": "2025-03-05 09:01"}, "InvalidParameter.QueryScaleOversize"),
        ({"StartTime": "2025-03-04 09:00", "EndTime": "2025-03-04 09:00"}, "InvalidParameter"),
        ({"StartTime": "2025-03-04", "EndTime": "2025-03-04"}, "InvalidParameter"),
        ({"StartTime": "2025-03-04 09:00:00"}, "InvalidParameter"),
        ({"SdkAppid": None, "SdkAppId": 9}, "InvalidParameter.SdkAppId"),
        ({"SdkAppid": None, "SdkAppId": "x"}, "InvalidParameter.SdkAppId"),
        ({"SdkAppid": None, "SdkAppId": 0}, "MissingParameter.SdkAppId"),
        ({"SdkAppId": 9}, "UnknownParameter"),
    ],
    "StartStreamIngest": [
        ({"RoomIdType": 1}, "InvalidParameter.RoomId"),
        ({"RoomIdType": 1, "RoomId": "4294967295"}, OK),
        ({"RoomIdType": 1, "RoomId": "4294967296"}, "InvalidParameter.RoomId"),
        ({"RoomIdType": 0, "RoomId": 'a"b'}, "InvalidParameter.StrRoomId"),
        ({"RoomIdType": 2}, BODY),
        ({"UserId": "a b"}, BODY),
        ({"UserSig": None}, BODY),
        ({"RoomId": None}, "MissingParameter.RoomId"),
        ({"StreamUrl": None}, "InvalidParameter.StreamUrl"),
        ({"StreamUrl": "ftp://x/y"}, "InvalidParameter.StreamUrl"),
        ({"StreamUrl": "https://"}, "InvalidParameter.StreamUrl"),
        ({"StreamUrl": "https://a:b@x/y"}, "InvalidParameter.StreamUrl"),
        ({"StreamUrl": "rtmp://x/live/y?a=b"}, OK),
        ({"StreamUrl": None, "SourceUrl": ["http://x/y.m3u8"]}, OK),
        ({"StreamUrl": None, "SourceUrl": ["http://x/1", "http://x/2"]}, "InvalidParameter.StreamUrl"),
        ({"StreamUrl": None, "SourceUrl": []}, "InvalidParameter.StreamUrl"),
        ({"RepeatNum": 0}, BODY),
        ({"RepeatNum": -1, "MaxDuration": 10_080}, OK),
        ({"RepeatNum": -2}, BODY),
        ({"MaxDuration": 0}, BODY),
        ({"Volume": 200}, OK),
        ({"Volume": 201}, BODY),
        ({"Tempo": 1.25}, OK),
        ({"Tempo": 1.1}, BODY),
        ({"IdleTimeout": 601}, BODY),
        ({"SeekSecond": -1}, BODY),
        ({"AudioEncodeParams": {"SampleRate": 16_000}}, BODY),
        ({"VideoEncodeParams": {"Height": 1081}}, BODY),
        ({"VideoEncodeParams": {"Gop": "1"}}, BODY),
        ({"SdkAppId": 9}, "InvalidParameter.SdkAppId"),
    ],
    "StopStreamIngest": [
        ({"TaskId": "xx"}, "InvalidParameter.TaskId"),
        ({"TaskId": None}, BODY),
        ({"SdkAppId": 9}, "InvalidParameter.SdkAppId"),
    ],
    "DescribeStreamIngest": [({"TaskId": TASK + "1"}, "InvalidParameter.TaskId"), ({"TaskId": TASK}, OK)],
    "UpdateStreamIngest": [
        ({"TaskId": "x_" * 32}, "InvalidParameter.TaskId"),
        ({"Volume": 201}, RANGE),
        ({"Tempo": 3}, RANGE),
        ({"StreamUrl": "file:///etc/passwd"}, "InvalidParameter.StreamUrl"),
        ({"IsPause": True}, OK),
    ],
    "StartPublishCdnStream": [
        ({"RoomIdType": 0}, RANGE),
        ({"RoomIdType": 0, "RoomId": "7"}, OK),
        ({"RoomIdType": 2}, RANGE),
        ({"PublishCdnParams": None}, "MissingParameter"),
        ({"PublishCdnParams": []}, "MissingParameter"),
        ({"PublishCdnParams": None, "FeedBackRoomParams": [ROOM_BACK]}, OK),
        ({"PublishCdnParams": [TARGET] * 10, "FeedBackRoomParams": [ROOM_BACK] * 10}, OK),
        ({"PublishCdnParams": [TARGET] * 11}, RANGE),
        ({"FeedBackRoomParams": [ROOM_BACK] * 11}, RANGE),
        ({"FeedBackRoomParams": [ROOM_BACK | {"RoomIdType": 0}]}, RANGE),
        ({"PublishCdnParams": [{"PublishCdnUrl": "rtmps://x/y"}]}, OK),
        ({"PublishCdnParams": [{"PublishCdnUrl": "srt://x/y"}]}, RANGE),
        ({"PublishCdnParams": [TARGET | {"IsTencentCdn": 2}]}, RANGE),
        ({"AgentParams": {"UserId": "mixer"}}, "MissingParameter"),
        ({"AgentParams": {"UserId": "mixer", "UserSig": "x", "MaxIdleTime": 4}}, RANGE),
        ({"WithTranscoding": 0}, "MissingParameter"),
        ({"WithTranscoding": 0, "SingleSubscribeParams": {"UserMediaStream": {"StreamType": 1}}}, OK),
        ({"WithTranscoding": 0, "SingleSubscribeParams": {"UserMediaStream": {"StreamType": 2}}}, RANGE),
        ({"WithTranscoding": 2}, RANGE),
        ({"VideoParams": {}}, "MissingParameter"),
        ({"VideoParams": {"VideoEncode": ENCODE | {"Width": 0}}}, RANGE),
        ({"VideoParams": {"VideoEncode": ENCODE | {"Gop": 6}}}, RANGE),
        ({"AudioParams": {"AudioEncode": SOUND | {"SampleRate": 22_050}}}, RANGE),
        ({"AudioParams": {"AudioEncode": SOUND | {"Codec": 2, "Channel": 1}}}, RANGE),
        ({"AudioParams": {"AudioEncode": SOUND | {"Codec": 2}}}, OK),
        ({"AudioParams": {"AudioEncode": SOUND | {"Codec": 1, "SampleRate": 8000}}}, RANGE),
        ({"AudioParams": {"SubscribeAudioList": [], "UnSubscribeAudioList": []}}, OK),
        ({"AudioParams": {"SubscribeAudioList": [{"UserInfo": {"UserId": "a", "RoomId": "other"}}]}}, OK),
        (
            video(LayoutParams={"MixLayoutMode": 3})
            | {"AudioParams": {"SubscribeAudioList": [{"UserInfo": {"UserId": "a", "RoomId": "other"}}]}},
            RANGE,
        ),
        (
            video(LayoutParams={"MixLayoutMode": 4})
            | {"AudioParams": {"SubscribeAudioList": [{"UserInfo": {"UserId": "a", "RoomId": "other"}}]}},
            OK,
        ),
        (
            video(LayoutParams={"MaxVideoUser": {"UserMediaStream": {"UserInfo": {"UserId": "a", "RoomId": "other"}}}}),
            RANGE,
        ),
        (video(LayoutParams={"MixLayoutMode": 5}), RANGE),
        (video(LayoutParams={"MixLayoutList": [{}] * 16}), OK),
        (video(LayoutParams={"MixLayoutList": [{}] * 17}), RANGE),
        (window(ImageWidth=640, LocationX=640, ImageHeight=720), OK),
        (window(ImageWidth=641, LocationX=640), RANGE),
        (window(ImageHeight=700, LocationY=21), RANGE),
        (window(BackgroundRenderMode=4), "MissingParameter"),
        (
            window(
                ImageWidth=64, ImageHeight=64, BackgroundRenderMode=4,
                BackgroundCustomRender={"Width": 64, "Height": 32, "Radius": 16},
            ),
            OK,
        ),
        (
            window(
                ImageWidth=64, ImageHeight=64, BackgroundRenderMode=4,
                BackgroundCustomRender={"Width": 64, "Height": 32, "Radius": 17},
            ),
            RANGE,
        ),
        (window(ImageWidth=64, BackgroundCustomRender={"Width": 65, "Height": 1}), RANGE),
        (window(CustomCrop={"LocationX": 9000, "LocationY": 0, "Width": 1000, "Height": 10_000}), OK),
        (window(CustomCrop={"LocationX": 9001, "LocationY": 0, "Width": 1000, "Height": 1}), RANGE),
        (window(CustomCrop={"LocationX": 0, "LocationY": 0, "Width": 0, "Height": 1}), RANGE),
        (window(BackGroundColor="0x61B9F1"), OK),
        (window(BackGroundColor="blue"), RANGE),
        (video(WaterMarkList=[{"WaterMarkType": 1}]), "MissingParameter"),
        (video(WaterMarkList=[{}]), "MissingParameter"),
        (video(BackgroundRenderMode=3), RANGE),
        ({"SeiParams": {"LayoutVolume": {}}}, OK),
        ({"SeiParams": {"LayoutVolume": {"AppData": "x" * 4095}}}, OK),
        ({"SeiParams": {"LayoutVolume": {"AppData": "x" * 4096}}}, RANGE),
        ({"SeiParams": {"LayoutVolume": {"PayloadType": 244}}}, RANGE),
        ({"SeiParams": {"PassThrough": {"PayloadContent": "x", "PayloadType": 5}}}, "MissingParameter"),
        ({"SeiParams": {"PassThrough": {"PayloadContent": "x", "PayloadType": 5, "PayloadUuid": "xx"}}}, RANGE),
        ({"SeiParams": {"PassThrough": {"PayloadContent": "x", "PayloadType": 5, "PayloadUuid": "0a" * 16}}}, OK),
        ({"SeiParams": {"PassThrough": {"PayloadContent": "x", "PayloadType": 99}}}, RANGE),
        ({"RecordParams": {"UniRecord": 3}}, "MissingParameter"),
        ({"RecordParams": {"UniRecord": 3, "McuStorageParams": {"CloudStorage": STORE}}}, OK),
        (
            {"RecordParams": {"McuStorageParams": {"CloudStorage": STORE, "McuCloudVod": {}}}},
            RANGE,
        ),
        ({"RecordParams": {"McuStorageParams": {"CloudStorage": STORE | {"Vendor": 2}}}}, RANGE),
        ({"RecordParams": {"RecordKey": "a b"}}, RANGE),
        ({"RecordParams": {"RecordFormat": ["hls", "mp4"]}}, OK),
        ({"RecordParams": {"RecordFormat": ["mp4", "aac"]}}, RANGE),
        ({"RecordParams": {"RecordFormat": ["flv"]}}, RANGE),
        ({"SdkAppId": 9}, "InvalidParameter.SdkAppId"),
    ],
    "UpdatePublishCdnStream": [
        ({"SequenceNumber": 0}, OK),
        ({"VideoParams": {}}, OK),
        ({"WithTranscoding": 0}, OK),
        ({"PublishCdnParams": [], "FeedBackRoomParams": []}, RANGE),
        ({"PublishCdnParams": []}, OK),
        ({"AudioParams": {"AudioEncode": SOUND | {"BitRate": 501}}}, RANGE),
        ({"SdkAppId": 9}, "InvalidParameter"),
    ],
    "StopPublishCdnStream": [({"RecordKey": "a/b"}, RANGE), ({"RecordKey": "k" * 128}, OK), ({"SdkAppId": 9}, RANGE)],
}


def test_every_action_that_is_not_built_has_its_rules() -> None:
    assert RULES.keys() == {name for name in KNOWN if name in PLANNED}


@pytest.mark.parametrize("action", RULES)
async def test_the_rules_of_the_published_tables(caller: Caller, action: str) -> None:
    for changes, code in RULES[action]:
        request = {name: value for name, value in (caller.legal() | changes).items() if value is not None}
        if "CommId" in changes and changes["CommId"] is None:
            request.pop("CommId", None)
        answer = await caller(request)
        assert answer.code == code, f"{changes}: {answer.response}"


@pytest.mark.parametrize("action", ["DescribeTrtcRoomUsage"])
async def test_the_room_usage_takes_the_name_that_all_others_have(caller: Caller, action: str) -> None:
    """Its page writes SdkAppid; a query and a JSON body may say SdkAppId."""
    own = caller.api.app.sdk_app_id
    other = {**caller.legal(), "SdkAppId": own}
    del other["SdkAppid"]
    assert await caller.code(other) == OK
    flat = {name: str(value) for name, value in other.items()}
    assert (await caller.api.get(action, flat, region=caller.region)).code == OK
    assert (await caller.api.form(action, flat, Region=caller.region)).code == OK


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("DescribeRoomInfo", "InvalidParameter.UrlParamsError"),
        ("DescribeUserEvent", "InvalidParameter.UrlParamsError"),
        ("DescribeScaleInfo", "InvalidParameter"),
    ],
)
async def test_a_query_that_makes_no_sense(caller: Caller, action: str, code: str) -> None:
    both = {"UserIds": "x", "UserIds.0": "y"}
    assert (await caller.api.get(action, both, region=caller.region)).code == code
    body = json.dumps({"SdkAppId": caller.api.app.sdk_app_id})[:-1].encode()
    assert await caller.code(body) == BODY
