"""What Alembic runs: it uses the connection that `run.migrate` opened, inside that one transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
