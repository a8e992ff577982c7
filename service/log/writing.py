"""The statements that put records into the log's tables. Owns no state; durable once the caller's transaction commits.

Writers only insert, and only the columns that are theirs: Postgres alone sets id, xid, at and leaf, so the order of
rows in one call is the order of their ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from service.pacing import slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.database import Connection
    from service.log.record import Record

    Row: TypeAlias = tuple[object, ...]

COLUMNS = (
    "decision_uid",
    "decided_at",
    "person_id",
    "client_id",
    "action",
    "resource_kind",
    "resource_id",
    "owner_id",
    "outcome",
    "applied",
    "reason",
    "rules",
    "policy_version",
    "request_id",
    "returned",
)
RECORD = ("uid", "kind", "body", *COLUMNS)
TEXT = ("record_uid", "field", "salt", "value")

# Add one record.
INSERT_RECORD = f"""
    INSERT INTO audit_record ({", ".join(RECORD)})
    VALUES ({", ".join(f"${place}" for place in range(1, len(RECORD) + 1))})
"""

# Keep one free text beside the log, where it can be erased.
INSERT_TEXT = "INSERT INTO audit_text (record_uid, field, salt, value) VALUES ($1, $2, $3, $4)"

# From so many rows on binary COPY costs less than a statement for each.
COPY_FROM = 12
# Rows are encoded on the event loop, so a statement takes no more of them than that goes quickly.
MAX_RECORDS_PER_COPY = 200


async def write(connection: Connection, records: Sequence[Record]) -> None:
    """The bare statements, in the order of `records`; whoever calls holds the transaction and the errors."""
    for start in range(0, len(records), MAX_RECORDS_PER_COPY):
        await slices().rest()
        await _write_some(connection, records[start : start + MAX_RECORDS_PER_COPY])


async def _write_some(connection: Connection, records: Sequence[Record]) -> None:
    rows, texts = _rows(records), _texts(records)
    # A single row goes without executemany, which would cost a round trip more.
    if len(rows) == 1:
        await connection.execute(INSERT_RECORD, *rows[0])
    elif len(rows) < COPY_FROM:
        await connection.executemany(INSERT_RECORD, rows)
    else:
        await _copy(connection, rows)
    if len(texts) >= COPY_FROM:
        await connection.copy_records_to_table("audit_text", records=texts, columns=TEXT)
    elif texts:
        await connection.executemany(INSERT_TEXT, texts)


async def commit(connection: Connection, records: Sequence[Record]) -> None:
    """Write `records` in a transaction of their own: durable when this returns, and all of them or none.

    Without texts that is one statement, which Postgres commits by itself: one round trip.
    """
    if any(record.texts for record in records):
        async with connection.transaction():
            await write(connection, records)
    elif len(records) < COPY_FROM:
        await write(connection, records)
    else:
        await _copy(connection, _rows(records))


async def _copy(connection: Connection, rows: Sequence[Row]) -> None:
    # COPY takes its rows in order and obeys the grants of columns as INSERT does.
    await connection.copy_records_to_table("audit_record", records=rows, columns=RECORD)


def _rows(records: Sequence[Record]) -> list[Row]:
    return [
        (record.uid, record.kind.value, record.body, *(record.columns[name] for name in COLUMNS)) for record in records
    ]


def _texts(records: Sequence[Record]) -> list[Row]:
    return [(record.uid, text.field, text.salt, text.value) for record in records for text in record.texts]
