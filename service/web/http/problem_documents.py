"""Problem documents (RFC 9457) for the OpenAPI document: their type, and which kinds belong to each status.

Pure: owns no state. Slugs and sentences come from the error tree, so the document and the answers agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service import errors
from service.policy.access_request import Dimension
from service.web.http import problems
from service.web.http.problems import TYPE_PREFIX, status_of
from service.web.http.responses import DecisionId, Id, PersonId, ResourceState, RuleName, SheetId, enum

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Answered without a decision.
UNDECIDED: Final = frozenset({400, 401, 408, 413, 415, 429, 431})
# Statuses that no operation lists: a wrong method, and an unexpected error.
ELSEWHERE: Final = frozenset({405, 500})
# Only their subclasses are answered, or none.
FAMILIES: Final = (errors.BadInput, errors.Unauthenticated, errors.Denied, errors.NotApplied, errors.Misconfigured)
# Members that a kind of problem has beside the common ones; `Problem` describes them.
MEMBERS: Final[Mapping[type[errors.TimewardenError], tuple[str, ...]]] = {
    errors.InsufficientScope: ("required_scope",),
    errors.Forbidden: ("reasons", "near_misses", "request_access"),
    errors.NotFound: ("request_access",),
    errors.InvalidField: ("fields",),
    errors.WrongState: ("state", "wanted"),
    errors.Conflict: ("timesheet",),
    errors.TimesheetFull: ("rows", "refused"),
    errors.PolicyRejected: ("complaints", "warnings"),
}

# Of these, the members that every problem of the kind has.
ALWAYS: Final[Mapping[type[errors.TimewardenError], tuple[str, ...]]] = {
    errors.InsufficientScope: ("required_scope",),
    errors.Forbidden: ("reasons",),
    errors.InvalidField: ("fields",),
    errors.PolicyRejected: ("complaints",),
}


def walk_problem_kinds(
    root: type[errors.TimewardenError] = errors.TimewardenError,
) -> Iterator[type[errors.TimewardenError]]:
    """Yield every kind of problem that can be answered, each slug once, in the order of the tree."""
    if root.__module__.startswith((errors.__name__, problems.__name__)):
        if root not in FAMILIES and "slug" in vars(root):
            yield root
        for kind in root.__subclasses__():
            yield from walk_problem_kinds(kind)


def kinds_by_status() -> dict[int, list[type[errors.TimewardenError]]]:
    """The kinds of problems that operations answer with, by status."""
    found: dict[int, list[type[errors.TimewardenError]]] = {}
    for kind in walk_problem_kinds():
        if status_of(kind) not in ELSEWHERE and kind.__module__ != problems.__name__:
            found.setdefault(status_of(kind), []).append(kind)
    return dict(sorted(found.items()))


SLUGS: Final = sorted(kind.slug for kind in walk_problem_kinds())
_SLUG: Final = enum("ProblemSlug", "A kind of problem in short", SLUGS)
_TYPE: Final = enum("ProblemType", "A kind of problem", (TYPE_PREFIX + slug for slug in SLUGS))
_NOT_LEAD: Final = "you do not lead this person's team"

ProblemSlug = Annotated[
    str, Meta(description="The slug of the problem", examples=[errors.InvalidField.slug], extra_json_schema=_SLUG)
]
ProblemType = Annotated[
    str, Meta(description="The kind of problem", examples=[TYPE_PREFIX + errors.NotFound.slug], extra_json_schema=_TYPE)
]
Sentence = Annotated[str, Meta(description="The problem in a sentence", examples=[errors.NotFound.summary])]
Place = Annotated[int, Meta(description="Its place among the others, from 0", examples=[0])]


class WrongField(msgspec.Struct):
    """A field that is wrong."""

    field: Annotated[str, Meta(description="A path such as `rows[3].minutes` or `query.cursor`", examples=["minutes"])]
    message: Annotated[str, Meta(description="What is wrong", examples=["must be a whole number from 1 to 1440"])]


class PolicyComplaint(msgspec.Struct):
    """One reason why a policy is refused, or a warning, and where."""

    file: Annotated[str, Meta(description="The name of the file", examples=["policy.csv"])]
    line: Annotated[int, Meta(description="The line, from 1; 0: the whole file", examples=[12])]
    column: Annotated[int, Meta(description="The column, from 1; 0: the whole line", examples=[1])]
    message: Annotated[str, Meta(description="What is wrong", examples=["read:timesheet is no scope"])]
    suggestion: Annotated[
        str | None, Meta(description="A likely correction; null if there is none", examples=["read:log"])
    ]


class MissingCondition(msgspec.Struct):
    """A condition of a rule that did not hold."""

    condition: Annotated[Dimension, Meta(description="What kind of condition it is", examples=["who"])]
    wanted: Annotated[str, Meta(description="The rule's word for it", examples=["manager"])]
    sentence: Annotated[str, Meta(description="What is missing, in words", examples=[_NOT_LEAD])]


class NearMiss(msgspec.Struct):
    """A rule that would have allowed the request, but for the missing conditions."""

    rule: RuleName
    missing: Annotated[list[MissingCondition], Meta(description="The conditions that did not hold")]


class AccessToRequest(msgspec.Struct):
    """What to ask for at /v1/access-requests: the relation that alone was missing."""

    relation: Annotated[str, Meta(description="The relation", examples=["temporary_approver"])]
    decision: Annotated[
        DecisionId | UnsetType,
        Meta(
            description="The refusal: send it as `decision`. Not in a 404: name a `team` or `project`, where the"
            " timesheet may be"
        ),
    ] = UNSET


RequestAccess = Annotated[
    AccessToRequest | UnsetType, Meta(description="Access that you can ask for, which would allow this")
]


class RefusedRow(msgspec.Struct):
    """A row of an upload that was refused."""

    row: Place
    problem: Annotated[ProblemSlug, Meta(examples=[errors.TimesheetFull.slug])]
    reason: Annotated[Sentence, Meta(examples=[errors.TimesheetFull.summary])]
    line: Annotated[int | UnsetType, Meta(description="Its line in the file, if any", examples=[502])] = UNSET
    field: Annotated[str | UnsetType, Meta(description="The wrong field, if any", examples=["project"])] = UNSET


class RefusedItem(msgspec.Struct):
    """An item of a batch that was refused."""

    item: Place
    id: SheetId
    problem: ProblemSlug
    detail: Sentence
    request_access: RequestAccess = UNSET


class Problem(msgspec.Struct):
    """An RFC 9457 problem document. Optional members are present only where they help."""

    type: ProblemType
    title: Annotated[str, Meta(description="The kind of problem in a sentence", examples=[errors.NotFound.summary])]
    status: Annotated[int, Meta(description="The HTTP status", ge=400, le=599, examples=[404])]
    detail: Sentence
    request_id: Annotated[str | UnsetType, Meta(description="Names the request in our logs")] = UNSET
    decision_id: Annotated[DecisionId | UnsetType, Meta(description="The decision that was recorded")] = UNSET
    required_scope: Annotated[
        list[str] | UnsetType, Meta(description="One of these scopes is needed", examples=[["approve:timesheets"]])
    ] = UNSET
    reasons: Annotated[list[str] | UnsetType, Meta(description="Why, nearest first", examples=[[_NOT_LEAD]])] = UNSET
    rules: Annotated[list[RuleName] | UnsetType, Meta(description="The rules that denied it")] = UNSET
    near_misses: Annotated[list[NearMiss] | UnsetType, Meta(description="Rules that almost allowed it")] = UNSET
    request_access: RequestAccess = UNSET
    fields: Annotated[list[WrongField] | UnsetType, Meta(description="The fields that are wrong")] = UNSET
    complaints: Annotated[list[PolicyComplaint] | UnsetType, Meta(description="Why a policy is refused")] = UNSET
    warnings: Annotated[
        list[PolicyComplaint] | UnsetType, Meta(description="What else was found in it, and refuses nothing")
    ] = UNSET
    rows: Annotated[list[RefusedRow] | UnsetType, Meta(description="The first 100 faults of refused rows")] = UNSET
    refused: Annotated[int | UnsetType, Meta(description="How many rows are refused in total", examples=[1])] = UNSET
    items: Annotated[list[RefusedItem] | UnsetType, Meta(description="The items that are refused")] = UNSET
    state: Annotated[ResourceState | UnsetType, Meta(description="The resource's state", examples=["draft"])] = UNSET
    wanted: Annotated[str | UnsetType, Meta(description="The states that are needed", examples=["submitted"])] = UNSET
    timesheet: Annotated[SheetId | UnsetType, Meta(description="The timesheet that this conflicts with")] = UNSET
    timesheets: Annotated[
        list[SheetId] | UnsetType, Meta(description="The first timesheets that this conflicts with")
    ] = UNSET
    person: Annotated[PersonId | UnsetType, Meta(description="The person that this conflicts with")] = UNSET
    hold: Annotated[Id | UnsetType, Meta(description="The legal hold that forbids this")] = UNSET
    held: Annotated[Id | UnsetType, Meta(description="The existing item that this conflicts with")] = UNSET
