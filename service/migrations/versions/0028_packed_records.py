"""The bytes of allowed reads are stored packed, so the hash of what is stored is not always the leaf."""

from service.migrations.sql import run_file

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    run_file("0028_packed_records.sql")
