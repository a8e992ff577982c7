"""A keeper also reports whether it archives the log."""

from service.migrations.sql import run_file

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    run_file("0034_archiver.sql")
