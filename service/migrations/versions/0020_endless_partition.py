"""The newest partition of the log has no end."""

from service.migrations.sql import run_file

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    run_file("0020_endless_partition.sql")
