"""Changes that took place, and changes that did not, are found among any number of reads."""

from service.migrations.sql import run_file

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    run_file("0023_applied.sql")
