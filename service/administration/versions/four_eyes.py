"""Four eyes are not lifted by going back: what a version that was left still says of whoever proposed another. Pure.

A person could otherwise leave the version that forbids them to activate their own, for any older one, and activate it
then (docs/decisions/0017). `version_store.left_behind` tells which versions these are.
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


def still_forbidding(left: Iterable[Snapshot], asked: EvaluationRequest) -> list[int]:
    """The numbers of those versions that deny this activation to the asker as the proposer, whatever else they say."""
    return [version.number for version in left if _denies(version, asked)]


def refusal(numbers: Sequence[int]) -> Forbidden:
    """What the proposer is told."""
    named = " and ".join(str(number) for number in numbers)
    told = f"you proposed this version, and the four eyes of version {named} still hold"
    return Forbidden([f"{told}: going back did not lift them; somebody else may activate it"])


def _denies(version: Snapshot, asked: EvaluationRequest) -> bool:
    access_request = access_request_of(
        version, evaluation_request(version, asked.principal, asked.action, asked.resource, asked.lookup)
    )
    return any(
        rule.effect is Effect.DENY and rule.who == PROPOSER and matches(rule, access_request)
        for rule in version.rules_of(asked.resource.kind, asked.action)
    )
