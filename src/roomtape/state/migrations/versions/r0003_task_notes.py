"""What an operator may read of a task's life later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _number(name: str, default: str | None = None) -> sa.Column[int]:
    return sa.Column(
        name, sa.BigInteger(), server_default=None if default is None else sa.text(default), nullable=False
    )


def upgrade() -> None:
    """Add the notes of tasks."""
    op.create_table(
        "task_notes",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        _number("sdk_app_id"),
        sa.Column("task_id", sa.Text(), nullable=False),
        _number("epoch", "0"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        _number("count", "1"),
        _number("at_ms"),
        _number("last_ms"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.task_id"], name=op.f("fk_task_notes_task_id_tasks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_notes")),
    )
    op.create_index("ix_task_notes_task", "task_notes", ["task_id", "kind"], unique=False)


def downgrade() -> None:
    """Forget them."""
    op.drop_table("task_notes")
