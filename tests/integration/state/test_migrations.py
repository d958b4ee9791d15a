"""The migrated schema is the one that `schema.py` declares, on both databases."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from roomtape.state import migrations
from roomtape.state.database import Database
from roomtape.state.schema import metadata


def _differences(connection: sa.Connection) -> list[Any]:
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    return list(compare_metadata(context, metadata))


async def test_migrated_equals_declared(db: Database) -> None:
    async with db.read() as conn:
        assert await conn.run_sync(_differences) == []
        tables = await conn.run_sync(lambda c: sa.inspect(c).get_table_names())
    assert set(tables) == set(metadata.tables) | {"alembic_version"}


async def test_a_difference_would_be_seen(db: Database) -> None:
    """Guards the test above against comparing nothing."""
    async with db.write() as conn:
        await conn.execute(sa.text("DROP TABLE attempts"))
        await conn.execute(sa.text("ALTER TABLE nodes ADD COLUMN extra TEXT"))
        await conn.execute(sa.text("DROP INDEX uq_rooms_open"))
        kinds = {d[0] for d in await conn.run_sync(_differences)}
    assert kinds >= {"add_table", "remove_column", "add_index"}


async def test_migrating_twice_changes_nothing(db: Database) -> None:
    await db.migrate()
    async with db.read() as conn:
        versions = list(await conn.scalars(sa.text("SELECT version_num FROM alembic_version")))
    assert versions == [ScriptDirectory.from_config(migrations.config()).get_current_head()]


def test_there_is_one_line_of_revisions() -> None:
    assert len(ScriptDirectory.from_config(migrations.config()).get_heads()) == 1
