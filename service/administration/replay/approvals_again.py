"""Whether a recorded approval would complete its timesheet under another version. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.administration.replay.recorded_values import RecordedValues, attributes_recorded_under
from service.administration.replay.reevaluation import Undecidable
from service.policy.approval import APPROVALS, count_needed
from service.policy.laws import APPROVE

if TYPE_CHECKING:
    from service.administration.replay.recorded_request import RecordedRequest
    from service.authorization.engine.engine import Snapshot
    from service.policy.expressions.expression import Expression


def compare_approvals(
    snapshot: Snapshot, recorded: RecordedRequest, then: Snapshot | None
) -> tuple[str, str] | Undecidable | None:
    """How many approvals the timesheet had and needed after a recorded approval, and how many it would need, if one of
    these is enough and the other is not. None for other requests. `then` is the version that decided."""
    request = recorded.request
    expressions = [version.vocabulary.approval if version else None for version in (then, snapshot)]
    if (request.resource.kind, request.action) != APPROVE or not recorded.applied or expressions[0] == expressions[1]:
        return None
    names = attributes_recorded_under(then.vocabulary if then else None, APPROVE[0])
    earlier = RecordedValues(recorded, names).list_of(APPROVALS)
    if earlier is None:
        return Undecidable(RecordedValues(recorded, names).say_absent([APPROVALS]))
    by = request.principal.person or request.principal.client
    given = sorted(earlier | {str(request.lookup.caller.get("principal.id") or by)})
    needed: list[int | None] = []
    for expression in expressions:
        # An attribute may have another type in each of the two versions.
        found = _count(expression, RecordedValues(recorded, names), given)
        if isinstance(found, Undecidable):
            return found
        needed.append(found)
    is_enough = [number is not None and number <= len(given) for number in needed]
    return None if is_enough[0] is is_enough[1] else (_describe(given, needed[0]), _describe(given, needed[1]))


def _count(expression: Expression | None, values: RecordedValues, given: list[str]) -> int | Undecidable | None:
    if expression is None:
        return count_needed(None, {}, given)
    read, absent = values.read([(name, kind) for name, kind in expression.types if name != APPROVALS])
    return Undecidable(values.say_absent(absent)) if absent else count_needed(expression, read, given)


def _describe(given: list[str], needed: int | None) -> str:
    has = f"{len(given)} approval{'s' if len(given) > 1 else ''}"
    return f"{has} of unknown many" if needed is None else f"{has} of {needed}"
