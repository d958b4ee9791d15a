"""The recording actions: every row of their pages that the API itself decides, and what it hands on."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from roomtape.access.tickets import Right
from roomtape.recording.spec import CloudStorageSpec, SubscribeLists, VodSpec
from tests.support.api import Stand, create
from tests.support.taskrows import FileView

OUT_OF_RANGE = "InvalidParameter.OutOfRange"
MODIFY = "ModifyCloudRecording"
VOD = {"CloudVod": {"TencentVod": {}}}


def put(request: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The request with one member set (None removes it), however deep."""
    changed = copy.deepcopy(request)
    at: Any = changed
    *steps, last = path.split(".")
    for step in steps:
        at = at.setdefault(step, {}) if isinstance(at, dict) else at[int(step)]
    if isinstance(at, list):
        at[int(last)] = value
    elif value is None:
        at.pop(last, None)
    else:
        at[last] = value
    return changed


WINDOW = {"Top": 0, "Left": 0, "Width": 100, "Height": 100}
VIDEO = {"Width": 1280, "Height": 720, "Fps": 15, "BitRate": 1_500_000, "Gop": 5}
AUDIO = {"SampleRate": 1, "Channel": 2, "BitRate": 64_000}
TEXT = {"Top": 0, "Left": 0, "Width": 10, "Height": 10, "Chars": "x"}
IMAGE = {"WaterMarkUrl": "https://x.test/a.png", "Top": 0, "Left": 0, "Width": 10, "Height": 10}


async def mixed(api: Stand) -> dict[str, Any]:
    """A create of a mix with everything in it."""
    request = await api.create_request(
        MixTranscodeParams={"VideoParams": VIDEO, "AudioParams": AUDIO},
        MixLayoutParams={
            "MixLayoutMode": 4,
            "MixLayoutList": [WINDOW],
            "WaterMarkList": [
                {"WaterMarkType": 0, "WaterMarkImage": IMAGE},
                {"WaterMarkType": 1, "WaterMarkChar": TEXT},
                {"WaterMarkType": 2, "WaterMarkTimestamp": {"Pos": 1}},
            ],
        },
    )
    return put(request, "RecordParams.RecordMode", 2)


# --- what a legal request becomes -------------------------------------------------------------------


async def test_defaults_are_the_published_ones(api: Stand) -> None:
    assert (await create(api)).code == "OK"
    spec = api.recording.specs[0]
    assert (spec.sdk_app_id, spec.room_type, spec.room_id, spec.robot) == (
        api.app.sdk_app_id,
        "s",
        "class_7",
        "robot",
    )
    assert (spec.mode, spec.max_idle_s, spec.stream_type, spec.output_format, spec.av_merge) == (
        *(1, 30, 0, 0, 0),
    )
    assert (spec.max_file_minutes, spec.media_id, spec.fill_type, spec.subscribe_ability) == (1440, 0, 0, 0)
    assert (spec.expired_hours, spec.private_map_key, spec.mix) == (72, None, None)
    assert spec.lists == SubscribeLists()
    storage = spec.storage
    assert isinstance(storage, CloudStorageSpec)
    assert (storage.vendor, storage.region, storage.bucket, storage.prefix, storage.endpoint_url) == (
        *(1, "us-east-1", "rec", (), None),
    )
    assert (storage.access_key.reveal(), storage.secret_key.reveal()) == ("AK", "SK")


async def test_zero_is_a_value_and_null_or_empty_is_absent(api: Stand) -> None:
    request = await api.create_request(RoomIdType=0, ResourceExpiredHour=None)
    request["PrivateMapKey"] = ""
    request["MixLayoutParams"] = None
    request["RecordParams"] |= {"MediaId": 0, "MaxIdleTime": None, "SubscribeStreamUserIds": None}
    request["StorageParams"]["CloudVod"] = None
    request["StorageParams"]["CloudStorage"] |= {"Vendor": 0, "EndpointUrl": "", "FileNamePrefix": []}
    assert (await api.call("CreateCloudRecording", request)).code == "OK"
    spec = api.recording.specs[0]
    assert isinstance(spec.storage, CloudStorageSpec)
    assert (spec.storage.vendor, spec.storage.endpoint_url, spec.private_map_key) == (0, None, None)


