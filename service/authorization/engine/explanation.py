"""Why a verdict is what it is: rules that applied, and for each rule that nearly did, what was missing. Pure.

Callers get sentences that say "you", in the words of vocabulary.toml. Auditors get the whole Explanation, in sentences
that say "the caller": they are somebody else, and a vocabulary speaks to the caller alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.policy.access_request import ANY, ANYONE, NO_STATE, Applied, Effect, Explanation, Missing
from service.policy.matching import VIA, concerns, fact_word, missing, names_somebody, state_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.authorization.engine.rule_index import RuleIndex
    from service.policy.access_request import AccessRequest, Dimension, Rule, Vocabulary

MAX_SENTENCES = 5
# Rules that are not near the asker and are looked at all the same, because they may come nearest.
MAX_OTHERS = 50
NOTHING_ALLOWS = "no rule of the policy allows this"
A_RULE_FORBIDS = "a rule of the policy forbids this"
# By the form of a who-word: why a rule applied, and why it did not. Relations have sentences of their own in the
# vocabulary.
BEING = {
    "role": "you have the role {}",
    "person": "this is forbidden to you personally",
    "client": "this is forbidden to you, the client {}",
    "via": "this is forbidden to you while you ask through the client {}",
}
NOT_BEING = {
    "role": "you do not have the role {}",
    "person": "you are not the person {}",
    "client": "you are not the client {}, asking for itself",
    "via": "you do not ask through the client {}",
}
# The same, said to somebody else than the caller, about a decision that was made.
CALLER_NOT_BEING = {
    "role": "the caller did not have the role {}",
    "person": "the caller was not the person {}",
    "client": "the caller was not the client {}, asking for itself",
    "via": "the caller did not ask through the client {}",
}
ANSWERS = {True: "yes", False: "no", None: "unknown"}
KNOWN = {True: "true", False: "false", None: "unknown"}


@dataclass(frozen=True, slots=True)
class Lack:
    """A condition that did not hold: `condition` is `who`, `state`, `scope` or `fact`, `wanted` the row's word, and the
    sentence says it to the caller, or of the caller."""

    condition: Dimension
    wanted: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Near:
    """A rule that would have allowed but for `missing`."""

    rule: str
    missing: tuple[Lack, ...]


def explain(rules: Iterable[Rule], request: AccessRequest) -> Explanation:
    """The whole why of the verdict that these rules give on this request.

    Near misses are allow rules, those with the fewest missing conditions first, then in the order of the file; there
    are none when a rule allowed.
    """
    candidates = [rule for rule in rules if concerns(rule, request.kind, request.action)]
    allowed_by: list[Rule] = []
    denies: list[Rule] = []
    misses: list[Missing] = []
    for rule in candidates:
        lacking = missing(rule, request)
        if not lacking:
            (allowed_by if rule.effect is Effect.ALLOW else denies).append(rule)
        elif rule.effect is Effect.ALLOW:
            misses.append(Missing(rule.name, lacking))
    return Explanation(
        allowed_by=tuple(rule.name for rule in allowed_by),
        denied_by=tuple(rule.name for rule in denies),
        near_misses=() if allowed_by else tuple(sorted(misses, key=lambda miss: len(miss.conditions))),
        denied_because=tuple(Applied(rule.name, _conditions(rule)) for rule in denies),
    )


def explain_nearest(index: RuleIndex, request: AccessRequest, hoped: frozenset[str] = frozenset()) -> Explanation:
    """As `explain`, of the rules on a word of the asker's, or on one of those `hoped` for, and of the nearest of the
    others: what a caller is told, in a time that does not grow with the rules that have nothing to do with them."""
    who = request.who | hoped
    return explain(index.in_order([*index.near(who), *index.others(who, request, MAX_OTHERS)]), request)


def sentences_for_caller(explanation: Explanation, request: AccessRequest, vocabulary: Vocabulary) -> tuple[str, ...]:
    """What to tell the caller of a denial, nearest first, at most five; empty for an allow.

    A deny rule's grounds come first and alone. Otherwise there is one sentence for each near miss; its conditions are
    joined by semicolons.
    """
    if explanation.denied_by:
        grounds = [_grounds(one, request, vocabulary) for one in explanation.denied_because]
        return tuple(dict.fromkeys(grounds))[:MAX_SENTENCES]
    if explanation.allowed_by:
        return ()
    told: dict[str, None] = {}
    for near in _nearest(explanation, request, vocabulary, of_others=False, to_caller=True):
        told["; ".join(one.sentence for one in near.missing)] = None
        if len(told) == MAX_SENTENCES:
            break
    return tuple(told) or (NOTHING_ALLOWS,)


def nearest(
    explanation: Explanation,
    request: AccessRequest,
    vocabulary: Vocabulary,
    *,
    of_others: bool = False,
    to_caller: bool = True,
) -> tuple[Near, ...]:
    """The near misses of a denial with each missing condition in words, nearest first; none when a rule denied. Rules
    that name another person or client are left out unless auditors ask `of_others`. The words are said `to_caller`, or
    to somebody else about the caller."""
    if explanation.denied_by:
        return ()
    return tuple(_nearest(explanation, request, vocabulary, of_others=of_others, to_caller=to_caller))


def _nearest(
    explanation: Explanation, request: AccessRequest, vocabulary: Vocabulary, *, of_others: bool, to_caller: bool
) -> Iterator[Near]:
    say = _wanting if to_caller else _wanting_of_caller
    return (
        Near(miss.rule, tuple(Lack(*one, say(*one, request, vocabulary)) for one in miss.conditions))
        for miss in explanation.near_misses
        if of_others or not any(names_somebody(word) for kind, word in miss.conditions if kind == "who")
    )


def _conditions(rule: Rule) -> tuple[tuple[Dimension, str], ...]:
    """What a rule asks for, beyond what holds for everybody."""
    found: list[tuple[Dimension, str]] = [] if rule.who == ANYONE else [("who", rule.who)]
    found += [("state", state_words(rule))] if rule.states else []
    found += [("scope", rule.scope)] if rule.scope != ANY else []
    return (*found, *(("fact", fact_word(one)) for one in rule.when))


def _grounds(applied: Applied, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """Why a deny rule applied, as far as it speaks of the caller."""
    told = []
    for dimension, word in applied.conditions:
        if dimension == "who":
            told.append(_being(word, request, vocabulary))
        elif dimension == "fact":
            told.append(_fact(word, request, vocabulary))
        elif dimension == "state":
            told.append(f"{_thing(request, vocabulary)} is {_state(request.state, request, vocabulary)}")
    return "; ".join(sentence for sentence in told if sentence) or A_RULE_FORBIDS


def _being(word: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """What somebody is to whom a rule on this word applies."""
    form, _, name = word.partition(":")
    if not name:
        return _said(vocabulary, f"who.{request.kind}.{word}.yes")
    # A deny on a client holds also while it acts for a user.
    return BEING["via" if VIA + name in request.who else form].format(name)


def _wanting(dimension: str, word: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """One missing condition in words."""
    if dimension == "scope":
        return f"needs scope {word}"
    if dimension == "state":
        wanted = " or ".join(_state(part, request, vocabulary) for part in word.split(" or "))
        if request.state == NO_STATE:
            return f"{_thing(request, vocabulary)} must be {wanted}"
        return f"{_thing(request, vocabulary)} is {_state(request.state, request, vocabulary)}, not {wanted}"
    if dimension == "fact":
        return _fact(word, request, vocabulary)
    form, _, name = word.partition(":")
    if name:
        return NOT_BEING[form].format(name)
    return _said(vocabulary, f"who.{request.kind}.{word}.no") or f"you are not {word} here"


def _wanting_of_caller(dimension: str, word: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """The same, said to somebody else about the caller of then: in the words of the row, since the vocabulary's
    sentences are written to the caller."""
    thing = _thing(request, vocabulary)
    if dimension == "scope":
        return f"the token did not hold the scope {word}"
    if dimension == "state":
        wanted = " or ".join(_state(part, request, vocabulary) for part in word.split(" or "))
        if request.state == NO_STATE:
            return f"{thing} had to be {wanted}"
        return f"{thing} was {_state(request.state, request, vocabulary)}, not {wanted}"
    if dimension == "fact":
        name = word.removeprefix("not ")
        return f"the fact {name} was {KNOWN[request.fact(name)]}"
    form, _, name = word.partition(":")
    return CALLER_NOT_BEING[form].format(name) if name else f"the caller was not {word} of {thing}"


def _fact(word: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """What is known of a fact, as a sentence to the caller."""
    name = word.removeprefix("not ")
    answer = ANSWERS[request.fact(name)]
    for key in (f"fact.{request.kind}.{name}", f"fact.{name}"):
        said = _said(vocabulary, f"{key}.{answer}")
        if said:
            return said
    return f"it is not known whether {name.replace('_', ' ')} holds"


def _thing(request: AccessRequest, vocabulary: Vocabulary) -> str:
    return _said(vocabulary, f"kind.{request.kind}") or f"the {request.kind}"


def _state(state: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    return _said(vocabulary, f"state.{request.kind}.{state}") or state


def _said(vocabulary: Vocabulary, key: str) -> str:
    return vocabulary.descriptions.get(key, "")
