"""Why a recorded decision is what it is: the rules that allowed or denied with their rows, or each near miss. Pure.

For auditors, from the record and the version that decided, so it says everything that the rules say, also of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.administration.replay.reevaluation import access_request_of_record
from service.authorization.enforcement.relationships import About
from service.authorization.engine.explanation import ConditionInWords, NearRuleInWords, explain, nearest
from service.policy.access_request import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.administration.replay.recorded_request import RecordedRequest
    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import Rule

MAX_NEAR: Final = 50
BECAUSE: Final = {
    Reason.ALLOWED: "A rule of the policy allowed this, and none denied it",
    Reason.DENY_RULE: "A rule of the policy denied this, whatever others allowed",
    Reason.NO_RULE: "No rule of the policy allowed this",
    Reason.INSUFFICIENT_SCOPE: "No rule could allow this with the scopes of the token, so nothing was looked up",
    Reason.UNKNOWN_RESOURCE: "There was no such thing; or no rule could allow this, so it was not looked up",
    Reason.LAW: "The rules allowed this, but a law in code forbids it",
    Reason.POLICY_ERROR: "The policy could not decide this question, so it was refused",
}
LAWS: Final = {
    "approve": "nobody approves hours that are their own, or that they entered or submitted",
    "unlock": "nobody unlocks what they locked",
    "activate": "going back does not lift four eyes, and a version that was left denies this to its proposer",
}
LISTED: Final = "A list: these rules could show rows to the caller; rows that a rule denied were left out"


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule as it stands in the version's policy.csv."""

    rule: str
    effect: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class NearRow:
    """A row that would have allowed but for `missing`."""

    row: RuleRow
    missing: tuple[ConditionInWords, ...]


@dataclass(frozen=True, slots=True)
class RecordedExplanation:
    """`because` in a sentence; `rows` that allowed or denied; for a denial without a rule, `near` misses, nearest
    first, and the `scopes` of which one would help."""

    because: str
    rows: tuple[RuleRow, ...]
    near: tuple[NearRow, ...] = ()
    scopes: tuple[str, ...] = ()


def explained(snapshot: Snapshot, recorded: RecordedRequest, *, to_caller: bool = False) -> RecordedExplanation:
    """The why of a decision under the version that made it, said `to_caller` or to somebody else about the caller."""
    request, verdict = recorded.request, recorded.verdict
    kind, action, about = request.resource.kind, request.action, request.lookup.about
    rules = {rule.name: rule for rule in snapshot.rules_of(kind, action)}
    rows = tuple(_row(snapshot, rules[name]) for name in verdict.rules if name in rules)
    because = LISTED if verdict.allowed and about is About.LIST else BECAUSE[verdict.reason]
    if verdict.reason is Reason.LAW and action in LAWS:
        because = f"{because}: {LAWS[action]}"
    if verdict.reason not in {Reason.NO_RULE, Reason.INSUFFICIENT_SCOPE}:
        return RecordedExplanation(because, rows)
    access_request = access_request_of_record(snapshot, recorded)
    why = explain(rules.values(), access_request)
    found = nearest(why, access_request, snapshot.vocabulary, of_others=True, to_caller=to_caller)
    if not request.lookup.looked:
        found = _only(found, lambda one: one.condition == "scope")
    elif about is About.LIST:
        relations = snapshot.vocabulary.relations.get(kind, frozenset())
        facts = snapshot.vocabulary.facts.get(kind, frozenset())
        # Of a list, these are asked of each row: no row was missing them.
        found = _only(
            found,
            lambda one: (
                one.condition != "state"
                and one.wanted not in relations
                and one.wanted.removeprefix("not ") not in facts
            ),
        )
    near = tuple(NearRow(_row(snapshot, rules[one.rule]), one.missing) for one in found[:MAX_NEAR])
    scopes = snapshot.scopes_for(kind, action) if verdict.reason is Reason.INSUFFICIENT_SCOPE else ()
    if scopes:
        because = f"{because}; it needs {' or '.join(scopes)}"
    return RecordedExplanation(because, rows, near, scopes)


def _only(found: Iterable[NearRuleInWords], told: Callable[[ConditionInWords], bool]) -> tuple[NearRuleInWords, ...]:
    """The near misses with nothing but these conditions, nearest first."""
    kept = [NearRuleInWords(one.rule, tuple(lack for lack in one.missing if told(lack))) for one in found]
    return tuple(sorted(kept, key=lambda one: len(one.missing)))


def _row(snapshot: Snapshot, rule: Rule) -> RuleRow:
    lines = snapshot.policy.text.rules.split("\n")
    text = " ".join(lines[rule.line - 1].split()) if 0 < rule.line <= len(lines) else ""
    return RuleRow(rule.name, rule.effect.value, rule.line, text)
