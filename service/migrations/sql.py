"""Runs a SQL file of many statements through asyncpg's simple protocol, within Alembic's transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy.util import await_only


def run_file(name: str) -> None:
    """Execute `versions/<name>` on the connection that Alembic holds."""
    text = (Path(__file__).parent / "versions" / name).read_text(encoding="utf-8")
    connection = op.get_bind().connection.driver_connection
    if connection is None:
        raise RuntimeError("Alembic holds no connection")
    await_only(connection.execute(text))
