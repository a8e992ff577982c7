"""People who turned out to be one."""

from service.migrations.sql import run_file

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_file("0014_one_person.sql")
