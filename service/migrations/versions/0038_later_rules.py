"""Searches for a rule or an actor know how often it is not the first of a record."""

from service.migrations.sql import run_file

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    run_file("0038_later_rules.sql")
