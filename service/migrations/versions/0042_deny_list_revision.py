"""The deny list has a revision, so that processes may remember which tokens are not in it."""

from service.migrations.sql import run_file

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    run_file("0042_deny_list_revision.sql")
