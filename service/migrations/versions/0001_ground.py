"""Directory, policy, timesheets and the audit log: everything that the first release needs."""

from service.migrations.sql import run_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_file("0001_ground.sql")
