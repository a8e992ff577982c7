"""Projects, deputies and fallback approvers."""

from service.migrations.sql import run_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_file("0008_organisation.sql")
