"""Entries have activities, a billable flag and tags; days have notes; projects may be of absence."""

from service.migrations.sql import run_file

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    run_file("0035_entry_details.sql")
