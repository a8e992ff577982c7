"""Append to the log. `Log` owns a Database of its own, so that a decision never waits for the connections of requests.

A record is durable when `append` returns without a caller's connection, or when the caller's transaction has committed.
Writers only insert; they share no lock, and positions are given later (`sealing`). Group commit will live behind
`append`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from service.database import PASSING
from service.errors import DatabaseUnavailable, LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.audit.record import Record
    from service.database import Connection, Database

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

# Add one record; Postgres alone sets id, xid, at and leaf.
INSERT_RECORD = f"""
    INSERT INTO audit_record (uid, kind, body, {", ".join(COLUMNS)})
    VALUES ({", ".join(f"${place}" for place in range(1, len(COLUMNS) + 4))})
"""

# Keep one free text beside the log, where it can be erased.
INSERT_TEXT = "INSERT INTO audit_text (record_uid, field, salt, value) VALUES ($1, $2, $3, $4)"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an answer carries, so that leaving its record out could be proved: uid, and the leaf hash in hex."""

    uid: UUID
    leaf: str


class Log:
    """The one way into the log. `database` should be reserved for it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, records: Sequence[Record], connection: Connection | None = None) -> list[Receipt]:
        """Write `records`, in their order, together or not at all.

        With `connection`, which must be inside a transaction, they commit with it. Without, they are durable when this
        returns. Raises LogUnavailable when they cannot be written, whatever the reason.
        """
        try:
            if connection is None:
                async with self._database.transaction() as own:
                    await write(own, records)
            elif connection.is_in_transaction():
                await write(connection, records)
            else:
                raise LogUnavailable(cause="append: the caller's connection is not inside a transaction")
        except DatabaseUnavailable as error:
            raise LogUnavailable(cause=f"append: {error.cause}") from error
        except (asyncpg.PostgresError, *PASSING) as error:
            raise LogUnavailable(cause=f"append: {type(error).__name__}") from error
        return [Receipt(one.uid, one.leaf.hex()) for one in records]


async def write(connection: Connection, records: Sequence[Record]) -> None:
    """The bare statements, for `Log` and for opening the log; whoever calls holds the transaction and the errors."""
    rows = [(one.uid, one.kind.value, one.body, *(one.columns[name] for name in COLUMNS)) for one in records]
    # A single row goes without executemany, which would cost a round trip more.
    if len(rows) == 1:
        await connection.execute(INSERT_RECORD, *rows[0])
    else:
        await connection.executemany(INSERT_RECORD, rows)
    if texts := [(one.uid, text.field, text.salt, text.value) for one in records for text in one.texts]:
        await connection.executemany(INSERT_TEXT, texts)
