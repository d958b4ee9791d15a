"""Stream mixing and relay: requests and responses as published.

Source: API docs > Stream mixing and relay APIs and > Data Types, read 2026-11.
"""

from __future__ import annotations

import msgspec

from roomtape.contract.recording import CloudStorage
from roomtape.contract.shapes import U64, Part, Request, Response


class AgentParams(Part):
    user_id: str
    user_sig: str | None = None
    max_idle_time: U64 | None = None


class AudioEncode(Part):
    sample_rate: U64
    channel: U64
    bit_rate: U64
    codec: U64 | None = None


class MixUserInfo(Part):
    user_id: str
    room_id: str | None = None
    room_id_type: U64 | None = None


class McuUserInfoParams(Part):
    user_info: MixUserInfo
    sound_level: U64 | None = None


class McuAudioParams(Part):
    audio_encode: AudioEncode | None = None
    subscribe_audio_list: list[McuUserInfoParams] | None = None
    un_subscribe_audio_list: list[McuUserInfoParams] | None = None


class VideoEncode(Part):
    width: U64
    height: U64
    fps: U64
    bit_rate: U64
    gop: U64


class UserMediaStream(Part):
    user_info: MixUserInfo | None = None
    stream_type: U64 | None = None


class McuCustomCrop(Part):
    location_x: U64
    location_y: U64
    width: U64
    height: U64


class McuBackgroundCustomRender(Part):
    width: U64
    height: U64
    radius: U64 | None = None


class McuLayout(Part):
    user_media_stream: UserMediaStream | None = None
    image_width: U64 | None = None
    image_height: U64 | None = None
    location_x: U64 | None = None
    location_y: U64 | None = None
    z_order: U64 | None = None
    render_mode: U64 | None = None
    back_ground_color: str | None = None
    background_image_url: str | None = None
    custom_crop: McuCustomCrop | None = None
    background_render_mode: U64 | None = None
    transparent_url: str | None = None
    background_custom_render: McuBackgroundCustomRender | None = None
    back_ground_color_mode: U64 | None = None
    enable_stream_sei: U64 | None = msgspec.field(default=None, name="EnableStreamSEI")  # domestic


class MaxVideoUser(Part):
    user_media_stream: UserMediaStream


class McuLayoutParams(Part):
    mix_layout_mode: U64 | None = None
    pure_audio_hold_place_mode: U64 | None = None
    mix_layout_list: list[McuLayout] | None = None
    max_video_user: MaxVideoUser | None = None
    render_mode: U64 | None = None
    enable_stream_sei: U64 | None = msgspec.field(default=None, name="EnableStreamSEI")  # domestic


class McuWaterMarkImage(Part):
    water_mark_url: str
    water_mark_width: U64
    water_mark_height: U64
    location_x: U64
    location_y: U64
    z_order: U64 | None = None
    dynamic_pos_type: U64 | None = None


class McuWaterMarkText(Part):
    text: str
    water_mark_width: U64
    water_mark_height: U64
    location_x: U64
    location_y: U64
    font_size: U64
    font_color: str | None = None
    back_ground_color: str | None = None
    dynamic_pos_type: U64 | None = None
    z_order: U64 | None = None
    font: str | None = None


class McuWaterMarkParams(Part):
    water_mark_type: U64 | None = None
    water_mark_image: McuWaterMarkImage | None = None
    water_mark_text: McuWaterMarkText | None = None


class McuVideoParams(Part):
    video_encode: VideoEncode | None = None
    layout_params: McuLayoutParams | None = None
    back_ground_color: str | None = None
    background_image_url: str | None = None
    water_mark_list: list[McuWaterMarkParams] | None = None
    background_render_mode: U64 | None = None


class SingleSubscribeParams(Part):
    user_media_stream: UserMediaStream


class McuPublishCdnParam(Part):
    publish_cdn_url: str
    is_tencent_cdn: U64 | None = None


class McuLayoutVolume(Part):
    app_data: str | None = None
    payload_type: U64 | None = None
    interval: U64 | None = None
    follow_idr: U64 | None = None


class McuPassThrough(Part):
    payload_content: str
    payload_type: U64
    payload_uuid: str | None = None
    interval: U64 | None = None
    follow_idr: U64 | None = None


class McuSeiParams(Part):
    layout_volume: McuLayoutVolume | None = None
    pass_through: McuPassThrough | None = None


class McuFeedBackRoomParams(Part):
    room_id: str
    room_id_type: U64
    user_id: str
    user_sig: str


class McuTencentVod(Part):
    procedure: str | None = None
    expire_time: U64 | None = None
    storage_region: str | None = None
    class_id: U64 | None = None
    sub_app_id: U64 | None = None
    session_context: str | None = None
    source_context: str | None = None


class McuCloudVod(Part):
    mcu_tencent_vod: McuTencentVod | None = None


class McuStorageParams(Part):
    cloud_storage: CloudStorage | None = None
    mcu_cloud_vod: McuCloudVod | None = None


class McuRecordParams(Part):
    uni_record: U64 | None = None
    record_key: str | None = None
    record_wait_time: U64 | None = None
    record_format: list[str] | None = None
    max_media_file_duration: U64 | None = None
    stream_type: U64 | None = None
    user_define_record_prefix: str | None = None
    mcu_storage_params: McuStorageParams | None = None


class StartPublishCdnStreamRequest(Request):
    sdk_app_id: U64
    room_id: str
    room_id_type: U64
    agent_params: AgentParams
    with_transcoding: U64
    audio_params: McuAudioParams | None = None
    video_params: McuVideoParams | None = None
    single_subscribe_params: SingleSubscribeParams | None = None
    publish_cdn_params: list[McuPublishCdnParam] | None = None
    sei_params: McuSeiParams | None = None
    feed_back_room_params: list[McuFeedBackRoomParams] | None = None
    record_params: McuRecordParams | None = None


class StartPublishCdnStreamResponse(Response):
    task_id: str | None = None


class UpdatePublishCdnStreamRequest(Request):
    sdk_app_id: U64
    task_id: str
    sequence_number: U64
    with_transcoding: U64
    audio_params: McuAudioParams | None = None
    video_params: McuVideoParams | None = None
    single_subscribe_params: SingleSubscribeParams | None = None
    publish_cdn_params: list[McuPublishCdnParam] | None = None
    sei_params: McuSeiParams | None = None
    feed_back_room_params: list[McuFeedBackRoomParams] | None = None


class UpdatePublishCdnStreamResponse(Response):
    task_id: str


class StopPublishCdnStreamRequest(Request):
    sdk_app_id: U64
    task_id: str
    record_key: str | None = None  # domestic edition only


class StopPublishCdnStreamResponse(Response):
    task_id: str | None = None
