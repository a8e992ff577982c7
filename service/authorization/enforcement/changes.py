"""What passes between the gate and a use case: targets, the read, list or change under way, and answers.

Owns no state beyond one request. Nothing here is durable before the gate has settled it with a receipt of the log.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from service.authorization.enforcement.decision_point import BY_LAW
from service.authorization.enforcement.decision_record import Caller, of_change
from service.errors import BadInput, Denied, Forbidden, NotApplied, NotFound, TimewardenError
from service.log.record import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.decision_point import Decision, Resource
    from service.authorization.enforcement.decision_record import Positions
    from service.authorization.enforcement.permit import Permit
    from service.authorization.enforcement.relationships import Seen
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.errors import StepUpNeeded
    from service.log.log import Receipt
    from service.log.record import Record

T = TypeVar("T")


@contextmanager
def refused_under(receipt: Receipt) -> Iterator[None]:
    """What is refused inside, after the decision was recorded, names that decision to the caller."""
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
class Refused:
    """A decision that does not lead to what was asked, and the error that the caller gets once it is recorded."""

    decision: Decision
    error: TimewardenError


class Decided:
    """Something allowed. It has a receipt once its block was left, and answers are made from that receipt: so no answer
    can leave before its decision is recorded."""

    _receipt: Receipt | None = None

    def settle(self, receipt: Receipt) -> None:
        """Take the receipt of the durable record. Called by the gate alone."""
        self._receipt = receipt

    @property
    def receipt(self) -> Receipt:
        """Raises RuntimeError inside the block, where nothing is recorded yet."""
        if self._receipt is None:
            raise RuntimeError("an answer was made before its decision was recorded")
        return self._receipt

    def answer(self, value: T) -> Answer[T]:
        """The answer with this value. Raises RuntimeError inside the block."""
        return Answer(value, self.receipt)


class DecidedOnFacts(Decided):
    """Something allowed by facts that were read with its row, if it is about one."""

    def __init__(self, permit: Permit, connection: Connection) -> None:
        self.permit, self.connection = permit, connection

    @property
    def seen(self) -> Seen:
        return self.permit.decision.request.seen

    @property
    def row(self) -> asyncpg.Record | None:
        return self.seen.row

    @property
    def found(self) -> asyncpg.Record:
        """The row. Raises NotFound when there is none."""
        if self.row is None:
            raise NotFound
        return self.row


class Reading(DecidedOnFacts):
    """An allowed read. The record says that `returned` was given out: ids, or log positions."""

    def __init__(self, permit: Permit, connection: Connection) -> None:
        super().__init__(permit, connection)
        self.returned: Sequence[str] | Positions = ()


class Listing(Decided):
    """An allowed listing: `visibility` is the rules as SQL. The record says that the `returned` ids were given out."""

    def __init__(
        self,
        decision: Decision,
        visibility: Visibility,
        connection: Connection,
        see_after_step_up: Callable[[], tuple[Visibility, StepUpNeeded] | None],
    ) -> None:
        self.decision, self.visibility, self.connection = decision, visibility, connection
        self.returned: Sequence[str] = ()
        self._see_after_step_up = see_after_step_up

    def after_step_up(self) -> tuple[Visibility, StepUpNeeded] | None:
        """The rules as they would be after the best sign-in that they ask for, with the challenge for it (RFC 9470);
        None where no rule asks for more than the sign-in has."""
        return self._see_after_step_up()


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


class Change(DecidedOnFacts):
    """An allowed change of `target` inside its transaction: `row` as locked, `seen` as read after the lock. `value` is
    what becomes of it, for changes with an outcome each."""

    def __init__(
        self, caller: Caller, target: Target, decision: Decision, permit: Permit, connection: Connection
    ) -> None:
        super().__init__(permit, connection)
        self.caller, self.target, self.decision = caller, target, decision
        self.records: list[Record] = []
        self.value: Any = None

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
                self.caller,
                self.decision,
                kind=kind,
                event=event,
                resource=resource,
                before=before,
                after=after,
                texts=texts or {},
            )
        )


class Changes(tuple["Change", ...]):
    """Allowed changes of one transaction, in the order of their targets."""

    __slots__ = ()

    def settle(self, receipts: Sequence[Receipt]) -> None:
        """Take the receipts of the durable records. Called by the gate alone."""
        for change, receipt in zip(self, receipts, strict=False):
            change.settle(receipt)

    def answer(self, value: T) -> AnswerToAll[T]:
        """The answer with this value, and a receipt for each target. Raises RuntimeError inside the block."""
        return AnswerToAll(value, [change.receipt for change in self])


class Each:
    """Changes of one transaction, each with an outcome of its own. Iterating decides on one target after the other and
    yields the change of each that is allowed."""

    def __init__(
        self,
        connection: Connection,
        targets: Sequence[Target],
        first: Change | Refused,
        decide: Callable[[Target], Awaitable[Change | Refused]],
    ) -> None:
        self.connection = connection
        self._targets, self._first, self._decide = targets, first, decide
        self._receipts: Sequence[Receipt] = ()
        self.decisions: list[tuple[Decision, Any, TimewardenError | None]] = []
        self.records: list[Record] = []

    async def __aiter__(self) -> AsyncIterator[Change]:
        for place, target in enumerate(self._targets):
            decided = await self._decide(target) if place else self._first
            if isinstance(decided, Refused):
                self.decisions.append((decided.decision, None, decided.error))
                continue
            yield decided
            if len(self.decisions) == place:
                raise RuntimeError("a change with an outcome of its own was made outside its savepoint")

    @asynccontextmanager
    async def savepoint(self, change: Change) -> AsyncIterator[None]:
        """NotApplied, Denied or BadInput raised inside is rolled back and becomes the outcome of this target alone."""
        try:
            async with change.connection.transaction():
                yield
        except (NotApplied, Denied, BadInput) as stopped:
            # A law in code refused what every rule allowed: the record must say what the caller is told.
            decision = replace(change.decision, verdict=BY_LAW) if isinstance(stopped, Forbidden) else change.decision
            self.decisions.append((decision, None, stopped))
            return
        self.records += change.records
        self.decisions.append((change.permit.decision, change.value, None))

    def settle(self, receipts: Sequence[Receipt]) -> None:
        """Take the receipts of the durable records. Called by the gate alone."""
        self._receipts = receipts

    def outcomes(self) -> list[Outcome[Any]]:
        """What became of each target, in their order. Raises RuntimeError inside the block."""
        if not self._receipts:
            raise RuntimeError("an outcome was told before its decision was recorded")
        return [
            Outcome(receipt, value, error)
            for receipt, (_, value, error) in zip(self._receipts, self.decisions, strict=False)
        ]
