"""Step-up authentication (RFC 9470): the stronger or fresher sign-in that would allow more. Pure: owns no state.

A list shows what the caller may see with the present sign-in. The challenge tells them that another sign-in would show
more; otherwise they would take the list for all there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import StepUpNeeded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import AccessRequest, Vocabulary


def challenge(vocabulary: Vocabulary, facts: Iterable[str]) -> StepUpNeeded:
    """The challenge for a sign-in of which these facts are true: a maximum age, another method, or both."""
    names = tuple(facts)
    ages = [vocabulary.thresholds[name] for name in names if name in vocabulary.thresholds]
    step_up = StepUpNeeded(max_age=min(ages, default=None))
    step_up.stronger = len(ages) < len(names)
    return step_up


def after_step_up(snapshot: Snapshot, access_request: AccessRequest) -> tuple[AccessRequest, StepUpNeeded] | None:
    """The request as it would be after the best sign-in that its rules ask for, with the challenge for that sign-in;
    None if no rule asks for more than the present sign-in has."""
    asked = snapshot.words_of(access_request.kind, access_request.action).facts & snapshot.vocabulary.sign_in_facts
    missing = {name for name in asked if access_request.fact(name) is not True}
    if not missing:
        return None
    facts = frozenset(fact for fact in access_request.facts if fact[0] not in missing)
    facts |= {(name, True) for name in missing}
    best = type(access_request)(
        access_request.kind,
        access_request.action,
        access_request.state,
        access_request.who,
        access_request.scopes,
        facts,
    )
    return best, challenge(snapshot.vocabulary, missing)
