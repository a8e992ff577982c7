"""People, teams and projects have attributes, which policies may ask about."""

from service.migrations.sql import run_file

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    run_file("0029_attributes.sql")
