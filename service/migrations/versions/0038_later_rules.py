"""Indexes of the rules and actors that a record names after the first."""

from service.migrations.sql import run_file

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    run_file("0038_later_rules.sql")
