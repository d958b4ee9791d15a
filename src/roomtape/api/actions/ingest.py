"""The four actions of pulled streams: what a request may ask for. Pulling is not built."""

from __future__ import annotations

import re

from roomtape.api import messages
from roomtape.api.actions.limits import (
    is_number_room,
    is_string_room,
    one_number_of,
    refuse,
    user_id,
    within,
)
from roomtape.api.dispatch import planned
from roomtape.api.errors import ApiError, Family
from roomtape.api.messages import Text
from roomtape.contract.ingest import (
    AudioEncodeParams,
    DescribeStreamIngestRequest,
    StartStreamIngestRequest,
    StopStreamIngestRequest,
    UpdateStreamIngestRequest,
    VideoEncodeParams,
)

TEMPI = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
MAX_VOLUME = 200
HZ = (48_000, 44_100)

_NOT_BUILT = "pulled streams are not built yet"
_SOURCE = re.compile(r"(https?|rtmp)://[^\s/?#@]+(/\S*|\?\S*)?", re.IGNORECASE)
_TASK = re.compile(r"[A-Za-z0-9-]{64}")


def check_start(req: StartStreamIngestRequest) -> None:
    """Ranges in page order, then the source, which one of two members names."""
    kind = within("RoomIdType", req.room_id_type, 0, 1, 1)
    if kind == 1 and not is_number_room(req.room_id):
        raise ApiError(
            "InvalidParameter.RoomId",
            Text(
                "RoomIdType 1 means an integer room: RoomId must be 1 to 4294967295. 0 means a string room.",
                "RoomIdType 为 1 时 RoomId 必须是 1 到 4294967295 的整数；0 表示字符串房间号。",
            ),
        )
    if kind == 0 and not is_string_room(req.room_id):
        raise ApiError(
            "InvalidParameter.StrRoomId",
            Text(
                "RoomIdType 0 means a string room: RoomId must be 1 to 64 letters, digits, spaces or of "
                "!#$%&()+-:;<=.>?@[]^_{}|~, . 1 means an integer room.",
                "RoomIdType 为 0 时 RoomId 必须是 1 到 64 个合法字符；1 表示整数房间号。",
            ),
        )
    user_id("UserId", req.user_id)
    _video(req.video_encode_params or VideoEncodeParams())
    _audio(req.audio_encode_params or AudioEncodeParams())
    within("SeekSecond", req.seek_second, 0, 2**63 - 1, 0, "s")
    within("RepeatNum", req.repeat_num, -1, 1000, 1)
    if req.repeat_num == 0:
        raise refuse(
            Text("RepeatNum must be -1 (for ever) or 1 to 1000.", "RepeatNum 必须是 -1 或 1 到 1000。")
        )
    within("MaxDuration", req.max_duration, 1, 10_080, 1, "min")
    within("Volume", req.volume, 0, MAX_VOLUME, 100)
    _tempo(req.tempo)
    within("IdleTimeout", req.idle_timeout, 0, 600, 0, "s")
    if req.stream_url is not None:
        _source("StreamUrl", req.stream_url)
    elif req.source_url and len(req.source_url) == 1:
        _source("SourceUrl.0", req.source_url[0])
    else:
        raise ApiError("InvalidParameter.StreamUrl", messages.missing("StreamUrl"))


def check_task(req: StopStreamIngestRequest | DescribeStreamIngestRequest) -> None:
    _task(req.task_id)


def check_update(req: UpdateStreamIngestRequest) -> None:
    _task(req.task_id)
    if req.stream_url is not None:
        _source("StreamUrl", req.stream_url)
    within("Volume", req.volume, 0, MAX_VOLUME, 100)
    _tempo(req.tempo)


def _video(params: VideoEncodeParams) -> None:
    at = "VideoEncodeParams"
    within(f"{at}.Width", params.width, 0, 1920, 0, "pixels")
    within(f"{at}.Height", params.height, 0, 1080, 0, "pixels")
    within(f"{at}.Fps", params.fps, 1, 60, 15)
    within(f"{at}.BitRate", params.bit_rate, 1, 10_000, 1, "kbit/s")
    within(f"{at}.Gop", params.gop, 1, 2, 1, "s")


def _audio(params: AudioEncodeParams) -> None:
    at = "AudioEncodeParams"
    one_number_of(f"{at}.SampleRate", params.sample_rate, HZ)
    within(f"{at}.Channel", params.channel, 1, 2, 2)
    within(f"{at}.BitRate", params.bit_rate, 8, 500, 64, "kbit/s")
    within(f"{at}.Volume", params.volume, 0, 300, 100)


def _tempo(tempo: float | None) -> None:
    one_number_of("Tempo", tempo, TEMPI)


def _source(name: str, url: str) -> None:
    if _SOURCE.fullmatch(url) is None:
        raise ApiError(
            "InvalidParameter.StreamUrl",
            Text(f"{name} must be an http, https or rtmp URL.", f"{name} 必须是 http、https 或 rtmp 地址。"),
        )


def _task(task_id: str) -> None:
    if _TASK.fullmatch(task_id) is None:
        raise ApiError(
            "InvalidParameter.TaskId",
            Text("TaskId is not one that StartStreamIngest answered.", "TaskId 格式错误。"),
        )


planned("StartStreamIngest", Family.INGEST, StartStreamIngestRequest, _NOT_BUILT, check=check_start)
planned("StopStreamIngest", Family.INGEST, StopStreamIngestRequest, _NOT_BUILT, check=check_task)
planned(
    "DescribeStreamIngest", Family.INGEST_QUERY, DescribeStreamIngestRequest, _NOT_BUILT, check=check_task
)
planned("UpdateStreamIngest", Family.INGEST_QUERY, UpdateStreamIngestRequest, _NOT_BUILT, check=check_update)
