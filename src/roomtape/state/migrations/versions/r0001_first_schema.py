"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "accounts",
        sa.Column("uin", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("owner_uin", sa.BigInteger(), nullable=True),
        sa.Column("app_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("disabled_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("uin", name=op.f("pk_accounts")),
    )
    op.create_table(
        "events",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.BigInteger(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=True),
        sa.Column("task_event_no", sa.BigInteger(), nullable=True),
        sa.Column("fact", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("task_id", "task_event_no", name=op.f("uq_events_task_id_task_event_no")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_app", "events", ["sdk_app_id", "at_ms"], unique=False)
    op.create_table(
        "minutes",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("size_class", sa.Text(), nullable=False),
        sa.Column("codec", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("room_type", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("room_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("user_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("task_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("pixels", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_ms", sa.BigInteger(), nullable=False),
        sa.Column("duration_us", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_minutes")),
    )
    op.create_index("ix_minutes_app", "minutes", ["sdk_app_id", "kind", "from_ms"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("kernel_boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("host", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("version", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("addresses", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("draining", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_nodes")),
    )
    op.create_table(
        "replays",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sdk_app_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_replays")),
    )
    op.create_index(op.f("ix_replays_expires_ms"), "replays", ["expires_ms"], unique=False)
    op.create_table(
        "rooms",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("room_type", sa.Text(), nullable=False),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("comm_id", sa.Text(), nullable=False),
        sa.Column("room_number", sa.BigInteger(), nullable=False),
        sa.Column("scene", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("creator_user_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("emptied_ms", sa.BigInteger(), nullable=True),
        sa.Column("destroyed_ms", sa.BigInteger(), nullable=True),
        sa.Column("end_cause", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rooms")),
    )
    op.create_index("ix_rooms_comm", "rooms", ["comm_id"], unique=False)
    op.create_index("ix_rooms_created", "rooms", ["sdk_app_id", "created_ms"], unique=False)
    op.create_index(
        "uq_rooms_open",
        "rooms",
        ["sdk_app_id", "room_type", "room_id"],
        unique=True,
        sqlite_where=sa.text("destroyed_ms IS NULL"),
        postgresql_where=sa.text("destroyed_ms IS NULL"),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sdk_app_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("value_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )
    op.create_table(
        "tasks",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'idle'"), nullable=False),
        sa.Column("room_type", sa.Text(), nullable=False),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("robot_user_id", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("subscription", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("secrets_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=True),
        sa.Column("first_media_ms", sa.BigInteger(), nullable=True),
        sa.Column("status_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("idle_since_ms", sa.BigInteger(), nullable=True),
        sa.Column("deadline_ms", sa.BigInteger(), nullable=True),
        sa.Column("expires_at_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("stop_requested_ms", sa.BigInteger(), nullable=True),
        sa.Column("stop_at_ns", sa.BigInteger(), nullable=True),
        sa.Column("stop_cause", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("leave_code", sa.BigInteger(), nullable=True),
        sa.Column("exited_ms", sa.BigInteger(), nullable=True),
        sa.Column("delivered_ms", sa.BigInteger(), nullable=True),
        sa.Column("gone_ms", sa.BigInteger(), nullable=True),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("worker", sa.BigInteger(), nullable=True),
        sa.Column("moves", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("stretch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("clock_mono_ns", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("clock_wall_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("kernel_boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("next_event_no", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("final_event", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("announced_303", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("held_back", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("last_error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_tasks")),
    )
    op.create_index("ix_tasks_app", "tasks", ["sdk_app_id", "status"], unique=False)
    op.create_index("ix_tasks_node", "tasks", ["node_id", "status"], unique=False)
    op.create_index("ix_tasks_room", "tasks", ["sdk_app_id", "room_type", "room_id", "status"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("secret_id", sa.Text(), nullable=False),
        sa.Column("uin", sa.BigInteger(), nullable=False),
        sa.Column("secret_key_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sdk_app_ids", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("address_rules", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("disabled_ms", sa.BigInteger(), nullable=True),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("token_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["uin"], ["accounts.uin"], name=op.f("fk_api_keys_uin_accounts")),
        sa.PrimaryKeyConstraint("secret_id", name=op.f("pk_api_keys")),
    )
    op.create_index(op.f("ix_api_keys_uin"), "api_keys", ["uin"], unique=False)
    op.create_table(
        "applications",
        sa.Column("sdk_app_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("uin", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("disabled_ms", sa.BigInteger(), nullable=True),
        sa.Column("permission_control", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("callback_key_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("room_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("media_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("record_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("relay_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("ingest_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("web_record_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("slice_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("moderation_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("ai_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("auto_record", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("settings", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["uin"], ["accounts.uin"], name=op.f("fk_applications_uin_accounts")),
        sa.PrimaryKeyConstraint("sdk_app_id", name=op.f("pk_applications")),
    )
    op.create_index(op.f("ix_applications_uin"), "applications", ["uin"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("head_ms", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("sign", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("refused_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_status", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("done_ms", sa.BigInteger(), nullable=True),
        sa.Column("replay_of", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_deliveries_event_id_events")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_deliveries_event_id"), "deliveries", ["event_id"], unique=False)
    op.create_index(
        "ix_deliveries_pending",
        "deliveries",
        ["sdk_app_id", "url", "queue", "id"],
        unique=False,
        sqlite_where=sa.text("done_ms IS NULL"),
        postgresql_where=sa.text("done_ms IS NULL"),
    )
    op.create_table(
        "files",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("index_no", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("media", sa.Text(), nullable=False),
        sa.Column("track_type", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("md5", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sha256", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("upload_state", sa.Text(), server_default=sa.text("'ready'"), nullable=False),
        sa.Column("file_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("committed_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("proven_ms", sa.BigInteger(), nullable=True),
        sa.Column("removed_ms", sa.BigInteger(), nullable=True),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.task_id"], name=op.f("fk_files_task_id_tasks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
        sa.UniqueConstraint("task_id", "name", name=op.f("uq_files_task_id_name")),
    )
    op.create_table(
        "final_jobs",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("media", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("done_ms", sa.BigInteger(), nullable=True),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.task_id"], name=op.f("fk_final_jobs_task_id_tasks")),
        sa.PrimaryKeyConstraint("task_id", "job", name=op.f("pk_final_jobs")),
    )
    op.create_table(
        "outputs",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("output_key", sa.Text(), nullable=False),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("media", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("track_start_ms", sa.BigInteger(), nullable=False),
        sa.Column("track_start_ns", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("width", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("height", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("channels", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sample_rate", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("priming", sa.LargeBinary(), nullable=True),
        sa.Column("next_piece_no", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("ended", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("playlist_name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("playlist_state", sa.Text(), server_default=sa.text("'none'"), nullable=False),
        sa.Column("playlist_wanted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("playlist_proven", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("playlist_size", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("playlist_uploaded_ms", sa.BigInteger(), nullable=True),
        sa.Column("announced_307", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("announced_304", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.task_id"], name=op.f("fk_outputs_task_id_tasks")),
        sa.PrimaryKeyConstraint("task_id", "output_key", name=op.f("pk_outputs")),
    )
    op.create_table(
        "pieces",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("output_key", sa.Text(), nullable=False),
        sa.Column("piece_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("media", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("md5", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("duration_us", sa.BigInteger(), nullable=False),
        sa.Column("discontinuity", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("counters", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("priming", sa.LargeBinary(), nullable=True),
        sa.Column("width", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("height", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("channels", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sample_rate", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("upload_state", sa.Text(), server_default=sa.text("'ready'"), nullable=False),
        sa.Column("committed_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("proven_ms", sa.BigInteger(), nullable=True),
        sa.Column("removed_ms", sa.BigInteger(), nullable=True),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.task_id"], name=op.f("fk_pieces_task_id_tasks")),
        sa.PrimaryKeyConstraint("task_id", "output_key", "piece_no", name=op.f("pk_pieces")),
    )
    op.create_index("ix_pieces_upload", "pieces", ["task_id", "upload_state"], unique=False)
    op.create_index("uq_pieces_name", "pieces", ["task_id", "name"], unique=True)
    op.create_table(
        "policies",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("uin", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["uin"], ["accounts.uin"], name=op.f("fk_policies_uin_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policies")),
        sa.UniqueConstraint("uin", "name", name=op.f("uq_policies_uin_name")),
    )
    op.create_table(
        "quality_samples",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("room_life", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("peer_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("span_ms", sa.BigInteger(), server_default=sa.text("5000"), nullable=False),
        sa.Column("packets", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lost", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=True),
        sa.Column("jitter_ms", sa.BigInteger(), nullable=True),
        sa.Column("rtt_ms", sa.BigInteger(), nullable=True),
        sa.Column("width", sa.BigInteger(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["room_life"], ["rooms.id"], name=op.f("fk_quality_samples_room_life_rooms")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_samples")),
    )
    op.create_index(
        "ix_quality_samples_user", "quality_samples", ["room_life", "user_id", "at_ms"], unique=False
    )
    op.create_table(
        "stays",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("room_life", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("role", sa.BigInteger(), server_default=sa.text("20"), nullable=False),
        sa.Column("terminal_type", sa.BigInteger(), server_default=sa.text("100"), nullable=False),
        sa.Column("user_type", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("device_type", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sdk_version", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("client_ip", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("seats", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("robot", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("hidden", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("blocked_audio", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("blocked_video", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("entered_ms", sa.BigInteger(), nullable=False),
        sa.Column("entered_ns", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason_in", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("lost_ms", sa.BigInteger(), nullable=True),
        sa.Column("left_ms", sa.BigInteger(), nullable=True),
        sa.Column("reason_out", sa.BigInteger(), nullable=True),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["room_life"], ["rooms.id"], name=op.f("fk_stays_room_life_rooms")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stays")),
    )
    op.create_index("ix_stays_entered", "stays", ["sdk_app_id", "entered_ms"], unique=False)
    op.create_index("ix_stays_life", "stays", ["room_life", "user_id"], unique=False)
    op.create_table(
        "tracks",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("room_life", sa.BigInteger(), nullable=False),
        sa.Column("stay_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("core_track", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("life", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("derived_from", sa.BigInteger(), nullable=True),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("stopped_ms", sa.BigInteger(), nullable=True),
        sa.Column("stop_cause", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(["room_life"], ["rooms.id"], name=op.f("fk_tracks_room_life_rooms")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracks")),
    )
    op.create_index("ix_tracks_core", "tracks", ["boot_id", "core_track"], unique=False)
    op.create_index("ix_tracks_life", "tracks", ["room_life", "started_ms"], unique=False)
    op.create_table(
        "uploads",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("output_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("piece_no", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("md5", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'ready'"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("first_failed_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_error_code", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("last_error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("announced_308", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("etag", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("multipart_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("proven_ms", sa.BigInteger(), nullable=True),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.task_id"], name=op.f("fk_uploads_task_id_tasks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("task_id", "name", name=op.f("uq_uploads_task_id_name")),
    )
    op.create_index("ix_uploads_due", "uploads", ["state", "next_at_ms"], unique=False)
    op.create_table(
        "user_events",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("room_life", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("peer_id", sa.Text(), nullable=False),
        sa.Column("type", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("param_one", sa.BigInteger(), server_default=sa.text("-1"), nullable=False),
        sa.Column("param_two", sa.BigInteger(), server_default=sa.text("-1"), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["room_life"], ["rooms.id"], name=op.f("fk_user_events_room_life_rooms")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_events")),
    )
    op.create_index("ix_user_events_user", "user_events", ["room_life", "user_id", "at_ms"], unique=False)
    op.create_table(
        "watches",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("room_life", sa.BigInteger(), nullable=False),
        sa.Column("stay_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("peer_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("stream", sa.Text(), server_default=sa.text("'main'"), nullable=False),
        sa.Column("began_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("node_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("boot_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(["room_life"], ["rooms.id"], name=op.f("fk_watches_room_life_rooms")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watches")),
    )
    op.create_index(op.f("ix_watches_room_life"), "watches", ["room_life"], unique=False)
    op.create_table(
        "app_keys",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("key_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("retired_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["sdk_app_id"], ["applications.sdk_app_id"], name=op.f("fk_app_keys_sdk_app_id_applications")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_app_keys")),
    )
    op.create_index(op.f("ix_app_keys_sdk_app_id"), "app_keys", ["sdk_app_id"], unique=False)
    op.create_table(
        "attempts",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_attempts_delivery_id_deliveries")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_delivery_id"), "attempts", ["delivery_id"], unique=False)
    op.create_table(
        "track_sizes",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("sdk_app_id", sa.BigInteger(), nullable=False),
        sa.Column("track_id", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["track_id"], ["tracks.id"], name=op.f("fk_track_sizes_track_id_tracks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_track_sizes")),
    )
    op.create_index(op.f("ix_track_sizes_track_id"), "track_sizes", ["track_id"], unique=False)


def downgrade() -> None:
    """There is no way back from the first revision."""
    raise NotImplementedError("restore a backup to go back")