async def test_given_values_are_handed_on(api: Stand) -> None:
    request = await api.create_request(RoomIdType=1, RoomId="4294967295", ResourceExpiredHour=720)
    request["RecordParams"] = {
        "RecordMode": 1,
        "MaxIdleTime": 5,
        "StreamType": 1,
        "OutputFormat": 4,
        "AvMerge": 1,
        "MaxMediaFileDuration": 1,
        "MediaId": 2,
        "FillType": 1,
        "SubscribeAbility": 1,
        "SubscribeStreamUserIds": {
            "SubscribeAudioUserIds": ["a"],
            "UnSubscribeVideoUserIds": ["1.*$", "b"],
        },
    }
    request["StorageParams"]["CloudStorage"] |= {
        "FileNamePrefix": ["school", "2026"],
        "EndpointUrl": "http://s3.example.net:9000",
    }
    assert (await api.call("CreateCloudRecording", request)).code == "OK"
    spec = api.recording.specs[0]
    assert (spec.room_type, spec.room_id, spec.expired_hours) == ("i", "4294967295", 720)
    assert (spec.max_idle_s, spec.stream_type, spec.output_format, spec.av_merge) == (5, 1, 4, 1)
    assert (spec.max_file_minutes, spec.media_id, spec.fill_type, spec.subscribe_ability) == (1, 2, 1, 1)
    assert spec.lists == SubscribeLists(audio_allow=("a",), video_deny=("1.*$", "b"))
    assert isinstance(spec.storage, CloudStorageSpec)
    assert spec.storage.prefix == ("school", "2026")
    assert spec.storage.endpoint_url == "http://s3.example.net:9000"


@pytest.mark.parametrize("vod", [{}, {"TencentVod": {}}], ids=["without TencentVod", "empty TencentVod"])
async def test_the_media_library_takes_all_defaults(api: Stand, vod: dict[str, Any]) -> None:
    answer = await create(api, StorageParams={"CloudVod": vod})
    if not vod:  # an empty object is present
        assert answer.code == "OK"
    assert api.recording.specs[0].storage == VodSpec()


async def test_a_mix_is_described_in_our_units(api: Stand) -> None:
    from roomtape.api.actions.mixes import mix
    from roomtape.contract.recording import MixLayout, MixLayoutParams, MixTranscodeParams, VideoParams

    default = mix(None, None)
    assert default["video"] == {
        "width": 360,
        "height": 640,
        "fps": 15,
        "bit_rate_bps": 550_000,
        "gop_s": 10,
    }
    assert default["audio"] == {"sample_rate_hz": 48_000, "channels": 2, "bit_rate_bps": 64_000}
    assert (default["layout"]["mode"], default["layout"]["background_colour"]) == (3, "#000000")
    assert default["layout"]["audio_only_windows"] is True
    given = mix(
        MixTranscodeParams(video_params=VideoParams(width=1281, height=721, fps=30, bit_rate=64_000, gop=1)),
        MixLayoutParams(
            mix_layout_mode=4,
            media_id=1,
            back_ground_color="0xA0b0C0",
            pure_audio_disable_layout=True,
            mix_layout_list=[
                MixLayout(top=1, left=2, width=3, height=4, alpha=255, render_mode=0, media_id=1)
            ],
        ),
    )
    assert (given["video"]["width"], given["video"]["height"]) == (1280, 720)
    assert (given["layout"]["big_media"], given["layout"]["background_colour"]) == ("aux", "#a0b0c0")
    assert given["layout"]["audio_only_windows"] is False
    (window,) = given["layout"]["windows"]
    assert (window["transparency"], window["render"], window["media"]) == (255, 0, "aux")


