"""People, teams and projects have versions; sheets say when they were handed in, and who decided."""

from service.migrations.sql import run_file

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    run_file("0021_seen_versions.sql")
