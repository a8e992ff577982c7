"""Partitions of the log: list them, and add the one of a new month. Run by the owner of the tables.

A partition holds a range of ids, and the newest has no end. Adding one moves no row: it closes the newest partition
after the last id, with the table locked. Writers wait while Postgres scans that partition once, some seconds for ten
million records. Records that an older release left in audit_record_rest become a partition first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

    from service.database import Connection

# The partitions with their bounds, as text.
PARTITIONS = """
    SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
    FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'audit_record'::regclass
"""
# The upper bound of the newest partition: ids are bigint.
NO_END = 2**63 - 1
BOUND = re.compile(r"FROM \((?:MINVALUE|'?(\d+)'?)\) TO \('?(\d+)'?\)")

# The last id that was drawn. While the table is locked, no other is drawn.
LAST_ID = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('audit_record', 'id')::regclass), 0)"

# Store when the first and the last record of a closed partition were decided; searches skip partitions by these.
SAVE_TIMES = """
    INSERT INTO audit_partition (name, lower, upper, first, last)
    SELECT '{name}', {lower}, {upper}, min(decided_at), max(decided_at) FROM {name} HAVING count(*) > 0
"""


@dataclass(frozen=True, slots=True)
class Partition:
    """The records with ids from `lower` up to `upper`, half-open; a `lower` of 0 has no lower bound."""

    name: str
    lower: int
    upper: int


async def list_partitions(connection: Connection) -> list[Partition]:
    """The partitions with bounds, oldest first; new records go into the last."""
    rows = [(row["name"], BOUND.search(row["bound"])) for row in await connection.fetch(PARTITIONS)]
    bounded = [Partition(name, int(bound[1] or 0), int(bound[2])) for name, bound in rows if bound]
    return sorted(bounded, key=lambda partition: partition.lower)


async def add_partition(connection: Connection, today: date) -> str | None:
    """Add the partition of the month and return its name; None when it exists, or the newest one has no records."""
    name = f"audit_record_y{today.year:04}m{today.month:02}"
    async with connection.transaction():
        await connection.execute("LOCK TABLE audit_record IN ACCESS EXCLUSIVE MODE")
        newest = (await list_partitions(connection))[-1]
        if newest.name >= name and newest.name.startswith("audit_record_y"):
            return None
        last = int(await connection.fetchval(LAST_ID))
        if last >= newest.upper:
            newest = await _adopt_rest(connection, newest)
        if last < max(1, newest.lower):
            return None
        lower = f"'{newest.lower}'" if newest.lower else "MINVALUE"
        # Close the newest partition after the last id, and add one for new records. Names and numbers are not input.
        for statement in (
            f"ALTER TABLE audit_record DETACH PARTITION {newest.name}",
            f"ALTER TABLE audit_record ATTACH PARTITION {newest.name} FOR VALUES FROM ({lower}) TO ('{last + 1}')",
            f"CREATE TABLE {name} PARTITION OF audit_record FOR VALUES FROM ('{last + 1}') TO ('{NO_END}')",
            f"CREATE TRIGGER never_emptied BEFORE TRUNCATE ON {name} EXECUTE FUNCTION refuse_rewriting()",
            SAVE_TIMES.format(name=newest.name, lower=newest.lower, upper=last + 1),
        ):
            await connection.execute(statement)
    return name


async def _adopt_rest(connection: Connection, full: Partition) -> Partition:
    """Turn audit_record_rest, whose records follow the full partition, into the newest one; create an empty rest."""
    lower = full.upper
    name = f"audit_record_from{lower}"
    for statement in (
        SAVE_TIMES.format(name=full.name, lower=full.lower, upper=full.upper),
        "ALTER TABLE audit_record DETACH PARTITION audit_record_rest",
        f"ALTER TABLE audit_record_rest RENAME TO {name}",
        f"ALTER TABLE audit_record ATTACH PARTITION {name} FOR VALUES FROM ('{lower}') TO ('{NO_END}')",
        "CREATE TABLE audit_record_rest PARTITION OF audit_record DEFAULT",
        "CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit_record_rest EXECUTE FUNCTION refuse_rewriting()",
    ):
        await connection.execute(statement)
    return Partition(name, lower, NO_END)
