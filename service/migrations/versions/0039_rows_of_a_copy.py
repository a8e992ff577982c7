"""The rows of a COPY into the log are inserted together."""

from service.migrations.sql import run_file

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    run_file("0039_rows_of_a_copy.sql")
