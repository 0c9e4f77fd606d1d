"""Alembic runs this: migrate over the connection that sql.py has opened."""

from __future__ import annotations

from alembic import context

from gitopsd.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
