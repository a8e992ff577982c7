"""Three indexes of the log without the record's id, so that records of one moment share an entry; statistics."""

from service.migrations.sql import run_file

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    run_file("0027_slim_indexes.sql")
