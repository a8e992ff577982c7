"""Sheets that are locked for payroll, and by whom."""

from service.migrations.sql import run_file

revision = "0011"
down_revision = "0009"


def upgrade() -> None:
    run_file("0011_sheet_life.sql")
