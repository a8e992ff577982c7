"""The index of request ids leaves out those that the ids of their records tell."""

from service.migrations.sql import run_file

revision = "0045"
down_revision = "0044"


def upgrade() -> None:
    run_file("0045_other_requests.sql")
