"""People ask for a relation to a team or a project for a time, and another person grants it."""

from service.migrations.sql import run_file

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    run_file("0037_access_requests.sql")
