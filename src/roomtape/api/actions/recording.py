"""The four actions of on-cloud recording: from the wire to a validated recording and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from roomtape.access.errors import AccountBlocked, BadUserSig, TicketRefused, UnknownApp
from roomtape.api import messages
from roomtape.api.actions import mixes
from roomtape.api.actions.limits import (
    at_most,
    is_number_room,
    is_string_room,
    matching,
    refuse,
    user_id,
    within,
)
from roomtape.api.decode import Rules, decode
from roomtape.api.dispatch import action
from roomtape.api.errors import ApiError, Family, malformed_code, missing_code
from roomtape.api.messages import Text
from roomtape.api.services import RecordingView, Services
from roomtape.contract.recording import (
    CloudStorage,
    CreateCloudRecordingRequest,
    CreateCloudRecordingResponse,
    DeleteCloudRecordingRequest,
    DeleteCloudRecordingResponse,
    DescribeCloudRecordingRequest,
    DescribeCloudRecordingResponse,
    ModifyCloudRecordingRequest,
    ModifyCloudRecordingResponse,
    StorageFile,
    StorageParams,
    SubscribeStreamUserIds,
    TencentVod,
)
from roomtape.recording.errors import (
    FeatureOff,
    NoCapacity,
    OptionNotSupported,
    TaskExited,
    TaskNotFound,
    TooManyTasks,
)
from roomtape.recording.spec import (
    HLS_AAC,
    MAKES_AAC,
    MIXED,
    CloudStorageSpec,
    RecordingSpec,
    RoomType,
    SubscribeLists,
    VodSpec,
)
from roomtape.secret import Secret

CALL_DEADLINE_S = 6.0  # the page: a client may take a slower answer as lost
MAX_LIST = 32
AUTOMATIC_MEMBERS = frozenset({"RecordParams", "StorageParams"})
LARGEST = 2**63 - 1  # of numbers that are only kept
VOD_AAC = frozenset({2, 4})  # MediaType
PICTURE_ONLY = 2
SOUND_ONLY = 1

_PATH_PART = re.compile(r"[A-Za-z0-9_-]+")
_RECORD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENDPOINT = re.compile(r"(https?://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")


def recording_spec(req: CreateCloudRecordingRequest) -> RecordingSpec:
    """Defaults filled and ranges checked: absent members, then ranges, then what must fit together.

    Raises ApiError.
    """
    storage = req.storage_params
    if storage.cloud_storage is None and storage.cloud_vod is None:
        raise ApiError(
            "MissingParameter.CloudStorage", messages.missing("StorageParams.CloudStorage or .CloudVod")
        )
    mixes.check_marks(req.mix_layout_params)

    params, at = req.record_params, "RecordParams"
    lists_given = params.subscribe_stream_user_ids
    spec = RecordingSpec(
        sdk_app_id=req.sdk_app_id,
        room_type=_room_type(req.room_id_type, req.room_id),
        room_id=req.room_id,
        robot=user_id("UserId", req.user_id),
        user_sig=Secret(req.user_sig),
        private_map_key=None if req.private_map_key is None else Secret(req.private_map_key),
        mode=within(f"{at}.RecordMode", params.record_mode, 1, 2, 1),
        max_idle_s=within(f"{at}.MaxIdleTime", params.max_idle_time, 5, 86_400, 30, "s"),
        stream_type=within(f"{at}.StreamType", params.stream_type, 0, 2, 0),
        lists=_lists(f"{at}.SubscribeStreamUserIds", lists_given),
        output_format=within(f"{at}.OutputFormat", params.output_format, 0, 4, 0),
        av_merge=within(f"{at}.AvMerge", params.av_merge, 0, 1, 0),
        max_file_minutes=within(
            f"{at}.MaxMediaFileDuration", params.max_media_file_duration, 1, 1440, 1440, "min"
        ),
        media_id=within(f"{at}.MediaId", params.media_id, 0, 2, 0),
        fill_type=within(f"{at}.FillType", params.fill_type, 0, 1, 0),
        subscribe_ability=within(f"{at}.SubscribeAbility", params.subscribe_ability, 0, 1, 0),
        storage=_storage(storage),
        expired_hours=within("ResourceExpiredHour", req.resource_expired_hour, 6, 720, 72, "hours"),
        mix=_mix(req),
    )
    if storage.cloud_storage is not None and storage.cloud_vod is not None:
        raise refuse(
            Text("StorageParams must hold CloudStorage or CloudVod, not both.", "只能指定一种存储方式。")
        )
    _exclusive(f"{at}.SubscribeStreamUserIds", spec.lists)
    _sound_formats(spec)
    return spec


def automatic_spec(sdk_app_id: int, members: Mapping[str, Any]) -> RecordingSpec:
    """How every room of an application shall be recorded: RecordParams and StorageParams of a Create.

    Raises:
        ValueError: what a Create would be refused for, with its code.
    """
    if strange := sorted(members.keys() - AUTOMATIC_MEMBERS):
        raise ValueError(f"{strange[0]}: an automatic recording has RecordParams and StorageParams, no more")
    name = "CreateCloudRecording"
    rules = Rules(missing=partial(missing_code, name), malformed=partial(malformed_code, name))
    # The room and its robot are known when a room is there; these only have to pass.
    raw = {"SdkAppId": sdk_app_id, "RoomId": "1", "UserId": "auto", "UserSig": "none", **members}
    try:
        return recording_spec(decode(raw, CreateCloudRecordingRequest, rules))
    except ApiError as error:
        raise ValueError(f"{error.code}: {error.text.en}") from None


def _room_type(given: int | None, room: str) -> RoomType:
    """The namespace of the room. Raises ApiError when number and name are mixed up."""
    kind = 1 if given is None else given
    if (kind == 0 and is_string_room(room)) or (kind == 1 and is_number_room(room)):
        return "s" if kind == 0 else "i"
    raise refuse(
        Text(
            "RoomId does not fit RoomIdType, which is 1 by default: an integer room, 1 to 4294967295. "
            "RoomIdType 0 means a string room, 1 to 64 characters.",
            "RoomId 与 RoomIdType 不符。RoomIdType 默认为 1（整数房间号 1-4294967295），0 表示字符串房间号。",
        )
    )


def _lists(at: str, given: SubscribeStreamUserIds | None) -> SubscribeLists:
    if given is None:
        return SubscribeLists()
    for name, items in (
        ("SubscribeAudioUserIds", given.subscribe_audio_user_ids),
        ("UnSubscribeAudioUserIds", given.un_subscribe_audio_user_ids),
        ("SubscribeVideoUserIds", given.subscribe_video_user_ids),
        ("UnSubscribeVideoUserIds", given.un_subscribe_video_user_ids),
    ):
        at_most(f"{at}.{name}", items, MAX_LIST)
    return SubscribeLists(
        audio_allow=tuple(given.subscribe_audio_user_ids or ()),
        audio_deny=tuple(given.un_subscribe_audio_user_ids or ()),
        video_allow=tuple(given.subscribe_video_user_ids or ()),
        video_deny=tuple(given.un_subscribe_video_user_ids or ()),
    )


def _exclusive(at: str, lists: SubscribeLists) -> None:
    """Raise ApiError when a medium has both an allow and a deny list."""
    for medium, allow, deny in (
        ("Audio", lists.audio_allow, lists.audio_deny),
        ("Video", lists.video_allow, lists.video_deny),
    ):
        if allow and deny:
            raise refuse(
                Text(
                    f"{at}: Subscribe{medium}UserIds and UnSubscribe{medium}UserIds exclude each other.",
                    f"{at} 的 Subscribe{medium}UserIds 与 UnSubscribe{medium}UserIds 不能同时指定。",
                )
            )


def _storage(given: StorageParams) -> CloudStorageSpec | VodSpec:
    if given.cloud_storage is not None:
        return object_store("StorageParams.CloudStorage", given.cloud_storage)
    assert given.cloud_vod is not None  # one of the two is there
    return _media_library(given.cloud_vod.tencent_vod or TencentVod())


def object_store(at: str, given: CloudStorage) -> CloudStorageSpec:
    """The caller's bucket. Raises OutOfRange."""
    rule = Text("may hold only A-Z a-z 0-9 _ -.", "只能包含字母、数字、下划线和连字符。")
    prefix = tuple(
        matching(f"{at}.FileNamePrefix.{i}", part, _PATH_PART, rule)
        for i, part in enumerate(given.file_name_prefix or ())
    )
    endpoint = given.endpoint_url
    if endpoint is not None:
        matching(
            f"{at}.EndpointUrl",
            endpoint,
            _ENDPOINT,
            Text("must be a host, or an http(s) URL of one.", "必须是域名或 URL。"),
        )
    return CloudStorageSpec(
        vendor=within(f"{at}.Vendor", given.vendor, 0, 1, 0),
        region=given.region,
        bucket=given.bucket,
        access_key=Secret(given.access_key),
        secret_key=Secret(given.secret_key),
        prefix=prefix,
        endpoint_url=endpoint,
    )


