"""From a denial to the error for the caller: 404, 403 with reasons, a step-up challenge, or a wrong state. Pure.

A caller who may not read a resource does not learn that it exists. Reasons are about the caller and nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.capabilities import REQUEST_ACCESS, list_requestable
from service.authorization.enforcement.decision_point import access_request_of, values_of, who_words
from service.authorization.enforcement.step_up import challenge
from service.authorization.engine.explanation import (
    MAX_SENTENCES,
    NearRuleInWords,
    explain_nearest,
    nearest,
    sentences_for_caller,
)
from service.errors import Forbidden, InsufficientScope, NotApplied, NotFound, TimewardenError, WrongState
from service.policy.access_request import Reason
from service.policy.known_words import OWNER
from service.policy.matching import former_word
from service.policy.paths import TIMESHEET, find_given
from service.policy.sentences import fill_sentence
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from service.authorization.enforcement.changes import Expect
    from service.authorization.enforcement.decision_point import Decision, Resource
    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.engine.engine import Snapshot
    from service.identity.principal import Principal
    from service.policy.access_request import AccessRequest, Explanation
    from service.policy.attributes import Value


@dataclass(frozen=True, slots=True)
class _Grounds:
    """Why a request was denied. `sign_in`: the facts of the sign-in, if nothing else was missing. `states`: the states
    that a rule asks for, if only the state was wrong. `requestable`: the relation that alone was missing, if access
    requests can ask for it. The rest is for the caller: sentences with places for values, if any `shows_values`."""

    sign_in: frozenset[str]
    states: str | None
    sentences: tuple[str, ...]
    near_misses: tuple[NearRuleInWords, ...]
    requestable: str | None
    shows_values: bool


def refusal_of(
    snapshot: Snapshot,
    decision: Decision,
    expect: Expect | None = None,
    *,
    listed: frozenset[str] = frozenset(),
) -> TimewardenError:
    """The error for a denial. `expect` checks the version that the caller has read, before a wrong state is reported.
    `listed`: for a list, the relations that some row might have had."""
    request, reason = decision.request, decision.verdict.reason
    resource = request.resource
    if reason is Reason.INSUFFICIENT_SCOPE:
        return InsufficientScope(snapshot.scopes_for(resource.kind, request.action))
    if reason is Reason.UNKNOWN_RESOURCE:
        return _not_found(snapshot, decision)
    grounds = _grounds(snapshot, decision.access_request, reason, listed)
    if not _may_know(snapshot, decision, grounds.sign_in):
        return _not_found(snapshot, decision)
    # To say that the state is wrong for reading would tell a caller who may not read it that the row exists.
    hidden = request.action == "read" and request.lookup.row is not None
    if grounds.states is not None and not hidden:
        return _wrong_state(snapshot, resource, grounds.states, expect)
    if grounds.sign_in:
        return challenge(snapshot.vocabulary, grounds.sign_in)
    if grounds.shows_values:
        grounds = _fill_in(grounds, values_of(request))
    return Forbidden(
        grounds.sentences,
        rules=decision.verdict.rules,
        near_misses=grounds.near_misses,
        request_access=_describe_access(snapshot, decision, grounds.requestable),
    )


def _not_found(snapshot: Snapshot, decision: Decision) -> NotFound:
    """The error for a resource that is missing or hidden. It says whether access to timesheets could be asked for that
    would allow this, which depends on the caller and the policy alone: it is the same for both."""
    request = decision.request
    if request.resource.kind == TIMESHEET:
        for requestable in list_requestable(snapshot, request.principal, request.lookup):
            if requestable.allows(request.action):
                places = " or ".join(sorted(f"a {node.removesuffix('s')}" for node in requestable.on))
                return NotFound(
                    f"{NotFound.summary}. You can ask for access to the timesheets of {places} for a time",
                    request_access={"relation": requestable.relation},
                )
    return NotFound()


def _describe_access(snapshot: Snapshot, decision: Decision, relation: str | None) -> dict[str, str] | None:
    """The access request that could help, if the caller may make it: for the relation, after this refusal."""
    request = decision.request
    if (
        relation is None
        or request.lookup.row is None
        or not is_of_another(request.principal, request.lookup)
        or not snapshot.could_allow(*REQUEST_ACCESS, request.principal.scopes)
    ):
        return None
    return {"relation": relation, "decision": str(decision.uid)}


def is_of_another(principal: Principal, lookup: FactLookup) -> bool:
    """Whether a person asked about a resource that is not theirs and, before an erasure, was not."""
    return principal.person is not None and lookup.relations.isdisjoint({OWNER, former_word(OWNER)})


def _may_know(snapshot: Snapshot, decision: Decision, sign_in: frozenset[str]) -> bool:
    """Whether the request is about no row, or about one that the caller may read, perhaps after another sign-in."""
    request = decision.request
    if request.lookup.row is None:
        return True
    if request.action == "read":
        return bool(sign_in)
    who = who_words(request.principal, request.lookup) if decision.who is None else decision.who

    def could_read() -> bool:
        access_request = access_request_of(snapshot, request, "read", who)
        verdict = snapshot.decide(access_request)
        return verdict.allowed or bool(_grounds(snapshot, access_request, verdict.reason, frozenset()).sign_in)

    # All that the rules for reading can see of the request.
    seen = (
        request.resource.kind,
        request.resource.state,
        who,
        request.principal.scopes,
        frozenset(request.facts.items()),
    )
    return snapshot.memoize("could read", seen, could_read)


def _grounds(snapshot: Snapshot, access_request: AccessRequest, reason: Reason, listed: frozenset[str]) -> _Grounds:
    """Cached: the same request has the same grounds, and a refused caller often repeats it."""

    def find_grounds() -> _Grounds:
        words = access_request, snapshot.vocabulary
        explanation = explain_nearest(
            snapshot.index_of(access_request.kind, access_request.action), access_request, listed
        )
        sentences = sentences_for_caller(explanation, *words)
        return _Grounds(
            sign_in=_missing_of_sign_in(snapshot, explanation, reason, listed),
            states=_wanted_states(explanation) if reason is Reason.NO_RULE else None,
            sentences=sentences,
            near_misses=nearest(explanation, *words)[:MAX_SENTENCES],
            requestable=find_requestable_miss(snapshot, access_request.kind, explanation),
            shows_values=any("{" in sentence for sentence in sentences),
        )

    return snapshot.memoize("refusal", (access_request, reason, listed), find_grounds)


def find_requestable_miss(snapshot: Snapshot, kind: str, explanation: Explanation) -> str | None:
    """The relation that the nearest rule was missing alone, among relations that access requests can ask for."""
    if kind != TIMESHEET or explanation.denied_by:
        return None
    given_by = snapshot.memoize("given by access", None, lambda: _find_given_by(snapshot))
    alone = (near_miss.conditions[0] for near_miss in explanation.near_misses if len(near_miss.conditions) == 1)
    return next((given_by[word] for dimension, word in alone if dimension == "who" and word in given_by), None)


def _find_given_by(snapshot: Snapshot) -> dict[str, str]:
    """The relation to ask for, by each relation that a grant of it gives."""
    given = find_given(snapshot.vocabulary.paths)
    found = {relation: relation for relation, words in given.items() if relation in words}
    for relation in sorted(given):
        for word in given[relation]:
            found.setdefault(word, relation)
    return found


def _fill_in(grounds: _Grounds, values: Mapping[str, Value]) -> _Grounds:
    """The same with values in their places. Only a caller who may read the resource is told them."""
    near_misses = tuple(
        NearRuleInWords(
            miss.rule,
            tuple(replace(missing, sentence=fill_sentence(missing.sentence, values)) for missing in miss.missing),
        )
        for miss in grounds.near_misses
    )
    sentences = tuple(fill_sentence(sentence, values) for sentence in grounds.sentences)
    return replace(grounds, sentences=sentences, near_misses=near_misses)


def _wanted_states(explanation: Explanation) -> str | None:
    """The states that the nearest rule asks for, among rules that miss nothing but the state."""
    alone = (near_miss.conditions[0] for near_miss in explanation.near_misses if len(near_miss.conditions) == 1)
    return next((word for kind, word in alone if kind == "state"), None)


def _missing_of_sign_in(
    snapshot: Snapshot, explanation: Explanation, reason: Reason, listed: frozenset[str]
) -> frozenset[str]:
    """The facts of the sign-in, if nothing else was missing (RFC 9470); otherwise empty."""
    words = snapshot.vocabulary.sign_in_facts
    if reason is Reason.DENY_RULE:
        return _missing_against_denies(explanation, words)
    if reason is not Reason.NO_RULE:
        return frozenset()
    for miss in explanation.near_misses:
        missing = [
            (kind, word)
            for kind, word in miss.conditions
            if not (listed and (kind == "state" or (kind == "who" and word in listed)))
        ]
        if missing and all(kind == "fact" and word in words for kind, word in missing):
            return frozenset(word for _, word in missing)
    return frozenset()


def _missing_against_denies(explanation: Explanation, words: AbstractSet[str]) -> frozenset[str]:
    """The facts of the sign-in that keep every deny rule from matching, if some rule allows; otherwise empty."""
    if not explanation.allowed_by:
        return frozenset()
    found: set[str] = set()
    for applied in explanation.denied_because:
        preventing = {
            word.removeprefix("not ")
            for kind, word in applied.conditions
            if kind == "fact" and word.startswith("not ") and word.removeprefix("not ") in words
        }
        if not preventing:
            return frozenset()
        found |= preventing
    return frozenset(found)


def _wrong_state(snapshot: Snapshot, resource: Resource, wanted: str, expect: Expect | None) -> TimewardenError:
    if expect is not None:
        try:
            expect(resource.version)
        except NotApplied as error:
            return error
    thing = snapshot.vocabulary.descriptions.get(f"kind.{resource.kind}", f"the {resource.kind}")
    return WrongState(
        f"{thing[0].upper()}{thing[1:]} is {resource.state}; this needs it to be {wanted}",
        extra={"state": resource.state, "wanted": wanted},
    )
