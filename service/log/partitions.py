"""Partitions of the log: how they lie, and cutting a new one. Run by the owner of the tables; durable in the catalog.

A partition holds a range of ids, so a cut moves no row. It is made exactly behind the last id, with the table locked:
writers wait while Postgres looks once through the partition that is closed, some seconds for ten million records. The
newest one has no end; what an older release let run beyond one, into audit_record_rest, becomes a partition first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

    from service.database import Connection

# The partitions with their bounds, as Postgres writes them.
PARTITIONS = """
    SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
    FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'audit_record'::regclass
"""
# Where the newest partition ends: ids are bigint.
NO_END = 2**63 - 1
BOUND = re.compile(r"FROM \((?:MINVALUE|'?(\d+)'?)\) TO \('?(\d+)'?\)")

# The last id that was drawn. Nobody draws another while the table is locked.
LAST_ID = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('audit_record', 'id')::regclass), 0)"

# Between which moments the records of a closed partition were decided; one without records needs no look at all.
REMEMBER = """
    INSERT INTO audit_partition (name, lower, upper, first, last)
    SELECT '{name}', {lower}, {upper}, min(decided_at), max(decided_at) FROM {name} HAVING count(*) > 0
"""


@dataclass(frozen=True, slots=True)
class Partition:
    """Records with ids from `lower` (0: from the first) up to `upper`, half-open."""

    name: str
    lower: int
    upper: int


async def partitions(connection: Connection) -> list[Partition]:
    """Those with bounds, oldest first; the last one takes the new records."""
    rows = [(row["name"], BOUND.search(row["bound"])) for row in await connection.fetch(PARTITIONS)]
    bounded = [Partition(name, int(bound[1] or 0), int(bound[2])) for name, bound in rows if bound]
    return sorted(bounded, key=lambda one: one.lower)


async def cut(connection: Connection, today: date) -> str | None:
    """Begin the month's partition; its name, or None when it was begun before."""
    name = f"audit_record_y{today.year:04}m{today.month:02}"
    async with connection.transaction():
        await connection.execute("LOCK TABLE audit_record IN ACCESS EXCLUSIVE MODE")
        newest = (await partitions(connection))[-1]
        if newest.name >= name and newest.name.startswith("audit_record_y"):
            return None
        last = int(await connection.fetchval(LAST_ID))
        if last >= newest.upper:
            newest = await _take_in(connection, newest)
        if last < max(1, newest.lower):
            # Nothing was written since the last cut: there is nothing to close.
            return None
        lower = f"'{newest.lower}'" if newest.lower else "MINVALUE"
        # Close the newest partition behind the last id, and open one for what comes. Names and numbers are ours.
        for statement in (
            f"ALTER TABLE audit_record DETACH PARTITION {newest.name}",
            f"ALTER TABLE audit_record ATTACH PARTITION {newest.name} FOR VALUES FROM ({lower}) TO ('{last + 1}')",
            f"CREATE TABLE {name} PARTITION OF audit_record FOR VALUES FROM ('{last + 1}') TO ('{NO_END}')",
            f"CREATE TRIGGER never_emptied BEFORE TRUNCATE ON {name} EXECUTE FUNCTION refuse_rewriting()",
            REMEMBER.format(name=newest.name, lower=newest.lower, upper=last + 1),
        ):
            await connection.execute(statement)
    return name


async def _take_in(connection: Connection, full: Partition) -> Partition:
    """Give what lies in audit_record_rest, behind the partition that is full, one without an end; make another rest."""
    lower = full.upper
    name = f"audit_record_from{lower}"
    for statement in (
        REMEMBER.format(name=full.name, lower=full.lower, upper=full.upper),
        "ALTER TABLE audit_record DETACH PARTITION audit_record_rest",
        f"ALTER TABLE audit_record_rest RENAME TO {name}",
        f"ALTER TABLE audit_record ATTACH PARTITION {name} FOR VALUES FROM ('{lower}') TO ('{NO_END}')",
        "CREATE TABLE audit_record_rest PARTITION OF audit_record DEFAULT",
        "CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit_record_rest EXECUTE FUNCTION refuse_rewriting()",
    ):
        await connection.execute(statement)
    return Partition(name, lower, NO_END)
