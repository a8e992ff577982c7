"""The sealer knows a log that was restored into another cluster."""

from service.migrations.sql import run_file

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    run_file("0019_clusters.sql")
