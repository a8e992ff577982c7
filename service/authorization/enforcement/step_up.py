"""What a stronger or fresher sign-in would change about a list (RFC 9470). Pure: owns no state.

A list shows what single requests would be allowed now. What lacks nothing but the sign-in is not in it, and whoever is
not told so takes the list for all there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import StepUpNeeded

if TYPE_CHECKING:
    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import AccessRequest


def after_step_up(snapshot: Snapshot, access_request: AccessRequest) -> tuple[AccessRequest, StepUpNeeded] | None:
    """The question as it would be after the best sign-in that its rules ask for, and the challenge for that; None when
    no rule asks for anything that the sign-in lacks."""
    thresholds = snapshot.vocabulary.thresholds
    of_sign_in = snapshot.vocabulary.request_facts | thresholds.keys()
    asked = snapshot.words_of(access_request.kind, access_request.action).facts & of_sign_in
    wanted = {name for name in asked if access_request.fact(name) is not True}
    if not wanted:
        return None
    held = frozenset(fact for fact in access_request.facts if fact[0] not in wanted) | {(name, True) for name in wanted}
    best = type(access_request)(
        access_request.kind,
        access_request.action,
        access_request.state,
        access_request.who,
        access_request.scopes,
        held,
    )
    ages = [thresholds[name] for name in wanted if name in thresholds]
    step_up = StepUpNeeded(max_age=min(ages, default=None))
    step_up.stronger = len(ages) < len(wanted)
    return best, step_up
