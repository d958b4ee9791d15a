"""Run by Alembic: revisions go over the connection that the caller holds."""

from __future__ import annotations

from alembic import context

from roomtape.state.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
