"""Searches for a rule or an actor know how often it is not the first of a record."""

from service.migrations.sql import run_file

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    run_file("0037_later_rules.sql")
