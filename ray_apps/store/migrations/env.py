"""Alembic's entry: run the steps over the connection that `ray_apps.store.migrate` hands in."""

from alembic import context


def run() -> None:
    """Run the steps Alembic was asked for, each in a transaction of its own."""
    context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


if hasattr(context, "config"):  # set while Alembic runs this file: a plain import does nothing
    run()
