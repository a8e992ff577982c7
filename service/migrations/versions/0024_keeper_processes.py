"""Every keeper process speaks for itself, so that one that works hides none that is frozen."""

from service.migrations.sql import run_file

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    run_file("0024_keeper_processes.sql")
