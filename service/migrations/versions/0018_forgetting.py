"""The keeper forgets kept answers that are too old."""

from service.migrations.sql import run_file

revision = "0018"
down_revision = "0014"


def upgrade() -> None:
    run_file("0018_forgetting.sql")
