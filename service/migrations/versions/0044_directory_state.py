"""Each state of the directory has a random id, so that processes notice a restored directory."""

from service.migrations.sql import run_file

revision = "0044"
down_revision = "0043"


def upgrade() -> None:
    run_file("0044_directory_state.sql")
