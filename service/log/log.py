"""Append to the log. `Log` has a connection of its own, so that a decision never waits for the connections of requests.

A record is durable when `append` returns, or, with a caller's connection, when that transaction has committed. Writers
only insert and share no lock; the sealer gives positions later (`sealing`).
"""

from __future__ import annotations

import time
from operator import itemgetter
from typing import TYPE_CHECKING

import asyncpg

from service import metrics
from service.connectivity import TRANSIENT_ERRORS
from service.errors import LogUnavailable
from service.log.group_commit import GroupCommit
from service.log.insert import insert_records
from service.tracing import end_stage
from service.values import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from service.database import Connection, Database
    from service.log.group_commit import LogState
    from service.log.insert import ConditionalInsert
    from service.log.record import Record


class Receipt(Struct, frozen=True):
    """Returned with every answer: the record's uid and its leaf hash in hex. With it, a caller can prove that a record
    was left out of the log."""

    uid: UUID
    leaf: str


class Log:
    """Appends records. One connection beside the pool of `database` carries every append that has no transaction of its
    own. `patience` in seconds bounds an append; `inbox` is how many records may wait for one."""

    def __init__(self, database: Database, *, patience: float = 5.0, inbox: int = 4_096) -> None:
        self._commits = GroupCommit(database, patience=patience, inbox=inbox)

    async def append(
        self,
        records: Sequence[Record],
        connection: Connection | None = None,
        *,
        meanwhile: Callable[[], object] | None = None,
    ) -> list[Receipt]:
        """Write `records`, in their order, together or not at all.

        With `connection`, which must be inside a transaction, they commit with it. Without, they are durable when this
        returns, and `meanwhile` may have been called. Raises LogUnavailable when they cannot be written for any reason.
        """
        started = time.perf_counter()
        if connection is None:
            await self._commits.commit(records, meanwhile)
        elif not connection.is_in_transaction():
            raise LogUnavailable(cause="append: the caller's connection is not inside a transaction")
        else:
            try:
                await insert_records(connection, records, self._commits.packing)
            except (asyncpg.PostgresError, *TRANSIENT_ERRORS) as error:
                raise LogUnavailable(cause=f"append: {type(error).__name__}") from error
        end_stage(metrics.RECORD, started)
        _count_decisions(records)
        return [receipt_of(record) for record in records]

    @property
    def is_calm(self) -> bool:
        """Whether appends come one by one, so that a record would be committed at once."""
        return self._commits.is_calm

    async def append_if(self, condition: ConditionalInsert, record: Record, meanwhile: Callable[[], object]) -> bool:
        """Write a record without texts if the condition is true, by one statement; only while the log is calm. True
        once the record is durable; `meanwhile` may have been called. Raises LogUnavailable as `append` does."""
        started = time.perf_counter()
        done = await self._commits.commit_if(condition, record, meanwhile)
        end_stage(metrics.RECORD, started)
        if done:
            _count_decisions([record])
        return done

    def state(self) -> LogState:
        """How many appends wait and whether the last flush failed, for readiness."""
        return self._commits.state()

    def measure(self) -> None:
        """Set the gauge of records that wait."""
        metrics.RECORDS_WAITING.set(self._commits.state().waiting)
        # So that the first is seen as a change: Prometheus sees no increase in a series that begins with 1.
        metrics.COMMITS_FAILED.add(amount=0)

    async def close(self) -> None:
        """Flush the waiting appends and refuse new ones."""
        await self._commits.close()


def receipt_of(record: Record) -> Receipt:
    """The receipt of a record, which may leave with an answer once the record is durable."""
    return Receipt(record.uid, record.leaf.hex())


def _count_decisions(records: Sequence[Record]) -> None:
    """Count the records of decisions. A transaction that fails to commit afterwards is counted too."""
    for record in records:
        columns = record.columns
        if columns["outcome"] is not None:
            metrics.DECISIONS.add(tuple(map(str, _read_labels(columns))))


# The labels of metrics.DECISIONS.
_read_labels = itemgetter("policy_version", "resource_kind", "action", "outcome", "reason")
