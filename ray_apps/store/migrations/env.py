"""Alembic's entry: run the steps over the connection that `ray_apps.store.migrate` hands in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
