"""Erasure leaves keyed hashes of subjects, so that laws, denials and revocations outlive it; long client ids."""

from service.migrations.sql import run_file

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    run_file("0022_erased_subjects.sql")
