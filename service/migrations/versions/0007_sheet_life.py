"""Sheets that are locked for payroll."""

from service.migrations.sql import run_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_file("0007_sheet_life.sql")
