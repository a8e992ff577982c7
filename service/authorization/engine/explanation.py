"""Explains a verdict: the rules that applied, and what each rule that nearly allowed was missing. Pure.

Callers get sentences that say "you", in the words of vocabulary.toml. Auditors get the whole Explanation, in sentences
that say "the caller", because the sentences of a vocabulary are written to the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.policy.access_request import ANY, ANYONE, FACT_VALUES, NO_STATE, Applied, Effect, Explanation, NearRule
from service.policy.matching import (
    ACTOR,
    VIA,
    concerns,
    fact_word,
    former_word,
    missing_conditions,
    names_somebody,
    state_words,
)
from service.policy.sentences import FilledSentences, show_value
from service.values import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.authorization.engine.rule_index import RuleIndex
    from service.policy.access_request import AccessRequest, Dimension, Rule, Vocabulary

MAX_SENTENCES = 6
# Rules on no word of the caller that are read all the same, because they may be the nearest.
MAX_OTHERS = 50
NOTHING_ALLOWS = "no rule of the policy allows this"
A_RULE_FORBIDS = "a rule of the policy forbids this"
# For each form of who-word, why a rule applied and why it did not. Relations have their sentences in the vocabulary.
BEING = {
    "role": "you have the role {}",
    "group": "you are in the group {}",
    "person": "this is forbidden to you personally",
    "client": "this is forbidden to you, the client {}",
    "via": "this is forbidden to you through the client {}",
    "actor": "this is forbidden to you while {} acts for you",
}
NOT_BEING = {
    "role": "you do not have the role {}",
    "group": "you are not in the group {}",
    "person": "you are not the person {}",
    "client": "you are not the client {} acting for itself",
    "via": "you are not acting through the client {}",
    "actor": "{} does not act for you",
}
# The same for an auditor, about a decision in the past.
CALLER_NOT_BEING = {
    "role": "the caller did not have the role {}",
    "group": "the caller was not in the group {}",
    "person": "the caller was not the person {}",
    "client": "the caller was not the client {} acting for itself",
    "via": "the caller did not act through the client {}",
    "actor": "{} did not act for the caller",
}
ANSWERS = {True: "yes", False: "no", None: "unknown"}


class ConditionInWords(Struct, frozen=True):
    """A condition that did not hold: its kind, the word that the row asks for, and a sentence about it."""

    condition: Dimension
    wanted: str
    sentence: str


class NearRuleInWords(Struct, frozen=True):
    """A rule that would have allowed but for its `missing` conditions."""

    rule: str
    missing: tuple[ConditionInWords, ...]


def explain(rules: Iterable[Rule], request: AccessRequest) -> Explanation:
    """Every rule that allowed or denied the request, and the near misses.

    Near misses are allow rules, those with the fewest missing conditions first, then in the order of the file. There
    are none when a rule allowed.
    """
    candidates = [rule for rule in rules if concerns(rule, request.kind, request.action)]
    allowed_by: list[Rule] = []
    denies: list[Rule] = []
    misses: list[NearRule] = []
    for rule in candidates:
        unmet = missing_conditions(rule, request)
        if not unmet:
            (allowed_by if rule.effect is Effect.ALLOW else denies).append(rule)
        elif rule.effect is Effect.ALLOW:
            misses.append(NearRule(rule.name, unmet))
    return Explanation(
        allowed_by=tuple(rule.name for rule in allowed_by),
        denied_by=tuple(rule.name for rule in denies),
        near_misses=() if allowed_by else tuple(sorted(misses, key=lambda miss: len(miss.conditions))),
        denied_because=tuple(Applied(rule.name, _conditions(rule)) for rule in denies),
    )


def explain_nearest(index: RuleIndex, request: AccessRequest, hoped: frozenset[str] = frozenset()) -> Explanation:
    """As `explain`, with the rules on a word of the caller or in `hoped`, and the nearest of the others.

    This is what a caller is told. It takes a time that does not grow with the rules that do not concern them.
    """
    who = request.who | hoped
    return explain(index.in_order([*index.near(who), *index.others(who, request, MAX_OTHERS)]), request)


def sentences_for_caller(explanation: Explanation, request: AccessRequest, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Up to MAX_SENTENCES sentences for the caller of a denied request, nearest first. Empty for an allowed one.

    When a rule denied, they are its grounds. Otherwise each near miss has a sentence, with its conditions joined by
    semicolons.
    """
    if explanation.denied_by:
        grounds = [_why_denied(applied, request, vocabulary) for applied in explanation.denied_because]
        return tuple(dict.fromkeys(grounds))[:MAX_SENTENCES]
    if explanation.allowed_by:
        return ()
    sentences: dict[str, None] = {}
    for near in put_in_words(explanation, request, vocabulary, of_others=False, to_caller=True):
        sentences["; ".join(condition.sentence for condition in near.missing)] = None
        if len(sentences) == MAX_SENTENCES:
            break
    return tuple(sentences) or (NOTHING_ALLOWS,)


def nearest(
    explanation: Explanation,
    request: AccessRequest,
    vocabulary: Vocabulary,
    *,
    of_others: bool = False,
    to_caller: bool = True,
) -> tuple[NearRuleInWords, ...]:
    """The near misses of a denied request in words, nearest first. None when a rule denied.

    Rules that name another person or client are included only `of_others`, for auditors. The sentences are addressed
    `to_caller`, or are about the caller.
    """
    if explanation.denied_by:
        return ()
    return tuple(put_in_words(explanation, request, vocabulary, of_others=of_others, to_caller=to_caller))


