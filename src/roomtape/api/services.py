"""What the handlers of the API may call: the domain services, by the verbs they need.

The composition root builds one `Services`; tests build another of the same real services. Protocols keep
the handlers independent of how a service is built, and say in one place which verbs the wire needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from roomtape.access.service import Access
    from roomtape.clock import Clock
    from roomtape.recording.spec import RecordingSpec, SubscribeLists
    from roomtape.state.database import Database


class StorageFileView(Protocol):
    """One index file of a task: `user_id` "" in mixed mode, `track_type` video, audio or audio_video."""

    @property
    def user_id(self) -> str: ...
    @property
    def file_name(self) -> str: ...
    @property
    def track_type(self) -> str: ...
    @property
    def begin_ms(self) -> int: ...


class RecordingView(Protocol):
    """A task as Describe shows it; `status` is Idle, InProgress or Exited."""

    @property
    def task_id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def files(self) -> Sequence[StorageFileView]: ...


class Recording(Protocol):
    """The verbs of `roomtape.recording.service.RecordingService`."""

    async def create(self, spec: RecordingSpec) -> str:
        """Start a recorder; returns the TaskId."""
        ...

    async def describe(self, sdk_app_id: int, task_id: str) -> RecordingView: ...

    def describe_held(self, sdk_app_id: int, task_id: str) -> RecordingView | None:
        """The same without waiting; None when it would have to. The application exists."""
        ...

    async def modify(self, sdk_app_id: int, task_id: str, lists: SubscribeLists) -> str: ...

    async def stop(self, sdk_app_id: int, task_id: str) -> str: ...


class Rooms(Protocol):
    """The verbs of `roomtape.rooms.service.Rooms` that customers have."""

    async def remove_users(
        self, sdk_app_id: int, room_type: Literal["s", "i"], room_id: str, users: Iterable[str]
    ) -> None: ...

    async def dismiss(self, sdk_app_id: int, room_type: Literal["s", "i"], room_id: str) -> None: ...

    async def block(
        self,
        sdk_app_id: int,
        room_type: Literal["s", "i"],
        room_id: str,
        user_id: str,
        *,
        audio: bool,
        video: bool,
    ) -> None: ...


@dataclass(slots=True)
class Services:
    """Everything a handler may use, built by the composition root."""

    db: Database
    clock: Clock
    access: Access
    recording: Recording
    rooms: Rooms
