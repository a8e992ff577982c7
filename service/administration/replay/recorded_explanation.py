"""Explains a recorded decision: the rules that allowed or denied, with their rows, or the near misses. Pure.

For auditors and for the caller, from the record and the version that decided. It mentions other people where the rules
do, if that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.administration.replay.recorded_values import RecordedValues, attributes_recorded_under
from service.administration.replay.reevaluation import access_request_of_record
from service.authorization.enforcement.fact_lookup import About
from service.authorization.enforcement.refusal import find_requestable_miss, is_of_another
from service.authorization.engine.explanation import ConditionInWords, NearRuleInWords, explain, nearest
from service.policy.access_request import FACT_VALUES, Reason
from service.policy.sentences import show_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.administration.replay.recorded_request import RecordedRequest
    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import Rule

MAX_NEAR_MISSES: Final = 50
MAX_FACTS: Final = 20
BECAUSE: Final = {
    Reason.ALLOWED: "A rule of the policy allowed this, and none denied it",
    Reason.DENY_RULE: "A rule of the policy denied this, even if others allowed it",
    Reason.NO_RULE: "No rule of the policy allowed this",
    Reason.INSUFFICIENT_SCOPE: "No rule could allow this with the scopes of the token, so nothing was looked up",
    Reason.UNKNOWN_RESOURCE: "There was no such resource, or no rule could allow this, so it was not looked up",
    Reason.LAW: "The rules allowed this, but a law in code forbids it",
    Reason.POLICY_ERROR: "The policy could not evaluate this request, so it was refused",
}
LAWS: Final = {
    "approve": "nobody approves their own hours, or hours that they entered or submitted",
    "unlock": "nobody unlocks what they locked",
    "activate": "going back does not lift four eyes, and an earlier version denies this to its proposer",
}
OTHER_TEXTS: Final = "The texts of policy version {number} are not those that decided this, so no rules are named"
LISTED: Final = "A list: these rules could show rows to the caller, without the rows that a rule denies"


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule as it stands in the version's policy.csv."""

    rule: str
    effect: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class NearRow:
    """A row that would have allowed, except for the `missing` conditions."""

    row: RuleRow
    missing: tuple[ConditionInWords, ...]


@dataclass(frozen=True, slots=True)
class DefinedFact:
    """A fact with its value then (true, false or unknown), its expression, and the values that this saw, as text."""

    name: str
    value: str
    expression: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RecordedExplanation:
    """`because` is a sentence, `rows` allowed or denied. A denial without a rule has the `near` misses, nearest first,
    and the `scopes` of which one would help. `facts`: those that these rows ask for and the version defines.
    `requestable`: the relation that alone was missing, if access requests could ask for it."""

    because: str
    rows: tuple[RuleRow, ...]
    near: tuple[NearRow, ...] = ()
    scopes: tuple[str, ...] = ()
    facts: tuple[DefinedFact, ...] = ()
    requestable: str | None = None


def explain_record(
    snapshot: Snapshot, recorded: RecordedRequest, *, to_caller: bool = False, of_others: bool = True
) -> RecordedExplanation:
    """Explain a decision under the version that made it, in sentences to the caller (`to_caller`) or about them. Rules
    that name another person or client are near misses only `of_others`."""
    if snapshot.digest != recorded.digest:
        return RecordedExplanation(OTHER_TEXTS.format(number=recorded.version), ())
    request, verdict = recorded.request, recorded.verdict
    kind, action, about = request.resource.kind, request.action, request.lookup.about
    rules = {rule.name: rule for rule in snapshot.rules_of(kind, action)}
    rows = tuple(_row(snapshot, rules[name]) for name in verdict.rules if name in rules)
    because = LISTED if verdict.allowed and about is About.LIST else BECAUSE[verdict.reason]
    if verdict.reason is Reason.LAW and action in LAWS:
        because = f"{because}: {LAWS[action]}"
    values = RecordedValues(recorded, attributes_recorded_under(snapshot.vocabulary, kind))
    if verdict.reason not in {Reason.NO_RULE, Reason.INSUFFICIENT_SCOPE}:
        decided = [rules[name] for name in verdict.rules if name in rules]
        return RecordedExplanation(because, rows, facts=_describe_facts(snapshot, recorded, values, decided))
    access_request = access_request_of_record(snapshot, recorded)
    why = explain(rules.values(), access_request)
    known = snapshot.vocabulary.known_attributes(kind)
    read, _ = values.read([(name, attribute.type) for name, attribute in known.items()])
    words = snapshot.vocabulary.with_values(read)
    found = nearest(why, access_request, words, of_others=of_others, to_caller=to_caller)
    if not request.lookup.looked:
        found = _keep_conditions(found, lambda condition: condition.condition == "scope")
    elif about is About.LIST:
        relations = snapshot.vocabulary.relations.get(kind, frozenset())
        facts = snapshot.vocabulary.facts.get(kind, frozenset())
        # These belong to single rows: the list as a whole was not missing them.
        found = _keep_conditions(
            found,
            lambda condition: (
                condition.condition != "state"
                and condition.wanted not in relations
                and condition.wanted.removeprefix("not ") not in facts
            ),
        )
    near = tuple(NearRow(_row(snapshot, rules[miss.rule]), miss.missing) for miss in found[:MAX_NEAR_MISSES])
    scopes = snapshot.scopes_for(kind, action) if verdict.reason is Reason.INSUFFICIENT_SCOPE else ()
    if scopes:
        because = f"{because}; it needs {' or '.join(scopes)}"
    defined = _describe_facts(snapshot, recorded, values, [rules[row.row.rule] for row in near])
    requestable = None
    if about is About.ROW and recorded.found and is_of_another(request.principal, request.lookup):
        requestable = find_requestable_miss(snapshot, kind, why)
    return RecordedExplanation(because, rows, near, scopes, defined, requestable)


def _describe_facts(
    snapshot: Snapshot, recorded: RecordedRequest, values: RecordedValues, rules: Iterable[Rule]
) -> tuple[DefinedFact, ...]:
    """The facts with an expression that these rules ask for, of a list only those about the caller."""
    request, definitions = recorded.request, snapshot.vocabulary.definitions
    kinds = ("",) if request.lookup.about is About.LIST else (request.resource.kind, "")
    asked = dict.fromkeys(condition.fact for rule in rules for condition in rule.when)
    found = []
    for name in asked if request.lookup.looked else ():
        expression = next((definitions[kind, name] for kind in kinds if (kind, name) in definitions), None)
        if expression is not None:
            read, absent = values.read(expression.types)
            seen = [(word, show_value(read.get(word))) for word, _ in expression.types if word not in absent]
            seen += [(word, recorded.lost.get(word, "was not recorded")) for word in absent]
            value = FACT_VALUES[request.facts.get(name)]
            found.append(DefinedFact(name, value, expression.text, tuple(sorted(seen))))
    return tuple(found[:MAX_FACTS])


def _keep_conditions(
    found: Iterable[NearRuleInWords], keep: Callable[[ConditionInWords], bool]
) -> tuple[NearRuleInWords, ...]:
    """The near misses with only the conditions to keep, nearest first."""
    kept = [NearRuleInWords(miss.rule, tuple(filter(keep, miss.missing))) for miss in found]
    return tuple(sorted(kept, key=lambda miss: len(miss.missing)))


def _row(snapshot: Snapshot, rule: Rule) -> RuleRow:
    lines = snapshot.policy.text.rules.split("\n")
    text = " ".join(lines[rule.line - 1].split()) if 0 < rule.line <= len(lines) else ""
    return RuleRow(rule.name, rule.effect.value, rule.line, text)