async def test_a_mix_is_refused_only_after_everything_was_checked(api: Stand) -> None:
    assert (await api.call("CreateCloudRecording", await mixed(api))).code == "UnsupportedOperation"


# --- absent members ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("SdkAppId", "MissingParameter.SdkAppId"),
        ("RoomId", "MissingParameter.RoomId"),
        ("UserId", "MissingParameter.UserId"),
        ("UserSig", "MissingParameter.UserSig"),
        ("RecordParams", "MissingParameter.RecordParams"),
        ("RecordParams.RecordMode", "MissingParameter.RecordMode"),
        ("StorageParams", "MissingParameter.StorageParams"),
        ("StorageParams.CloudStorage", "MissingParameter.CloudStorage"),
        ("StorageParams.CloudStorage.Vendor", "MissingParameter.Vendor"),
        ("StorageParams.CloudStorage.Region", "MissingParameter.Region"),
        ("StorageParams.CloudStorage.Bucket", "MissingParameter.Bucket"),
        ("StorageParams.CloudStorage.AccessKey", "MissingParameter.AccessKey"),
        ("StorageParams.CloudStorage.SecretKey", "MissingParameter.SecretKey"),
        *((f"MixTranscodeParams.VideoParams.{name}", "MissingParameter") for name in VIDEO),
        *((f"MixTranscodeParams.AudioParams.{name}", "MissingParameter") for name in AUDIO),
        ("MixLayoutParams.MixLayoutMode", "MissingParameter"),
        *((f"MixLayoutParams.MixLayoutList.0.{name}", "MissingParameter") for name in WINDOW),
        ("MixLayoutParams.WaterMarkList.0.WaterMarkImage", "MissingParameter"),
        ("MixLayoutParams.WaterMarkList.1.WaterMarkChar", "MissingParameter"),
        ("MixLayoutParams.WaterMarkList.2.WaterMarkTimestamp", "MissingParameter"),
        *((f"MixLayoutParams.WaterMarkList.0.WaterMarkImage.{n}", "MissingParameter") for n in IMAGE),
        *((f"MixLayoutParams.WaterMarkList.1.WaterMarkChar.{n}", "MissingParameter") for n in TEXT),
        ("MixLayoutParams.WaterMarkList.2.WaterMarkTimestamp.Pos", "MissingParameter"),
    ],
)
async def test_an_absent_member_is_missing(api: Stand, path: str, code: str) -> None:
    api.config.limits.per_action = {"CreateCloudRecording": 1000}
    whole = await mixed(api)
    answer = await api.call("CreateCloudRecording", put(whole, path, None))
    assert answer.code == code
    assert path.rpartition(".")[2] in answer.message
    is_text = path.rpartition(".")[2] in ("RoomId", "UserId", "UserSig", "Bucket", "Region", "AccessKey")
    if is_text:  # empty counts as absent
        assert (await api.call("CreateCloudRecording", put(whole, path, ""))).code == code


async def test_missing_members_are_told_in_page_order_and_before_ranges(api: Stand) -> None:
    request = await api.create_request(UserSig=None, RoomId=None, ResourceExpiredHour=5)
    request["RecordParams"] = {"MaxIdleTime": 1}
    for name, code in (
        ("RoomId", "MissingParameter.RoomId"),
        ("UserSig", "MissingParameter.UserSig"),
        ("RecordParams.RecordMode", "MissingParameter.RecordMode"),
    ):
        assert (await api.call("CreateCloudRecording", request)).code == code
        request = put(request, name, 1 if name.endswith("Mode") else "class_7")
    assert (await api.call("CreateCloudRecording", request)).code == OUT_OF_RANGE


# --- ranges -----------------------------------------------------------------------------------------

