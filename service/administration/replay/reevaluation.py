"""Evaluates a recorded request again under any policy version, from its record alone. Pure: owns no state.

What the record does not hold is never guessed: if it could matter, every value is tried. Unless all give the same
verdict, the result is Undecidable, with its cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from service.administration.replay.interpretation import interpret, put_in_common_words
from service.administration.replay.list_comparison import ShownRows, compare_rows, differing_rules
from service.authorization.enforcement.attribute_values import GROUPS
from service.authorization.enforcement.decision_point import (
    BY_LAW,
    NO_ROW,
    NO_SCOPE,
    access_request_of,
    apply_rules_and_laws,
    sign_in_facts,
)
from service.authorization.enforcement.fact_lookup import About
from service.authorization.engine.row_conditions import fold_rules
from service.identity.principal import PrincipalKind
from service.policy import known_words
from service.policy.access_request import MAX_RULES_PER_DECISION, NO_STATE, Reason, Verdict
from service.policy.known_words import AGENT
from service.policy.matching import ACTOR, GROUP, PERSON, former_word
from service.policy.request_space import KNOWN, KNOWN_OR_NOT, Budget, RequestSpace
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from service.administration.replay.recorded_request import RecordedRequest
    from service.authorization.enforcement.decision_point import EvaluationRequest
    from service.authorization.engine.engine import Snapshot
    from service.authorization.engine.row_conditions import RowCondition
    from service.policy.access_request import AccessRequest, Rule

# casbin evaluates each request whose verdict is not cached, and a replay has many records.
MAX_REQUESTS_PER_RECORD: Final = 512
NOT_LOOKED: Final = "nothing was looked up, because no scope of the token could have helped"
OTHER_ROWS: Final = "the record of a list does not hold all rows, and other rules would show or hide them"
STATE_NOT_RECORDED: Final = "the state was not recorded"
FORMER_IDS: Final = "the record does not hold the person's ids before an erasure, and a rule denies this to certain ids"
NO_KIND: Final = "this release has no resources of the kind {kind}"
OTHER_TEXTS: Final = "the texts of version {number} are not those that decided this"
NO_VERSION: Final = "the version that made the list cannot be read by this code, so its rows cannot be compared"


@dataclass(frozen=True, slots=True)
class Undecidable:
    """The record does not hold what this version asks for. `cause` says what; the same cause has the same words."""

    cause: str


Reevaluation: TypeAlias = Verdict | Undecidable


def reevaluate(snapshot: Snapshot, recorded: RecordedRequest, before: Snapshot | None = None) -> Reevaluation:
    """The verdict of `snapshot` on the request, with every refusal that the gate would add.

    `before` is the version that decided. An allowed list has the same verdict only if it would show the same rows,
    whichever rows there were; a list that returned rows and would show none counts as denied.
    """
    then = snapshot if snapshot.number == recorded.version else before
    if then is not None and then.digest != recorded.digest:
        return Undecidable(OTHER_TEXTS.format(number=recorded.version))
    verdict = _evaluate(snapshot, recorded, before)
    if recorded.former_hidden and isinstance(verdict, Verdict):
        verdict = _agree(verdict, _evaluate(snapshot, _with_any_former_ids(snapshot, recorded, then), before))
    if isinstance(verdict, Verdict) and verdict.allowed and recorded.verdict.reason is Reason.LAW:
        # A law in code refused this row; it does so under every policy.
        return BY_LAW
    return verdict


def access_request_of_record(snapshot: Snapshot, recorded: RecordedRequest) -> AccessRequest:
    """The access request in the record: a relation that is not recorded does not hold, a fact is unknown."""
    return access_request_of(snapshot, _with_sign_in_facts(snapshot, recorded))


def _agree(verdict: Verdict, other: Reevaluation) -> Reevaluation:
    """The verdict, with the rules of both, if the other one is the same; otherwise the former ids decide."""
    if isinstance(other, Undecidable) or (verdict.allowed, verdict.reason) != (other.allowed, other.reason):
        return Undecidable(FORMER_IDS)
    return replace(verdict, rules=tuple(name for name in verdict.rules if name in other.rules))


def _with_any_former_ids(snapshot: Snapshot, recorded: RecordedRequest, then: Snapshot | None) -> RecordedRequest:
    """The request of a person whose former ids are all persons that a rule denies this to, and for whom every relation
    and fact held. Not those that the version which decided, `then`, asked for, as the record tells these."""
    request = recorded.request
    words = snapshot.words_of(request.resource.kind, request.action).who
    recorded_words = then.words_of(request.resource.kind, request.action) if then else None
    hidden_words = words - recorded_words.who if recorded_words else words
    prefix = former_word(PERSON)
    named = frozenset(UUID(word.removeprefix(prefix)) for word in hidden_words if word.startswith(prefix))
    relations = {former_word(name) for name in request.lookup.evaluated - request.lookup.relations}
    lookup = replace(
        request.lookup,
        former_ids=request.lookup.former_ids | named,
        relations=request.lookup.relations | (relations - recorded_words.who if recorded_words else relations),
    )
    of_people = known_words.FACTS.get(request.resource.kind, frozenset())
    hidden = of_people - recorded_words.facts if recorded_words else of_people
    facts = {name: None if value is False and name in hidden else value for name, value in request.facts.items()}
    return replace(recorded, request=replace(request, lookup=lookup, facts=facts))


def _evaluate(snapshot: Snapshot, recorded: RecordedRequest, before: Snapshot | None) -> Reevaluation:
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
    if may_look and (before is not None or snapshot.number != recorded.version):
        recorded = interpret(snapshot, recorded, before)
    if lookup.about is About.NEW and not may_look:
        recorded = _without_lookup(recorded)
    elif lookup.about is About.NEW and not lookup.looked:
        # The row may have existed already, in any state.
        recorded = replace(recorded, state_recorded=False)
    return _evaluate_possible(snapshot, recorded, before, bare=not may_look)


def _evaluate_possible(
    snapshot: Snapshot, recorded: RecordedRequest, before: Snapshot | None, *, bare: bool
) -> Reevaluation:
    """The verdict, if it is the same for every value that the record does not hold. `bare`: without a fact lookup."""
    request = _with_sign_in_facts(snapshot, recorded)
    relations, facts, states = _missing_values(snapshot, recorded, request, bare=bare)
    known = access_request_of(snapshot, request)
    cause = _cause(recorded, relations, list(facts), states)
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


def _missing_values(
    snapshot: Snapshot, recorded: RecordedRequest, request: EvaluationRequest, *, bare: bool
) -> tuple[list[str], dict[str, Sequence[bool | None]], tuple[str, ...]]:
    """The relations, facts (with their possible values) and states that rules ask for and the record does not hold."""
    kind, lookup, vocabulary = request.resource.kind, request.lookup, snapshot.vocabulary
    words = snapshot.words_of(kind, request.action)
    relations: list[str] = []
    facts: dict[str, Sequence[bool | None]] = {}
    if not bare:
        unknown = words.facts - request.facts.keys()
        facts |= dict.fromkeys(sorted(unknown & vocabulary.request_facts), KNOWN_OR_NOT)
        # Relations and facts of a list are those of each row.
        if lookup.about is not About.LIST:
            relations = sorted(words.who & vocabulary.relations.get(kind, frozenset()) - lookup.evaluated)
            of_row = sorted(unknown & vocabulary.facts.get(kind, frozenset()))
            facts |= {name: KNOWN_OR_NOT if (kind, name) in vocabulary.definitions else KNOWN for name in of_row}
        relations += _missing_words(snapshot, recorded)
    return relations, facts, () if recorded.state_recorded else (NO_STATE, *sorted(vocabulary.states.get(kind, ())))


def _missing_words(snapshot: Snapshot, recorded: RecordedRequest) -> list[str]:
    """The actors and groups that rows name, where the record does not say who acted, or the groups of a person."""
    request = recorded.request
    forms = [] if recorded.attributes_recorded else [ACTOR]
    groups_known = recorded.attributes_recorded and GROUPS not in recorded.lost
    if not groups_known and request.principal.kind is PrincipalKind.USER:
        forms.append(GROUP)
    if not forms:
        return []
    named = {rule.who for rule in snapshot.rules_of(request.resource.kind, request.action)}
    return sorted(word for word in named if word.startswith(tuple(forms)))


def _verdict(
    snapshot: Snapshot, access_request: AccessRequest, recorded: RecordedRequest, before: Snapshot | None
) -> Reevaluation:
    verdict = apply_rules_and_laws(snapshot, access_request)
    if recorded.request.lookup.about is not About.LIST:
        return verdict
    left = fold_rules(snapshot, access_request)
    if not (left.shown or verdict.allowed):
        return verdict
    shown = Verdict(allowed=True, reason=Reason.ALLOWED, rules=_names(left.shown))
    return _evaluate_list(snapshot, access_request, recorded, before, shown) if recorded.listed else shown


def _evaluate_list(
    snapshot: Snapshot,
    access_request: AccessRequest,
    recorded: RecordedRequest,
    before: Snapshot | None,
    shown: Verdict,
) -> Reevaluation:
    """The verdict on a list that was allowed then and would be now, by the rows that it shows."""
    if before is None:
        return Undecidable(NO_VERSION)
    if before is snapshot:
        return shown
    request_then = access_request_of_record(before, recorded)
    key = (before.digest, request_then, access_request)
    rows, rules = snapshot.memoize("rows", key, lambda: _compare_lists(before, request_then, snapshot, access_request))
    if rows is ShownRows.SAME:
        return shown
    if rows is ShownRows.NONE and recorded.returned:
        hidden = fold_rules(snapshot, access_request).hidden
        return Verdict(allowed=False, reason=Reason.DENY_RULE, rules=_names(hidden))
    return Undecidable(f"{OTHER_ROWS}: {rules}" if rules else OTHER_ROWS)


def _compare_lists(
    before: Snapshot, request_then: AccessRequest, snapshot: Snapshot, request_now: AccessRequest
) -> tuple[ShownRows, str]:
    """How the shown rows differ, and the rules that make the difference."""
    then, now = (
        put_in_common_words(fold_rules(version, request), request.kind, version.vocabulary)
        for version, request in ((before, request_then), (snapshot, request_now))
    )
    return compare_rows(then, now), ", ".join(differing_rules(then, now))


def _names(rules: Iterable[tuple[Rule, RowCondition]]) -> tuple[str, ...]:
    """The names of rules that could show or hide a row."""
    return tuple(rule.name for rule, _ in rules)[:MAX_RULES_PER_DECISION]


def _with_sign_in_facts(snapshot: Snapshot, recorded: RecordedRequest) -> EvaluationRequest:
    """The request with the facts of the token under this version's thresholds. A record of an older release does not
    say whether an agent acted."""
    request = recorded.request
    now = int(request.lookup.at.timestamp())
    facts = {**request.facts, **sign_in_facts(snapshot, request.principal, now)}
    if not recorded.attributes_recorded:
        del facts[AGENT]
    return replace(request, facts=facts)


def _without_lookup(recorded: RecordedRequest) -> RecordedRequest:
    """The request about a new row without a fitting scope: nothing is looked up, and the row counts as missing."""
    request = recorded.request
    lookup = replace(request.lookup, relations=frozenset(), evaluated=frozenset(), facts={})
    return replace(recorded, request=replace(request, lookup=lookup, facts={}), state_recorded=not recorded.found)


def _cause(recorded: RecordedRequest, relations: list[str], facts: list[str], states: tuple[str, ...]) -> str:
    if not recorded.request.lookup.looked:
        return NOT_LOOKED
    known = recorded.open_words
    causes = [
        f"{'actors' if name.startswith(ACTOR) else 'groups'} were not recorded"
        if name.startswith((ACTOR, GROUP))
        else f"relation {name} was not evaluated"
        for name in relations
        if name not in known
    ]
    causes += [f"fact {name} was not evaluated" for name in facts if name not in known]
    causes += [known[name] for name in (*relations, *facts) if name in known]
    return "; ".join(dict.fromkeys([*causes, STATE_NOT_RECORDED] if states else causes))
