"""People can be searched by name."""

from service.migrations.sql import run_file

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    run_file("0034_person_names.sql")
