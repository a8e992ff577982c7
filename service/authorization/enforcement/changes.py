"""What passes between enforcement and a use case: the target, the change under way, and the answer. Owns no state."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from service.authorization.enforcement.decision_record import Ask, of_change
from service.errors import TimewardenError
from service.log.record import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.decision_point import Decision, Resource
    from service.authorization.enforcement.permit import Permit
    from service.authorization.enforcement.relationships import Seen
    from service.database import Connection
    from service.log.log import Receipt
    from service.log.record import Record

T = TypeVar("T")


@contextmanager
def refused_under(receipt: Receipt) -> Iterator[None]:
    """Whatever is refused inside, after the decision was recorded, names that decision to the caller."""
    try:
        yield
    except TimewardenError as error:
        error.decision = (str(receipt.uid), receipt.leaf)
        raise


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What may leave: the value, and the receipt of the decision that let it."""

    value: T
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class AnswerToAll(Generic[T]):
    """As Answer, with one receipt for each target, in their order."""

    value: T
    receipts: Sequence[Receipt]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one of several targets that are changed one by one: the value, or the error that kept it from
    changing; and the receipt of its decision."""

    receipt: Receipt
    value: T | None = None
    error: TimewardenError | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What a change is about.

    `lock` locks the row and returns its id, or None when there is none. Without a row, the change is about one that
    `owner` would own. With neither, it is about the kind itself, or, if it `must_exist`, about something unknown; `id`
    is then what the caller called it. `expect` judges the version that the caller has seen of this target.
    """

    id: str | None = None
    lock: Callable[[Connection], Awaitable[UUID | int | None]] | None = None
    owner: UUID | None = None
    must_exist: bool = False
    expect: Callable[[int | None], None] | None = None


@dataclass(slots=True)
class Change:
    """An allowed change inside its transaction: `row` as locked, `seen` as read after the lock."""

    ask: Ask
    decision: Decision
    permit: Permit
    connection: Connection
    records: list[Record] = field(default_factory=list)

    @property
    def row(self) -> asyncpg.Record | None:
        return self.seen.row

    @property
    def seen(self) -> Seen:
        return self.decision.request.seen

    def record(
        self,
        event: str,
        resource: Resource,
        *,
        before: Mapping[str, object],
        after: Mapping[str, object],
        texts: Mapping[str, str] | None = None,
        kind: Kind = Kind.CHANGE,
    ) -> None:
        """Have a change recorded with its decision when the transaction commits. `event` is the change's type, such as
        `timesheet.approved`; `texts` are free texts, which the record only commits to."""
        self.records.append(
            of_change(
                self.ask,
                self.decision,
                kind=kind,
                event=event,
                resource=resource,
                before=before,
                after=after,
                texts=texts or {},
            )
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """A decision that does not lead to what was asked, and the error that the caller gets once it is recorded."""

    decision: Decision
    error: TimewardenError
