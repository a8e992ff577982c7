"""What a policy version went through, and which replicas live."""

from service.migrations.sql import run_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_file("0003_policy_life.sql")
