"""A submitted sheet may have approvals and need more; pending approvals are in the order of submission."""

from service.migrations.sql import run_file

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    run_file("0032_several_approvals.sql")