RANGES = {
    "RecordParams.RecordMode": (1, 2),
    "RecordParams.MaxIdleTime": (5, 86_400),
    "RecordParams.StreamType": (0, 2),
    "RecordParams.OutputFormat": (0, 4),
    "RecordParams.AvMerge": (0, 1),
    "RecordParams.MaxMediaFileDuration": (1, 1440),
    "RecordParams.MediaId": (0, 2),
    "RecordParams.FillType": (0, 1),
    "RecordParams.SubscribeAbility": (0, 1),
    "StorageParams.CloudStorage.Vendor": (0, 1),
    "ResourceExpiredHour": (6, 720),
    "MixTranscodeParams.VideoParams.Width": (1, 1920),
    "MixTranscodeParams.VideoParams.Fps": (1, 60),
    "MixTranscodeParams.VideoParams.BitRate": (64_000, 8_192_000),
    "MixTranscodeParams.VideoParams.Gop": (1, None),
    "MixTranscodeParams.AudioParams.SampleRate": (1, 3),
    "MixTranscodeParams.AudioParams.Channel": (1, 2),
    "MixTranscodeParams.AudioParams.BitRate": (32_000, 128_000),
    "MixLayoutParams.MixLayoutMode": (1, 4),
    "MixLayoutParams.MediaId": (0, 1),
    "MixLayoutParams.PlaceHolderMode": (0, 1),
    "MixLayoutParams.BackgroundImageRenderMode": (0, 3),
    "MixLayoutParams.RenderMode": (0, 3),
    "MixLayoutParams.MaxResolutionUserAlign": (0, 1),
    "MixLayoutParams.MixLayoutList.0.Alpha": (0, 255),
    "MixLayoutParams.MixLayoutList.0.RenderMode": (0, 3),
    "MixLayoutParams.MixLayoutList.0.MediaId": (0, 1),
    "MixLayoutParams.WaterMarkList.2.WaterMarkTimestamp.Pos": (0, 6),
}


@pytest.mark.parametrize("path", RANGES)
@pytest.mark.parametrize("end", [0, 1], ids=["low", "high"])
async def test_a_value_may_lie_at_the_end_of_its_range_but_not_beyond(
    api: Stand, path: str, end: int
) -> None:
    limit = RANGES[path][end]
    whole = await mixed(api)
    # Small enough windows for any canvas of the range; nothing else depends on the value.
    whole = put(whole, "MixLayoutParams.MixLayoutList.0", WINDOW | {"Width": 1, "Height": 1})
    whole = put(whole, "MixLayoutParams.WaterMarkList.0.WaterMarkImage", IMAGE | {"Width": 1, "Height": 1})
    whole = put(whole, "MixLayoutParams.WaterMarkList.1.WaterMarkChar", TEXT | {"Width": 1, "Height": 1})
    if limit is None:
        return
    if path.endswith("OutputFormat") or path.endswith("StreamType"):
        whole = put(whole, "RecordParams.StreamType", 0)
    accepted = (await api.call("CreateCloudRecording", put(whole, path, limit))).code
    assert accepted in ("UnsupportedOperation", "OK")
    beyond = limit - 1 if end == 0 else limit + 1
    answer = await api.call("CreateCloudRecording", put(whole, path, beyond))
    if beyond < 0:  # not even a legal uint64
        assert answer.code == "InvalidParameter"
    else:
        assert answer.code == OUT_OF_RANGE
        assert path in answer.message


@pytest.mark.parametrize(
    ("room_type", "room", "ok"),
    [
        (None, "123", True),
        (None, "class_7", False),
        (1, "0", False),
        (1, "-1", False),
        (1, "007", False),
        (1, "1.5", False),
        (1, "4294967296", False),
        (0, "123", True),
        (0, "room #1@x", True),
        (0, "!#$%&()+-:;<=.>?@[]^_{}|~, aZ9", True),
        (0, "x" * 64, True),
        (0, "x" * 65, False),
        (0, "a/b", False),
        (0, "a\\b", False),
        (0, 'a"b', False),
        (0, "a*b", False),
        (0, "房间", False),
        (2, "123", False),
    ],
)
async def test_the_room_must_fit_its_type_whose_default_is_integer(
    api: Stand, room_type: int | None, room: str, ok: bool
) -> None:
    answer = await create(api, RoomIdType=room_type, RoomId=room)
    assert answer.code == ("OK" if ok else OUT_OF_RANGE)
    if not ok:
        assert "RoomIdType" in answer.message
        assert "1 by default" in answer.message
        assert "0 means a string room" in answer.message


