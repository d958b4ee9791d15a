"""The three actions of mixing and relay: what a request may ask for. Mixing and relay are not built.

An update is incremental: what it leaves out stays as the task has it, so that rules which need two members
hold only where both are given. Pictures are not judged here: one that cannot be had leaves its layer out.
Source: API docs > Stream mixing and relay APIs and > Data Types, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from roomtape.api import messages
from roomtape.api.actions.limits import (
    at_most,
    choice,
    colour,
    flag,
    is_number_room,
    is_string_room,
    matching,
    one_number_of,
    refuse,
    user_id,
    within,
)
from roomtape.api.actions.recording import object_store
from roomtape.api.dispatch import planned
from roomtape.api.errors import ApiError, Family
from roomtape.api.messages import Text
from roomtape.contract.relay import (
    AudioEncode,
    McuAudioParams,
    McuFeedBackRoomParams,
    McuLayout,
    McuLayoutParams,
    McuPassThrough,
    McuPublishCdnParam,
    McuRecordParams,
    McuSeiParams,
    McuStorageParams,
    McuUserInfoParams,
    McuVideoParams,
    McuWaterMarkParams,
    MixUserInfo,
    StartPublishCdnStreamRequest,
    StopPublishCdnStreamRequest,
    UpdatePublishCdnStreamRequest,
    UserMediaStream,
    VideoEncode,
)

INTEGER_ROOM, STRING_ROOM = 0, 1  # RoomIdType of these actions: the reverse of all others
MAX_TARGETS = 10
MAX_WINDOWS = 16
MAX_SIDE = 1920
MAX_CROP = 10_000
CUSTOM_LAYOUT = 4
CUSTOM_RENDER = 4
MIX = 1
SAMPLE_RATES = (48_000, 44_100, 32_000, 24_000, 16_000, 8_000)
HE_AAC, HE_AAC_V2 = 1, 2
FONTS = ("Tencent", "SourceHanSans")
FORMATS = ("hls", "mp4", "aac")
APP_DATA_BYTES = 4095
OWN_SEI, UUID_SEI = 244, 5
TEMPLATE_OF_OURS = 3  # UniRecord: the members beside it count

_NOT_BUILT = "mixing and relay are not built yet"
_TARGET = re.compile(r"rtmps?://[^\s/?#@]+(/\S*)?", re.IGNORECASE)
_UUID = re.compile(r"[0-9A-Fa-f]{32}")
_RECORD_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
_RECORD_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")

Canvas = tuple[int, int]
Home = tuple[str, int]  # RoomId and RoomIdType of the task's own room


def check_start(req: StartPublishCdnStreamRequest) -> None:
    """Members that others make necessary, then ranges, then what must fit together. Raises ApiError."""
    if not req.publish_cdn_params and not req.feed_back_room_params:
        raise _missing("PublishCdnParams or FeedBackRoomParams")
    if req.agent_params.user_sig is None:
        raise _missing("AgentParams.UserSig")
    if req.with_transcoding == 0 and req.single_subscribe_params is None:
        raise _missing("SingleSubscribeParams")
    if req.with_transcoding == MIX and req.video_params and req.video_params.video_encode is None:
        raise _missing("VideoParams.VideoEncode")
    _conditional(req)
    _room("RoomId", "RoomIdType", req.room_id, within("RoomIdType", req.room_id_type, 0, 1, 0))
    user_id("AgentParams.UserId", req.agent_params.user_id)
    within("AgentParams.MaxIdleTime", req.agent_params.max_idle_time, 5, 86_400, 30, "s")
    _common(req, (req.room_id, req.room_id_type))
    if req.record_params is not None:
        _record("RecordParams", req.record_params)


def check_update(req: UpdatePublishCdnStreamRequest) -> None:
    """What is given is judged alone. Raises ApiError."""
    _conditional(req)
    _common(req, None)
    if req.publish_cdn_params == [] and req.feed_back_room_params == []:
        raise refuse(
            Text(
                "PublishCdnParams and FeedBackRoomParams may not both be emptied.",
                "PublishCdnParams 与 FeedBackRoomParams 不能同时为空。",
            )
        )


def check_stop(req: StopPublishCdnStreamRequest) -> None:
    if req.record_key is not None:
        _key("RecordKey", req.record_key)


_Request = StartPublishCdnStreamRequest | UpdatePublishCdnStreamRequest


def _missing(name: str) -> ApiError:
    return ApiError("MissingParameter", messages.missing(name))


def _conditional(req: _Request) -> None:
    """Members that the value of another makes necessary."""
    video = req.video_params or McuVideoParams()
    for i, mark in enumerate(video.water_mark_list or ()):
        at = f"VideoParams.WaterMarkList.{i}"
        if mark.water_mark_type in (None, 0) and mark.water_mark_image is None:
            raise _missing(f"{at}.WaterMarkImage")
        if mark.water_mark_type == 1 and mark.water_mark_text is None:
            raise _missing(f"{at}.WaterMarkText")
    layout = video.layout_params or McuLayoutParams()
    for i, window in enumerate(layout.mix_layout_list or ()):
        if window.background_render_mode == CUSTOM_RENDER and window.background_custom_render is None:
            raise _missing(f"VideoParams.LayoutParams.MixLayoutList.{i}.BackgroundCustomRender")
    through = (req.sei_params or McuSeiParams()).pass_through
    if through is not None and through.payload_type == UUID_SEI and through.payload_uuid is None:
        raise _missing("SeiParams.PassThrough.PayloadUuid")
    record = getattr(req, "record_params", None)
    if record is not None and record.uni_record == TEMPLATE_OF_OURS:
        storage = record.mcu_storage_params or McuStorageParams()
        if storage.cloud_storage is None and storage.mcu_cloud_vod is None:
            raise _missing("RecordParams.McuStorageParams.CloudStorage or .McuCloudVod")


def _common(req: _Request, home: Home | None) -> None:
    """Ranges of the members that start and update share. `home` is known at the start."""
    flag("WithTranscoding", req.with_transcoding)
    if req.audio_params is not None:
        _audio("AudioParams", req.audio_params, home)
    if req.video_params is not None:
        _video("VideoParams", req.video_params, home, mixed=req.with_transcoding == MIX)
        if home is not None and req.audio_params is not None and not _is_custom(req.video_params):
            _all_at_home(req.audio_params, home)
    if req.single_subscribe_params is not None:
        _stream("SingleSubscribeParams", req.single_subscribe_params.user_media_stream, home)
    _targets(req.publish_cdn_params or (), req.feed_back_room_params or ())
    if req.sei_params is not None:
        _sei("SeiParams", req.sei_params)


# --- whom ---------------------------------------------------------------------------------------------


def _room(name: str, type_name: str, room: str, kind: int) -> None:
    if (kind == INTEGER_ROOM and is_number_room(room)) or (kind == STRING_ROOM and is_string_room(room)):
        return
    raise refuse(
        Text(
            f"{name} does not fit {type_name}: 0 means an integer room, 1 to 4294967295, and 1 a string "
            "room, 1 to 64 characters; recording and pulled streams code it the other way round.",
            f"{name} 与 {type_name} 不符：0 为整数房间号（1-4294967295），1 为字符串房间号。",
        )
    )


def _who(at: str, info: MixUserInfo, home: Home | None) -> None:
    user_id(f"{at}.UserId", info.user_id)
    kind = within(f"{at}.RoomIdType", info.room_id_type, 0, 1, home[1] if home else -1)
    if info.room_id is None:
        return
    if kind >= 0:
        _room(f"{at}.RoomId", f"{at}.RoomIdType", info.room_id, kind)
    elif not is_string_room(info.room_id):  # an integer's digits are a legal name, too
        raise refuse(Text(f"{at}.RoomId is no room.", f"{at}.RoomId 格式错误。"))


def _is_at_home(info: MixUserInfo, home: Home) -> bool:
    kind = home[1] if info.room_id_type is None else info.room_id_type
    return info.room_id is None or (info.room_id, kind) == home


def _elsewhere(at: str) -> ApiError:
    return refuse(
        Text(
            f"{at}: only MixLayoutMode {CUSTOM_LAYOUT} takes users of another room.",
            f"{at}：仅自定义布局支持其他房间的用户。",
        )
    )


def _stream(at: str, stream: UserMediaStream, home: Home | None) -> None:
    at = f"{at}.UserMediaStream"
    flag(f"{at}.StreamType", stream.stream_type)
    if stream.user_info is not None:
        _who(f"{at}.UserInfo", stream.user_info, home)


# --- sound --------------------------------------------------------------------------------------------


def _audio(at: str, params: McuAudioParams, home: Home | None) -> None:
    if params.audio_encode is not None:
        _encode(f"{at}.AudioEncode", params.audio_encode)
    for name, people in (
        ("SubscribeAudioList", params.subscribe_audio_list),
        ("UnSubscribeAudioList", params.un_subscribe_audio_list),
    ):
        for i, person in enumerate(people or ()):
            _heard(f"{at}.{name}.{i}", person, home)


def _heard(at: str, person: McuUserInfoParams, home: Home | None) -> None:
    _who(f"{at}.UserInfo", person.user_info, home)
    within(f"{at}.SoundLevel", person.sound_level, 0, 100, 100)


def _encode(at: str, encode: AudioEncode) -> None:
    one_number_of(f"{at}.SampleRate", encode.sample_rate, SAMPLE_RATES)
    channels = within(f"{at}.Channel", encode.channel, 1, 2, 2)
    within(f"{at}.BitRate", encode.bit_rate, 8, 500, 64, "kbit/s")
    codec = within(f"{at}.Codec", encode.codec, 0, 2, 0)
    if codec == HE_AAC_V2 and channels != 2:
        raise refuse(Text(f"{at}: Codec 2 (HE-AACv2) needs Channel 2.", f"{at}：HE-AACv2 需要双声道。"))
    if codec in (HE_AAC, HE_AAC_V2) and encode.sample_rate == min(SAMPLE_RATES):
        raise refuse(Text(f"{at}: Codec 1 and 2 do not take 8000 Hz.", f"{at}：HE-AAC 不支持 8000 Hz。"))


def _all_at_home(params: McuAudioParams, home: Home) -> None:
    for i, person in enumerate(params.subscribe_audio_list or ()):
        if not _is_at_home(person.user_info, home):
            raise _elsewhere(f"AudioParams.SubscribeAudioList.{i}.UserInfo")


# --- picture ------------------------------------------------------------------------------------------


def _is_custom(params: McuVideoParams) -> bool:
    """The layout that is drawn by windows: said so, or with windows and nothing said."""
    layout = params.layout_params or McuLayoutParams()
    if layout.mix_layout_mode is None:
        return bool(layout.mix_layout_list)
    return layout.mix_layout_mode == CUSTOM_LAYOUT


def _video(at: str, params: McuVideoParams, home: Home | None, *, mixed: bool) -> None:
    canvas = None
    if params.video_encode is not None:
        canvas = _picture(f"{at}.VideoEncode", params.video_encode, mixed=mixed)
    if params.layout_params is not None:
        _layout(f"{at}.LayoutParams", params.layout_params, home, canvas)
        biggest = params.layout_params.max_video_user
        info = biggest.user_media_stream.user_info if biggest else None
        if home is not None and info is not None and not _is_custom(params) and not _is_at_home(info, home):
            raise _elsewhere(f"{at}.LayoutParams.MaxVideoUser.UserMediaStream.UserInfo")
    colour(f"{at}.BackGroundColor", params.back_ground_color, "")
    for i, mark in enumerate(params.water_mark_list or ()):
        _water_mark(f"{at}.WaterMarkList.{i}", mark)
    within(f"{at}.BackgroundRenderMode", params.background_render_mode, 0, 2, 2)


def _picture(at: str, encode: VideoEncode, *, mixed: bool) -> Canvas:
    least = 1 if mixed else 0  # nothing is encoded where a stream is passed on
    width = within(f"{at}.Width", encode.width, least, MAX_SIDE, 0, "pixels")
    height = within(f"{at}.Height", encode.height, least, MAX_SIDE, 0, "pixels")
    within(f"{at}.Fps", encode.fps, 1, 60, 15)
    within(f"{at}.BitRate", encode.bit_rate, 1, 10_000, 1, "kbit/s")
    within(f"{at}.Gop", encode.gop, 1, 5, 1, "s")
    return width, height


def _layout(at: str, params: McuLayoutParams, home: Home | None, canvas: Canvas | None) -> None:
    within(f"{at}.MixLayoutMode", params.mix_layout_mode, 1, 4, 1)
    flag(f"{at}.PureAudioHoldPlaceMode", params.pure_audio_hold_place_mode)
    at_most(f"{at}.MixLayoutList", params.mix_layout_list, MAX_WINDOWS)
    for i, window in enumerate(params.mix_layout_list or ()):
        _window(f"{at}.MixLayoutList.{i}", window, home, canvas)
    if params.max_video_user is not None:
        _stream(f"{at}.MaxVideoUser", params.max_video_user.user_media_stream, home)
    within(f"{at}.RenderMode", params.render_mode, 0, 2, 0)
    flag(f"{at}.EnableStreamSEI", params.enable_stream_sei)


def _window(at: str, window: McuLayout, home: Home | None, canvas: Canvas | None) -> None:
    if window.user_media_stream is not None:
        _stream(at, window.user_media_stream, home)
    width = within(f"{at}.ImageWidth", window.image_width, 0, MAX_SIDE, 0, "pixels")
    height = within(f"{at}.ImageHeight", window.image_height, 0, MAX_SIDE, 0, "pixels")
    left = within(f"{at}.LocationX", window.location_x, 0, MAX_SIDE, 0, "pixels")
    top = within(f"{at}.LocationY", window.location_y, 0, MAX_SIDE, 0, "pixels")
    within(f"{at}.RenderMode", window.render_mode, 0, 2, 0)
    colour(f"{at}.BackGroundColor", window.back_ground_color, "")
    within(f"{at}.BackGroundColorMode", window.back_ground_color_mode, 0, 3, 0)
    within(f"{at}.BackgroundRenderMode", window.background_render_mode, 0, 4, 3)
    flag(f"{at}.EnableStreamSEI", window.enable_stream_sei)
    crop = window.custom_crop
    if crop is not None:
        for side, location, length in (
            ("Width", crop.location_x, crop.width),
            ("Height", crop.location_y, crop.height),
        ):
            within(f"{at}.CustomCrop.{side}", length, 1, MAX_CROP, 1)
            axis = "X" if side == "Width" else "Y"
            within(f"{at}.CustomCrop.Location{axis}", location, 0, MAX_CROP - length, 0)
    render = window.background_custom_render
    if render is not None:
        within(f"{at}.BackgroundCustomRender.Width", render.width, 1, width, 1, "pixels")
        within(f"{at}.BackgroundCustomRender.Height", render.height, 1, height, 1, "pixels")
        half = min(render.width, render.height) // 2
        within(f"{at}.BackgroundCustomRender.Radius", render.radius, 0, half, 0, "pixels")
    if canvas is not None and (left + width > canvas[0] or top + height > canvas[1]):
        raise refuse(
            Text(
                f"{at} leaves the canvas of {canvas[0]} x {canvas[1]}.",
                f"{at} 超出画布 {canvas[0]} x {canvas[1]}。",
            )
        )


def _water_mark(at: str, mark: McuWaterMarkParams) -> None:
    flag(f"{at}.WaterMarkType", mark.water_mark_type)
    if mark.water_mark_image is not None:
        within(f"{at}.WaterMarkImage.DynamicPosType", mark.water_mark_image.dynamic_pos_type, 0, 2, 0)
    text = mark.water_mark_text
    if text is not None:
        at = f"{at}.WaterMarkText"
        within(f"{at}.DynamicPosType", text.dynamic_pos_type, 0, 2, 0)
        colour(f"{at}.FontColor", text.font_color, "")
        colour(f"{at}.BackGroundColor", text.back_ground_color, "")
        choice(f"{at}.Font", text.font, FONTS, FONTS[0])


# --- where to -----------------------------------------------------------------------------------------


def _targets(urls: Sequence[McuPublishCdnParam], rooms: Sequence[McuFeedBackRoomParams]) -> None:
    at_most("PublishCdnParams", urls, MAX_TARGETS)
    for i, target in enumerate(urls):
        at = f"PublishCdnParams.{i}"
        rule = Text("must be an rtmp or rtmps URL.", "必须是 rtmp 或 rtmps 地址。")
        matching(f"{at}.PublishCdnUrl", target.publish_cdn_url, _TARGET, rule)
        flag(f"{at}.IsTencentCdn", target.is_tencent_cdn)
    at_most("FeedBackRoomParams", rooms, MAX_TARGETS)
    for i, back in enumerate(rooms):
        at = f"FeedBackRoomParams.{i}"
        kind = within(f"{at}.RoomIdType", back.room_id_type, 0, 1, 0)
        _room(f"{at}.RoomId", f"{at}.RoomIdType", back.room_id, kind)
        user_id(f"{at}.UserId", back.user_id)


def _sei(at: str, params: McuSeiParams) -> None:
    volume = params.layout_volume
    if volume is not None:
        here = f"{at}.LayoutVolume"
        if len((volume.app_data or "").encode()) > APP_DATA_BYTES:
            raise refuse(
                Text(f"{here}.AppData may be at most {APP_DATA_BYTES} bytes.", f"{here}.AppData 过长。")
            )
        within(f"{here}.PayloadType", volume.payload_type, 100, 254, 100)
        _not_ours(here, volume.payload_type)
        flag(f"{here}.FollowIdr", volume.follow_idr)
    through = params.pass_through
    if through is not None:
        _pass_through(f"{at}.PassThrough", through)


def _pass_through(at: str, through: McuPassThrough) -> None:
    if through.payload_type == UUID_SEI:
        matching(
            f"{at}.PayloadUuid",
            through.payload_uuid or "",
            _UUID,
            Text("must be 32 hexadecimal digits.", "必须是 32 位十六进制数。"),
        )
    else:
        within(f"{at}.PayloadType", through.payload_type, 100, 254, 100)
        _not_ours(at, through.payload_type)
    flag(f"{at}.FollowIdr", through.follow_idr)


def _not_ours(at: str, payload_type: int | None) -> None:
    if payload_type == OWN_SEI:
        raise refuse(
            Text(f"{at}.PayloadType {OWN_SEI} is the service's own.", f"{at}.PayloadType 不能为 {OWN_SEI}。")
        )


def _key(name: str, key: str) -> None:
    rule = Text("must be at most 128 of A-Z a-z 0-9 _ -.", "最多 128 个字母、数字、下划线或连字符。")
    matching(name, key, _RECORD_KEY, rule)


def _record(at: str, params: McuRecordParams) -> None:
    within(f"{at}.UniRecord", params.uni_record, 0, 3, 0)
    if params.record_key is not None:
        _key(f"{at}.RecordKey", params.record_key)
    within(f"{at}.RecordWaitTime", params.record_wait_time, 5, 86_400, 30, "s")
    formats = params.record_format or []
    for i, name in enumerate(formats):
        choice(f"{at}.RecordFormat.{i}", name, FORMATS, FORMATS[0])
    within(f"{at}.MaxMediaFileDuration", params.max_media_file_duration, 1, 1440, 1440, "min")
    within(f"{at}.StreamType", params.stream_type, 0, 2, 0)
    if params.user_define_record_prefix is not None:
        matching(
            f"{at}.UserDefineRecordPrefix",
            params.user_define_record_prefix,
            _RECORD_PREFIX,
            Text("must be at most 64 of A-Z a-z 0-9 _ -.", "最多 64 个字母、数字、下划线或连字符。"),
        )
    storage = params.mcu_storage_params or McuStorageParams()
    if storage.cloud_storage is not None:
        object_store(f"{at}.McuStorageParams.CloudStorage", storage.cloud_storage)
    if {"mp4", "aac"} <= set(formats):
        raise refuse(Text(f"{at}.RecordFormat: mp4 and aac exclude each other.", f"{at}：mp4 与 aac 互斥。"))
    if storage.cloud_storage is not None and storage.mcu_cloud_vod is not None:
        raise refuse(
            Text(
                f"{at}.McuStorageParams must hold CloudStorage or McuCloudVod, not both.",
                f"{at}.McuStorageParams 只能指定一种存储方式。",
            )
        )


planned(
    "StartPublishCdnStream", Family.RELAY_START, StartPublishCdnStreamRequest, _NOT_BUILT, check=check_start
)
planned("UpdatePublishCdnStream", Family.RELAY, UpdatePublishCdnStreamRequest, _NOT_BUILT, check=check_update)
planned("StopPublishCdnStream", Family.RELAY, StopPublishCdnStreamRequest, _NOT_BUILT, check=check_stop)
