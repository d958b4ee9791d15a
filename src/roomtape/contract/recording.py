"""On-cloud recording: requests and responses as published.

Source: API docs > On-cloud recording APIs and > Data Types, read 2026-11.
"""

from __future__ import annotations

from roomtape.contract.shapes import U64, Part, Request, Response


class SubscribeStreamUserIds(Part):
    """Four lists of at most 32 entries; allow and deny of one medium exclude each other."""

    subscribe_audio_user_ids: list[str] | None = None
    un_subscribe_audio_user_ids: list[str] | None = None
    subscribe_video_user_ids: list[str] | None = None
    un_subscribe_video_user_ids: list[str] | None = None


class RecordParams(Part):
    """What to record."""

    record_mode: U64  # 1 single-stream, 2 mixed
    max_idle_time: U64 | None = None  # seconds
    stream_type: U64 | None = None  # 0 both, 1 sound, 2 picture
    subscribe_stream_user_ids: SubscribeStreamUserIds | None = None
    output_format: U64 | None = None  # 0 hls, 1 hls+mp4, 2 hls+aac, 3 mp4, 4 aac
    av_merge: U64 | None = None  # 0 separate, 1 one TS with both
    max_media_file_duration: U64 | None = None  # minutes
    media_id: U64 | None = None
    fill_type: U64 | None = None  # 0 repeat the last picture, 1 black
    subscribe_ability: U64 | None = None


class CloudStorage(Part):
    """An object store of the caller."""

    vendor: U64  # 0 COS, 1 S3
    region: str
    bucket: str
    access_key: str
    secret_key: str
    file_name_prefix: list[str] | None = None
    endpoint_url: str | None = None  # international edition only


class TencentVod(Part):
    procedure: str | None = None
    expire_time: U64 | None = None  # seconds; 0 keeps for ever
    storage_region: str | None = None
    class_id: U64 | None = None
    sub_app_id: U64 | None = None
    session_context: str | None = None
    source_context: str | None = None
    media_type: U64 | None = None  # 0 mp4, 1 hls, 2 aac, 3 hls+mp4, 4 hls+aac: not OutputFormat's coding
    user_define_record_id: str | None = None


class CloudVod(Part):
    tencent_vod: TencentVod | None = None


class StorageParams(Part):
    cloud_storage: CloudStorage | None = None
    cloud_vod: CloudVod | None = None


class VideoParams(Part):
    """The picture of a mix."""

    width: U64
    height: U64
    fps: U64
    bit_rate: U64  # bit/s: relay and ingest count kbit/s
    gop: U64  # seconds


class AudioParams(Part):
    """The sound of a mix."""

    sample_rate: U64  # a code: 1 = 48000, 2 = 44100, 3 = 16000 Hz
    channel: U64
    bit_rate: U64  # bit/s: relay and ingest count kbit/s


class MixTranscodeParams(Part):
    video_params: VideoParams | None = None
    audio_params: AudioParams | None = None


class MixLayout(Part):
    """One window of a custom layout, in pixels of the canvas."""

    top: U64
    left: U64
    width: U64
    height: U64
    user_id: str | None = None
    alpha: U64 | None = None  # 0 opaque .. 255 transparent, the reverse of usual alpha
    render_mode: U64 | None = None
    media_id: U64 | None = None
    image_layer: U64 | None = None
    sub_background_image: str | None = None


class WaterMarkImage(Part):
    water_mark_url: str
    top: U64
    left: U64
    width: U64
    height: U64


class WaterMarkChar(Part):
    top: U64
    left: U64
    width: U64
    height: U64
    chars: str
    font_size: U64 | None = None
    font_color: str | None = None
    back_ground_color: str | None = None
    font: str | None = None  # domestic edition only


class WaterMarkTimestamp(Part):
    pos: U64
    time_zone: U64 | None = None
    font: str | None = None  # domestic edition only


class WaterMark(Part):
    water_mark_type: U64 | None = None
    water_mark_image: WaterMarkImage | None = None
    water_mark_char: WaterMarkChar | None = None
    water_mark_timestamp: WaterMarkTimestamp | None = None


class MixLayoutParams(Part):
    mix_layout_mode: U64
    mix_layout_list: list[MixLayout] | None = None
    back_ground_color: str | None = None
    max_resolution_user_id: str | None = None
    media_id: U64 | None = None
    background_image_url: str | None = None
    place_holder_mode: U64 | None = None
    background_image_render_mode: U64 | None = None
    default_sub_background_image: str | None = None
    water_mark_list: list[WaterMark] | None = None
    render_mode: U64 | None = None
    max_resolution_user_align: U64 | None = None
    pure_audio_disable_layout: bool | None = None


class StorageFile(Part):
    user_id: str
    file_name: str
    track_type: str
    begin_time_stamp: U64  # Unix ms


class CreateCloudRecordingRequest(Request):
    sdk_app_id: U64
    room_id: str
    user_id: str
    user_sig: str
    record_params: RecordParams
    storage_params: StorageParams
    room_id_type: U64 | None = None  # 0 string, 1 integer (the default): the reverse of relay's coding
    mix_transcode_params: MixTranscodeParams | None = None
    mix_layout_params: MixLayoutParams | None = None
    resource_expired_hour: U64 | None = None  # hours
    private_map_key: str | None = None


class CreateCloudRecordingResponse(Response):
    task_id: str | None = None


class DescribeCloudRecordingRequest(Request):
    sdk_app_id: U64
    task_id: str
    recorder_key: str | None = None  # domestic edition only


class DescribeCloudRecordingResponse(Response):
    task_id: str
    status: str
    storage_file_list: list[StorageFile]
    recorder_key: str | None = None  # domestic edition only


class ModifyCloudRecordingRequest(Request):
    sdk_app_id: U64
    task_id: str
    mix_layout_params: MixLayoutParams | None = None
    subscribe_stream_user_ids: SubscribeStreamUserIds | None = None


class ModifyCloudRecordingResponse(Response):
    task_id: str


class DeleteCloudRecordingRequest(Request):
    sdk_app_id: U64
    task_id: str


class DeleteCloudRecordingResponse(Response):
    task_id: str
