"""Enforcement (PEP): no read, no write and no list without a recorded decision. The only maker of a Permit.

Owns no state. A change, its decision and its records commit in one transaction; reads and refusals are recorded in a
commit of their own before the caller hears of them, after every lock and connection was given back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from uuid_utils.compat import uuid7

from service.authorization.active import policy_versions
from service.authorization.enforcement.after_sign_in import after_sign_in
from service.authorization.enforcement.attempts import Attempts
from service.authorization.enforcement.changes import Answer, AnswerToAll, Change, Outcome, Refused
from service.authorization.enforcement.decision_point import BY_LAW, Decision, Resource
from service.authorization.enforcement.decision_record import Ask, Positions, Put, of_decision
from service.authorization.enforcement.judgement import NotDone, decided, judged, resource_of
from service.authorization.enforcement.permit import Permit, grant
from service.authorization.enforcement.refusal import refusal_of
from service.authorization.enforcement.relationships import About
from service.authorization.enforcement.visibility import Visibility, visible
from service.errors import (
    BadInput,
    Denied,
    Forbidden,
    InsufficientScope,
    NotApplied,
    PolicyRejected,
    StaleExpectation,
    TimewardenError,
)
from service.log.record import Kind
from service.pacing import paced
from service.policy.question import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Target
    from service.authorization.enforcement.relationships import Seen
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection
    from service.errors import StepUpNeeded
    from service.log.record import Record

    Expect = Callable[[int | None], None]

T = TypeVar("T")
# So many ids of what was returned stand in one record.
MOST_RETURNED = 1_000


class Enforcement(Attempts):
    """Every use case goes through one of `read`, `list`, `change`, `change_all` and `change_each`."""

    async def read(
        self,
        ask: Ask,
        kind: str,
        action: str,
        load: Callable[[Permit, Seen, Connection], Awaitable[tuple[T, Sequence[str] | Positions]]],
        *,
        row_id: UUID | int | None = None,
        once_of: UUID | None = None,
        state: str | None = None,
        record_kind: Kind = Kind.DECISION,
        put: Put | None = None,
    ) -> Answer[T]:
        """Decide, load, record, answer. `load` returns the value and the ids, or positions, that it holds; with a
        `row_id` the row is in what was seen. Is there no such row, and was it `once_of` somebody, the decision is about
        one that they would own. `state` is the one to decide as of, if it is another than now. `record_kind` is ACCESS
        for reads of the log, and `put` the question that was put to it. Raises Denied."""

        async def attempt(snapshot: Snapshot) -> tuple[Decision, tuple[T, Sequence[str] | Positions]] | Refused:
            async with self._database.connection() as connection:
                about = About.ROW if row_id is not None else About.KIND
                seen = await self._sighting.see(connection, snapshot, ask, (kind, action), row_id, about=about)
                if seen.row is None and once_of is not None:
                    about = About.NEW
                    seen = await self._sighting.see(
                        connection, snapshot, ask, (kind, action), None, owner=once_of, about=about
                    )
                resource = resource_of(kind, seen, str(row_id) if row_id else None)
                if about is About.NEW:
                    resource = replace(resource, owner=once_of, state=self._relationships.of(kind).imagined_state)
                if state is not None:
                    resource = replace(resource, state=state)
                decision = decided(snapshot, ask, action, resource, seen)
                refused = judged(snapshot, decision, missing=about is About.ROW and seen.row is None)
                if refused is not None:
                    return refused
                permit = grant(decision, snapshot)
                loaded = await load(permit, seen, connection)
                return permit.decision, loaded

        outcome = await self._under_active(attempt)
        if isinstance(outcome, Refused):
            await self._tell(ask, [outcome.decision], outcome.error, applied=None, kind=record_kind)
        decision, (value, ids) = outcome
        record = of_decision(ask, decision, applied=None, returned=ids, kind=record_kind, put=put)
        return Answer(value, (await self._log.append([record]))[0])

    async def list(
        self,
        ask: Ask,
        kind: str,
        action: str,
        query: Callable[[Visibility, Connection], Awaitable[tuple[T, Sequence[str]]]],
        *,
        hidden: Callable[[T, Visibility, StepUpNeeded, Connection], Awaitable[T]] | None = None,
    ) -> Answer[T]:
        """A listing of what single reads would allow. `query` gets the rules as a SQL condition and returns the page
        and its ids; roles, policy and rows are seen as of one moment. `hidden` may note on the page what another
        sign-in would show, and gets the rules as they would be then. Raises Denied when no rule could show any row."""

        async def attempt(snapshot: Snapshot) -> tuple[Decision, tuple[T, Sequence[str]]] | Refused:
            async with self._database.transaction(snapshot=True) as connection:
                seen = await self._sighting.see(connection, snapshot, ask, (kind, action), None, about=About.LIST)
                decision = decided(snapshot, ask, action, Resource(kind), seen)
                if decision.verdict.reason is Reason.INSUFFICIENT_SCOPE:
                    return Refused(decision, refusal_of(snapshot, decision, None))
                facts = self._relationships.of(kind)
                shown = visible(snapshot, decision.question, ask.principal, seen, facts)
                if not shown.rules and not decision.allowed:
                    relations = frozenset(facts.relations)
                    return Refused(decision, refusal_of(snapshot, decision, None, listed=relations))
                verdict = Verdict(allowed=True, reason=Reason.ALLOWED, rules=shown.rules)
                value, ids = await query(shown, connection)
                if hidden is not None and (then := after_sign_in(snapshot, decision.question)) is not None:
                    more = visible(snapshot, then[0], ask.principal, seen, facts)
                    value = await hidden(value, more, then[1], connection)
                return replace(decision, verdict=verdict), (value, ids)

        outcome = await self._under_active(attempt)
        if isinstance(outcome, Refused):
            await self._tell(ask, [outcome.decision], outcome.error, applied=None)
        decision, (value, ids) = outcome
        receipts = await self._log.append(_pages(ask, decision, ids))
        return Answer(value, receipts[0])

    async def change(
        self,
        ask: Ask,
        kind: str,
        action: str,
        target: Target,
        work: Callable[[Change], Awaitable[T]],
        *,
        expect: Expect | None = None,
        exclusively: bool = False,
    ) -> Answer[T]:
        """Lock, read facts, decide, change and record, in one transaction.

        `expect` judges the version that the caller has seen and raises NotApplied; `exclusively` keeps every other
        change out meanwhile (activation of a policy). `work` may raise NotApplied, PolicyRejected or StaleExpectation,
        and Denied or BadInput for what only the row can tell: the decision is recorded as not applied. Raises these
        and TryLater.
        """

        async def only(changes: Sequence[Change]) -> T:
            return await work(changes[0])

        answer = await self.change_all(ask, kind, action, [target], only, expect=expect, exclusively=exclusively)
        return Answer(answer.value, answer.receipts[0])

    async def change_all(
        self,
        ask: Ask,
        kind: str,
        action: str,
        targets: Sequence[Target],
        work: Callable[[Sequence[Change]], Awaitable[T]],
        *,
        expect: Expect | None = None,
        exclusively: bool = False,
        denied: Callable[[Mapping[int, TimewardenError]], TimewardenError] | None = None,
    ) -> AnswerToAll[T]:
        """As `change`, for several targets: one decision each, all or nothing, locked in the given order. `denied`
        makes the error from the refusals by index; without it the first is told. `work` may raise NotDone as well, with
        the decision that a law in code overruled."""

        async def attempt(snapshot: Snapshot) -> AnswerToAll[T]:
            decisions: list[Decision] = []
            try:
                async with self._transaction(ask) as connection:
                    await policy_versions.hold(connection, exclusively=exclusively)
                    refusals: dict[int, TimewardenError] = {}
                    for index, target in enumerate(targets):
                        decision, error = await self._sighting.decide_on(
                            connection, snapshot, ask, (kind, action), target, expect
                        )
                        decisions.append(decision)
                        if error is not None:
                            refusals[index] = error
                        # The same holds for every other target, and a stranger's one request is one record.
                        if not snapshot.could_allow(kind, action, ask.principal.scopes):
                            break
                    if refusals:
                        raise NotDone(denied(refusals) if denied else next(iter(refusals.values())))
                    changes = [Change(ask, one, grant(one, snapshot), connection) for one in decisions]
                    value = await work(changes)
                    told = [of_decision(ask, one.permit.decision, applied=True) async for one in paced(changes)]
                    changed = [record for change in changes for record in change.records]
                    receipts = await self._append(ask, decisions, told, changed, connection)
                return AnswerToAll(value, receipts[: len(decisions)])
            except NotDone as stopped:
                error = stopped.error
                by_law = stopped.decision
                decisions = [
                    replace(by_law, verdict=BY_LAW) if by_law is not None and one.uid == by_law.uid else one
                    for one in decisions
                ]
            except (NotApplied, Denied, BadInput, PolicyRejected, StaleExpectation) as not_applied:
                error = not_applied
                if isinstance(error, Forbidden):
                    # A law in code refused what every rule allowed: the record must say what the caller is told.
                    decisions = [replace(one, verdict=BY_LAW) for one in decisions]
            return await self._tell(ask, decisions, error, applied=False)

        return await self._under_active(attempt)

    async def change_each(
        self,
        ask: Ask,
        kind: str,
        action: str,
        targets: Sequence[Target],
        work: Callable[[Change], Awaitable[T]],
    ) -> Sequence[Outcome[T]]:
        """As `change`, for several targets in one transaction, each with an outcome of its own: what one is refused
        keeps none of the others. Raises InsufficientScope and TryLater."""

        async def attempt(snapshot: Snapshot) -> Sequence[Outcome[T]]:
            async with self._transaction(ask) as connection:
                await policy_versions.hold(connection, exclusively=False)
                found: list[tuple[Decision, T | None, TimewardenError | None]] = []
                changes: list[Record] = []
                for target in targets:
                    decision, error = await self._sighting.decide_on(
                        connection, snapshot, ask, (kind, action), target, None
                    )
                    if isinstance(error, InsufficientScope):
                        # The same holds for every other target, and a stranger's one request is one record.
                        raise NotDone(error, decision)
                    value: T | None = None
                    if error is None:
                        change = Change(ask, decision, grant(decision, snapshot), connection)
                        try:
                            async with connection.transaction():
                                value = await work(change)
                            changes += change.records
                            decision = change.permit.decision
                        except (NotApplied, Denied, BadInput) as stopped:
                            error = stopped
                            decision = replace(decision, verdict=BY_LAW) if isinstance(error, Forbidden) else decision
                    found.append((decision, value, error))
                told = [
                    of_decision(ask, one, applied=error is None, because=error.slug if error else None)
                    async for one, _, error in paced(found)
                ]
                receipts = await self._append(ask, [one for one, _, _ in found], told, changes, connection)
            return [Outcome(receipt, value, error) for receipt, (_, value, error) in zip(receipts, found, strict=False)]

        try:
            return await self._under_active(attempt)
        except NotDone as stopped:
            decisions = [stopped.decision] if stopped.decision else []
            return await self._tell(ask, decisions, stopped.error, applied=False)

    def could(self, ask: Ask, kind: str, action: str) -> bool:
        """Whether the asker's scopes could satisfy any rule for this action, as far as this process knows now."""
        return self._policies.current().could_allow(kind, action, ask.principal.scopes)

    async def could_for_anybody(self, ask: Ask, kind: str, action: str) -> bool:
        """Whether some row of this kind, existing or imagined, could be allowed: some rule holds for the asker, and the
        relation that it names for somebody. As `prospect`, it decides nothing."""

        async def attempt(snapshot: Snapshot) -> bool:
            async with self._database.connection() as connection:
                seen = await self._sighting.see(connection, snapshot, ask, (kind, action), None, about=About.LIST)
                question = decided(snapshot, ask, action, Resource(kind), seen).question
                shown = visible(snapshot, question, ask.principal, seen, self._relationships.of(kind))
                return bool(shown.rules) and await self._relationships.reach_anybody(connection, shown)

        return await self._under_active(attempt)


def _pages(ask: Ask, decision: Decision, ids: Sequence[str]) -> list[Record]:
    """The record of a list; where a record cannot hold all ids, others follow that name the first."""
    records = [of_decision(ask, decision, applied=None, returned=ids[:MOST_RETURNED])]
    for start in range(MOST_RETURNED, len(ids), MOST_RETURNED):
        more = replace(decision, uid=uuid7(), noted={**decision.noted, "continues": decision.uid})
        records.append(of_decision(ask, more, applied=None, returned=ids[start : start + MOST_RETURNED]))
    return records
