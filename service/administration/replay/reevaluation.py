"""A recorded decision made again under any policy version, from its record alone. Pure: owns no state.

What the record does not hold is never guessed: where it could matter, every value is tried, and unless the verdict is
the same for all of them the answer is Undecidable, with its cause.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from service.administration.replay.list_comparison import ShownRows, compared, differing
from service.authorization.enforcement.decision_point import (
    BY_LAW,
    NO_ROW,
    NO_SCOPE,
    access_request_of,
    apply_rules_and_laws,
    sign_in_facts,
)
from service.authorization.enforcement.relationships import About
from service.authorization.engine.row_conditions import fold_rules
from service.policy import known_words
from service.policy.access_request import MAX_RULES_PER_DECISION, NO_STATE, Reason, Verdict
from service.policy.matching import PERSON, former_word
from service.policy.request_space import KNOWN, KNOWN_OR_NOT, Budget, RequestSpace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from service.administration.replay.recorded_request import RecordedRequest
    from service.authorization.enforcement.decision_point import EvaluationRequest
    from service.authorization.engine.engine import Snapshot
    from service.authorization.engine.row_conditions import RowCondition
    from service.policy.access_request import AccessRequest, Rule

# Each is decided by casbin unless its verdict is remembered, and a replay has many records.
MAX_REQUESTS_PER_RECORD: Final = 512
NOT_LOOKED: Final = "nothing was looked up, because no scope of the token could have helped"
OTHER_ROWS: Final = "which rows there were is not in the record of a list, and other rules would show or hide them"
STATE_NOT_RECORDED: Final = "the state was not recorded"
FORMER_IDS: Final = (
    "who the person was before an erasure is not in the record, and a rule denies this to certain persons"
)
NO_KIND: Final = "this release has no resources of the kind {kind}"
NO_VERSION: Final = "the version that made the list cannot be read by this code, so its rows cannot be compared"


@dataclass(frozen=True, slots=True)
class Undecidable:
    """The record does not hold what this version asks for; `cause` says what, in words that stay the same."""

    cause: str


Again: TypeAlias = Verdict | Undecidable


def decide_again(snapshot: Snapshot, recorded: RecordedRequest, before: Snapshot | None = None) -> Again:
    """What `snapshot` says to the request, with every refusal that enforcement would have added. `before` is the
    version that decided then. A list that somebody got is the same only when the same rows would be shown, whatever
    rows there were; one that returned rows and would show none any more counts as denied."""
    again = _decided(snapshot, recorded, before)
    if recorded.former_untold and isinstance(again, Verdict):
        then = snapshot if snapshot.number == recorded.version else before
        again = _common(again, _decided(snapshot, _as_anybody_before(snapshot, recorded, then), before))
    if isinstance(again, Verdict) and again.allowed and recorded.verdict.reason is Reason.LAW:
        # A law in code refused this row, whatever any policy says.
        return BY_LAW
    return again


def access_request_of_record(snapshot: Snapshot, recorded: RecordedRequest) -> AccessRequest:
    """The question as far as the record tells it: what it does not hold counts as not holding, or as unknown."""
    return access_request_of(snapshot, _asked(snapshot, recorded))


def _common(again: Verdict, otherwise: Again) -> Again:
    """The verdict that is the same whoever the person was before an erasure, with the rules that both name."""
    if isinstance(otherwise, Undecidable) or (again.allowed, again.reason) != (otherwise.allowed, otherwise.reason):
        return Undecidable(FORMER_IDS)
    return replace(again, rules=tuple(name for name in again.rules if name in otherwise.rules))


def _as_anybody_before(snapshot: Snapshot, recorded: RecordedRequest, then: Snapshot | None) -> RecordedRequest:
    """The request by somebody who was, before an erasure, every person that a rule denies this to, and to whom every
    relation and fact held that the version which decided `then` did not ask for."""
    request = recorded.request
    words = snapshot.words_of(request.resource.kind, request.action).who
    prefix = former_word(PERSON)
    named = frozenset(UUID(word.removeprefix(prefix)) for word in words if word.startswith(prefix))
    told = then.words_of(request.resource.kind, request.action) if then else None
    relations = {former_word(name) for name in request.lookup.evaluated - request.lookup.relations}
    lookup = replace(
        request.lookup,
        former_ids=request.lookup.former_ids | named,
        relations=request.lookup.relations | (relations - told.who if told else relations),
    )
    of_row = snapshot.vocabulary.facts.get(request.resource.kind, frozenset())
    untold = of_row - told.facts if told else of_row
    facts = {name: None if value is False and name in untold else value for name, value in request.facts.items()}
    return replace(recorded, request=replace(request, lookup=lookup, facts=facts))


def _decided(snapshot: Snapshot, recorded: RecordedRequest, before: Snapshot | None) -> Again:
    request, lookup = recorded.request, recorded.request.lookup
    kind, action = request.resource.kind, request.action
    if kind not in known_words.ACTIONS:
        return Undecidable(NO_KIND.format(kind=kind))
    may_look = snapshot.could_allow(kind, action, request.principal.scopes)
    if not may_look and snapshot.scopes_for(kind, action):
        return NO_SCOPE
    if lookup.about is About.ROW:
        if not may_look or (lookup.looked and not recorded.found):
            return NO_ROW
        if not lookup.looked:
            return Undecidable(NOT_LOOKED)
    if lookup.about is About.NEW and not may_look:
        recorded = _unseen(recorded)
    elif lookup.about is About.NEW and not lookup.looked:
        # There may have been such a row already, in any state.
        recorded = replace(recorded, told_state=False)
    return _tried(snapshot, recorded, before, bare=not may_look)


def _tried(snapshot: Snapshot, recorded: RecordedRequest, before: Snapshot | None, *, bare: bool) -> Again:
    """The verdict that is the same whatever the record does not hold. `bare`: nothing would have been looked up."""
    request = _asked(snapshot, recorded)
    relations, facts, states = _untold(snapshot, recorded, request, bare=bare)
    known = access_request_of(snapshot, request)
    cause = _cause(relations, list(facts), states, looked=request.lookup.looked)
    found: Verdict | None = None
    budget = Budget(MAX_REQUESTS_PER_RECORD)
    for possible in RequestSpace(known, states or None, facts, [(name, None) for name in relations]):
        if not budget.spend():
            return Undecidable(cause)
        verdict = _verdict(snapshot, possible, recorded, before)
        if isinstance(verdict, Undecidable):
            return verdict
        if found is None:
            found = verdict
        elif (found.allowed, found.reason) != (verdict.allowed, verdict.reason):
            return Undecidable(cause)
        else:
            found = replace(found, rules=tuple(name for name in found.rules if name in verdict.rules))
    return found or Undecidable(cause)


def _untold(
    snapshot: Snapshot, recorded: RecordedRequest, request: EvaluationRequest, *, bare: bool
) -> tuple[list[str], dict[str, Sequence[bool | None]], tuple[str, ...]]:
    """Relations, facts (with what they may be) and states that rules ask for and the record does not hold."""
    kind, lookup, vocabulary = request.resource.kind, request.lookup, snapshot.vocabulary
    words = snapshot.words_of(kind, request.action)
    relations: list[str] = []
    facts: dict[str, Sequence[bool | None]] = {}
    if not bare:
        unknown = words.facts - request.facts.keys()
        facts |= dict.fromkeys(sorted(unknown & vocabulary.request_facts), KNOWN_OR_NOT)
        # Of a list, relations and facts are asked of each row.
        if lookup.about is not About.LIST:
            relations = sorted(words.who & vocabulary.relations.get(kind, frozenset()) - lookup.evaluated)
            facts |= dict.fromkeys(sorted(unknown & vocabulary.facts.get(kind, frozenset())), KNOWN)
    return relations, facts, () if recorded.told_state else (NO_STATE, *sorted(vocabulary.states.get(kind, ())))


def _verdict(
    snapshot: Snapshot, access_request: AccessRequest, recorded: RecordedRequest, before: Snapshot | None
) -> Again:
    verdict = apply_rules_and_laws(snapshot, access_request)
    if recorded.request.lookup.about is not About.LIST:
        return verdict
    left = fold_rules(snapshot, access_request)
    if not (left.shown or verdict.allowed):
        return verdict
    shown = Verdict(allowed=True, reason=Reason.ALLOWED, rules=_names(left.shown))
    return _of_rows(snapshot, access_request, recorded, before, shown) if recorded.listed else shown


def _of_rows(
    snapshot: Snapshot,
    access_request: AccessRequest,
    recorded: RecordedRequest,
    before: Snapshot | None,
    shown: Verdict,
) -> Again:
    """The verdict on a list that somebody got then, and would get now, by which rows it shows."""
    if before is None:
        return Undecidable(NO_VERSION)
    if before is snapshot:
        return shown
    asked_then, left = access_request_of_record(before, recorded), fold_rules(snapshot, access_request)
    left_then = fold_rules(before, asked_then)
    key = (before.digest, asked_then, access_request)
    rows = snapshot.memoize("rows", key, lambda: compared(left_then, left))
    if rows is ShownRows.SAME:
        return shown
    if rows is ShownRows.NONE and recorded.returned:
        return Verdict(allowed=False, reason=Reason.DENY_RULE, rules=_names(left.hidden))
    rules = ", ".join(differing(left_then, left))
    return Undecidable(f"{OTHER_ROWS}: {rules}" if rules else OTHER_ROWS)


def _names(rules: Iterable[tuple[Rule, RowCondition]]) -> tuple[str, ...]:
    """Rules that could show or hide a row, as `visibility` names them."""
    return tuple(rule.name for rule, _ in rules)[:MAX_RULES_PER_DECISION]


def _asked(snapshot: Snapshot, recorded: RecordedRequest) -> EvaluationRequest:
    """The request with the sign-in judged by this version's own thresholds."""
    request = recorded.request
    facts = {**request.facts, **sign_in_facts(snapshot, request.principal, recorded.age or 0)}
    return replace(request, facts=facts)


def _unseen(recorded: RecordedRequest) -> RecordedRequest:
    """A new row's request as it is when no scope can help: nothing is looked up, and the row counts as not there."""
    request = recorded.request
    lookup = replace(request.lookup, relations=frozenset(), evaluated=frozenset(), facts={})
    return replace(recorded, request=replace(request, lookup=lookup, facts={}), told_state=not recorded.found)


def _cause(relations: list[str], facts: list[str], states: tuple[str, ...], *, looked: bool) -> str:
    if not looked:
        return NOT_LOOKED
    told = [f"relation {name} was not evaluated" for name in relations]
    told += [f"fact {name} was not evaluated" for name in facts]
    return "; ".join([*told, STATE_NOT_RECORDED] if states else told)
