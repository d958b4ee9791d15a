"""The media library, and recordings that begin by themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _text(name: str, *, default: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default=sa.text("''") if default else None, nullable=False)


def _number(name: str, *, default: bool = False, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0") if default else None, nullable=null)


def upgrade() -> None:
    """Add the files of the library, and where an application says what is recorded of itself."""
    op.create_table(
        "library_files",
        _text("file_id"),
        _number("sdk_app_id"),
        _text("task_id"),
        _text("kind"),
        _text("name"),
        _text("user_id"),
        _text("media"),
        _text("track_type"),
        _text("state"),
        _text("error", default=True),
        _number("size", default=True),
        _number("start_ms", default=True),
        _number("end_ms", default=True),
        _number("created_ms"),
        _number("stored_ms", null=True),
        _number("expires_at_ms", null=True),
        _number("removed_ms", null=True),
        _text("procedure", default=True),
        _text("storage_region", default=True),
        _number("class_id", default=True),
        _number("sub_app_id", default=True),
        _text("session_context", default=True),
        _text("source_context", default=True),
        _text("node_id", default=True),
        _text("boot_id", default=True),
        _number("epoch", default=True),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.task_id"], name=op.f("fk_library_files_task_id_tasks")),
        sa.PrimaryKeyConstraint("file_id", name=op.f("pk_library_files")),
        sa.UniqueConstraint("task_id", "name", name=op.f("uq_library_files_task_id_name")),
    )
    op.create_index("ix_library_files_app", "library_files", ["sdk_app_id", "created_ms"], unique=False)
    op.create_index("ix_library_files_expiry", "library_files", ["state", "expires_at_ms"], unique=False)
    op.add_column("applications", sa.Column("auto_record_sealed", sa.LargeBinary(), nullable=True))
    op.add_column("applications", sa.Column("auto_record_since_ms", sa.BigInteger(), nullable=True))
    op.add_column("tasks", sa.Column("automatic", sa.Boolean(), server_default=sa.false(), nullable=False))
