"""What passes between the gate and a use case: the caller and the target in, a permit and the answer out.

Owns no state beyond one request. An answer has a receipt of the log, and only the gate gives receipts, once the record
of the decision is durable.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from service.authorization.enforcement.decision_point import BY_LAW, Resource, decide
from service.authorization.enforcement.decision_record import of_change
from service.database import savepoint
from service.errors import BadInput, Denied, Forbidden, NotApplied, NotFound, TimewardenError
from service.log.record import Kind
from service.values import Struct, replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.decision_point import Decision
    from service.authorization.enforcement.decision_record import Positions
    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.enforcement.names import Names
    from service.authorization.enforcement.stored_responses import IdempotentChange
    from service.authorization.enforcement.visibility import Visibility
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection
    from service.identity.principal import Principal
    from service.log.log import Receipt
    from service.log.record import Record
    from service.policy.access_request import Vocabulary

T = TypeVar("T")
# Checks the version of a row against the one that the caller has read (If-Match). Raises NotApplied.
Expect: TypeAlias = Callable[[int | None], None]
# As Expect, for a row that a request may name in another way than by its id, which is checked too.
ExpectRow: TypeAlias = "Callable[[int | None, UUID], None]"
# The values that a request gives a new row under a vocabulary, by the names that the SQL `imagined` of its kind reads.
# They are recorded, so no word may come from the caller alone.
NewValues: TypeAlias = "Callable[[Vocabulary], Mapping[str, object]]"
_KEY: Final = object()


class Caller(Struct, frozen=True):
    """Who calls, and by which request: `request_id`, `method` and the route's template (never the path).

    `trace` is the caller's W3C trace context. `idempotent` is set if the request has an idempotency key; `again` is the
    decision whose stored response is asked for. `recorded_as` is the record's action where the rules for another action
    decide: viewing pending approvals is decided by the rules for `approve` and approves nothing. With `dry_run` a
    change is decided and rolled back, and its record says that it was not applied. `names`: the answer to a change has
    the names in it.
    """

    principal: Principal
    request_id: str
    method: str
    route: str
    trace: str | None = None
    idempotent: IdempotentChange | None = None
    again: UUID | None = None
    recorded_as: str | None = None
    dry_run: bool = False
    names: bool = False


class Target(Struct, frozen=True):
    """The subject of a request. By default it is the kind as a whole; `id` is then only how the caller named it.

    `hold` keeps what the decision rests on from changing until the commit. `row_id` names one row; `lock` locks it, and
    returns its id, or None if it is missing. `lock_now` does the same, but raises LockTaken if it would wait for
    another change of the row. A change with `hold` or `row_id` that would be refused is refused before it waits. A
    target that `must_exist` is about an existing row. With an `owner`, a missing row is decided as a new one of that
    owner, with the values `new`. `expect` checks the version that the caller has read. `state` decides as of another
    state than the row's, for replays of stored responses.
    """

    id: str | None = None
    lock: Callable[[Connection], Awaitable[UUID | int | None]] | None = None
    owner: UUID | None = None
    must_exist: bool = False
    expect: Expect | None = None
    row_id: UUID | int | None = None
    state: str | None = None
    new: NewValues | None = None
    hold: Callable[[Connection], Awaitable[None]] | None = None
    lock_now: Callable[[Connection], Awaitable[UUID | int | None]] | None = None


class Permit:
    """Proof of an allowed decision. Stores ask for one, so a forgotten check is a type error. Only the gate makes them.

    `snapshot` is the policy version that decided."""

    __slots__ = ("decision", "snapshot")

    def __init__(self, decision: Decision, snapshot: Snapshot, key: object) -> None:
        if key is not _KEY or not decision.allowed:
            raise PermissionError("a Permit is made by the gate, for an allowed decision")
        self.decision, self.snapshot = decision, snapshot

    def note(self, **members: object) -> None:
        """Add members to the decision's record: ids, words and numbers only, never free text."""
        self.decision = replace(self.decision, noted={**self.decision.noted, **members})

    def name_resource(self, found: UUID) -> UUID:
        """Say in the decision's record that the resource, which the request named in another way, has this id."""
        resource = replace(self.decision.request.resource, id=str(found))
        self.decision = replace(self.decision, request=replace(self.decision.request, resource=resource))
        return found

    def may_read(self, kind: str) -> bool:
        """Whether the caller may also read this kind, by the policy version and the facts that allowed the change."""
        request = self.decision.request
        return decide(self.snapshot, request.principal, "read", Resource(kind), request.lookup).allowed

    def covers(self, kind: str, *actions: str) -> None:
        """Raise PermissionError unless this permit is for one of these actions on that kind: a programming error."""
        request = self.decision.request
        if request.resource.kind != kind or request.action not in actions:
            raise PermissionError(
                f"a permit to {request.action} {request.resource.kind} was shown for {kind} {actions}"
            )


def grant(decision: Decision, snapshot: Snapshot) -> Permit:
    """Make a permit. Called by the gate alone."""
    return Permit(decision, snapshot, _KEY)


