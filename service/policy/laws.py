"""The safety laws: what no policy version may allow, and what every version must keep possible. Pure: owns no state.

They bind every version. `check` proves them before a version may decide, and `law_forbids` checks every allowed
decision again, so that a single mistake is not enough to break them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.places import Complaint
from service.policy.access_request import ANYONE, NO_STATE, AccessRequest, Effect, Reason
from service.policy.attributes import OF_TIME
from service.policy.defined_facts import find_definition, possible_values
from service.policy.known_words import ACTED_FOR_OWNER, OWNER, REQUESTER
from service.policy.matching import former_word, matches
from service.policy.request_space import KNOWN, Budget, RequestSpace, smallest_requests, with_rule
from service.policy.rule_rows import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from service.policy.access_request import Rule, Verdict, Vocabulary

APPROVE = ("timesheet", "approve")
GRANT_ACCESS = ("access_request", "grant")
# Relations that keep the caller from an action, now or from before an erasure.
_OWN = {
    asked: frozenset({relation, former_word(relation)})
    for asked, relation in ((APPROVE, OWNER), (GRANT_ACCESS, REQUESTER))
}


@dataclass(frozen=True, slots=True)
class _Prohibition:
    """A law: no caller with `words` may do what is `asked`, a kind and an action, when each of the `facts` has one of
    its values here."""

    sentence: str
    asked: tuple[str, str]
    words: frozenset[str]
    facts: Mapping[str, Sequence[bool | None]]
    remedy: str


NEVER_OWN = _Prohibition(
    "Nobody may approve their own hours",
    APPROVE,
    frozenset({ANYONE, OWNER}),
    {ACTED_FOR_OWNER: (True, False)},
    "keep a row like: p, deny, owner, approve, any, timesheet, any, always, never-own-hours",
)
NEVER_FOR_OWNER = _Prohibition(
    "Nobody may approve hours that they may have entered or submitted on the owner's behalf",
    APPROVE,
    frozenset({ANYONE}),
    {ACTED_FOR_OWNER: (True, None)},
    "keep a row like: p, deny, anyone, approve, any, timesheet, any, acted_for_owner, never-for-owner",
)
NEVER_OWN_ACCESS = _Prohibition(
    "Nobody may grant their own access request",
    GRANT_ACCESS,
    frozenset({ANYONE, REQUESTER}),
    {},
    "keep a row like: p, deny, requester, grant, any, access_request, any, always, never-own-access",
)


def law_forbids(request: AccessRequest) -> bool:
    """Whether a law forbids the request, even if rules allow it.

    Nobody may approve as the owner, now or before an erasure, or when they may have acted for the owner, and nobody may
    grant access as its requester. The request must still hold these relations and `acted_for_owner` if they are known;
    the engine never drops these words.
    """
    asked = request.kind, request.action
    own = _OWN.get(asked)
    if own is None:
        return False
    return not request.who.isdisjoint(own) or (asked == APPROVE and request.fact(ACTED_FOR_OWNER) is not False)


def law_words(kind: str, action: str) -> tuple[frozenset[str], frozenset[str]]:
    """The who-words and facts that `law_forbids` needs for this kind and action, even if no rule mentions them."""
    asked = kind, action
    return _OWN.get(asked, frozenset()), frozenset({ACTED_FOR_OWNER} if asked == APPROVE else ())


def check(rules: Sequence[Rule], vocabulary: Vocabulary, decide: Callable[[AccessRequest], Verdict]) -> list[Complaint]:
    """A complaint for each law that the version breaks, by exact enumeration. `decide` must follow role links.
    A law with too many rules and facts to enumerate counts as broken.

    It decides the smallest requests of each allow rule (see `request_space`), with the words of the law added. Before
    that, it decides the words of the law alone: a deny that matches them matches every larger request. Facts that read
    the time count as unknown for what must stay possible: then it is allowed at all times.
    """
    complaints = []
    for law in (NEVER_OWN, NEVER_FOR_OWNER, NEVER_OWN_ACCESS):
        complaints += _check_nobody(rules, vocabulary, decide, law)
    for kind, action, what in (
        ("policy", "propose", "propose a policy version"),
        ("policy", "activate", "activate a policy version"),
        ("log", "read", "read the decision log"),
    ):
        # A version is activated from one of its states. The other two actions are decided without a resource.
        states = (vocabulary.states.get(kind, frozenset()) - {"active"}) if action == "activate" else frozenset[str]()
        sentence = f"Some caller must be able to {what}"
        complaints += _check_somebody(rules, vocabulary, states or {NO_STATE}, decide, (kind, action), sentence)
    return complaints


def _check_nobody(
    rules: Sequence[Rule], vocabulary: Vocabulary, decide: Callable[[AccessRequest], Verdict], law: _Prohibition
) -> list[Complaint]:
    """A complaint if a caller whom the law is about may do what it forbids. An action that the version does not know is
    allowed to nobody."""
    kind, action = law.asked
    if action not in vocabulary.actions.get(kind, ()):
        return []
    own = _rules_about(rules, law.asked)
    allows = [rule for rule in own if rule.effect is Effect.ALLOW]
    certain = [rule for rule in own if _is_certain_deny(rule, law)]
    ask = _within_budget(decide, len(own))
    base = AccessRequest(*law.asked, NO_STATE, law.words, frozenset(), frozenset())
    states = (*sorted(vocabulary.states.get(law.asked[0], ())), NO_STATE)
    others = {name: values for name, values in _mentioned_facts(own, vocabulary).items() if name not in law.facts}
    try:
        for smallest in RequestSpace(base, states, law.facts):
            if ask(smallest).reason is Reason.DENY_RULE and any(matches(rule, smallest) for rule in certain):
                continue
            for request in RequestSpace(smallest, None, others):
                if ask(request).reason is Reason.DENY_RULE:
                    continue
                for rule in allows:
                    if ask(larger := with_rule(request, rule)).allowed:
                        return [_complain_broken(law, rule, larger)]
    except _TooManyRequestsError:
        return [_complain_unproved(law.sentence, law.remedy)]
    return []


def _is_certain_deny(rule: Rule, law: _Prohibition) -> bool:
    """Whether it is a deny that other facts than those of the law do not keep from matching."""
    return rule.effect is Effect.DENY and all(condition.fact in law.facts for condition in rule.when)


def _check_somebody(
    rules: Sequence[Rule],
    vocabulary: Vocabulary,
    states: Collection[str],
    decide: Callable[[AccessRequest], Verdict],
    wanted: tuple[str, str],
    law: str,
) -> list[Complaint]:
    """A complaint unless there is an access request for this kind and action that is allowed at any time."""
    own = _rules_about(rules, wanted)
    facts = _mentioned_facts(own, vocabulary)
    of_time = [name for name, values in facts.items() if len(values) > 1 and _reads_time(vocabulary, wanted[0], name)]
    try:
        if _is_possible(own, states, decide, wanted, {**facts, **dict.fromkeys(of_time, (None,))}):
            return []
        if not of_time or not _is_possible(own, states, decide, wanted, facts):
            return [Complaint(FILE, 0, 0, law, "a safety law: add a row that allows it")]
    except _TooManyRequestsError:
        return [_complain_unproved(law, f"use fewer facts in rows about {wanted[1]} of the kind {wanted[0]}")]
    message = f"{law} at any time: here it depends on {' and '.join(of_time)}, so there can be times when nobody can"
    return [Complaint(FILE, 0, 0, message, "a safety law: allow it to a role that no row with these facts is about")]


class _TooManyRequestsError(Exception):
    """The proof needs too many decisions."""


def _within_budget(decide: Callable[[AccessRequest], Verdict], rows: int) -> Callable[[AccessRequest], Verdict]:
    """As `decide`, for which casbin walks so many rows. It raises _TooManyRequestsError once that is too many."""
    budget = Budget()

    def ask(request: AccessRequest) -> Verdict:
        if not budget.spend_on_casbin(rows):
            raise _TooManyRequestsError
        return decide(request)

    return ask


def _is_possible(
    own: Sequence[Rule],
    states: Collection[str],
    decide: Callable[[AccessRequest], Verdict],
    wanted: tuple[str, str],
    facts: Mapping[str, Sequence[bool | None]],
) -> bool:
    """Whether a request with these values of facts is allowed. Raises _TooManyRequestsError."""
    ask = _within_budget(decide, len(own))
    base = AccessRequest(*wanted, NO_STATE, frozenset({ANYONE}), frozenset(), frozenset())
    return any(
        ask(request).allowed
        for rule in own
        if rule.effect is Effect.ALLOW
        for request in smallest_requests(rule, base, sorted(states), facts)
    )


def _reads_time(vocabulary: Vocabulary, kind: str, fact: str) -> bool:
    """Whether the value of a defined fact can change by time alone."""
    expression = find_definition(vocabulary, kind, fact)
    return expression is not None and not expression.attributes.isdisjoint(OF_TIME)


def _rules_about(rules: Iterable[Rule], wanted: tuple[str, str]) -> list[Rule]:
    return [rule for rule in rules if (rule.kind, rule.action) == wanted]


def _mentioned_facts(rules: Iterable[Rule], vocabulary: Vocabulary) -> dict[str, Sequence[bool | None]]:
    """The facts that the rules of an action mention, each with the values that it can have. One that is never true nor
    false is unknown."""
    asked = {(condition.fact, rule.kind, rule.action) for rule in rules for condition in rule.when}
    return {
        fact: [value for value in KNOWN if value in possible_values(vocabulary, kind, action, fact)] or [None]
        for fact, kind, action in sorted(asked)
    }


def _complain_unproved(sentence: str, remedy: str) -> Complaint:
    message = f"{sentence}: this version has too many rows and facts to prove this"
    return Complaint(FILE, 0, 0, message, remedy)


def _complain_broken(law: _Prohibition, rule: Rule, request: AccessRequest) -> Complaint:
    facts = ", ".join(f"{name} {str(value).lower()}" for name, value in sorted(request.facts)) or "no fact known"
    who = " and ".join(sorted(request.who - {ANYONE})) or ANYONE
    state = request.state or "none"
    message = f"{law.sentence}: the row '{rule.name}' would allow it to {who} in state '{state}' with {facts}"
    return Complaint(FILE, rule.line, 1, message, law.remedy)
