"""The newest partition of the log has no end; what deputies did is found by whom they stood in for."""

from service.migrations.sql import run_file

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    run_file("0020_log_table.sql")
