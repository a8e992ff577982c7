"""Lists of timesheets in one state, of everybody's and of one owner's."""

from service.migrations.sql import run_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_file("0007_sheet_lists.sql")
