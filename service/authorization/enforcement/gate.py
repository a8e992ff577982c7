"""The gate, the policy enforcement point (PEP): no read, list or change without a recorded decision.

It owns no state. A change, its decision and its records commit in one transaction. Reads and refusals are recorded in
a commit of their own before the caller hears of them, after every lock and connection was given back. Only the gate
makes permits and visibilities, and an answer can only be made once its block was left, when the record is durable.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from uuid_utils.compat import uuid7

from service.authorization.active import policy_versions
from service.authorization.enforcement.after_sign_in import after_sign_in
from service.authorization.enforcement.changes import (
    Change,
    Changes,
    Each,
    Listing,
    Reading,
    Refused,
    refused_under,
)
from service.authorization.enforcement.decision_point import BY_LAW, Resource
from service.authorization.enforcement.decision_record import of_decision
from service.authorization.enforcement.judgement import (
    Behind,
    NotDone,
    about_of,
    decided,
    judged,
    resource_of,
    sighted,
)
from service.authorization.enforcement.permit import grant
from service.authorization.enforcement.refusal import refusal_of
from service.authorization.enforcement.relationships import About
from service.authorization.enforcement.visibility import visible
from service.errors import (
    BadInput,
    Denied,
    Forbidden,
    InsufficientScope,
    NotApplied,
    PolicyRejected,
    PolicyUnavailable,
    StaleExpectation,
)
from service.identity.refusals import refusal
from service.pacing import paced
from service.policy.access_request import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import NoReturn
    from uuid import UUID

    from service.authorization.active.policy_versions import PolicyVersions
    from service.authorization.enforcement.changes import Target
    from service.authorization.enforcement.decision_point import Decision
    from service.authorization.enforcement.decision_record import Caller, Put
    from service.authorization.enforcement.judgement import Expect
    from service.authorization.enforcement.relationships import Relationships, Seen
    from service.authorization.enforcement.visibility import Visibility
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection, Database, Turns
    from service.errors import StepUpNeeded, TimewardenError
    from service.log.log import Log, Receipt
    from service.log.record import Record

T = TypeVar("T")
# How many times a request starts over because another version was activated meanwhile.
MAX_ATTEMPTS = 5
# How many ids of what was returned stand in one record.
MAX_RETURNED_IDS_PER_RECORD = 1_000
MAX_DECISIONS_PER_COMMIT = 200


class Gate:
    """Every use case goes through `read`, `list`, `change`, `change_all` or `change_each`. `turns` bounds how many
    changes hold a connection: those that wait for a lock leave some for reads."""

    def __init__(
        self, database: Database, log: Log, policies: PolicyVersions, relationships: Relationships, *, turns: Turns
    ) -> None:
        self._database = database
        self._log = log
        self._policies = policies
        self._relationships = relationships
        self._turns = turns

    @asynccontextmanager
    async def read(
        self,
        caller: Caller,
        kind: str,
        action: str,
        row_id: UUID | int | None = None,
        *,
        absent_owner: UUID | None = None,
        state: str | None = None,
        put: Put | None = None,
    ) -> AsyncIterator[Reading]:
        """Decide on a read of a row, or of the kind itself, and record it when the block is left.

        Inside, `reading` has the permit, what was seen and the connection; `reading.returned` is what the record says
        was given out. Without the row the request is decided as if `absent_owner` owned a new one. `state` decides as
        of another state than the row's. `put` is the query of a search of the log. Raises Denied.
        """

        async def decide(snapshot: Snapshot, connection: Connection) -> Reading | Refused:
            about = About.KIND if row_id is None else About.ROW
            seen = await self._see(connection, snapshot, caller, (kind, action), row_id, about=about)
            if seen.row is None and absent_owner is not None:
                about = About.NEW
                seen = await self._see(
                    connection, snapshot, caller, (kind, action), None, owner=absent_owner, about=about
                )
            resource = resource_of(kind, seen, str(row_id) if row_id else None)
            if about is About.NEW:
                resource = self._imagined(resource, absent_owner)
            if state is not None:
                resource = replace(resource, state=state)
            decision = decided(snapshot, caller, action, resource, seen)
            refused = judged(snapshot, decision, missing=about is About.ROW and seen.row is None)
            return refused or Reading(grant(decision, snapshot), connection)

        async with AsyncExitStack() as stack:
            reading = await self._enter(stack, self._database.connection, decide)
            if isinstance(reading, Reading):
                yield reading
        if isinstance(reading, Refused):
            await self._refuse(caller, [reading.decision], reading.error, applied=None)
        record = of_decision(caller, reading.permit.decision, applied=None, returned=reading.returned, put=put)
        reading.settle((await self._log.append([record]))[0])

    @asynccontextmanager
    async def list(self, caller: Caller, kind: str, action: str) -> AsyncIterator[Listing]:
        """Decide on a listing of what single reads would allow, and record it when the block is left.

        Inside, `listing.visibility` is the rules as a SQL condition; roles, policy and rows are seen as of one moment.
        `listing.returned` is the ids of the page. Raises Denied when no rule could show any row.
        """

        async def decide(snapshot: Snapshot, connection: Connection) -> Listing | Refused:
            seen = await self._see(connection, snapshot, caller, (kind, action), None, about=About.LIST)
            decision = decided(snapshot, caller, action, Resource(kind), seen)
            if decision.verdict.reason is Reason.INSUFFICIENT_SCOPE:
                return Refused(decision, refusal_of(snapshot, decision, None))
            facts = self._relationships.of(kind)
            shown = visible(snapshot, decision.access_request, caller.principal, seen, facts)
            if not shown.rules and not decision.allowed:
                relations = frozenset(facts.relations)
                return Refused(decision, refusal_of(snapshot, decision, None, listed=relations))

            def see_after_step_up() -> tuple[Visibility, StepUpNeeded] | None:
                then = after_sign_in(snapshot, decision.access_request)
                return then and (visible(snapshot, then[0], caller.principal, seen, facts), then[1])

            verdict = Verdict(allowed=True, reason=Reason.ALLOWED, rules=shown.rules)
            return Listing(replace(decision, verdict=verdict), shown, connection, see_after_step_up)

        async with AsyncExitStack() as stack:
            listing = await self._enter(stack, lambda: self._database.transaction(snapshot=True), decide)
            if isinstance(listing, Listing):
                yield listing
        if isinstance(listing, Refused):
            await self._refuse(caller, [listing.decision], listing.error, applied=None)
        listing.settle((await self._log.append(_records_of_list(caller, listing)))[0])

    @asynccontextmanager
    async def change(
        self,
        caller: Caller,
        kind: str,
        action: str,
        target: Target,
        *,
        expect: Expect | None = None,
        exclusively: bool = False,
    ) -> AsyncIterator[Change]:
        """Lock, read facts and decide on the way in; record and commit on the way out, in one transaction.

        `expect` checks the version that the caller has seen and raises NotApplied. `exclusively` keeps every other
        change out meanwhile (activation of a policy). The block may raise NotApplied, PolicyRejected or
        StaleExpectation, and Denied or BadInput for what only the row can tell: the decision is then recorded as not
        applied. Raises these, and Denied and TryLater.
        """
        async with self.change_all(caller, kind, action, [target], expect=expect, exclusively=exclusively) as changes:
            yield changes[0]

    @asynccontextmanager
    async def change_all(
        self,
        caller: Caller,
        kind: str,
        action: str,
        targets: Sequence[Target],
        *,
        expect: Expect | None = None,
        exclusively: bool = False,
        combine: Callable[[Mapping[int, TimewardenError]], TimewardenError] | None = None,
    ) -> AsyncIterator[Changes]:
        """As `change`, for several targets: a decision each, locked in the given order, all or nothing.

        `combine` makes the error from the refusals by index; without it the first is raised. The block may also raise
        NotDone, with the decision that a law in code overruled.
        """
        decisions: list[Decision] = []
        error: TimewardenError
        try:
            async with AsyncExitStack() as stack:

                async def decide(snapshot: Snapshot, connection: Connection) -> Changes:
                    await policy_versions.hold(connection, exclusively=exclusively)
                    decisions.clear()
                    refusals: dict[int, TimewardenError] = {}
                    for index, target in enumerate(targets):
                        decision, refused = await self._decide_on(
                            connection, snapshot, caller, (kind, action), target, expect
                        )
                        decisions.append(decision)
                        if refused is not None:
                            refusals[index] = refused
                        # The same holds for every other target, and a stranger's one request is one record.
                        if not snapshot.could_allow(kind, action, caller.principal.scopes):
                            break
                    if refusals:
                        raise NotDone(combine(refusals) if combine else next(iter(refusals.values())))
                    return Changes(
                        Change(caller, target, decision, grant(decision, snapshot), connection)
                        for target, decision in zip(targets, decisions, strict=True)
                    )

                changes = await self._enter(stack, lambda: self._transaction(caller), decide)
                yield changes
                told = [of_decision(caller, change.permit.decision, applied=True) async for change in paced(changes)]
                records = [record for change in changes for record in change.records]
                receipts = await self._append(caller, decisions, told, records, changes[0].connection)
        except NotDone as stopped:
            error, by_law = stopped.error, stopped.decision
            decisions = [
                replace(by_law, verdict=BY_LAW) if by_law is not None and decision.uid == by_law.uid else decision
                for decision in decisions
            ]
        except (NotApplied, Denied, BadInput, PolicyRejected, StaleExpectation) as not_applied:
            error = not_applied
            if isinstance(error, Forbidden):
                # A law in code refused what every rule allowed: the record must say what the caller is told.
                decisions = [replace(decision, verdict=BY_LAW) for decision in decisions]
        else:
            changes.settle(receipts)
            return
        await self._refuse(caller, decisions, error, applied=False)

    @asynccontextmanager
    async def change_each(
        self, caller: Caller, kind: str, action: str, targets: Sequence[Target]
    ) -> AsyncIterator[Each]:
        """As `change`, for several targets in one transaction, each with an outcome of its own: a refused one keeps
        none of the others. Iterate over the result: it yields the change of each target that is allowed, one after the
        other; `async with each.savepoint(change)` keeps what fails inside to that target. Raises InsufficientScope and
        TryLater."""
        try:
            async with AsyncExitStack() as stack:

                async def begin(snapshot: Snapshot, connection: Connection) -> Each:
                    await policy_versions.hold(connection, exclusively=False)

                    async def decide(target: Target) -> Change | Refused:
                        decision, error = await self._decide_on(
                            connection, snapshot, caller, (kind, action), target, None
                        )
                        if isinstance(error, InsufficientScope):
                            # The same holds for every other target, and a stranger's one request is one record.
                            raise NotDone(error, decision)
                        if error is not None:
                            return Refused(decision, error)
                        return Change(caller, target, decision, grant(decision, snapshot), connection)

                    # The first is decided while entering: a replica that is behind starts over before the block runs.
                    return Each(connection, targets, await decide(targets[0]), decide)

                each = await self._enter(stack, lambda: self._transaction(caller), begin)
                yield each
                told = [
                    of_decision(caller, decision, applied=error is None, because=error.slug if error else None)
                    async for decision, _, error in paced(each.decisions)
                ]
                decisions = [decision for decision, _, _ in each.decisions]
                receipts = await self._append(caller, decisions, told, each.records, each.connection)
        except NotDone as stopped:
            refused = stopped
        else:
            each.settle(receipts)
            return
        await self._refuse(caller, [refused.decision] if refused.decision else [], refused.error, applied=False)

    def could(self, caller: Caller, kind: str, action: str) -> bool:
        """Whether the caller's scopes could satisfy any rule for this action, as far as this process knows now."""
        return self._policies.current().could_allow(kind, action, caller.principal.scopes)

    def has_rows(self, kind: str) -> bool:
        """Whether decisions are about single rows of this kind, or about the kind itself."""
        return bool(self._relationships.of(kind).table)

    async def would_allow(
        self, caller: Caller, kind: str, action: str, *, row_id: int | None = None, any_row: bool = False
    ) -> bool:
        """Whether this would be allowed now: without a row, on one row, or on `any_row` that exists or could be made.

        Tells whether costly preparation is worth doing. It records nothing and permits nothing: `change` decides.
        """

        async def decide(snapshot: Snapshot, connection: Connection) -> bool:
            about = About.LIST if any_row else About.KIND
            seen = await self._see(connection, snapshot, caller, (kind, action), row_id, about=about)
            decision = decided(snapshot, caller, action, resource_of(kind, seen, None), seen)
            if not any_row:
                return decision.allowed
            shown = visible(snapshot, decision.access_request, caller.principal, seen, self._relationships.of(kind))
            return bool(shown.rules) and await self._relationships.reach_anybody(connection, shown)

        async with AsyncExitStack() as stack:
            return await self._enter(stack, self._database.connection, decide)

    async def _enter(
        self,
        stack: AsyncExitStack,
        connect: Callable[[], AbstractAsyncContextManager[Connection]],
        decide: Callable[[Snapshot, Connection], Awaitable[T]],
    ) -> T:
        """Open a connection or transaction, which `stack` then closes, and decide in it under the active version. A
        process whose version is behind the one that the facts name rolls back, loads that version and starts over.
        Raises PolicyUnavailable."""
        snapshot = self._policies.current()
        for _ in range(MAX_ATTEMPTS):
            try:
                async with AsyncExitStack() as attempt:
                    decided_in_it = await decide(snapshot, await attempt.enter_async_context(connect()))
                    stack.push_async_exit(attempt.pop_all())
                    return decided_in_it
            except Behind as behind:
                snapshot = await self._policies.at(behind.version)
        raise PolicyUnavailable(cause="the active version changed with every attempt")

    @asynccontextmanager
    async def _transaction(self, caller: Caller) -> AsyncIterator[Connection]:
        """A change's transaction. One with an idempotency key stays open until its response is stored in it."""
        if caller.once is not None:
            async with caller.once.held(self._turns, self._database) as connection:
                yield connection
            return
        async with self._turns.one(), self._database.transaction() as connection:
            yield connection

    async def _decide_on(
        self,
        connection: Connection,
        snapshot: Snapshot,
        caller: Caller,
        asked: tuple[str, str],
        target: Target,
        expect: Expect | None,
    ) -> tuple[Decision, TimewardenError | None]:
        """First the row's lock, then, in a later statement, the facts: they may have changed while the lock waited.
        A target's own `expect` goes before the one that is for all."""
        expect = target.expect or expect
        row_id: UUID | int | None = None
        if target.lock is not None and snapshot.could_allow(*asked, caller.principal.scopes):
            row_id = await target.lock(connection)
        seen = await self._see(connection, snapshot, caller, asked, row_id, owner=target.owner, about=about_of(target))
        resource = resource_of(asked[0], seen, target.id)
        if seen.row is None and target.owner is not None:
            resource = self._imagined(resource, target.owner)
        decision = decided(snapshot, caller, asked[1], resource, seen)
        refused = judged(snapshot, decision, missing=target.must_exist and seen.row is None, expect=expect)
        if refused is not None:
            return refused.decision, refused.error
        if expect is not None:
            try:
                expect(resource.version)
            except NotApplied as error:
                return decision, error
        return decision, None

    def _imagined(self, resource: Resource, owner: UUID | None) -> Resource:
        """The resource as `owner` would start a new one."""
        return replace(resource, owner=owner, state=self._relationships.of(resource.kind).imagined_state)

    async def _see(
        self,
        connection: Connection,
        snapshot: Snapshot,
        caller: Caller,
        asked: tuple[str, str],
        row_id: UUID | int | None,
        *,
        owner: UUID | None = None,
        about: About = About.KIND,
    ) -> Seen:
        """The facts of a row, of an imagined one, or of none. Without a fitting scope nothing is looked up, so that the
        refusal is the same for known and unknown ids. Raises InvalidToken for a revoked token: then there is no caller,
        so there is nothing to decide. Raises Behind where another version is active than `snapshot`."""
        may_look = snapshot.could_allow(*asked, caller.principal.scopes)
        if may_look and row_id is not None and self._relationships.of(asked[0]).table:
            seen = await self._relationships.of_row(connection, caller.principal, asked[0], row_id)
        elif may_look and owner is not None:
            seen = await self._relationships.of_imagined(connection, caller.principal, asked[0], owner)
        else:
            seen = await self._relationships.ambient(connection, caller.principal)
        if seen.revoked:
            raise refusal("revoked")
        if seen.version != snapshot.number:
            raise Behind(seen.version)
        facts = self._relationships.of(asked[0])
        return sighted(seen, facts, about, looked=may_look or about in {About.KIND, About.LIST})

    async def _append(
        self,
        caller: Caller,
        decisions: Sequence[Decision],
        told: Sequence[Record],
        changes: Sequence[Record],
        connection: Connection,
    ) -> Sequence[Receipt]:
        """Append the records of the decisions, then those of what was changed."""
        if caller.once is not None:
            caller.once.tells_of(decisions, told, changes)
        return await self._log.append([*told, *changes], connection)

    async def _refuse(
        self,
        caller: Caller,
        decisions: Sequence[Decision],
        error: TimewardenError,
        *,
        applied: bool | None,
    ) -> NoReturn:
        """Record decisions that led to nothing, in commits of their own, then raise, naming the first that denied."""
        if decisions:
            receipts: list[Receipt] = []
            # Others wait for the log while it commits, so very many decisions are no single commit.
            for start in range(0, len(decisions), MAX_DECISIONS_PER_COMMIT):
                records = [
                    of_decision(caller, decision, applied=applied, because=error.slug)
                    async for decision in paced(decisions[start : start + MAX_DECISIONS_PER_COMMIT])
                ]
                receipts += await self._log.append(records)
            first_denied = next((place for place, decision in enumerate(decisions) if not decision.allowed), 0)
            error.decisions = [(str(receipt.uid), receipt.leaf) for receipt in receipts]
            with refused_under(receipts[first_denied]):
                raise error
        raise error


def _records_of_list(caller: Caller, listing: Listing) -> list[Record]:
    """The record of a list; where one cannot hold all ids, others follow that name the first."""
    ids, decision = listing.returned, listing.decision
    records = [of_decision(caller, decision, applied=None, returned=ids[:MAX_RETURNED_IDS_PER_RECORD])]
    for start in range(MAX_RETURNED_IDS_PER_RECORD, len(ids), MAX_RETURNED_IDS_PER_RECORD):
        more = replace(decision, uid=uuid7(), noted={**decision.noted, "continues": decision.uid})
        returned = ids[start : start + MAX_RETURNED_IDS_PER_RECORD]
        records.append(of_decision(caller, more, applied=None, returned=returned))
    return records
