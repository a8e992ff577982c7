"""Projects have leads, for a time, and one function returns what the directory holds about a caller."""

from service.migrations.sql import run_file

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    run_file("0031_project_leads.sql")
