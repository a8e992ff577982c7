"""The deny list of access tokens."""

from service.migrations.sql import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_file("0002_revocation.sql")
