"""The directory knows who was erased, also when the record of the erasure has been pruned."""

from service.migrations.sql import run_file

revision = "0046"
down_revision = "0045"


def upgrade() -> None:
    run_file("0046_erased_people.sql")
