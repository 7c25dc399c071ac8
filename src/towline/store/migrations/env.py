"""How Alembic reaches the store: always through a connection that `towline.store.schema` hands in."""

from __future__ import annotations

from alembic import context

from towline.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can alter a table only by making it anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