class AbortChange(Exception):
    """Rolls a change back, so that its refusal is recorded when no lock is held. `error` is what the caller gets.
    `decision` is the one that a law overrules, if any; `refused` is a further one, which refused the change."""

    def __init__(
        self, error: TimewardenError, decision: Decision | None = None, *, refused: Decision | None = None
    ) -> None:
        super().__init__(str(error))
        self.error, self.decision, self.refused = error, decision, refused


class LockTaken(Exception):
    """Another transaction holds a lock that is only wanted if it is free."""


@contextmanager
def refused_under(receipt: Receipt) -> Iterator[None]:
    """An error raised inside names the recorded decision to the caller."""
    try:
        yield
    except TimewardenError as error:
        error.decision = (str(receipt.uid), receipt.leaf)
        raise


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A value for the caller, and the receipt of the decision that allows it. `names` are those in the result of a
    change, if they were asked for."""

    value: T
    receipt: Receipt
    names: Names | None = None


@dataclass(frozen=True, slots=True)
class AnswerToAll(Generic[T]):
    """As Answer, with one receipt for each target, in their order."""

    value: T
    receipts: Sequence[Receipt]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """The result for one of several targets that are changed one by one: its value, or the error; and its receipt."""

    receipt: Receipt
    value: T | None = None
    error: TimewardenError | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A decision that allows nothing, and the error that the caller gets once it is recorded."""

    decision: Decision
    error: TimewardenError


class Allowed:
    """An allowed request. It has a receipt only after its block, so no answer leaves before its decision is durable.
    (`Gate.read_row` has no block: it holds the whole answer back.)"""

    _receipt: Receipt | None = None

    def settle(self, receipt: Receipt) -> None:
        """Take the receipt. Called by the gate alone, once the record is durable or as it holds the answer back."""
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


class AllowedOnFacts(Allowed):
    """A request that looked-up facts allow."""

    def __init__(self, permit: Permit) -> None:
        self.permit = permit

    @property
    def decision(self) -> Decision:
        return self.permit.decision

    @property
    def lookup(self) -> FactLookup:
        """The facts that the decision rests on."""
        return self.decision.request.lookup

    @property
    def row(self) -> asyncpg.Record | None:
        """The row that the request is about; None if it is about none, or about a new one."""
        return self.lookup.row

    @property
    def found(self) -> asyncpg.Record:
        """The row. Raises NotFound when there is none."""
        if self.row is None:
            raise NotFound
        return self.row


class Reading(AllowedOnFacts):
    """An allowed read. Its record holds what it `returned`: ids, or positions of the log. `connect` opens a connection
    to read more; `connection` is the one that the gate opened, if it did."""

    connection: Connection

    def __init__(self, permit: Permit, connect: Callable[[], AbstractAsyncContextManager[Connection]]) -> None:
        super().__init__(permit)
        self.connect = connect
        self.returned: Sequence[str] | Positions = ()


class Listing(Allowed):
    """An allowed listing. `visibility` is the rules as a SQL condition. Its record holds the ids that it `returned`."""

    def __init__(
        self,
        decision: Decision,
        visibility: Visibility,
        connection: Connection,
    ) -> None:
        self.decision, self.visibility, self.connection = decision, visibility, connection
        self.returned: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """What one statement read for a listing: the value, the ids that it returns, and for an assumed visibility a row
    with the columns that confirm it."""

    value: T
    returned: Sequence[str]
    confirmation: asyncpg.Record | None


class Change(AllowedOnFacts):
    """An allowed change of `target`, inside its transaction; `row` is locked. `value` is its result, for changes with
    an outcome each; `names` are those in its result, if the caller asked for them. `made` is the id of a row that it
    makes."""

    def __init__(self, caller: Caller, target: Target, permit: Permit, connection: Connection) -> None:
        super().__init__(permit)
        self.caller, self.target, self.connection = caller, target, connection
        self.records: list[Record] = []
        self.value: Any = None
        self.names: Names | None = None
        self.made: UUID | None = None

    def answer(self, value: T) -> Answer[T]:
        """The answer with this value, and with the names in it. Raises RuntimeError inside the block."""
        return Answer(value, self.receipt, self.names)

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
        """Record a change, with its decision, when the transaction commits. `event` is its type, such as
        `timesheet.approved`. `texts` are free texts, which the record only commits to."""
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


class Changes(tuple[Change, ...]):
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
    """Changes of one transaction, each with an outcome of its own. Iterating decides on the targets one by one and
    yields the allowed changes."""

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
            async with savepoint(change.connection):
                yield
        except (NotApplied, Denied, BadInput) as stopped:
            # A law in code refused what the rules allowed: the record gives that reason.
            decision = replace(change.decision, verdict=BY_LAW) if isinstance(stopped, Forbidden) else change.decision
            self.decisions.append((decision, None, stopped))
            return
        self.records += change.records
        self.decisions.append((change.decision, change.value, None))

    def settle(self, receipts: Sequence[Receipt]) -> None:
        """Take the receipts of the durable records. Called by the gate alone."""
        self._receipts = receipts

    def outcomes(self) -> list[Outcome[Any]]:
        """The outcome of each target, in their order. Raises RuntimeError inside the block."""
        if not self._receipts:
            raise RuntimeError("an outcome was asked for before its decision was recorded")
        return [
            Outcome(receipt, value, error)
            for receipt, (_, value, error) in zip(self._receipts, self.decisions, strict=False)
        ]
