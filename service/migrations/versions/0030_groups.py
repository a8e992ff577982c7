"""People are in groups, for a time."""

from service.migrations.sql import run_file

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    run_file("0030_groups.sql")
