"""Schema revisions, applied by `Database.migrate`. Each is frozen once released."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration without a file; `connection` is used instead of opening one."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Apply what is missing up to `revision`, inside the transaction of `connection`."""
    command.upgrade(config(connection), revision)
