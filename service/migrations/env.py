"""What Alembic runs: it uses the connection that `run.migrate` opened, inside that one transaction."""

from alembic import context

from service.migrations.sql import lock_tables

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
with context.begin_transaction():
    lock_tables(context.get_bind())
    context.run_migrations()
