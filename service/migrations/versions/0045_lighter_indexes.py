"""Three lighter indexes of the log: of request ids that no record tells, and of person and resource without the id."""

from service.migrations.sql import run_file

revision = "0045"
down_revision = "0044"


def upgrade() -> None:
    run_file("0045_lighter_indexes.sql")
