"""People can be searched by name."""

from service.migrations.sql import run_file

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    run_file("0035_person_names.sql")
