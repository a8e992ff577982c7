"""Deputies are called delegates, and what a manager grants them a delegation."""

from service.migrations.sql import run_file

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    run_file("0025_delegation.sql")
