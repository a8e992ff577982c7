"""A second dictionary for packed records."""

from service.migrations.sql import run_file

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    run_file("0040_second_dictionary.sql")