@pytest.mark.parametrize("user", ["a b", "ü", "x" * 65, "a/b"])
async def test_a_robot_needs_a_user_id(api: Stand, user: str) -> None:
    assert (await create(api, UserId=user)).code == OUT_OF_RANGE


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("StorageParams.CloudStorage.FileNamePrefix", ["ok", "not ok"]),
        ("StorageParams.CloudStorage.FileNamePrefix", ["a/b"]),
        ("StorageParams.CloudStorage.FileNamePrefix", [".."]),
        ("StorageParams.CloudStorage.FileNamePrefix", [""]),
        ("StorageParams.CloudStorage.EndpointUrl", "ftp://x"),
        ("StorageParams.CloudStorage.EndpointUrl", "user:pass@host"),
        ("MixLayoutParams.BackGroundColor", "red"),
        ("MixLayoutParams.BackGroundColor", "#12345"),
        ("MixLayoutParams.BackgroundImageUrl", "https://x.test/a.gif"),
        ("MixLayoutParams.BackgroundImageUrl", "file:///etc/a.png"),
        ("MixLayoutParams.BackgroundImageUrl", "https://x.test/ä.png"),
        ("MixLayoutParams.BackgroundImageUrl", "https://x.test/a?b=.png"),
        ("MixLayoutParams.DefaultSubBackgroundImage", "a.png"),
        ("MixLayoutParams.MixLayoutList.0.SubBackgroundImage", "https://x.test/"),
        ("MixLayoutParams.WaterMarkList.0.WaterMarkImage.WaterMarkUrl", "https://x.test/a.svg"),
        ("MixLayoutParams.WaterMarkList.1.WaterMarkChar.Font", "Comic"),
        ("MixLayoutParams.WaterMarkList.1.WaterMarkChar.FontColor", "0x12"),
        ("MixLayoutParams.WaterMarkList.0.WaterMarkType", 3),
        ("MixLayoutParams.MixLayoutList", [WINDOW] * 26),
        ("MixLayoutParams.WaterMarkList", [{"WaterMarkChar": TEXT, "WaterMarkType": 1}] * 26),
        ("MixLayoutParams.MixLayoutList.0.Width", 1281),
        ("MixLayoutParams.MixLayoutList.0.Left", 1181),
        ("MixLayoutParams.MixLayoutList.0.Top", 621),
        ("MixLayoutParams.WaterMarkList.0.WaterMarkImage.Left", 1271),
        ("MixLayoutParams.WaterMarkList.1.WaterMarkChar.Top", 711),
        ("MixTranscodeParams.VideoParams", VIDEO | {"Width": 1920, "Height": 1081}),
        (
            "RecordParams.SubscribeStreamUserIds",
            {"SubscribeAudioUserIds": ["a"], "UnSubscribeAudioUserIds": ["b"]},
        ),
        (
            "RecordParams.SubscribeStreamUserIds",
            {"SubscribeVideoUserIds": ["a"], "UnSubscribeVideoUserIds": ["b"]},
        ),
        ("RecordParams.SubscribeStreamUserIds", {"UnSubscribeVideoUserIds": ["a"] * 33}),
        ("StorageParams.CloudVod", {"TencentVod": {}}),
    ],
)
async def test_refused_as_out_of_range(api: Stand, path: str, value: Any) -> None:
    answer = await api.call("CreateCloudRecording", put(await mixed(api), path, value))
    assert answer.code == OUT_OF_RANGE