def _media_library(given: TencentVod) -> VodSpec:
    at = "StorageParams.CloudVod.TencentVod"
    record_id = given.user_define_record_id or ""
    if record_id:
        matching(
            f"{at}.UserDefineRecordId",
            record_id,
            _RECORD_ID,
            Text("must be at most 64 of A-Z a-z 0-9 _ -.", "最多 64 个字母、数字、下划线或连字符。"),
        )
    return VodSpec(
        media_type=within(f"{at}.MediaType", given.media_type, 0, 4, 0),
        expire_s=given.expire_time or 0,
        user_define_record_id=record_id,
        procedure=given.procedure or "",
        storage_region=given.storage_region or "",
        class_id=within(f"{at}.ClassId", given.class_id, 0, LARGEST, 0),
        sub_app_id=within(f"{at}.SubAppId", given.sub_app_id, 0, LARGEST, 0),
        session_context=given.session_context or "",
        source_context=given.source_context or "",
    )


def _mix(req: CreateCloudRecordingRequest) -> mixes.Mix | None:
    """The mix of a mixed recording. A single-stream one ignores it, but not its wrong values."""
    if req.record_params.record_mode == MIXED:
        return mixes.mix(req.mix_transcode_params, req.mix_layout_params)
    transcode = req.mix_transcode_params
    if transcode is not None:
        mixes.picture(transcode.video_params)
        mixes.sound(transcode.audio_params)
    mixes.arrangement(req.mix_layout_params, None)
    return None


