"""Replays of recorded decisions."""

from service.migrations.sql import run_file

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_file("0004_policy_replay.sql")
