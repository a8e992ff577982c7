"""The database counts every change of the directory, and knows the next moment at which a validity changes."""

from service.migrations.sql import run_file

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    run_file("0026_directory_changes.sql")
