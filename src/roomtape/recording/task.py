"""One recording task as the server holds it, and as it lies in SQL.

Memory and row say the same after each commit. Secrets stay sealed in the row; the task in memory has
none of them, only what is needed to assign, stop and deliver it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from roomtape.control.messages import RecordingPlan, Subscription
from roomtape.recording import names
from roomtape.recording.spec import HLS, CloudStorageSpec, RecordingSpec, SubscribeLists, VodSpec
from roomtape.rooms.names import RoomName
from roomtape.secret import Secret

State = Literal["idle", "in_progress", "exited", "gone"]
TOPIC = "recordings"  # announced by every commit that changes where a task stands
NO_SECRET = Secret("")
_APART = ("user_sig", "private_map_key", "storage", "lists")


class LeaveCode:
    """Why a recorder left (event 302).

    Source: Event Callbacks > Cloud recording > RECORDER_STOP, read 2026-11.
    """

    STOPPED = 0
    ROBOT_REMOVED = 1
    ROOM_DISMISSED = 2
    IDLE = 99
    SAME_USER = 101


@dataclass(frozen=True, slots=True)
class StopOrder:
    """The recorder has to leave; what was captured until `at_ns` still belongs to the files."""

    at_ns: int  # the core's clock
    leave_code: int


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What the operator decides about every recording."""

    pre_create: str = "gop"
    mp4_on_resize: str = "inband"
    exited_min_s: float = 60.0
    max_tasks_per_app: int = 100
    check_every: int = 100
    flush_ms: int = 500
    sync_ms: int = 200


@dataclass(slots=True, eq=False)
class Task:
    """A task that is not gone."""

    task_id: str
    spec: RecordingSpec
    room: RoomName
    lists: SubscribeLists
    created_ms: int
    created_ns: int
    expires_ms: int
    clock_mono_ns: int  # task time 0 ...
    clock_wall_ms: int  # ... and the same instant as wall time
    epoch: int
    state: State = "idle"
    started: bool = False
    stop: StopOrder | None = None
    exited_ms: int | None = None
    exited_ns: int | None = None  # the same instant on the monotonic clock, known from the first look on
    final_event: str = ""
    new_stretch: bool = False  # the media core was restarted under it; not yet told to a worker that took it
    moves: int = 0
    paused: bool = False  # the disk is nearly full: its worker writes nothing
    disk_told: bool = False  # its owner knows of a full disk (308), and not yet that it is over

    @property
    def running(self) -> bool:
        return self.state in ("idle", "in_progress")

    @property
    def sdk_app_id(self) -> int:
        return self.spec.sdk_app_id

    @property
    def vod(self) -> VodSpec | None:
        """The wishes of a task whose files go to the media library."""
        storage = self.spec.storage
        return storage if isinstance(storage, VodSpec) else None

    @property
    def keeps_pieces(self) -> bool:
        """Whether the spool keeps stored pieces until the task's last event: something is made of them."""
        return self.spec.output_format != HLS or self.vod is not None

    @property
    def room_in_names(self) -> str:
        return names.room_in_names(self.room.type, self.room.room_id)

    def plan(self, settings: TaskSettings) -> RecordingPlan:
        """What the worker that takes it needs to know."""
        return RecordingPlan(
            sdk_app_id=self.sdk_app_id,
            room=self.room.key,
            room_in_names=self.room_in_names,
            clock_mono_ns=self.clock_mono_ns,
            clock_wall_ms=self.clock_wall_ms,
            created_ns=self.created_ns,
            stream_type=self.spec.stream_type,
            av_merge=self.spec.av_merge,
            media_id=self.spec.media_id,
            fill_type=self.spec.fill_type,
            output_format=self.spec.output_format,
            subscription=subscription(self.lists),
            max_idle_ms=self.spec.max_idle_s * 1000,
            pre_create=settings.pre_create,
            mp4_on_resize=settings.mp4_on_resize,
            flush_ms=settings.flush_ms,
            sync_ms=settings.sync_ms,
            check_every=settings.check_every,
        )


