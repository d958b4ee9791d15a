"""Pull stream relay: requests and responses as published.

Source: API docs > Pull stream relay APIs and > Data Types, read 2026-11.
"""

from __future__ import annotations

from roomtape.contract.shapes import I64, U64, Part, Request, Response


class VideoEncodeParams(Part):
    width: U64 | None = None
    height: U64 | None = None
    fps: U64 | None = None
    bit_rate: U64 | None = None
    gop: U64 | None = None


class AudioEncodeParams(Part):
    sample_rate: U64 | None = None
    channel: U64 | None = None
    bit_rate: U64 | None = None
    volume: U64 | None = None  # domestic edition only


class StartStreamIngestRequest(Request):
    sdk_app_id: U64
    room_id: str
    room_id_type: U64
    user_id: str
    user_sig: str
    stream_url: str | None = None
    private_map_key: str | None = None
    video_encode_params: VideoEncodeParams | None = None
    audio_encode_params: AudioEncodeParams | None = None
    source_url: list[str] | None = None
    seek_second: I64 | None = None
    auto_push: bool | None = None
    repeat_num: I64 | None = None
    max_duration: I64 | None = None
    volume: U64 | None = None
    enable_progress: bool | None = None  # domestic edition only
    tempo: float | None = None  # domestic edition only
    idle_timeout: I64 | None = None  # domestic edition only


class StartStreamIngestResponse(Response):
    task_id: str | None = None


class StopStreamIngestRequest(Request):
    sdk_app_id: U64
    task_id: str


class StopStreamIngestResponse(Response):
    """Nothing but the RequestId."""


class DescribeStreamIngestRequest(Request):
    sdk_app_id: U64
    task_id: str


class DescribeStreamIngestResponse(Response):
    status: str | None = None


class UpdateStreamIngestRequest(Request):
    sdk_app_id: U64
    task_id: str
    stream_url: str | None = None
    volume: U64 | None = None
    is_pause: bool | None = None
    enable_progress: bool | None = None  # domestic edition only
    tempo: float | None = None  # domestic edition only


class UpdateStreamIngestResponse(Response):
    status: str | None = None
