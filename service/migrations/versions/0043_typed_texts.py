"""An erasure also removes what the person typed as a filter of reads of the log."""

from service.migrations.sql import run_file

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    run_file("0043_typed_texts.sql")