@pytest.mark.parametrize(
    "url", ["https://x.test/a.JPG?x=1", "http://x.test:81/b.jpeg#f", "https://x.test/c.png"]
)
async def test_pictures_may_be_named_like_this(api: Stand, url: str) -> None:
    request = put(await mixed(api), "MixLayoutParams.BackgroundImageUrl", url)
    assert (await api.call("CreateCloudRecording", request)).code == "UnsupportedOperation"


@pytest.mark.parametrize("pattern", ["x" * 65, "a/b", "名"])
async def test_a_record_id_of_the_media_library_is_a_file_name(api: Stand, pattern: str) -> None:
    vod = {"CloudVod": {"TencentVod": {"UserDefineRecordId": pattern}}}
    assert (await create(api, StorageParams=vod)).code == OUT_OF_RANGE


@pytest.mark.parametrize(
    ("output_format", "stream_type", "ok"),
    [(2, 0, True), (4, 0, True), (2, 1, True), (4, 1, True), (2, 2, False), (4, 2, False), (3, 2, True)],
)
async def test_aac_from_a_bucket_needs_sound(
    api: Stand, output_format: int, stream_type: int, ok: bool
) -> None:
    params = {"RecordMode": 1, "OutputFormat": output_format, "StreamType": stream_type}
    assert (await create(api, RecordParams=params)).code == ("OK" if ok else OUT_OF_RANGE)


@pytest.mark.parametrize(
    ("media_type", "stream_type", "ok"),
    [(2, 1, True), (4, 1, True), (2, 0, False), (4, 0, False), (2, 2, False), (3, 0, True), (5, 1, False)],
)
async def test_aac_from_the_library_needs_sound_alone(
    api: Stand, media_type: int, stream_type: int, ok: bool
) -> None:
    answer = await create(
        api,
        RecordParams={"RecordMode": 1, "StreamType": stream_type, "OutputFormat": 2},
        StorageParams={"CloudVod": {"TencentVod": {"MediaType": media_type}}},
    )
    assert answer.code == ("OK" if ok else OUT_OF_RANGE)


# --- 16: what the service finds ---------------------------------------------------------------------


async def test_a_usersig_that_does_not_verify_is_told_so(api: Stand) -> None:
    for sig in ("xx", await api.robot("another")):
        answer = await create(api, UserSig=sig)
        assert answer.code == "InvalidParameter.UserSig"
        assert sig not in answer.body.decode()
    late = await api.robot()
    await api.clock.advance(15_552_001)
    assert (await create(api, UserSig=late)).code == "InvalidParameter.UserSig"


async def test_a_ticket_is_needed_once_the_application_demands_it(api: Stand) -> None:
    await api.access.set_permission_control(api.app.sdk_app_id, True)
    app = api.app.sdk_app_id
    assert (await create(api)).code == "FailedOperation"
    wrong = await api.access.issue_ticket(app, "robot", "i", "7", 60)
    assert (await create(api, PrivateMapKey=wrong.reveal())).code == "FailedOperation"
    no_entry = await api.access.issue_ticket(app, "robot", "s", "class_7", 60, Right.CREATE)
    assert (await create(api, PrivateMapKey=no_entry.reveal())).code == "FailedOperation"
    right = await api.access.issue_ticket(app, "robot", "s", "class_7", 60, Right.ENTER)
    assert (await create(api, PrivateMapKey=right.reveal())).code == "OK"


async def test_recording_may_be_switched_off(api: Stand) -> None:
    await api.access.set_recording(api.app.sdk_app_id, False)
    assert (await create(api)).code == "FailedOperation.CRUnsupportMethod"
    await api.access.set_recording(api.app.sdk_app_id, True)
    assert (await create(api)).code == "OK"


async def test_r_cap_2_too_many_tasks_is_restricted_concurrency(api: Stand) -> None:
    api.recording.max_tasks = 1
    assert (await create(api)).code == "OK"
    assert (await create(api, RoomId="other")).code == "FailedOperation.RestrictedConcurrency"