def put_in_words(
    explanation: Explanation, request: AccessRequest, vocabulary: Vocabulary, *, of_others: bool, to_caller: bool
) -> Iterator[NearRuleInWords]:
    """The near misses in words, nearest first, also those that a deny rule made useless."""
    describe = _describe_missing if to_caller else _describe_missing_to_auditor
    for miss in explanation.near_misses:
        if of_others or not any(names_somebody(word) for kind, word in miss.conditions if kind == "who"):
            yield NearRuleInWords(
                miss.rule,
                tuple(
                    ConditionInWords(kind, word, describe(kind, word, request, vocabulary))
                    for kind, word in miss.conditions
                ),
            )


def _conditions(rule: Rule) -> tuple[tuple[Dimension, str], ...]:
    """The conditions of a rule, without those that always hold."""
    found: list[tuple[Dimension, str]] = [] if rule.who == ANYONE else [("who", rule.who)]
    found += [("state", state_words(rule))] if rule.states else []
    found += [("scope", rule.scope)] if rule.scope != ANY else []
    return (*found, *(("fact", fact_word(condition)) for condition in rule.when))


def _why_denied(applied: Applied, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """Why a deny rule applied, for the caller."""
    sentences = []
    for dimension, word in applied.conditions:
        if dimension == "who":
            sentences.append(_why_it_applies(word, request, vocabulary))
        elif dimension == "fact":
            sentences.append(_describe_fact(word, request, vocabulary))
        elif dimension == "state":
            sentences.append(f"{_name_kind(request, vocabulary)} is {_name_state(request.state, request, vocabulary)}")
    return "; ".join(sentence for sentence in sentences if sentence) or A_RULE_FORBIDS


def _why_it_applies(word: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """Why a rule on this word applies to the caller."""
    form, _, name = word.partition(":")
    if not name:
        return _sentence(vocabulary, f"who.{request.kind}.{word}.yes")
    # A deny on a client also applies while the client acts for others.
    forms = {VIA + name: "via", ACTOR + name: "actor", former_word(ACTOR + name): "actor"} if form == "client" else {}
    return BEING[next((other for word, other in forms.items() if word in request.who), form)].format(name)


def _describe_missing(dimension: str, word: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """A missing condition in words, for the caller."""
    if dimension == "scope":
        return f"needs scope {word}"
    if dimension == "state":
        wanted = " or ".join(_name_state(part, request, vocabulary) for part in word.split(" or "))
        if request.state == NO_STATE:
            return f"{_name_kind(request, vocabulary)} must be {wanted}"
        return f"{_name_kind(request, vocabulary)} is {_name_state(request.state, request, vocabulary)}, not {wanted}"
    if dimension == "fact":
        return _describe_fact(word, request, vocabulary)
    form, _, name = word.partition(":")
    if name:
        return NOT_BEING[form].format(name)
    return _sentence(vocabulary, f"who.{request.kind}.{word}.no") or f"you are not {word} here"


def _describe_missing_to_auditor(dimension: str, word: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """A missing condition in words, for an auditor: in the words of the row, because the vocabulary's sentences are
    written to the caller."""
    kind = _name_kind(request, vocabulary)
    if dimension == "scope":
        return f"the token did not hold the scope {word}"
    if dimension == "state":
        wanted = " or ".join(_name_state(part, request, vocabulary) for part in word.split(" or "))
        if request.state == NO_STATE:
            return f"{kind} had to be {wanted}"
        return f"{kind} was {_name_state(request.state, request, vocabulary)}, not {wanted}"
    if dimension == "fact":
        name = word.removeprefix("not ")
        return f"the fact {name} was {FACT_VALUES[request.fact(name)]}{_show_inputs(name, request, vocabulary)}"
    form, _, name = word.partition(":")
    return CALLER_NOT_BEING[form].format(name) if name else f"the caller was not {word} of {kind}"


def _show_inputs(fact: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """The values that a defined fact was evaluated on, if the vocabulary knows any. Personal ones are not shown."""
    definition = vocabulary.definitions.get((request.kind, fact)) or vocabulary.definitions.get(("", fact))
    sentences = vocabulary.descriptions
    if definition is None or not isinstance(sentences, FilledSentences):
        return ""
    known = vocabulary.known_attributes(request.kind)
    shown = (name for name, _ in definition.types if not known[name].personal)
    return f" ({', '.join(f'{name}: {show_value(sentences.values_shown.get(name))}' for name in shown)})"


def _describe_fact(word: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    """The value of a fact as a sentence to the caller."""
    name = word.removeprefix("not ")
    answer = ANSWERS[request.fact(name)]
    for key in (f"fact.{request.kind}.{name}", f"fact.{name}"):
        if sentence := _sentence(vocabulary, f"{key}.{answer}"):
            return sentence
    return f"it is not known whether {name.replace('_', ' ')} holds"


def _name_kind(request: AccessRequest, vocabulary: Vocabulary) -> str:
    return _sentence(vocabulary, f"kind.{request.kind}") or f"the {request.kind}"


def _name_state(state: str, request: AccessRequest, vocabulary: Vocabulary) -> str:
    return _sentence(vocabulary, f"state.{request.kind}.{state}") or state


def _sentence(vocabulary: Vocabulary, key: str) -> str:
    return vocabulary.descriptions.get(key, "")
