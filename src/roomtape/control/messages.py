"""What the server and its workers say to each other over the control socket.

Every message that concerns a task carries (task_id, epoch); the server drops one whose epoch is not
the row's, a worker drops one for a task it does not hold. A length-prefixed msgpack frame each, see
`channel.py`. No message to a worker carries a secret.
"""

from __future__ import annotations

from typing import Union

import msgspec


class _Message(msgspec.Struct, tag=True, tag_field="message", kw_only=True, omit_defaults=True):
    """Base: encoded as a map with its type's name as the tag."""


class Subscription(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The four subscribe lists of a recording; empty means everyone (spec: SubscribeStreamUserIds)."""

    audio_allow: list[str] = []
    audio_deny: list[str] = []
    video_allow: list[str] = []
    video_deny: list[str] = []


class RecordingPlan(msgspec.Struct, kw_only=True, omit_defaults=True):
    """All that a worker needs to record one room; times in the units their names say."""

    sdk_app_id: int
    room: str  # the core's room key, "<sdk_app_id>/s/<name>" or "<sdk_app_id>/i/<number>"
    room_in_names: str  # how the room is written in file names (recording.names)
    clock_mono_ns: int  # the task's one clock pair: task time 0 is this monotonic instant ...
    clock_wall_ms: int  # ... and this wall time
    created_ns: int  # monotonic instant of Create
    stream_type: int = 0  # 0 both, 1 sound, 2 picture
    av_merge: int = 0
    media_id: int = 0  # 0 main and aux, 1 main, 2 aux
    fill_type: int = 0
    output_format: int = 0
    subscription: Subscription = msgspec.field(default_factory=Subscription)
    max_idle_ms: int = 30_000
    pre_create: str = "gop"  # or "never"
    mp4_on_resize: str = "inband"  # or "split"
    flush_ms: int = 500
    sync_ms: int = 200
    piece_ms: int = 10_000
    max_piece_ms: int = 60_000
    max_users: int = 25
    check_every: int = 100  # one piece in so many is demultiplexed again by FFmpeg, 1 = each


class CommittedPiece(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The last piece of an output the server has a row for."""

    output: str
    piece_no: int
    end_ns: int  # task time at which the next piece begins
    counters: dict[int, int] = {}  # continuity counter per PID at its end


# --- server to worker ---------------------------------------------------------------------------


class Assign(_Message):
    """Take this task. With files of an earlier epoch in its spool directory, go on from them."""

    task_id: str
    epoch: int
    spool_dir: str
    plan: RecordingPlan
    committed: list[CommittedPiece] = []
    stop_at_ns: int | None = None  # set: the task was stopped meanwhile, only finish it
    new_stretch: bool = False  # the media core was restarted: what follows is after a hole
    paused: bool = False  # take it, but write nothing until Resume: the disk is nearly full


class Stop(_Message):
    task_id: str
    epoch: int
    at_ns: int  # monotonic


class Modify(_Message):
    task_id: str
    epoch: int
    subscription: Subscription


class Pause(_Message):
    """The disk is nearly full: close what is open and write nothing until Resume. The task lives on."""

    task_id: str
    epoch: int


class Resume(_Message):
    """There is room again: record on, after a gap."""

    task_id: str
    epoch: int


class PieceCommitted(_Message):
    task_id: str
    epoch: int
    output: str
    piece_no: int


class StoppedCommitted(_Message):
    task_id: str
    epoch: int


class FinalPiece(msgspec.Struct, kw_only=True, omit_defaults=True):
    path: str
    type: str  # audio, video or audiovideo
    piece_no: int
    start_ms: int  # wall
    start_ns: int  # task time of the piece's beginning
    duration_us: int
    discontinuity: bool = False
    priming: bytes = b""
    width: int = 0
    height: int = 0
    sha256: str = ""  # of the row; set: the file is compared with it


class Finalise(_Message):
    """Make the MP4 (or AAC) of one user's medium from committed pieces."""

    task_id: str
    epoch: int
    job: str  # "<user>\x1f<media>"
    user: str
    media: str
    kind: str  # "mp4" or "aac"
    out_dir: str
    base_name: str  # without index and extension
    pieces: list[FinalPiece]
    max_file_ms: int
    max_idle_ms: int
    mp4_on_resize: str = "inband"
    fill_type: int = 0


class FileCommitted(_Message):
    task_id: str
    epoch: int
    name: str


class Forget(_Message):
    """The task is no longer this worker's: drop it, write nothing more."""

    task_id: str
    epoch: int


class Drain(_Message):
    """Close every task at a clean place (END of this stretch) and exit."""


# --- worker to server ---------------------------------------------------------------------------


class Hello(_Message):
    index: int
    pid: int


class Beat(_Message):
    """Once a second."""

    tasks: int = 0
    rss_bytes: int = 0
    cpu_ms: int = 0
    counters: dict[str, int] = {}


class Started(_Message):
    """The robot is in the room: its reader is open."""

    task_id: str
    epoch: int


class Flow(_Message):
    """Whether at least one subscribed stream is being written."""

    task_id: str
    epoch: int
    flowing: bool
    at_ns: int = 0


class PieceReady(_Message):
    task_id: str
    epoch: int
    output: str  # "<user>\x1f<media>\x1f<type>"
    user: str
    media: str
    type: str  # audio, video, audiovideo
    piece_no: int
    name: str
    size: int
    md5: str
    sha256: str
    start_ms: int  # wall time of its first packet
    start_ns: int  # task time of its beginning
    end_ns: int  # task time of the next one's beginning
    duration_us: int
    discontinuity: bool = False
    counters: dict[int, int] = {}
    priming: bytes = b""
    width: int = 0
    height: int = 0
    channels: int = 0
    sample_rate: int = 0


class OutputEnded(_Message):
    """Nothing more will come for this output for now (unsubscribed): its playlist gets an end."""

    task_id: str
    epoch: int
    output: str


class FileReady(_Message):
    task_id: str
    epoch: int
    job: str
    user: str
    media: str
    track_type: str
    name: str
    index: int
    size: int
    md5: str
    sha256: str
    start_ms: int
    end_ms: int


class Finalised(_Message):
    task_id: str
    epoch: int
    job: str
    error: str = ""


class Stopped(_Message):
    task_id: str
    epoch: int


class Note(_Message):
    """Something an operator should know of a task: lost frames, a full disk, a skipped range."""

    task_id: str
    epoch: int
    kind: str  # gap_overrun, gap_disk, gap_poison, gap_network, gap_broken, broken, late, resync, disk_full,
    # disk_ok, sync, torn, error
    text: str
    count: int = 1


ToWorker = Union[
    Assign,
    Stop,
    Modify,
    Pause,
    Resume,
    PieceCommitted,
    StoppedCommitted,
    Finalise,
    FileCommitted,
    Forget,
    Drain,
]
ToServer = Union[Hello, Beat, Started, Flow, PieceReady, OutputEnded, FileReady, Finalised, Stopped, Note]