def subscription(lists: SubscribeLists) -> Subscription:
    """The lists in the worker's words."""
    return Subscription(
        audio_allow=list(lists.audio_allow),
        audio_deny=list(lists.audio_deny),
        video_allow=list(lists.video_allow),
        video_deny=list(lists.video_deny),
    )


def lists_to_row(lists: SubscribeLists) -> dict[str, list[str]]:
    return {field.name: list(getattr(lists, field.name)) for field in fields(lists)}


def lists_from_row(row: dict[str, list[str]] | None) -> SubscribeLists:
    return SubscribeLists(**{name: tuple(values) for name, values in (row or {}).items()})


def spec_to_row(spec: RecordingSpec) -> dict[str, Any]:
    """Everything of a specification that is no secret."""
    storage = spec.storage
    row = {f.name: getattr(spec, f.name) for f in fields(spec) if f.name not in _APART}
    row["lists"] = lists_to_row(spec.lists)
    row["storage"] = {
        f.name: getattr(storage, f.name)
        for f in fields(storage)
        if not isinstance(getattr(storage, f.name), Secret)
    }
    row["storage"]["kind"] = "cloud" if isinstance(storage, CloudStorageSpec) else "vod"
    if isinstance(storage, CloudStorageSpec):
        row["storage"]["prefix"] = list(storage.prefix)
    return row


def secrets_of(spec: RecordingSpec) -> bytes:
    """The secrets of a specification, to be sealed."""
    held = {"user_sig": spec.user_sig.reveal()}
    if spec.private_map_key is not None:
        held["private_map_key"] = spec.private_map_key.reveal()
    if isinstance(spec.storage, CloudStorageSpec):
        held["access_key"] = spec.storage.access_key.reveal()
        held["secret_key"] = spec.storage.secret_key.reveal()
    return msgspec.json.encode(held)


def spec_from_row(row: dict[str, Any]) -> RecordingSpec:
    """The specification as it was, with empty secrets."""
    plain = dict(row)
    storage = dict(plain.pop("storage"))
    lists = lists_from_row(plain.pop("lists"))
    target: CloudStorageSpec | VodSpec
    if storage.pop("kind") == "cloud":
        storage["prefix"] = tuple(storage["prefix"])
        target = CloudStorageSpec(**storage, access_key=NO_SECRET, secret_key=NO_SECRET)
    else:
        target = VodSpec(**storage)
    return RecordingSpec(**plain, lists=lists, storage=target, user_sig=NO_SECRET)


def without_secrets(spec: RecordingSpec) -> RecordingSpec:
    """What stays in memory once the row holds the secrets."""
    storage = spec.storage
    if isinstance(storage, CloudStorageSpec):
        storage = replace(storage, access_key=NO_SECRET, secret_key=NO_SECRET)
    return replace(spec, user_sig=NO_SECRET, private_map_key=None, storage=storage)


def task_from_row(row: sa.Row[Any]) -> Task:
    """A task of the record; times of another boot of the machine are the caller's to mend."""
    spec = spec_from_row(row.spec)
    return Task(
        task_id=row.task_id,
        spec=spec,
        room=RoomName(row.sdk_app_id, spec.room_type, spec.room_id),
        lists=lists_from_row(row.subscription),
        created_ms=row.created_ms,
        created_ns=row.created_ns,
        expires_ms=row.expires_at_ms,
        clock_mono_ns=row.clock_mono_ns,
        clock_wall_ms=row.clock_wall_ms,
        epoch=row.epoch,
        state=row.status,
        started=row.started_ms is not None,
        stop=None if row.stop_requested_ms is None else StopOrder(row.stop_at_ns, row.leave_code),
        exited_ms=row.exited_ms,
        final_event=row.final_event,
        moves=row.moves,
    )
