"""What a denied caller is told: 404, 403 with reasons, a step-up challenge, or that only the state was wrong. Pure.

Whoever may not read a thing does not learn that it exists; reasons speak of the caller and of nobody else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.decision_point import access_request_of
from service.authorization.engine.explanation import MAX_SENTENCES, explain_nearest, nearest, sentences_for_caller
from service.errors import Forbidden, InsufficientScope, NotApplied, NotFound, StepUpNeeded, TimewardenError, WrongState
from service.policy.access_request import Reason

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from service.authorization.enforcement.changes import Expect
    from service.authorization.enforcement.decision_point import Decision, Resource
    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import AccessRequest, Explanation


@dataclass(frozen=True, slots=True)
class _Grounds:
    """What a denied question comes to, whoever asks it: the facts of the sign-in for want of which alone it was denied,
    the states that would have done where only the state was wrong, and what the caller is told."""

    sign_in: frozenset[str]
    states: str | None
    sentences: tuple[str, ...]
    near_misses: tuple[dict[str, object], ...]


def refusal_of(
    snapshot: Snapshot,
    decision: Decision,
    expect: Expect | None = None,
    *,
    listed: frozenset[str] = frozenset(),
) -> TimewardenError:
    """The error for a denial. `expect` judges the version that the caller has seen: it goes before a wrong state.
    `listed`: for a list, the relations that some of its rows might have had."""
    request, reason = decision.request, decision.verdict.reason
    resource = request.resource
    if reason is Reason.INSUFFICIENT_SCOPE:
        return InsufficientScope(snapshot.scopes_for(resource.kind, request.action))
    if reason is Reason.UNKNOWN_RESOURCE:
        return NotFound()
    grounds = _grounds(snapshot, decision.access_request, reason, listed)
    if not _may_know(snapshot, decision, grounds.sign_in):
        return NotFound()
    # That a thing is in the wrong state to be read tells of it to somebody who may not read it.
    hidden = request.action == "read" and request.lookup.row is not None
    if grounds.states is not None and not hidden:
        return _wrong_state(snapshot, resource, grounds.states, expect)
    if grounds.sign_in:
        thresholds = snapshot.vocabulary.thresholds
        ages = [thresholds[one] for one in grounds.sign_in if one in thresholds]
        step_up = StepUpNeeded(max_age=min(ages, default=None))
        step_up.stronger = len(ages) < len(grounds.sign_in)
        return step_up
    return Forbidden(grounds.sentences, rules=decision.verdict.rules, near_misses=grounds.near_misses)


def _may_know(snapshot: Snapshot, decision: Decision, wanted: frozenset[str]) -> bool:
    """True when the resource is no row, or is one that the caller may read, or might with another sign-in."""
    request = decision.request
    if request.lookup.row is None:
        return True
    if request.action == "read":
        return bool(wanted)
    access_request = access_request_of(snapshot, request, "read")
    verdict = snapshot.decide(access_request)
    return verdict.allowed or bool(_grounds(snapshot, access_request, verdict.reason, frozenset()).sign_in)


def _grounds(snapshot: Snapshot, access_request: AccessRequest, reason: Reason, listed: frozenset[str]) -> _Grounds:
    """Remembered: the same question has the same grounds, and a caller who is refused often asks again."""

    def work() -> _Grounds:
        words = access_request, snapshot.vocabulary
        explanation = explain_nearest(
            snapshot.index_of(access_request.kind, access_request.action), access_request, listed
        )
        return _Grounds(
            sign_in=_wanted_of_sign_in(snapshot, explanation, reason, listed),
            states=_wanted_states(explanation) if reason is Reason.NO_RULE else None,
            sentences=sentences_for_caller(explanation, *words),
            near_misses=tuple(asdict(one) for one in nearest(explanation, *words)[:MAX_SENTENCES]),
        )

    return snapshot.memoize("refusal", (access_request, reason, listed), work)


def _wanted_states(explanation: Explanation) -> str | None:
    """The states that the nearest rule wants which would have allowed but for its state."""
    alone = (near_miss.conditions[0] for near_miss in explanation.near_misses if len(near_miss.conditions) == 1)
    return next((word for kind, word in alone if kind == "state"), None)


def _wanted_of_sign_in(
    snapshot: Snapshot, explanation: Explanation, reason: Reason, listed: frozenset[str]
) -> frozenset[str]:
    """The facts of the sign-in for want of which alone this was denied (RFC 9470); empty if more was missing."""
    words = snapshot.vocabulary.request_facts | snapshot.vocabulary.thresholds.keys()
    if reason is Reason.DENY_RULE:
        return _wanted_by_denies(explanation, words)
    if reason is not Reason.NO_RULE:
        return frozenset()
    for miss in explanation.near_misses:
        lacking = [
            (kind, word)
            for kind, word in miss.conditions
            if not (listed and (kind == "state" or (kind == "who" and word in listed)))
        ]
        if lacking and all(kind == "fact" and word in words for kind, word in lacking):
            return frozenset(word for _, word in lacking)
    return frozenset()


def _wanted_by_denies(explanation: Explanation, words: AbstractSet[str]) -> frozenset[str]:
    """The facts that would have kept off each deny rule, where a rule allows: those that it wants not to hold."""
    if not explanation.allowed_by:
        return frozenset()
    found: set[str] = set()
    for applied in explanation.denied_because:
        kept_off = {
            word.removeprefix("not ")
            for kind, word in applied.conditions
            if kind == "fact" and word.startswith("not ") and word.removeprefix("not ") in words
        }
        if not kept_off:
            return frozenset()
        found |= kept_off
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
