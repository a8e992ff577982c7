"""The gate, the policy enforcement point (PEP): every read, list and change of the service passes through it.

A use case writes `async with gate.change(caller, "timesheet", "approve", target) as change:`. Entering the block locks
the row, looks up the facts and decides; a refusal is recorded and raised, and the block does not run. Leaving the block
records the decision and commits. Only then can the answer be made, so no answer leaves without its record.

A change, its decision and its records commit in one transaction. Reads and refusals are recorded in a commit of their
own, after all locks and connections were given back. The gate owns no state but `RecentChanges`.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from service import metrics
from service.authorization.active.versions import hold_active_version, hold_statement
from service.authorization.enforcement.changes import (
    AbortChange,
    AllowedOnFacts,
    Change,
    Changes,
    Each,
    Listing,
    LockTaken,
    Reading,
    Refused,
    Target,
    grant,
    refused_under,
)
from service.authorization.enforcement.decision_point import (
    BY_LAW,
    Resource,
    access_request_of,
    decide,
    evaluation_request,
    resource_of,
)
from service.authorization.enforcement.decision_record import of_decision
from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.fact_lookup import About
from service.authorization.enforcement.person_references import find_merged, find_people
from service.authorization.enforcement.recent_changes import RecentChanges
from service.authorization.enforcement.refusal import refusal_of
from service.authorization.enforcement.visibility import visible
from service.errors import (
    BadInput,
    Denied,
    Forbidden,
    InsufficientScope,
    InvalidField,
    NotApplied,
    PolicyRejected,
    PolicyUnavailable,
    StaleExpectation,
)
from service.identity.refusals import refusal
from service.ids import make_id
from service.log.log import receipt_of
from service.pacing import pace_page
from service.policy.access_request import Reason, Verdict
from service.tracing import end_stage
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, MutableSequence, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import NoReturn
    from uuid import UUID

    from service.authorization.active.versions import PolicyVersions
    from service.authorization.enforcement.changes import Answer, Caller, Listed, NewValues
    from service.authorization.enforcement.decision_point import Decision
    from service.authorization.enforcement.decision_record import RecordedQuery
    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.enforcement.fact_statements import KindFacts
    from service.authorization.enforcement.person_references import PersonReference
    from service.authorization.enforcement.relationships import Relationships
    from service.authorization.enforcement.visibility import Visibility
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection, Database, Turns
    from service.errors import TimewardenError
    from service.identity.principal import Principal
    from service.log.insert import ConditionalInsert
    from service.log.log import Log, Receipt
    from service.log.record import Record

T = TypeVar("T")
# How often a request starts over because another policy version was activated meanwhile.
MAX_ATTEMPTS = 5
MAX_RETURNED_IDS_PER_RECORD = 1_000
MAX_DECISIONS_PER_COMMIT = 200


class _Behind(Exception):
    """Another policy version is active than the one that this process decides by."""

    def __init__(self, active: int) -> None:
        super().__init__(active)
        self.active = active


class _Shown(Generic[T]):
    """An answer that is made in advance, or else when it is taken. `make` has no effects. Its error is raised when the
    answer is taken."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: T | Exception | None = None

    def prepare(self) -> None:
        try:
            self._made = self._make()
        except Exception as error:  # noqa: BLE001 - raised by `take`
            self._made = error

    def take(self) -> T:
        if self._made is None:
            return self._make()
        if isinstance(self._made, Exception):
            raise self._made
        return self._made


class _Prepared(Generic[T]):
    """A block that `prepare` makes when it is entered. An error of `prepare` costs less than one in a generator."""

    __slots__ = ("_block", "_prepare")

    def __init__(self, prepare: Callable[[], Awaitable[AbstractAsyncContextManager[T]]]) -> None:
        self._prepare = prepare

    async def __aenter__(self) -> T:
        self._block = await self._prepare()
        return await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, trace)


