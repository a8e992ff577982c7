"""Records can be searched by the actors of a delegated token."""

from service.migrations.sql import run_file

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    run_file("0033_actors.sql")
