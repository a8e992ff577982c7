"""Four eyes survive a rollback: a version that was left still denies proposers the activation of their own. Pure.

Otherwise a proposer could roll back to an older version without the rule, and then activate their own version
(docs/decisions/0017). `version_store.find_left_behind` finds the versions that still count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.decision_point import access_request_of, evaluation_request
from service.errors import Forbidden
from service.policy.access_request import Effect
from service.policy.known_words import PROPOSER
from service.policy.matching import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from service.authorization.enforcement.decision_point import EvaluationRequest
    from service.authorization.engine.engine import Snapshot


def find_denying(left: Iterable[Snapshot], request: EvaluationRequest) -> list[int]:
    """The numbers of the versions with a rule that denies this activation to the proposer."""
    return [version.number for version in left if _denies(version, request)]


def refusal(numbers: Sequence[int]) -> Forbidden:
    """The error for the proposer."""
    named = " and ".join(str(number) for number in numbers)
    reason = f"you proposed this version, and the four eyes of version {named} still apply"
    return Forbidden([f"{reason}: a rollback does not lift them; another person may activate it"])


def _denies(version: Snapshot, request: EvaluationRequest) -> bool:
    access_request = access_request_of(
        version, evaluation_request(version, request.principal, request.action, request.resource, request.lookup)
    )
    return any(
        rule.effect is Effect.DENY and rule.who == PROPOSER and matches(rule, access_request)
        for rule in version.rules_of(request.resource.kind, request.action)
    )
