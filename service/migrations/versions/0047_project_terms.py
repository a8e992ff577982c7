"""Every change of a project renews the state of the directory."""

from service.migrations.sql import run_file

revision = "0047"
down_revision = "0046"


def upgrade() -> None:
    run_file("0047_project_terms.sql")