async def test_what_the_caller_did_wrong_is_told_before_what_the_service_finds(api: Stand) -> None:
    params = {"RecordMode": 1, "MaxIdleTime": 1}
    assert (await create(api, UserSig="xx", RecordParams=params)).code == OUT_OF_RANGE
    answer = await create(api, UserSig="xx", SdkAppId=77)
    assert answer.code == "InvalidParameter.SdkAppId"


# --- the other three --------------------------------------------------------------------------------


async def test_describe_shows_state_and_files(api: Stand) -> None:
    task_id = (await create(api)).response["TaskId"]
    request = {"SdkAppId": api.app.sdk_app_id, "TaskId": task_id}
    answer = await api.call("DescribeCloudRecording", request)
    assert answer.response == {
        "TaskId": task_id,
        "Status": "Idle",
        "StorageFileList": [],
        "RequestId": answer.response["RequestId"],
    }
    api.recording.files = [FileView("", "a.m3u8", "audio_video", 1772352900125)]
    answer = await api.call("DescribeCloudRecording", request | {"RecorderKey": "ignored"})
    assert answer.response["StorageFileList"] == [
        {"UserId": "", "FileName": "a.m3u8", "TrackType": "audio_video", "BeginTimeStamp": 1772352900125}
    ]


@pytest.mark.parametrize("action", ["DescribeCloudRecording", MODIFY, "DeleteCloudRecording"])
async def test_a_task_must_be_named_and_known(api: Stand, action: str) -> None:
    app = api.app.sdk_app_id
    assert (await api.call(action, {"TaskId": "x"})).code == "MissingParameter.SdkAppId"
    assert (await api.call(action, {"SdkAppId": app})).code == "MissingParameter.TaskId"
    assert (await api.call(action, {"SdkAppId": app, "TaskId": ""})).code == "MissingParameter.TaskId"
    for text in ("xx", "x" * 64, "../..", "a" * 5000):
        assert (await api.call(action, {"SdkAppId": app, "TaskId": text})).code == "ResourceNotFound"
    task_id = (await create(api)).response["TaskId"]
    second, _ = await api.access.create_app(uin=api.account.uin)
    answer = await api.call(action, {"SdkAppId": second.sdk_app_id, "TaskId": task_id})
    assert answer.code == "ResourceNotFound"


async def test_delete_twice_succeeds_and_modify_then_fails(api: Stand) -> None:
    task_id = (await create(api)).response["TaskId"]
    request = {"SdkAppId": api.app.sdk_app_id, "TaskId": task_id}
    assert (await api.call(MODIFY, request)).response["TaskId"] == task_id
    for extra in ("", " "):  # another byte: another request, not a replay
        answer = await api.call(
            "DeleteCloudRecording",
            f'{{"SdkAppId":{api.app.sdk_app_id},"TaskId":"{task_id}"{extra}}}'.encode(),
        )
        assert answer.response["TaskId"] == task_id
    assert (await api.call(MODIFY, request | {"MixLayoutParams": {"MixLayoutMode": 1}})).code == (
        "FailedOperation"
    )
    assert (await api.call("DescribeCloudRecording", request)).response["Status"] == "Exited"


@pytest.mark.parametrize(
    "members",
    [
        {"MixLayoutParams": {"MixLayoutMode": 5}},
        {"MixLayoutParams": {"MixLayoutMode": 1, "BackGroundColor": "x"}},
        {"SubscribeStreamUserIds": {"SubscribeAudioUserIds": ["a"], "UnSubscribeAudioUserIds": ["a"]}},
        {"SubscribeStreamUserIds": {"SubscribeAudioUserIds": ["a"] * 33}},
    ],
)
async def test_modify_checks_layout_and_lists(api: Stand, members: dict[str, Any]) -> None:
    request = {"SdkAppId": api.app.sdk_app_id, "TaskId": "x"}
    assert (await api.call(MODIFY, request | members)).code == OUT_OF_RANGE
