"""What the verbs of the recording service give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["Idle", "InProgress", "Exited"]
TrackType = Literal["audio", "video", "audio_video"]


@dataclass(frozen=True, slots=True)
class FileView:
    """One playlist of a task. `file_name` is bare: without prefix and task ID."""

    user_id: str  # empty for a mix
    file_name: str
    track_type: TrackType
    begin_ms: int  # wall time of its first packet


@dataclass(frozen=True, slots=True)
class RecordingView:
    """One task as its owner may see it."""

    task_id: str
    status: Status
    files: tuple[FileView, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordingDetail:
    """One task as the operator sees it."""

    task_id: str
    sdk_app_id: int
    room_type: str  # s or i
    room_id: str
    robot: str
    status: str
    worker: int | None
    created_ms: int
    stopped_ms: int | None
    leave_code: int | None
    files: tuple[FileView, ...]
    pieces: int
    unproven: int  # pieces and files that are not yet safe in the destination
    hint: str  # empty, or why nothing is recorded (room of the other type has the anchors)
