"""The approvals of a timesheet as a function."""

from service.migrations.sql import run_file

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    run_file("0041_approvals_of_a_sheet.sql")
