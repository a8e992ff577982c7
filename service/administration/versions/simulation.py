"""Simulates a decision: what a policy version would decide on a real or imagined subject and resource.

Owns no state. The simulation itself is decided and recorded, as `simulate` on the policy. Its request and result stand
in that record alone, so no simulation is counted or replayed as a decision on the resource. A simulation about a real
timesheet is an access to it: `returned` holds its id, so a search for accesses to the timesheet finds it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from service.administration.versions.simulated_request import (
    PRINCIPAL,
    SimulatedRequest,
    Wrong,
    assumptions,
    principal_of,
    read_attributes,
    wrong_words,
)
from service.authorization.enforcement.attribute_values import GROUPS, PROJECTS_LED, TEAMS
from service.authorization.enforcement.caller_values import caller_values
from service.authorization.enforcement.changes import Answer, Caller, refused_under
from service.authorization.enforcement.decision_point import Decision, Resource, decide, resource_of, values_of
from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.fact_lookup import without_former_ids
from service.authorization.enforcement.person_references import ME, NOBODY, find_person
from service.authorization.engine.explanation import explain, put_in_words, sentences_for_caller
from service.errors import InvalidField, NotFound, PolicyUnavailable
from service.places import FieldError
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.authorization.active.versions import PolicyVersions
    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.enforcement.fact_statements import KindFacts
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.relationships import Relationships
    from service.authorization.engine.engine import Snapshot
    from service.authorization.engine.explanation import NearRuleInWords
    from service.database import Connection
    from service.identity.principal import Principal
    from service.policy.access_request import Explanation
    from service.policy.attributes import Value

    KnownPerson = Callable[[Connection, UUID], Awaitable[bool]]

KIND, ACTION = "policy", "simulate"
PERSON: Final = "subject.person"
# The same for an unknown timesheet and for one that the caller may not read.
HIDDEN = FieldError(
    "resource.id",
    "no such timesheet, or you may not see it; leave the id out and describe the timesheet by its state, relations,"
    " facts and attributes, or ask somebody who may read it or the log, such as an auditor",
)


@dataclass(frozen=True, slots=True)
class Simulated:
    """The simulated decision. `explanation` is complete; `near` are its near misses in words, about the subject;
    `sentences` are those that the subject would get; `assumed` are the assumptions."""

    decision: Decision
    explanation: Explanation
    near: tuple[NearRuleInWords, ...]
    sentences: tuple[str, ...]
    assumed: tuple[str, ...]


class Simulation:
    """`known_person` says whether the directory knows a person."""

    def __init__(
        self,
        gate: Gate,
        versions: PolicyVersions,
        relationships: Relationships,
        known_person: KnownPerson,
    ) -> None:
        self._gate = gate
        self._versions = versions
        self._relationships = relationships
        self._known_person = known_person

    async def run(self, caller: Caller, asked: SimulatedRequest) -> Answer[Simulated]:
        """Simulate a decision under a version, or under the active one.

        Raises Denied. Raises InvalidField for wrong words and for an unknown version; for an unknown person, if the
        caller may read the directory or the log; and for a real resource that the caller may not read, unless they may
        read the log.
        """
        chosen: Snapshot | None = None
        unknown = False
        # Before a connection is held, and only if the caller may simulate: building a version takes a while.
        if asked.version is not None and await self._gate.would_allow(caller, KIND, ACTION):
            try:
                chosen = await self._versions.load(asked.version)
            except PolicyUnavailable as error:
                if not isinstance(error.__cause__, NotFound):
                    raise
                unknown = True
        decision: Decision | InvalidField
        async with self._gate.read(caller, KIND, ACTION) as reading:
            permit = reading.permit
            under = chosen or permit.snapshot
            try:
                if unknown:
                    raise Wrong(FieldError("version", "there is no such policy version"))
                if fields := wrong_words(asked, under.vocabulary):
                    raise Wrong(*fields)
                asked = await self._find_person(caller, asked, permit.snapshot, reading.lookup, reading.connection)
                decision = await self._decide(caller, asked, under, permit.snapshot, reading.lookup, reading.connection)
            except Wrong as wrong:
                decision = InvalidField(*wrong.fields)
            else:
                permit.note(simulation=_to_record(asked, decision, under))
                reading.returned = [str(asked.resource.id)] if asked.resource.id else []
        if isinstance(decision, InvalidField):
            with refused_under(reading.receipt):
                raise decision
        # Without a connection and in a thread, because it looks at every rule.
        return reading.answer(await asyncio.to_thread(_explain, asked, decision, under))

    async def _decide(
        self,
        caller: Caller,
        asked: SimulatedRequest,
        under: Snapshot,
        active: Snapshot,
        lookup: FactLookup,
        connection: Connection,
    ) -> Decision:
        principal = principal_of(asked.subject, int(lookup.at.timestamp()))
        kind = asked.resource.kind
        if asked.resource.id is None:
            words = facts_under(self._relationships.of(kind), under)
            known = _imagine(asked, under, principal, words, lookup)
            resource = Resource(kind, state=asked.resource.state)
        else:
            await self._check_readable(caller, active, kind, asked.resource.id, lookup, connection)
            facts = facts_under(self._relationships.of(kind), under)
            found = await self._relationships.of_row(connection, principal, facts, asked.resource.id)
            known = without_former_ids(found)
            resource = resource_of(kind, known, str(asked.resource.id))
        return decide(under, principal, asked.action, resource, known)

    async def _find_person(
        self, caller: Caller, asked: SimulatedRequest, active: Snapshot, lookup: FactLookup, connection: Connection
    ) -> SimulatedRequest:
        """The request with the id of its person. Raises Wrong for an unknown person if the caller may read the
        directory or the log. For other callers an unknown person is a person without relations, so that the answer does
        not tell who exists."""
        person = asked.subject.person
        if person is None:
            return asked
        may_know = any(
            decide(active, caller.principal, "read", Resource(kind), lookup).allowed for kind in ("directory", "log")
        )
        if isinstance(person, UUID):
            if may_know and not await self._known_person(connection, person):
                raise Wrong(FieldError(PERSON, "there is no such person"))
            return asked
        try:
            found = await find_person(connection, caller.principal, person, PERSON)
        except InvalidField as error:
            if may_know or person == ME:
                raise Wrong(*error.fields) from error
            found = NOBODY
        return replace(asked, subject=replace(asked.subject, person=found))

    async def _check_readable(
        self, caller: Caller, active: Snapshot, kind: str, row_id: UUID, lookup: FactLookup, connection: Connection
    ) -> None:
        """Raise Wrong unless the caller may read the resource or the log. An unknown resource gets the same error."""
        if not self._relationships.of(kind).imagined:
            raise Wrong(FieldError("resource.id", f"a {kind} cannot be named by its id; describe it instead"))
        facts = facts_under(self._relationships.of(kind), active)
        theirs = await self._relationships.of_row(connection, caller.principal, facts, row_id)
        if theirs.row is None:
            raise Wrong(HIDDEN)
        may_read = decide(active, caller.principal, "read", resource_of(kind, theirs, str(row_id)), theirs).allowed
        if not (may_read or decide(active, caller.principal, "read", Resource("log"), lookup).allowed):
            raise Wrong(HIDDEN)


def _imagine(
    asked: SimulatedRequest, under: Snapshot, principal: Principal, words: KindFacts, lookup: FactLookup
) -> FactLookup:
    """The lookup of an imagined resource, at the time of `lookup`. Facts with an expression follow from the given
    attributes, unless they are given."""
    given, _ = read_attributes(asked, under.vocabulary)
    lists: dict[str, Value] = {GROUPS: (), TEAMS: (), PROJECTS_LED: ()}
    caller = {**lists, **{name: value for name, value in given.items() if name.startswith(PRINCIPAL)}}
    values = {**caller_values(principal, (), caller, lookup.at), **given}
    definitions = under.vocabulary.definitions.items()
    defined = {name: found.evaluate(values) for (kind, name), found in definitions if kind == asked.resource.kind}
    return replace(
        lookup,
        roles=frozenset(),
        row=None,
        relations=asked.resource.relations,
        facts={**dict.fromkeys(words.facts), **defined, **asked.resource.facts},
        evaluated=frozenset(words.relations),
        ids=frozenset(),
        former_ids=frozenset(),
        attributes={name: value for name, value in given.items() if name not in caller},
        caller=caller,
    )


def _explain(asked: SimulatedRequest, decision: Decision, under: Snapshot) -> Simulated:
    why = explain(under.rules_of(asked.resource.kind, asked.action), decision.access_request)
    words = under.vocabulary.with_values(values_of(decision.request))
    sentences = () if decision.allowed else sentences_for_caller(why, decision.access_request, words)
    near = tuple(put_in_words(why, decision.access_request, words, of_others=True, to_caller=False))
    return Simulated(decision, why, near, sentences, assumptions(asked, under, decision.request.lookup.facts))


def _to_record(asked: SimulatedRequest, decision: Decision, under: Snapshot) -> dict[str, object]:
    """The simulation as its record holds it: ids, words and numbers, all of them checked, and no personal data."""
    known = under.vocabulary.known_attributes(asked.resource.kind)
    given, _ = read_attributes(asked, under.vocabulary)
    attributes = {name: value for name, value in given.items() if not known[name].personal}
    subject, verdict, resource = asked.subject, decision.verdict, decision.request.resource
    return {
        "policy": {"version": decision.version, "digest": decision.digest},
        "principal": {
            "kind": str(decision.request.principal.kind),
            "person": str(subject.person) if subject.person else None,
            "client": subject.client,
            "scopes": sorted(subject.scopes),
            "roles": sorted(subject.roles),
            "methods": None if subject.methods is None else sorted(subject.methods),
            "auth_age": subject.auth_age,
            **({"actors": list(subject.actors)} if subject.actors else {}),
        },
        "action": asked.action,
        "resource": {"kind": resource.kind, "id": resource.id, "state": resource.state or None},
        "relations": sorted(decision.request.lookup.relations),
        "facts": dict(decision.request.facts),
        **({"attributes": attributes} if attributes else {}),
        "outcome": "allow" if decision.allowed else "deny",
        "reason": str(verdict.reason),
        "rules": list(verdict.rules),
    }