class Gate:
    """Use cases call `read`, `list`, `change`, `change_all` and `change_each`. `turns` limits how many changes hold a
    connection: changes that wait for a lock leave connections for reads."""

    def __init__(
        self, database: Database, log: Log, policies: PolicyVersions, relationships: Relationships, *, turns: Turns
    ) -> None:
        self._database = database
        self._log = log
        self._policies = policies
        self._relationships = relationships
        self._turns = turns
        self._recent = RecentChanges()

    @asynccontextmanager
    async def read(
        self,
        caller: Caller,
        kind: str,
        action: str,
        target: Target | UUID | int | None = None,
        *,
        query: RecordedQuery | None = None,
        replica: Database | None = None,
    ) -> AsyncIterator[Reading]:
        """Decide on a read of one row, given by its id, or of the kind as a whole. Recorded when the block is left.

        In the block, `reading.row` is the row and `reading.connection` may read more. With a `replica`, the connection
        is one of that database. The record says that `reading.returned` was given out, and holds the `query` of a
        search of the log. Raises Denied.
        """
        async with (
            self.read_unconnected(caller, kind, action, target, query=query, replica=replica) as reading,
            reading.connect() as reading.connection,
        ):
            yield reading

    @asynccontextmanager
    async def read_unconnected(
        self,
        caller: Caller,
        kind: str,
        action: str,
        target: Target | UUID | int | None = None,
        *,
        query: RecordedQuery | None = None,
        replica: Database | None = None,
    ) -> AsyncIterator[Reading]:
        """As `read`, for a block that may need no connection; if it does, it takes one from `reading.connect`. The
        facts share a statement with other requests."""
        row = target if isinstance(target, Target) else _row(target)
        snapshot, decision = await self._decide_read(caller, kind, action, row)
        reading = Reading(grant(decision, snapshot), (replica or self._database).connection)
        yield reading
        record = of_decision(caller, reading.decision, applied=None, returned=reading.returned, query=query)
        [receipt] = await self._log.append([record])
        reading.settle(receipt)

    async def read_row(
        self, caller: Caller, kind: str, action: str, row_id: UUID, show: Callable[[AllowedOnFacts], T]
    ) -> T:
        """As `read`, for one row that is all that the caller gets: the answer that `show` makes of it. It holds no
        connection, and shares its statement with other requests, or with its record (docs/decisions/0077). The record
        says that the row was returned. `show` may be called while the record is being written; what it makes or raises
        leaves here only when the record is durable."""
        if self._log.is_calm and (expected := self._expect_row(caller, kind, action, row_id)) is not None:
            snapshot, decision, condition = expected
            record, shown = _prepare_answer(caller, decision, snapshot, row_id, show)
            if await self._log.append_if(condition, record, shown.prepare):
                return shown.take()
            self._relationships.forget_row(caller.principal, self._facts(snapshot, kind), row_id)
        snapshot, decision = await self._decide_read(caller, kind, action, _row(row_id))
        if (row := decision.request.lookup.row) is not None:
            self._relationships.remember_row(caller.principal, self._facts(snapshot, kind), row_id, row)
        record, shown = _prepare_answer(caller, decision, snapshot, row_id, show)
        await self._log.append([record], meanwhile=shown.prepare)
        return shown.take()

    def _expect_row(
        self, caller: Caller, kind: str, action: str, row_id: UUID
    ) -> tuple[Snapshot, Decision, ConditionalInsert] | None:
        """The decision that allows a read if nothing has changed since the caller has read the row before, and the
        condition that it is so (docs/decisions/0077). None if the row must be read first."""
        snapshot, principal = self._policies.current(), caller.principal
        facts = self._facts(snapshot, kind)
        # Personal attributes are texts of the record, which take a statement more.
        expected = None if facts.personal else self._relationships.expect(principal, facts, row_id)
        if expected is None or expected.lookup.version != snapshot.number:
            return None
        lookup = expected.lookup.complete(facts, About.ROW, looked=True)
        decision = _decide_timed(snapshot, principal, action, resource_of(kind, lookup, str(row_id)), lookup)
        return (snapshot, decision, expected.condition) if decision.allowed else None

    @asynccontextmanager
    async def list(self, caller: Caller, kind: str, action: str) -> AsyncIterator[Listing]:
        """Decide on a listing: it shows the rows that single reads would show. Recorded when the block is left.

        In the block, `listing.visibility` is the rules as a SQL condition; the policy, the caller's roles and the rows
        are read in one snapshot of the database. The record says that the ids `listing.returned` were given out. The
        block may raise InvalidField; the record then says that nothing was given out. Raises Denied if no rule could
        show any row.
        """
        wrong: InvalidField | None = None

        async def decide_list(snapshot: Snapshot, connection: Connection) -> Listing | Refused:
            lookup = await self._look_up(connection, snapshot, caller, kind, action, About.LIST)
            decision = _decide_timed(snapshot, caller.principal, action, Resource(kind), lookup)
            if decision.verdict.reason is Reason.INSUFFICIENT_SCOPE:
                return Refused(decision, refusal_of(snapshot, decision))
            facts = self._facts(snapshot, kind)
            visibility = visible(snapshot, decision.access_request, caller.principal, lookup, facts)
            if not visibility.rules and not decision.allowed:
                return Refused(decision, refusal_of(snapshot, decision, listed=frozenset(facts.relations)))
            return _listing(decision, visibility, connection)

        async with AsyncExitStack() as stack:
            listing = await self._enter(stack, lambda: self._database.transaction(snapshot=True), decide_list)
            if isinstance(listing, Listing):
                try:
                    yield listing
                except InvalidField as error:
                    wrong, listing.returned = error, ()
        if isinstance(listing, Refused):
            await self._refuse(caller, [listing.decision], listing.error, applied=None)
        receipts = await self._log.append(_records_of_list(caller, listing))
        listing.settle(receipts[0])
        if wrong is not None:
            with refused_under(receipts[0]):
                raise wrong

    async def list_at_once(
        self, caller: Caller, kind: str, action: str, read: Callable[[Visibility, Connection], Awaitable[Listed[T]]]
    ) -> Answer[T]:
        """As `list`, for rows that `read` reads by one statement. If the caller is remembered, that statement also
        reads the active version, the directory's state, the time and revocation. Where these differ from what was
        assumed, what it read is dropped and read anew in a snapshot (docs/decisions/0038)."""
        remembered = await self._list_from_memory(caller, kind, action, read)
        if remembered is None:
            async with self.list(caller, kind, action) as listing:
                await self._relationships.find_owners(listing.connection, listing.visibility)
                found = await read(listing.visibility, listing.connection)
                listing.returned = found.returned
            return listing.answer(found.value)
        listing, value = remembered
        receipts = await self._log.append(_records_of_list(caller, listing))
        listing.settle(receipts[0])
        return listing.answer(value)

    async def _list_from_memory(
        self, caller: Caller, kind: str, action: str, read: Callable[[Visibility, Connection], Awaitable[Listed[T]]]
    ) -> tuple[Listing, T] | None:
        """The listing and what was read for it; None if anything that it rests on is not remembered, or changed."""
        snapshot, principal = self._policies.current(), caller.principal
        facts = self._facts(snapshot, kind)
        assumed = self._relationships.assume(principal, facts)
        if assumed is None or not facts.by_owner:
            return None
        lookup = assumed.lookup(snapshot.number).complete(facts, About.LIST, looked=True)
        request = evaluation_request(snapshot, principal, action, Resource(kind), lookup)
        access_request = access_request_of(snapshot, request)
        visibility = visible(snapshot, access_request, principal, lookup, facts)
        visibility.assumed = assumed
        if not visibility.rules or not self._relationships.recall_owners(visibility):
            return None
        async with self._database.connection() as connection:
            try:
                found = await read(visibility, connection)
            except InvalidField:
                # Raised again under a decision on what was looked up.
                return None
        confirmed = self._relationships.confirm(assumed, found.confirmation)
        if confirmed is None or confirmed.revoked or confirmed.version != snapshot.number:
            return None
        lookup = confirmed.complete(facts, About.LIST, looked=True)
        decision = _decide_timed(snapshot, principal, action, Resource(kind), lookup)
        # The time also decides, by the age of the sign-in.
        if decision.access_request != access_request or decision.verdict.reason is Reason.INSUFFICIENT_SCOPE:
            return None
        listing = _listing(decision, visibility, connection)
        listing.returned = found.returned
        return listing, found.value

    def change(
        self, caller: Caller, kind: str, action: str, target: Target, *, exclusively: bool = False
    ) -> AbstractAsyncContextManager[Change]:
        """Decide on a change of one target. The block changes it; leaving the block records and commits.

        `exclusively` keeps every other change out meanwhile, for the activation of a policy. The block may raise
        NotApplied, PolicyRejected and StaleExpectation, and Denied or BadInput for what only the row can tell; the
        decision is then recorded as not applied. Raises these, and Denied and TryLater.
        """
        return _Prepared(partial(self._prepare_change, caller, kind, action, target, exclusively=exclusively))

    async def _prepare_change(
        self, caller: Caller, kind: str, action: str, target: Target, *, exclusively: bool
    ) -> AbstractAsyncContextManager[Change]:
        """The block of a change, after the look that refuses it early."""
        # A request for a row that is sent again with its key must not be refused for the state that it led to.
        may_repeat = target.row_id is not None and caller.idempotent is not None
        is_checked_early = (target.row_id is not None or target.hold is not None) and not may_repeat
        is_recent = (
            is_checked_early
            and target.lock_now is not None
            and self._recent.take(caller.principal, kind, target.row_id)
        )
        if is_checked_early and not is_recent:
            await self._refuse_early(caller, kind, action, target)
        return self._change(caller, kind, action, target, is_recent=is_recent, exclusively=exclusively)

    @asynccontextmanager
    async def _change(
        self, caller: Caller, kind: str, action: str, target: Target, *, is_recent: bool, exclusively: bool
    ) -> AsyncIterator[Change]:
        async with AsyncExitStack() as stack:
            begin = partial(self.change_all, caller, kind, action, exclusively=exclusively)
            changes: Changes | None = None
            if is_recent:
                # Probably allowed again, so it is decided once, if it need not wait (docs/decisions/0072).
                with suppress(LockTaken):
                    changes = await stack.enter_async_context(begin([replace(target, lock=target.lock_now)]))
                if changes is None:
                    await self._refuse_early(caller, kind, action, target)
            if changes is None:
                changes = await stack.enter_async_context(begin([target]))
            yield changes[0]
        if target.lock_now is not None or changes[0].made is not None:
            self._recent.add(caller.principal, kind, changes[0].made or target.row_id)

    @asynccontextmanager
    async def change_all(
        self,
        caller: Caller,
        kind: str,
        action: str,
        targets: Sequence[Target],
        *,
        exclusively: bool = False,
        combine: Callable[[Mapping[int, TimewardenError]], TimewardenError] | None = None,
    ) -> AsyncIterator[Changes]:
        """As `change`, for several targets: all or nothing. They are locked in the given order, with a decision each.

        `combine` makes one error of the refusals, which it gets by the index of their target; without it the first is
        raised. The block may also raise AbortChange.
        """
        decisions: list[Decision] = []
        error: TimewardenError

        async def decide_all(snapshot: Snapshot, connection: Connection) -> Changes:
            # A process that was behind starts over.
            decisions.clear()
            refusals = await self._decide_all(connection, snapshot, caller, kind, action, targets, decisions)
            if refusals:
                raise AbortChange(combine(refusals) if combine else next(iter(refusals.values())))
            return Changes(
                Change(caller, target, grant(decision, snapshot), connection)
                for target, decision in zip(targets, decisions, strict=True)
            )

        try:
            async with AsyncExitStack() as stack:
                begin = partial(self._transaction, caller, exclusively=exclusively)
                changes = await self._enter(stack, begin, decide_all)
                yield changes
                decided = await _records_of(caller, [change.decision for change in changes], applied=True)
                changed = [record for change in changes for record in change.records]
                receipts = await self._append(caller, decisions, decided, changed, changes[0].connection)
        except AbortChange as aborted:
            error = aborted.error
            if overruled := aborted.decision:
                by_law = replace(overruled, verdict=BY_LAW)
                decisions = [by_law if decision.uid == overruled.uid else decision for decision in decisions]
            if aborted.refused:
                decisions = [*decisions, aborted.refused]
        except (NotApplied, Denied, BadInput, PolicyRejected, StaleExpectation) as not_applied:
            error = not_applied
            if isinstance(error, Forbidden):
                # A law in code refused what the rules allowed: the records give that reason.
                decisions = [replace(decision, verdict=BY_LAW) for decision in decisions]
        else:
            changes.settle(receipts)
            return
        await self._refuse(caller, decisions, error, applied=False)

    @asynccontextmanager
    async def change_each(
        self, caller: Caller, kind: str, action: str, targets: Sequence[Target]
    ) -> AsyncIterator[Each]:
        """As `change`, for several targets in one transaction, where a refused target keeps none of the others.

        Iterating over `each` decides on one target after the other and yields the allowed changes. An error inside
        `async with each.savepoint(change)` undoes that change alone. Raises InsufficientScope and TryLater.
        """

        async def begin(snapshot: Snapshot, connection: Connection) -> Each:
            async def decide_one(target: Target) -> Change | Refused:
                decision, refused = await self._decide_change(connection, snapshot, caller, kind, action, target)
                if isinstance(refused, InsufficientScope):
                    # All targets are refused for the same reason, so one record is enough.
                    raise AbortChange(refused, decision)
                if refused is not None:
                    return Refused(decision, refused)
                return Change(caller, target, grant(decision, snapshot), connection)

            # The first is decided while entering: a process that is behind starts over before the block runs.
            return Each(connection, targets, await decide_one(targets[0]), decide_one)

        try:
            async with AsyncExitStack() as stack:
                each = await self._enter(stack, partial(self._transaction, caller), begin)
                yield each
                decisions = [decision for decision, _, _ in each.decisions]
                decided = [
                    of_decision(caller, decision, applied=error is None, because=error.slug if error else None)
                    async for decision, _, error in pace_page(each.decisions)
                ]
                receipts = await self._append(caller, decisions, decided, each.records, each.connection)
        except AbortChange as abort:
            aborted = abort
        else:
            each.settle(receipts)
            return
        await self._refuse(caller, [aborted.decision] if aborted.decision else [], aborted.error, applied=False)

    async def find_refusal(self, change: Change, kind: str, action: str, row_id: UUID) -> TimewardenError | None:
        """The error that the caller of a change would get for a request about another row; None if it would be allowed.
        In the transaction of the change, under its policy version. Nothing is recorded or permitted."""
        snapshot = change.permit.snapshot
        decision = await self._decide(change.connection, snapshot, change.caller, kind, action, _row(row_id))
        return None if decision.allowed else refusal_of(snapshot, decision)

    async def find_people(self, references: Collection[PersonReference]) -> Mapping[PersonReference, frozenset[UUID]]:
        """The people whom references name. Nothing is decided: an answer must not tell which of them there are."""
        async with self._database.connection() as connection:
            return await find_people(connection, references)

    async def find_merged(self, people: Collection[UUID]) -> Mapping[UUID, UUID]:
        """The canonical ids of those of the people who were merged into others. Nothing is decided, as above."""
        async with self._database.connection() as connection:
            return await find_merged(connection, people)

    def could_allow(self, caller: Caller, kind: str, action: str) -> bool:
        """Whether the caller's scopes satisfy any rule for this action, under the version that this process knows."""
        return self._policies.current().could_allow(kind, action, caller.principal.scopes)

    def has_rows(self, kind: str) -> bool:
        """Whether decisions on this kind are about single rows."""
        return bool(self._relationships.of(kind).table)

    async def would_allow(
        self, caller: Caller, kind: str, action: str, *, row_id: int | None = None, any_row: bool = False
    ) -> bool:
        """Whether a request would be allowed now: about the kind, about one row, or about `any_row`, existing or new.

        Nothing is recorded or permitted: the answer says whether costly preparation is worth it.
        """

        async def look(snapshot: Snapshot, connection: Connection) -> bool:
            about = About.LIST if any_row else About.KIND
            lookup = await self._look_up(connection, snapshot, caller, kind, action, about, row_id=row_id)
            decision = decide(snapshot, caller.principal, action, resource_of(kind, lookup, None), lookup)
            if not any_row:
                return decision.allowed
            facts = self._facts(snapshot, kind)
            visibility = visible(snapshot, decision.access_request, caller.principal, lookup, facts)
            return bool(visibility.rules) and await self._relationships.reach_anybody(connection, visibility)

        async with AsyncExitStack() as stack:
            return await self._enter(stack, self._database.connection, look)

    async def _enter(
        self,
        stack: AsyncExitStack,
        connect: Callable[[], AbstractAsyncContextManager[Connection]],
        decide_in: Callable[[Snapshot, Connection], Awaitable[T]],
    ) -> T:
        """Open a connection or transaction, which `stack` closes, and decide in it under the active policy version. An
        attempt under another version closes it. Raises PolicyUnavailable."""

        async def attempt(snapshot: Snapshot) -> T:
            async with AsyncExitStack() as opened:
                result = await decide_in(snapshot, await opened.enter_async_context(connect()))
                stack.push_async_exit(opened.pop_all())
                return result

        return await self._under_active_version(attempt)

    async def _under_active_version(self, decide_under: Callable[[Snapshot], Awaitable[T]]) -> T:
        """Decide under the active policy version. If the facts name another active version than this process knows,
        load that version and start over. Raises PolicyUnavailable."""
        snapshot = self._policies.current()
        for _ in range(MAX_ATTEMPTS):
            try:
                return await decide_under(snapshot)
            except _Behind as behind:
                snapshot = await self._policies.switch_to(behind.active)
        raise PolicyUnavailable(cause="the active version changed with every attempt")

    @asynccontextmanager
    async def _transaction(self, caller: Caller, *, exclusively: bool = False) -> AsyncIterator[Connection]:
        """A change's transaction, which holds the active version. With an idempotency key it stays open until its
        response is stored in it."""
        started = time.perf_counter()
        if caller.idempotent is not None:
            # First its key, so that a repetition is told at once that the request is running.
            begin = self._database.locking_transaction()
            async with caller.idempotent.transaction(self._turns, begin) as connection:
                await hold_active_version(connection, exclusively=exclusively)
                yield connection
        else:
            begin = self._database.locking_transaction(hold_statement(exclusively=exclusively))
            async with self._turns.take(), begin as connection:
                yield connection
        end_stage(metrics.CHANGE, started)

    async def _decide_read(self, caller: Caller, kind: str, action: str, row: Target) -> tuple[Snapshot, Decision]:
        """The decision that allows a read, and the version that decided. Raises Denied once a refusal is recorded."""

        async def decide_under(snapshot: Snapshot) -> tuple[Snapshot, Decision]:
            return snapshot, await self._decide(None, snapshot, caller, kind, action, row)

        snapshot, decision = await self._under_active_version(decide_under)
        if not decision.allowed:
            await self._refuse(caller, [decision], refusal_of(snapshot, decision), applied=None)
        return snapshot, decision

    async def _refuse_early(self, caller: Caller, kind: str, action: str, target: Target) -> None:
        """Refuse a change that would be refused now, without transaction and lock: a refusal costs no more than a read.
        An allowed one is decided again once it has its locks."""
        decision, refused = await self._under_active_version(
            lambda snapshot: self._decide_change(None, snapshot, caller, kind, action, target)
        )
        if refused is not None:
            await self._refuse(caller, [decision], refused, applied=False)

    async def _decide_all(
        self,
        connection: Connection,
        snapshot: Snapshot,
        caller: Caller,
        kind: str,
        action: str,
        targets: Sequence[Target],
        decisions: MutableSequence[Decision],
    ) -> Mapping[int, TimewardenError]:
        """Append a decision on each target to `decisions`, and return the errors by the index of their target."""
        refusals: dict[int, TimewardenError] = {}
        for index, target in enumerate(targets):
            decision, refused = await self._decide_change(connection, snapshot, caller, kind, action, target)
            decisions.append(decision)
            if refused is not None:
                refusals[index] = refused
            if not snapshot.could_allow(kind, action, caller.principal.scopes):
                # All targets are refused for the same reason, so one record is enough.
                break
        return refusals

    async def _decide_change(
        self, connection: Connection | None, snapshot: Snapshot, caller: Caller, kind: str, action: str, target: Target
    ) -> tuple[Decision, TimewardenError | None]:
        """The decision on one target, and the error if it is refused or has another version than the caller expects."""
        decision = await self._decide(connection, snapshot, caller, kind, action, target)
        if not decision.allowed:
            return decision, refusal_of(snapshot, decision, target.expect)
        if target.expect is not None:
            try:
                target.expect(decision.request.resource.version)
            except NotApplied as error:
                return decision, error
        return decision, None

    async def _decide(
        self, connection: Connection | None, snapshot: Snapshot, caller: Caller, kind: str, action: str, target: Target
    ) -> Decision:
        """Take the locks of the target, then look up its facts in a later statement and decide: the facts may have
        changed while a lock was waited for."""
        row_id = target.row_id
        if connection is not None and snapshot.could_allow(kind, action, caller.principal.scopes):
            if target.hold is not None:
                await target.hold(connection)
            if target.lock is not None:
                row_id = await target.lock(connection)
        about = About.ROW if target.must_exist else About.KIND if target.owner is None else About.NEW
        lookup = await self._look_up(
            connection, snapshot, caller, kind, action, about, row_id=row_id, owner=target.owner, new=target.new
        )
        resource = resource_of(kind, lookup, target.id)
        if lookup.row is None and target.owner is not None:
            # The row is missing: decide as its owner would start it.
            lookup = replace(lookup, about=About.NEW)
            imagined_state = self._relationships.of(kind).imagined_state
            resource = replace(resource, owner=target.owner, state=imagined_state)
        if target.state is not None:
            resource = replace(resource, state=target.state)
        return _decide_timed(snapshot, caller.principal, action, resource, lookup)

    async def _look_up(
        self,
        connection: Connection | None,
        snapshot: Snapshot,
        caller: Caller,
        kind: str,
        action: str,
        about: About,
        *,
        row_id: UUID | int | None = None,
        owner: UUID | None = None,
        new: NewValues | None = None,
    ) -> FactLookup:
        """The facts of a row; if it is missing, of a new row of `owner` with the values `new`; or of none.

        Without a fitting scope no row is read, so the refusal is the same for known and unknown ids. Raises
        InvalidToken for a revoked token: there is no caller, so there is nothing to decide. Raises _Behind if another
        version than `snapshot` is active.
        """
        facts, principal = self._facts(snapshot, kind), caller.principal
        may_look = snapshot.could_allow(kind, action, principal.scopes)
        lookup: FactLookup | None = None
        started = time.perf_counter()
        if may_look and row_id is not None and facts.table:
            lookup = await self._relationships.of_row(connection, principal, facts, row_id)
        if may_look and owner is not None and (lookup is None or lookup.row is None):
            values = {} if new is None else new(snapshot.vocabulary)
            lookup = await self._relationships.of_imagined(connection, principal, facts, owner, values)
        if lookup is None:
            lookup = await self._relationships.ambient(connection, principal, facts)
        end_stage(metrics.FACTS, started)
        if lookup.revoked:
            raise refusal("revoked")
        if lookup.version != snapshot.number:
            raise _Behind(lookup.version)
        return lookup.complete(facts, about, looked=may_look or about in {About.KIND, About.LIST})

    def _facts(self, snapshot: Snapshot, kind: str) -> KindFacts:
        return facts_under(self._relationships.of(kind), snapshot)

    async def _append(
        self,
        caller: Caller,
        decisions: Sequence[Decision],
        decided: Sequence[Record],
        changed: Sequence[Record],
        connection: Connection,
    ) -> Sequence[Receipt]:
        """Append the records of the decisions, then those of the changes, in the change's transaction."""
        if caller.idempotent is not None:
            caller.idempotent.describe(decisions, decided, changed)
        return await self._log.append([*decided, *changed], connection)

    async def _refuse(
        self, caller: Caller, decisions: Sequence[Decision], error: TimewardenError, *, applied: bool | None
    ) -> NoReturn:
        """Record the decisions of a request that led to nothing, then raise `error`. It names the first denial."""
        receipts: list[Receipt] = []
        # Other requests wait for the log while it commits, so very many decisions take several commits.
        for start in range(0, len(decisions), MAX_DECISIONS_PER_COMMIT):
            page = decisions[start : start + MAX_DECISIONS_PER_COMMIT]
            receipts += await self._log.append(await _records_of(caller, page, applied=applied, because=error.slug))
        if receipts:
            error.decisions = [(str(receipt.uid), receipt.leaf) for receipt in receipts]
            denied = next((place for place, decision in enumerate(decisions) if not decision.allowed), 0)
            error.decision = error.decisions[denied]
        raise error


