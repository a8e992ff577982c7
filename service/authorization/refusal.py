"""What a denied caller is told: 404, 403 with reasons, a step-up challenge, or that only the state was wrong. Pure.

Whoever may not read a thing does not learn that it exists; reasons speak of the caller and of nobody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.decision_point import question_of
from service.authorization.explanation import explain, sentences_for_caller
from service.authorization.question import Reason
from service.errors import Forbidden, InsufficientScope, NotApplied, NotFound, StepUpNeeded, TimewardenError, WrongState

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.authorization.decision_point import Decision
    from service.authorization.engine import Snapshot
    from service.authorization.question import Explanation


def refusal_of(snapshot: Snapshot, decision: Decision, expect: Callable[[int | None], None] | None) -> TimewardenError:
    """The error for a denial. `expect` judges the version that the caller has seen: it goes before a wrong state."""
    request, reason = decision.request, decision.verdict.reason
    resource = request.resource
    if reason is Reason.INSUFFICIENT_SCOPE:
        return InsufficientScope(snapshot.scopes_for(resource.kind, request.action))
    if reason is Reason.UNKNOWN_RESOURCE or not _may_know(snapshot, decision):
        return NotFound()
    explanation = explain(snapshot.rules_of(resource.kind, request.action), decision.question)
    if reason is Reason.NO_RULE:
        if _only(explanation, {"state"}):
            return _wrong_state(resource.state, explanation, resource.version, expect)
        wanted = _only_facts(snapshot, explanation)
        if wanted:
            ages = [snapshot.vocabulary.thresholds[one] for one in wanted if one in snapshot.vocabulary.thresholds]
            return StepUpNeeded(max_age=min(ages, default=None))
    return Forbidden(
        sentences_for_caller(explanation, decision.question, snapshot.vocabulary), rules=decision.verdict.rules
    )


def _may_know(snapshot: Snapshot, decision: Decision) -> bool:
    """True when the resource is no row, or is one that the caller may read."""
    request = decision.request
    if request.seen.row is None:
        return True
    if request.action == "read":
        return False
    return snapshot.decide(question_of(snapshot, request, "read")).allowed


def _only(explanation: Explanation, dimensions: set[str]) -> bool:
    """True when some rule would have allowed but for conditions of these dimensions."""
    return any({kind for kind, _ in one.conditions} == dimensions for one in explanation.near_misses)


def _only_facts(snapshot: Snapshot, explanation: Explanation) -> list[str]:
    """The sign-in facts for want of which alone some rule did not allow."""
    words = snapshot.vocabulary.request_facts | snapshot.vocabulary.thresholds.keys()
    for miss in explanation.near_misses:
        facts = [word for kind, word in miss.conditions if kind == "fact" and word in words]
        if len(facts) == len(miss.conditions):
            return facts
    return []


def _wrong_state(
    state: str, explanation: Explanation, version: int | None, expect: Callable[[int | None], None] | None
) -> TimewardenError:
    if expect is not None:
        try:
            expect(version)
        except NotApplied as error:
            return error
    wanted = next(word for one in explanation.near_misses for kind, word in one.conditions if kind == "state")
    return WrongState(
        f"The timesheet is {state}; this needs it to be {wanted}", extra={"state": state, "wanted": wanted}
    )
