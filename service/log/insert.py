"""Insert records into the log's tables. Owns no state; durable once the caller's transaction commits.

Postgres alone sets id, xid, at and stored_hash: the API may not insert them. So the order of rows in one call is the
order of their ids.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from service.log.packing import NEWEST, OLDEST, pack
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
    "actors",
)
_read_columns = itemgetter(*COLUMNS)
RECORD = ("uid", "kind", "body", *COLUMNS)
TEXT = ("record_uid", "field", "salt", "value")

# The dictionary that packs the records of this log, among those of this code.
PACKING = f"SELECT coalesce(min(least(packing, {NEWEST})), {OLDEST}) FROM log_head"

# Free texts have their own table, from which they can be erased.
INSERT_TEXT = "INSERT INTO audit_text (record_uid, field, salt, value) VALUES ($1, $2, $3, $4)"

# From this many rows on, binary COPY. It takes a round trip more than a statement with all of them, and 3 % less of the
# write-ahead log. Where Postgres keeps the plan of that statement, COPY is slower for fewer than 24 rows.
MIN_ROWS_FOR_COPY = 4
MIN_ROWS_FOR_COPY_IF_PLANNED = 24
# asyncpg encodes rows on the event loop, so each statement takes few enough to encode quickly.
MAX_RECORDS_PER_COPY = 200
# A few records are encoded in less time than a wait for the next slice takes.
MAX_RECORDS_WITHOUT_REST = 10


class ConditionalInsert(NamedTuple):
    """What must be true in the snapshot of the statement that inserts a record: a statement of `insert_selected`, and
    those of its parameters that stand before the record's."""

    statement: str
    parameters: Sequence[object]


@cache
def insert_statement(rows: int) -> str:
    """The statement that inserts so many records in their order."""
    width = len(RECORD)
    values = ", ".join(
        f"({', '.join(f'${place}' for place in range(first, first + width))})"
        for first in range(1, rows * width + 1, width)
    )
    return f"INSERT INTO audit_record ({', '.join(RECORD)}) VALUES {values}"


def insert_selected(source: str, condition: str, first: int) -> str:
    """The statement that inserts a record, whose parameters begin with number `first`, if there is a row of the FROM
    list `source` for which the condition is true. The condition may name `{decided_at}`."""
    parameters = {name: f"${first + place}" for place, name in enumerate(RECORD)}
    condition = condition.format(decided_at=parameters["decided_at"])
    selected = f"SELECT {', '.join(parameters.values())} FROM {source} WHERE {condition}"
    return f"INSERT INTO audit_record ({', '.join(RECORD)}) {selected}"


async def load_packing(connection: Connection) -> int:
    """The number of the dictionary that packs the records of this log."""
    return int(await connection.fetchval(PACKING))


async def insert_records(connection: Connection, records: Sequence[Record], packing: int = OLDEST) -> None:
    """Insert `records` in their order, decisions packed with the dictionary `packing`. The caller holds the transaction
    and handles errors."""
    for start in range(0, len(records), MAX_RECORDS_PER_COPY):
        if len(records) > MAX_RECORDS_WITHOUT_REST:
            await slices().rest()
        await _insert_chunk(connection, records[start : start + MAX_RECORDS_PER_COPY], packing)


async def _insert_chunk(
    connection: Connection, records: Sequence[Record], packing: int, min_rows_for_copy: int = MIN_ROWS_FOR_COPY
) -> None:
    rows, texts = [_row(record, packing) for record in records], _texts(records)
    if len(rows) < min_rows_for_copy:
        await connection.execute(insert_statement(len(rows)), *chain.from_iterable(rows))
    else:
        # COPY inserts rows in order and obeys column grants, as INSERT does.
        await connection.copy_records_to_table("audit_record", records=rows, columns=RECORD)
    if len(texts) >= MIN_ROWS_FOR_COPY:
        await connection.copy_records_to_table("audit_text", records=texts, columns=TEXT)
    elif texts:
        await connection.executemany(INSERT_TEXT, texts)


async def commit_record(
    connection: Connection,
    record: Record,
    packing: int,
    condition: ConditionalInsert | None = None,
    *,
    timeout: float,  # noqa: ASYNC109 - asyncpg's
) -> bool:
    """Insert a record without texts, if the condition is true: durable when this returns True. `timeout` in seconds
    bounds it."""
    statement, parameters = (insert_statement(1), ()) if condition is None else condition
    done = await connection.execute(statement, *parameters, *_row(record, packing), timeout=timeout)
    return done == "INSERT 0 1"


async def commit_records(connection: Connection, records: Sequence[Record], packing: int, *, keeps_plans: bool) -> None:
    """Insert `records` in a transaction of their own: durable when this returns, all of them or none. `keeps_plans`:
    the connection is one of PLANS_BY_KEY, and no pooler takes them away.

    Without texts it is a single statement, which Postgres commits in the same round trip.
    """
    if any(record.texts for record in records):
        async with connection.transaction():
            await insert_records(connection, records, packing)
    else:
        await _insert_chunk(
            connection, records, packing, MIN_ROWS_FOR_COPY_IF_PLANNED if keeps_plans else MIN_ROWS_FOR_COPY
        )


def _row(record: Record, packing: int) -> Row:
    """The values of RECORD."""
    return (record.uid, record.kind.value, pack(record, packing), *_read_columns(record.columns))


def _texts(records: Sequence[Record]) -> list[Row]:
    return [(record.uid, text.field, text.salt, text.value) for record in records for text in record.texts]