def _sound_formats(spec: RecordingSpec) -> None:
    """Raise ApiError when a sound file is asked of a recording that has more or other than sound."""
    if isinstance(spec.storage, VodSpec):
        wrong = spec.storage.media_type in VOD_AAC and spec.stream_type != SOUND_ONLY
        name = "MediaType"
    else:
        # An aac beside an hls of both media is accepted: the hls has the picture.
        wrong = spec.output_format in MAKES_AAC and spec.stream_type == PICTURE_ONLY
        name = f"OutputFormat {HLS_AAC} or 4"
    if wrong:
        raise refuse(Text(f"{name}: aac needs sound; see StreamType.", f"{name}：aac 与 StreamType 不符。"))


@action(
    "CreateCloudRecording",
    Family.RECORDING,
    mutating=True,
    deadline_s=CALL_DEADLINE_S,
    check=recording_spec,
    raises=(
        *(UnknownApp, AccountBlocked, BadUserSig, TicketRefused),
        *(FeatureOff, TooManyTasks, NoCapacity, OptionNotSupported),
    ),
)
async def create_cloud_recording(
    req: CreateCloudRecordingRequest, services: Services
) -> CreateCloudRecordingResponse:
    """Start a recorder robot in a room, which need not exist yet.

    Source: API docs > On-cloud Recording APIs > CreateCloudRecording, read 2026-11.
    """
    return CreateCloudRecordingResponse(task_id=await services.recording.create(recording_spec(req)))


def _described(view: RecordingView) -> DescribeCloudRecordingResponse:
    return DescribeCloudRecordingResponse(
        task_id=view.task_id,
        status=view.status,
        storage_file_list=[
            StorageFile(
                user_id=file.user_id,
                file_name=file.file_name,
                track_type=file.track_type,
                begin_time_stamp=file.begin_ms,
            )
            for file in view.files
        ],
    )


def _describe_held(
    req: DescribeCloudRecordingRequest, services: Services
) -> DescribeCloudRecordingResponse | None:
    view = services.recording.describe_held(req.sdk_app_id, req.task_id)
    return None if view is None else _described(view)


@action(
    "DescribeCloudRecording",
    Family.RECORDING,
    deadline_s=CALL_DEADLINE_S,
    held=_describe_held,
    raises=(UnknownApp, AccountBlocked, TaskNotFound),
)
async def describe_cloud_recording(
    req: DescribeCloudRecordingRequest, services: Services
) -> DescribeCloudRecordingResponse:
    """State of a task and its index files. RecorderKey names relay recordings, which do not exist here.

    Source: API docs > On-cloud Recording APIs > DescribeCloudRecording, read 2026-11.
    """
    return _described(await services.recording.describe(req.sdk_app_id, req.task_id))


def subscribe_lists(req: ModifyCloudRecordingRequest) -> SubscribeLists:
    """The new lists; what is left out goes back to everyone. Raises ApiError, also for a bad layout."""
    mixes.check_marks(req.mix_layout_params)
    lists = _lists("SubscribeStreamUserIds", req.subscribe_stream_user_ids)
    mixes.arrangement(req.mix_layout_params, None)
    _exclusive("SubscribeStreamUserIds", lists)
    return lists


@action(
    "ModifyCloudRecording",
    Family.RECORDING_MODIFY,
    mutating=True,
    deadline_s=CALL_DEADLINE_S,
    check=subscribe_lists,
    raises=(UnknownApp, AccountBlocked, TaskNotFound, TaskExited, OptionNotSupported),
)
async def modify_cloud_recording(
    req: ModifyCloudRecordingRequest, services: Services
) -> ModifyCloudRecordingResponse:
    """Replace whom a task records; a full overwrite, not a merge.

    Source: API docs > On-cloud Recording APIs > ModifyCloudRecording, read 2026-11.
    """
    task_id = await services.recording.modify(req.sdk_app_id, req.task_id, subscribe_lists(req))
    return ModifyCloudRecordingResponse(task_id=task_id)


@action(
    "DeleteCloudRecording",
    Family.RECORDING,
    mutating=True,
    deadline_s=CALL_DEADLINE_S,
    raises=(UnknownApp, AccountBlocked, TaskNotFound),
)
async def delete_cloud_recording(
    req: DeleteCloudRecordingRequest, services: Services
) -> DeleteCloudRecordingResponse:
    """Stop a recorder; what it has stored stays, and its uploads go on. A repeat succeeds.

    Source: API docs > On-cloud Recording APIs > DeleteCloudRecording, read 2026-11.
    """
    return DeleteCloudRecordingResponse(task_id=await services.recording.stop(req.sdk_app_id, req.task_id))
