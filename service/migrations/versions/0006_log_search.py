"""Questions to the log, legal holds, erasure and retention."""

from service.migrations.sql import run_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_file("0006_log_search.sql")
