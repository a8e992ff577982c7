"""When a timesheet has enough approvals: the expression `complete` of [kinds.timesheet.approval]. Pure.

Without it a sheet needs one. The expression reads the timesheet alone, so that every reader sees the same number. One
that could hold without an approval, or could not hold with MAX_APPROVALS, is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.policy.expressions.expression import Expression, Flaw, compile_expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.policy.attributes import Attribute, Value
    from service.policy.toml_places import Complaints

APPROVALS: Final = "resource.approvals"
MAX_APPROVALS: Final = 10
# Names of approvers who are not known yet.
OTHER_APPROVERS: Final = tuple(f"another approver {number}" for number in range(MAX_APPROVALS))
_AT_LEAST_ONE: Final = "ask for size(resource.approvals) >= 1 in every case"
_OF_RESOURCE: Final = "resource."


def read_approval(
    text: object, at: tuple[str, ...], attributes: Mapping[str, Attribute], complaints: Complaints
) -> Expression | None:
    """The expression at the key `at`; None after a complaint."""
    if not isinstance(text, str):
        complaints.complain(at, f"'{at[-1]}' must be an expression in quotes", _AT_LEAST_ONE)
        return None
    found = compile_expression(text, attributes)
    flaw = found if isinstance(found, Flaw) else _find_flaw(found)
    if flaw is not None:
        complaints.complain_inside(at, text, flaw)
    return found if isinstance(found, Expression) and flaw is None else None


def _find_flaw(expression: Expression) -> Flaw | None:
    text = expression.text
    foreign = sorted(name for name in expression.attributes if not name.startswith(_OF_RESOURCE))
    if foreign:
        before = text[: max(0, text.find(foreign[0]))]
        return Flaw(
            f"'{foreign[0]}' is no attribute of the timesheet, and everyone sees it need the same number of approvals",
            before.count("\n") + 1,
            len(before) - before.rfind("\n"),
            f"use attributes that begin with {_OF_RESOURCE}, and a rule in policy.csv for who may approve",
        )
    if True in expression.bounds({APPROVALS: (0, 0)}):
        return Flaw("A timesheet could be complete without any approval", 1, 1, _AT_LEAST_ONE)
    if not any(True in expression.bounds({APPROVALS: (size, size)}) for size in range(1, MAX_APPROVALS + 1)):
        remedy = f"ask for fewer: a timesheet has at most {MAX_APPROVALS}"
        return Flaw(f"No timesheet could be complete, even with {MAX_APPROVALS} approvals", 1, 1, remedy)
    return None


def is_complete(expression: Expression | None, values: Mapping[str, Value], approvals: Iterable[str]) -> bool:
    """Whether these approvals, ids of people and clients, are enough for a timesheet with these attributes. An unknown
    answer is no."""
    given = tuple(sorted(approvals))
    if expression is None:
        return bool(given)
    return expression.evaluate({**values, APPROVALS: given}) is True


def count_needed(expression: Expression | None, values: Mapping[str, Value], approvals: Sequence[str]) -> int | None:
    """The smallest number of approvals, these and further ones, that is enough. None if no number is known to be."""
    given = len(approvals)
    for number in range(max(1, given), MAX_APPROVALS + 1):
        if is_complete(expression, values, [*approvals, *OTHER_APPROVERS[: number - given]]):
            return number
    return None
