"""What the resources of a kept answer were before."""

from service.migrations.sql import run_file

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_file("0012_answers_again.sql")
