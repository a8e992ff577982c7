"""What was planned in the directory can be called off."""

from service.migrations.sql import run_file

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_file("0013_called_off.sql")
