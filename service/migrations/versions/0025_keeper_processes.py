"""Every keeper process speaks for itself, so that one that works hides none that is frozen."""

from service.migrations.sql import run_file

revision = "0025"
down_revision = "0022"


def upgrade() -> None:
    run_file("0025_keeper_processes.sql")
