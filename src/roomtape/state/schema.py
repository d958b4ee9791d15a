"""Every table of roomtape, as SQLAlchemy Core.

Rules that hold for all of them: times are integer milliseconds of Unix wall time (`_ms`), media times
integer nanoseconds of the task (`_ns`); a row of a tenant carries its `sdk_app_id`; rows whose writer
can die (rooms, stays, tracks, tasks, outputs, pieces, files, uploads, events) carry `node_id`,
`boot_id` and, where a task owns them, `epoch`; secrets are stored sealed (`_sealed`). Changes go
expand-then-contract through `migrations/`; a test compares both.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows only in a column declared exactly INTEGER.
_RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _row_id(name: str = "id") -> sa.Column[int]:
    return sa.Column(name, _RowId, primary_key=True, autoincrement=True)


def _int(name: str, default: int | None = None, *, null: bool = False) -> sa.Column[int]:
    """A 64-bit integer; with a default it never is NULL."""
    server_default = None if default is None else sa.text(str(default))
    return sa.Column(name, sa.BigInteger(), nullable=null, server_default=server_default)


def _text(name: str, default: str | None = None, *, null: bool = False) -> sa.Column[str]:
    server_default = None if default is None else sa.text(f"'{default}'")
    return sa.Column(name, sa.Text(), nullable=null, server_default=server_default)


def _flag(name: str, default: bool = False) -> sa.Column[bool]:
    server_default = sa.true() if default else sa.false()
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=server_default)


def _json(name: str, *, null: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=null)


def _bytes(name: str, *, null: bool = True) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=null)


def _origin() -> tuple[sa.Column[str], sa.Column[str]]:
    """Which node wrote the row, and in which life of its server process."""
    return _text("node_id", ""), _text("boot_id", "")


# --- who may do what (owner of the rows: access) --------------------------------------------------

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("uin", sa.BigInteger(), primary_key=True, autoincrement=False),
    _int("owner_uin", null=True),  # NULL: a root account; else the root this sub-user belongs to
    _int("app_id", 0),  # the cloud's APPID of the root account, for ${app_id} in policies
    _text("name", ""),
    _int("created_ms"),
    _int("disabled_ms", null=True),
)

policies = sa.Table(
    "policies",
    metadata,
    _row_id(),
    sa.Column("uin", sa.BigInteger(), sa.ForeignKey("accounts.uin"), nullable=False),
    _text("name"),
    _json("document", null=False),
    _int("created_ms"),
    sa.UniqueConstraint("uin", "name"),
)

applications = sa.Table(
    "applications",
    metadata,
    sa.Column("sdk_app_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("uin", sa.BigInteger(), sa.ForeignKey("accounts.uin"), nullable=False, index=True),
    _text("name", ""),
    _int("created_ms"),
    _int("updated_ms", 0),
    _int("disabled_ms", null=True),
    _flag("permission_control"),  # the PrivateMapKey switch (spec/auth.md 2.4)
    _bytes("callback_key_sealed"),
    _text("room_url", ""),  # one slot per kind of callback; empty: none is sent
    _text("media_url", ""),
    _text("record_url", ""),
    _text("relay_url", ""),
    _text("ingest_url", ""),
    _text("web_record_url", ""),
    _text("slice_url", ""),
    _text("moderation_url", ""),
    _text("ai_url", ""),
    _json("auto_record"),  # the recording every new room gets, without its secrets
    _json("settings"),  # further switches of one application
    _bytes("auto_record_sealed"),  # bucket credentials of it
    _int("auto_record_since_ms", null=True),  # rooms made from then on are recorded
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("secret_id", sa.Text(), primary_key=True),
    sa.Column("uin", sa.BigInteger(), sa.ForeignKey("accounts.uin"), nullable=False, index=True),
    _bytes("secret_key_sealed", null=False),
    _text("name", ""),
    _json("sdk_app_ids"),  # NULL: every application of the account
    _json("address_rules"),  # {"allow": [cidr], "deny": [cidr]} or NULL
    _int("created_ms"),
    _int("disabled_ms", null=True),
    _int("expires_ms", null=True),  # temporary keys
    _bytes("token_sealed"),
    _int("last_used_ms", null=True),
)

app_keys = sa.Table(  # keys that sign UserSigs and PrivateMapKeys
    "app_keys",
    metadata,
    _row_id(),
    sa.Column(
        "sdk_app_id", sa.BigInteger(), sa.ForeignKey("applications.sdk_app_id"), nullable=False, index=True
    ),
    _bytes("key_sealed", null=False),
    _int("created_ms"),
    _int("retired_ms", null=True),  # NULL: tickets signed with it are accepted
)

secrets = sa.Table(  # sealed values that belong to no other row
    "secrets",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    _int("sdk_app_id", 0),  # 0: the installation's own
    _bytes("value_sealed", null=False),
    _int("created_ms"),
)

replays = sa.Table(  # stored first answers of mutating actions (spec/protocol.md 3.5)
    "replays",
    metadata,
    sa.Column("key", sa.Text(), primary_key=True),  # hex sha256
    _int("sdk_app_id", 0),
    _text("action"),
    _json("result", null=False),
    _int("created_ms"),
    sa.Column("expires_ms", sa.BigInteger(), nullable=False, index=True),
)

# --- nodes, rooms and what happened in them (facts, kept 15 days) ---------------------------------

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("node_id", sa.Text(), primary_key=True),
    _text("boot_id"),
    _text("kernel_boot_id", ""),  # monotonic times compare only inside one boot of the kernel
    _text("host", ""),
    _text("version", ""),
    _json("addresses"),
    _int("started_ms"),
    _int("lease_until_ms", 0),
    _int("epoch", 0),  # +1 at every start of the server on this node
    _flag("draining"),
)

rooms = sa.Table(  # one row per life of a room
    "rooms",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    _text("room_type"),  # "s" or "i"
    _text("room_id"),  # decimal text for an integer room
    _text("comm_id"),  # <sdk_app_id>_<room_number>_<created seconds>
    _int("room_number"),  # the number itself, or FNV-1a 32 of a string room's name
    _int("scene", 1),  # 0 video call, 1 live, 2 audio call, 3 voice chat room
    _text("creator_user_id", ""),
    _int("created_ms"),
    _int("emptied_ms", null=True),  # empty since: the 10-minute linger runs
    _int("destroyed_ms", null=True),
    _text("end_cause", ""),  # empty, dismissed, lost
    *_origin(),
    _int("epoch", 0),
)
sa.Index(
    "uq_rooms_open",
    rooms.c.sdk_app_id,
    rooms.c.room_type,
    rooms.c.room_id,
    unique=True,
    sqlite_where=rooms.c.destroyed_ms.is_(None),
    postgresql_where=rooms.c.destroyed_ms.is_(None),
)
sa.Index("ix_rooms_comm", rooms.c.comm_id)
sa.Index("ix_rooms_created", rooms.c.sdk_app_id, rooms.c.created_ms)

stays = sa.Table(  # one row per membership of a user in a room's life
    "stays",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    sa.Column("room_life", sa.BigInteger(), sa.ForeignKey("rooms.id"), nullable=False),
    _text("user_id"),
    _int("role", 20),  # 20 anchor, 21 audience
    _int("terminal_type", 100),
    _int("user_type", 1),
    _text("device_type", ""),  # WHIP, WHEP, WebRTC, RTMP, Robot ...
    _text("sdk_version", ""),
    _text("client_ip", ""),
    _text("seats", ""),  # of main, aux, play: those held, joined by commas
    _flag("robot"),
    _flag("hidden"),  # a recorder or relay: not a user, no events
    _flag("blocked_audio"),  # SetUserBlocked, until reversed or the user leaves
    _flag("blocked_video"),
    _int("entered_ms"),
    _int("entered_ns", 0),  # the same instant on the core's clock
    _int("reason_in", 1),
    _int("lost_ms", null=True),  # connection lost since
    _int("left_ms", null=True),
    _int("reason_out", null=True),
    *_origin(),
    _int("epoch", 0),
)
sa.Index("ix_stays_life", stays.c.room_life, stays.c.user_id)
sa.Index("ix_stays_entered", stays.c.sdk_app_id, stays.c.entered_ms)

tracks = sa.Table(
    "tracks",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    sa.Column("room_life", sa.BigInteger(), sa.ForeignKey("rooms.id"), nullable=False),
    _int("stay_id", null=True),
    _text("user_id"),
    _text("kind"),  # audio, video, aux
    _text("codec"),
    _int("core_track", 0),  # the core's id, unique inside a boot_id
    _int("life", 0),
    _int("derived_from", null=True),
    _int("started_ms"),
    _int("started_ns", 0),
    _int("stopped_ms", null=True),
    _text("stop_cause", ""),
    *_origin(),
)
sa.Index("ix_tracks_life", tracks.c.room_life, tracks.c.started_ms)
sa.Index("ix_tracks_core", tracks.c.boot_id, tracks.c.core_track)

track_sizes = sa.Table(
    "track_sizes",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    sa.Column("track_id", sa.BigInteger(), sa.ForeignKey("tracks.id"), nullable=False, index=True),
    _int("at_ms"),
    _int("width"),
    _int("height"),
)

watches = sa.Table(  # what a viewer received, from when to when: reception is metered from it
    "watches",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    sa.Column("room_life", sa.BigInteger(), sa.ForeignKey("rooms.id"), nullable=False, index=True),
    _int("stay_id", null=True),  # the viewer's
    _text("user_id"),
    _text("peer_id", ""),  # whose streams; empty: everybody's
    _text("stream", "main"),  # main (sound and picture) or aux
    _int("began_ms"),
    _int("ended_ms", null=True),
    *_origin(),
)

user_events = sa.Table(  # EventId table of spec/monitoring.md 8
    "user_events",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    sa.Column("room_life", sa.BigInteger(), sa.ForeignKey("rooms.id"), nullable=False),
    _text("user_id"),
    _text("peer_id"),  # the user itself for its own events
    _int("type", 0),  # 0 not about video, 2 main video, 3 small video, 7 substream
    _int("event_id"),
    _int("param_one", -1),
    _int("param_two", -1),
    _int("at_ms"),
)
sa.Index("ix_user_events_user", user_events.c.room_life, user_events.c.user_id, user_events.c.at_ms)

quality_samples = sa.Table(  # one row per track and 5 seconds
    "quality_samples",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    sa.Column("room_life", sa.BigInteger(), sa.ForeignKey("rooms.id"), nullable=False),
    _text("user_id"),
    _text("peer_id", ""),  # empty: upstream; else whose stream this user received
    _text("kind"),  # audio, video, aux
    _int("at_ms"),  # end of the span
    _int("span_ms", 5000),
    _int("packets", 0),
    _int("bytes", 0),
    _int("lost", 0),
    _int("frames", null=True),
    _int("jitter_ms", null=True),
    _int("rtt_ms", null=True),
    _int("width", null=True),
    _int("height", null=True),
)
sa.Index(
    "ix_quality_samples_user", quality_samples.c.room_life, quality_samples.c.user_id, quality_samples.c.at_ms
)

minutes = sa.Table(  # metered spans: reception, recorded and other output, by class
    "minutes",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    _text("kind"),  # trtc, record_single, record_multi, mix, relay
    _text("size_class"),  # Audio or the pixel class's key of spec/usage.md 4.1, e.g. HD
    _text("codec", ""),
    _text("room_type", ""),
    _text("room_id", ""),
    _text("user_id", ""),
    _text("task_id", ""),
    _int("pixels", 0),
    _int("from_ms"),
    _int("to_ms"),
    _int("duration_us", 0),  # media time of an output; 0 for reception (to_ms - from_ms counts)
    _int("bytes", 0),
)
sa.Index("ix_minutes_app", minutes.c.sdk_app_id, minutes.c.kind, minutes.c.from_ms)

# --- tasks and what they produce ------------------------------------------------------------------

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("task_id", sa.Text(), primary_key=True),
    _int("sdk_app_id"),
    _text("kind"),  # recording, relay, ingest
    _text("status", "idle"),  # idle, in_progress, exited, gone
    _text("room_type"),
    _text("room_id"),
    _text("robot_user_id"),
    _json("spec", null=False),  # validated parameters, no secret
    _json("subscription"),  # the subscribe lists as last modified
    _bytes("secrets_sealed"),  # bucket credentials, UserSig, PrivateMapKey
    _int("created_ms"),
    _int("created_ns", 0),
    _int("started_ms", null=True),  # robot in the room
    _int("first_media_ms", null=True),
    _int("status_ms", 0),  # when the status last changed
    _int("idle_since_ms", null=True),  # no anchor since: MaxIdleTime runs
    _int("deadline_ms", null=True),  # when the present state must have ended
    _int("expires_at_ms", 0),  # ResourceExpiredHour: actions answer an error afterwards
    _int("stop_requested_ms", null=True),
    _int("stop_at_ns", null=True),  # monotonic, valid inside kernel_boot_id
    _text("stop_cause", ""),
    _int("leave_code", null=True),
    _int("exited_ms", null=True),
    _int("delivered_ms", null=True),  # the last upload was proven
    _int("gone_ms", null=True),
    *_origin(),
    _int("epoch", 0),  # +1 at every assignment to a worker
    _int("worker", null=True),  # index of the worker that holds it
    _int("moves", 0),  # to another node: n of ha<n>_
    _int("stretch", 0),  # +1 whenever the media core was restarted under it
    _int("clock_mono_ns", 0),  # task time 0 ...
    _int("clock_wall_ms", 0),  # ... and the same instant as wall time
    _text("kernel_boot_id", ""),
    _int("next_event_no", 1),
    _text("final_event", ""),  # which event closed the task, e.g. "305:0"; at most one ever
    _flag("announced_303"),
    _flag("held_back"),  # 305 or 310 with Status 1 was sent
    _text("last_error", ""),
    _flag("automatic"),  # begun by the server for an application that records every room
)
sa.Index("ix_tasks_app", tasks.c.sdk_app_id, tasks.c.status)
sa.Index("ix_tasks_room", tasks.c.sdk_app_id, tasks.c.room_type, tasks.c.room_id, tasks.c.status)
sa.Index("ix_tasks_node", tasks.c.node_id, tasks.c.status)

outputs = sa.Table(
    "outputs",
    metadata,
    sa.Column("task_id", sa.Text(), sa.ForeignKey("tasks.task_id"), primary_key=True),
    sa.Column("output_key", sa.Text(), primary_key=True),  # "<user>\x1f<media>\x1f<type>"
    _int("sdk_app_id"),
    _text("user_id"),
    _text("media"),  # main, aux, mix
    _text("type"),  # audio, video, audiovideo
    _int("track_start_ms"),
    _int("track_start_ns", 0),
    _int("width", 0),
    _int("height", 0),
    _int("channels", 0),
    _int("sample_rate", 0),
    _bytes("priming"),  # of the first piece: the packet before the first sound
    _int("next_piece_no", 0),
    _flag("ended"),
    _int("ended_ms", null=True),
    _text("playlist_name", ""),
    _text("playlist_state", "none"),  # none, changed, uploading, proven, final
    _int("playlist_wanted", 0),  # highest piece_no + 1 that the playlist should name
    _int("playlist_proven", 0),  # ... that the stored one names
    _int("playlist_size", 0),
    _int("playlist_uploaded_ms", null=True),
    _flag("announced_307"),
    _flag("announced_304"),
    *_origin(),
    _int("epoch", 0),
)

pieces = sa.Table(
    "pieces",
    metadata,
    sa.Column("task_id", sa.Text(), sa.ForeignKey("tasks.task_id"), primary_key=True),
    sa.Column("output_key", sa.Text(), primary_key=True),
    sa.Column("piece_no", sa.BigInteger(), primary_key=True, autoincrement=False),
    _int("sdk_app_id"),
    _text("user_id"),
    _text("media"),
    _text("type"),
    _text("name"),
    _int("size"),
    _text("md5"),  # hex
    _text("sha256"),  # hex
    _int("start_ms"),
    _int("start_ns"),
    _int("end_ns"),
    _int("duration_us"),
    _flag("discontinuity"),
    _json("counters"),  # continuity counter per PID at its end
    _bytes("priming"),
    _int("width", 0),
    _int("height", 0),
    _int("channels", 0),
    _int("sample_rate", 0),
    _text("upload_state", "ready"),  # ready, uploading, proven, kept (no upload wanted), failed
    _int("committed_ms", 0),
    _int("proven_ms", null=True),
    _int("removed_ms", null=True),  # the local file is gone
    *_origin(),
    _int("epoch", 0),
)
sa.Index("ix_pieces_upload", pieces.c.task_id, pieces.c.upload_state)
sa.Index("uq_pieces_name", pieces.c.task_id, pieces.c.name, unique=True)

final_jobs = sa.Table(  # one per user and medium: pieces to MP4 or AAC
    "final_jobs",
    metadata,
    sa.Column("task_id", sa.Text(), sa.ForeignKey("tasks.task_id"), primary_key=True),
    sa.Column("job", sa.Text(), primary_key=True),  # "<user>\x1f<media>"
    _int("sdk_app_id"),
    _text("user_id"),
    _text("media"),
    _text("kind"),  # mp4, aac
    _text("state", "waiting"),  # waiting, running, done, failed
    _int("tries", 0),
    _text("error", ""),
    _int("created_ms"),
    _int("done_ms", null=True),
    *_origin(),
    _int("epoch", 0),
)

files = sa.Table(
    "files",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    sa.Column("task_id", sa.Text(), sa.ForeignKey("tasks.task_id"), nullable=False),
    _text("job", ""),
    _text("kind"),  # mp4, aac, m3u8
    _text("name"),
    _int("index_no", 0),
    _text("user_id"),
    _text("media"),
    _text("track_type"),  # audio, video, audio_video
    _text("path", ""),  # under the spool
    _int("size", 0),
    _text("md5", ""),
    _text("sha256", ""),
    _int("start_ms", 0),
    _int("end_ms", 0),
    _text("upload_state", "ready"),  # as pieces
    _text("file_id", ""),  # of the media library
    _int("committed_ms", 0),
    _int("proven_ms", null=True),
    _int("removed_ms", null=True),
    *_origin(),
    _int("epoch", 0),
    sa.UniqueConstraint("task_id", "name"),
)

uploads = sa.Table(  # the queue of objects to be stored, with their retries and proofs
    "uploads",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    sa.Column("task_id", sa.Text(), sa.ForeignKey("tasks.task_id"), nullable=False),
    _text("subject"),  # piece, file, playlist
    _text("output_key", ""),
    _int("piece_no", null=True),
    _text("name"),
    _text("object_key"),
    _text("path"),
    _int("size", 0),
    _text("md5", ""),
    _text("state", "ready"),  # ready, uploading, proven, given_up
    _int("revision", 0),  # of a playlist: pieces it names
    _int("tries", 0),
    _int("next_at_ms", 0),
    _int("created_ms"),
    _int("first_failed_ms", null=True),
    _text("last_error_code", ""),
    _text("last_error", ""),
    _flag("announced_308"),
    _text("etag", ""),
    _text("multipart_id", ""),
    _int("proven_ms", null=True),
    *_origin(),
    _int("epoch", 0),
    sa.UniqueConstraint("task_id", "name"),
)
sa.Index("ix_uploads_due", uploads.c.state, uploads.c.next_at_ms)

library_files = sa.Table(  # the media library behind CloudVod: one row per file a task brought
    "library_files",
    metadata,
    sa.Column("file_id", sa.Text(), primary_key=True),
    _int("sdk_app_id"),
    sa.Column("task_id", sa.Text(), sa.ForeignKey("tasks.task_id"), nullable=False),
    _text("kind"),  # mp4, aac, hls
    _text("name"),  # of an HLS its playlist's
    _text("user_id"),  # empty: a mix
    _text("media"),  # main, aux, mix
    _text("track_type"),  # audio, video, audio_video
    _text("state"),  # held, stored, failed, removed
    _text("error", ""),
    _int("size", 0),
    _int("start_ms", 0),
    _int("end_ms", 0),
    _int("created_ms"),
    _int("stored_ms", null=True),
    _int("expires_at_ms", null=True),  # NULL: kept for ever
    _int("removed_ms", null=True),
    _text("procedure", ""),  # as the request gave them, for what a library behind this one would do
    _text("storage_region", ""),
    _int("class_id", 0),
    _int("sub_app_id", 0),
    _text("session_context", ""),
    _text("source_context", ""),
    *_origin(),
    _int("epoch", 0),
    sa.UniqueConstraint("task_id", "name"),
)
sa.Index("ix_library_files_expiry", library_files.c.state, library_files.c.expires_at_ms)
sa.Index("ix_library_files_app", library_files.c.sdk_app_id, library_files.c.created_ms)

task_notes = sa.Table(  # a task's life for its operator; what says the same again is counted
    "task_notes",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    sa.Column("task_id", sa.Text(), sa.ForeignKey("tasks.task_id"), nullable=False),
    _int("epoch", 0),  # of the first one
    _text("kind"),  # assigned, worker_died, paused, resumed, and the kinds of control.messages.Note
    _text("text"),
    _int("count", 1),
    _int("at_ms"),  # of the first one
    _int("last_ms"),
)
sa.Index("ix_task_notes_task", task_notes.c.task_id, task_notes.c.kind)

# --- events and their delivery --------------------------------------------------------------------

events = sa.Table(  # the outbox: written in the transaction of the state they tell of
    "events",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    _int("group_id"),
    _int("type"),
    _text("queue"),  # "room:<room key>" or "task:<task id>"
    _text("task_id", null=True),
    _int("task_event_no", null=True),
    _json("fact", null=False),  # snake case; callbacks.bodies gives it its wire shape
    _int("at_ms"),
    *_origin(),
    _int("epoch", 0),
    sa.UniqueConstraint("task_id", "task_event_no"),
    sqlite_autoincrement=True,  # an id that receivers may have seen is never used again
)
sa.Index("ix_events_app", events.c.sdk_app_id, events.c.at_ms)

deliveries = sa.Table(  # one event for one URL
    "deliveries",
    metadata,
    _row_id(),
    _int("sdk_app_id"),
    sa.Column("event_id", sa.BigInteger(), sa.ForeignKey("events.id"), nullable=False, index=True),
    _text("slot"),  # which URL of the application: room, media, record ...
    _text("url"),
    _text("queue"),
    _text("state", "waiting"),  # waiting, head, slow (poison), delivered, dead
    _int("created_ms"),
    _int("head_ms", null=True),  # became head: CallbackTs, start of the schedule
    _bytes("body"),  # fixed when it becomes head, identical in every attempt
    _text("sign", ""),
    _int("tries", 0),
    _int("next_at_ms", null=True),
    _int("refused_ms", null=True),  # the receiver answers, but not 200, since
    _int("last_status", null=True),
    _text("last_error", ""),
    _int("done_ms", null=True),  # delivered or dead
    _int("replay_of", null=True),  # the delivery that an operator replayed
    sqlite_autoincrement=True,
)
sa.Index(  # only what is still to be delivered; rows of the slow queue have queue "slow"
    "ix_deliveries_pending",
    deliveries.c.sdk_app_id,
    deliveries.c.url,
    deliveries.c.queue,
    deliveries.c.id,
    sqlite_where=deliveries.c.done_ms.is_(None),
    postgresql_where=deliveries.c.done_ms.is_(None),
)

attempts = sa.Table(
    "attempts",
    metadata,
    _row_id(),
    sa.Column("delivery_id", sa.BigInteger(), sa.ForeignKey("deliveries.id"), nullable=False, index=True),
    _int("sdk_app_id"),
    _int("number"),  # from 1
    _int("started_ms"),
    _int("duration_ms"),
    _text("outcome"),  # delivered, down, refused
    _int("status", null=True),
    _text("error", ""),
)
