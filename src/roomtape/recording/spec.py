"""What a caller may ask of a recording, validated: past this point nothing is optional.

The API layer fills defaults and checks ranges before it builds these values; the service checks what
needs knowledge of the node (application, signature, capacity, storage).
Source: On-cloud Recording APIs > CreateCloudRecording, read 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from roomtape.secret import Secret

RoomType = Literal["s", "i"]  # string room, 32-bit integer room: two namespaces

SINGLE_STREAM = 1
MIXED = 2

HLS, HLS_MP4, HLS_AAC, MP4, AAC = range(5)  # output_format
KEEPS_HLS = frozenset({HLS, HLS_MP4, HLS_AAC})  # the playlist and its segments are uploaded
MAKES_MP4 = frozenset({HLS_MP4, MP4})
MAKES_AAC = frozenset({HLS_AAC, AAC})
FORMAT_OF_MEDIA_TYPE = (MP4, HLS, AAC, HLS_MP4, HLS_AAC)  # the library numbers the same forms differently


@dataclass(frozen=True, slots=True)
class SubscribeLists:
    """Whom to record; an empty pair of lists means everyone. `prefix.*$` is a prefix pattern."""

    audio_allow: tuple[str, ...] = ()
    audio_deny: tuple[str, ...] = ()
    video_allow: tuple[str, ...] = ()
    video_deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CloudStorageSpec:
    """An object store of the caller; a bucket declared as local is a directory of this server."""

    vendor: int  # 0 Tencent COS, 1 AWS S3 dialect
    region: str
    bucket: str
    access_key: Secret
    secret_key: Secret
    prefix: tuple[str, ...] = ()  # path parts before the task ID
    endpoint_url: str | None = None  # None: the endpoint of vendor and region


@dataclass(frozen=True, slots=True)
class VodSpec:
    """The media library instead of an object store."""

    media_type: int = 0  # 0 mp4, 1 hls, 2 aac, 3 hls+mp4, 4 hls+aac
    expire_s: int = 0  # 0: for ever
    user_define_record_id: str = ""
    procedure: str = ""
    storage_region: str = ""
    class_id: int = 0
    sub_app_id: int = 0
    session_context: str = ""
    source_context: str = ""


@dataclass(frozen=True, slots=True)
class RecordingSpec:
    """One accepted request to record a room."""

    sdk_app_id: int
    room_type: RoomType
    room_id: str
    robot: str  # the recorder's own UserId
    user_sig: Secret
    storage: CloudStorageSpec | VodSpec
    private_map_key: Secret | None = None
    mode: int = SINGLE_STREAM
    max_idle_s: int = 30
    stream_type: int = 0  # 0 both, 1 sound, 2 picture
    lists: SubscribeLists = field(default_factory=SubscribeLists)
    output_format: int = HLS
    av_merge: int = 0  # 0 separate, 1 one TS with both
    max_file_minutes: int = 1440
    media_id: int = 0  # 0 main and aux, 1 main, 2 aux
    fill_type: int = 0  # 0 repeat the last picture, 1 black
    subscribe_ability: int = 0
    automatic: bool = False  # begun by the server, for an application that records every room
    expired_hours: int = 72  # how long the other calls work after Create
    mix: dict[str, Any] | None = None  # layout and transcoding of a mix, as the API layer checked it

    @property
    def room_key(self) -> str:
        """The core's key of the room."""
        return f"{self.sdk_app_id}/{self.room_type}/{self.room_id}"
