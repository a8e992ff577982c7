"""The tree, its checkpoints and keys."""

from service.migrations.sql import run_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_file("0005_log_proof.sql")
