"""Entries have activities, a billable flag and tags; days have notes; projects may be of absence."""

from service.migrations.sql import run_file

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    run_file("0036_entry_details.sql")