def _decide_timed(
    snapshot: Snapshot, principal: Principal, action: str, resource: Resource, lookup: FactLookup
) -> Decision:
    started = time.perf_counter()
    decision = decide(snapshot, principal, action, resource, lookup)
    end_stage(metrics.ENGINE, started)
    return decision


def _prepare_answer(
    caller: Caller, decision: Decision, snapshot: Snapshot, row_id: UUID, show: Callable[[AllowedOnFacts], T]
) -> tuple[Record, _Shown[T]]:
    """The record of an allowed read of a row, and what the caller gets once it is durable."""
    record = of_decision(caller, decision, applied=None, returned=[str(row_id)])
    reading = AllowedOnFacts(grant(decision, snapshot))
    reading.settle(receipt_of(record))
    return record, _Shown(partial(show, reading))


def _row(row_id: UUID | int | None) -> Target:
    return Target() if row_id is None else Target(str(row_id), row_id=row_id, must_exist=True)


def _listing(decision: Decision, visibility: Visibility, connection: Connection) -> Listing:
    verdict = Verdict(allowed=True, reason=Reason.ALLOWED, rules=visibility.rules)
    return Listing(replace(decision, verdict=verdict), visibility, connection)


async def _records_of(
    caller: Caller, decisions: Sequence[Decision], *, applied: bool | None, because: str | None = None
) -> list[Record]:
    """The records of the decisions of a request. A single one, as of nearly every request, needs no pace."""
    if len(decisions) == 1:
        return [of_decision(caller, decisions[0], applied=applied, because=because)]
    return [of_decision(caller, decision, applied=applied, because=because) async for decision in pace_page(decisions)]


def _records_of_list(caller: Caller, listing: Listing) -> list[Record]:
    """The record of a listing. Ids beyond the first MAX_RETURNED_IDS_PER_RECORD stand in further records, which name
    the first."""
    ids, decision = listing.returned, listing.decision
    records = [of_decision(caller, decision, applied=None, returned=ids[:MAX_RETURNED_IDS_PER_RECORD])]
    for start in range(MAX_RETURNED_IDS_PER_RECORD, len(ids), MAX_RETURNED_IDS_PER_RECORD):
        more = replace(decision, uid=make_id(), noted={**decision.noted, "continues": decision.uid})
        returned = ids[start : start + MAX_RETURNED_IDS_PER_RECORD]
        records.append(of_decision(caller, more, applied=None, returned=returned))
    return records
