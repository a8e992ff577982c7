"""/v1/policies/versions/{number}/diff: the rows that differ from another version, and the verdicts that change."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.params import Parameter
from msgspec import Meta

from service.web.http.operations import ROW, operation
from service.web.http.parameters import MAX_INTEGER, CurrentCaller, Number, parse_number
from service.web.http.responses import Action, ResourceKind, make_response

if TYPE_CHECKING:
    from service.administration.versions.comparison import PolicyComparison

TAG = "Policy"
Change = Annotated[Literal["added", "removed", "changed"], Meta(description="How it differs", examples=["added"])]
Against = Annotated[
    int | None,
    Parameter(ge=1, le=MAX_INTEGER, description="The version to compare with; by default the active version"),
]


class RowChangeBody(msgspec.Struct):
    """A row that differs."""

    change: Change
    name: Annotated[str, Meta(description="The rule's name; empty for a g row", examples=["read-auditor"])]
    line: Annotated[
        int,
        Meta(
            description="Its line in the later version, or of a removed row in the earlier; 0 for a g row",
            ge=0,
            examples=[85],
        ),
    ]
    before: Annotated[str | None, Meta(description="The row's fields before; null: it was added", examples=[None])]
    after: Annotated[
        str | None,
        Meta(
            description="The row's fields afterwards; null: it was removed",
            examples=["p, allow, role:auditor, read, any, timesheet, read:timesheets, always, read-auditor"],
        ),
    ]


class ChangedVerdictBody(msgspec.Struct):
    """A verdict that differs, as a sentence and in parts."""

    sentence: Annotated[
        str,
        Meta(
            description="The change in words",
            examples=["a caller with the role auditor and read:timesheets may now read a timesheet in any state"],
        ),
    ]
    kind: Annotated[ResourceKind, Meta(description="The kind of resource")]
    action: Annotated[Action, Meta(description="The action")]
    allowed: Annotated[bool, Meta(description="Whether it is allowed afterwards", examples=[True])]
    who: Annotated[list[str], Meta(description="All of these must hold; empty: anyone", examples=[["role:auditor"]])]
    scopes: Annotated[list[str], Meta(description="All of these must be granted", examples=[["read:timesheets"]])]
    states: Annotated[
        list[str],
        Meta(
            description="The resource is in one of these states; an empty word: it has none",
            examples=[["approved", "draft", "locked", "rejected", "submitted"]],
        ),
    ]
    facts: Annotated[
        dict[str, list[Literal["true", "false", "unknown"]]],
        Meta(description="Each fact has one of its values", examples=[{}]),
    ]


class CaseChangeBody(msgspec.Struct):
    """A case that differs, or the defaults of a case file."""

    change: Change
    name: Annotated[
        str,
        Meta(description="The case's name; empty for the defaults of the file", examples=["auditors read every sheet"]),
    ]
    file: Annotated[
        str,
        Meta(description="The file of the later version, or of a removed case of the earlier", examples=["audit.yaml"]),
    ]
    line: Annotated[int, Meta(description="Its line in that file", ge=0, examples=[31])]


class PolicyDiffBody(msgspec.Struct):
    """The differences between two policy versions."""

    number: Annotated[int, Meta(description="The later version", ge=1, examples=[2])]
    against: Annotated[int, Meta(description="The version that it is compared with", ge=1, examples=[1])]
    same: Annotated[bool, Meta(description="Whether nothing differs", examples=[False])]
    rows: Annotated[list[RowChangeBody], Meta(description="Rows that differ")]
    words: Annotated[list[str], Meta(description="What differs in the vocabulary, in words", examples=[[]])]
    files: Annotated[
        list[str], Meta(description="The files whose text differs", examples=[["policy.csv", "audit.yaml"]])
    ]
    verdicts: Annotated[list[ChangedVerdictBody], Meta(description="Verdicts that differ")]
    cut_short: Annotated[
        list[str],
        Meta(description="Actions with so many rows that `verdicts` does not hold all of theirs", examples=[[]]),
    ]
    cases: Annotated[list[CaseChangeBody], Meta(description="Cases that differ, by their names")]


def policy_diff_routes(comparison: PolicyComparison) -> list[Any]:
    """The handler, bound to its use case."""

    @get(
        "/v1/policies/versions/{number:str}/diff",
        **operation("Compare a version with another one", scope="read:policies", problems=ROW, tag=TAG),
    )
    async def compare_versions(
        caller: CurrentCaller, number: Number, against: Against = None
    ) -> Response[PolicyDiffBody]:
        answer = await comparison.compare(caller, parse_number(number, "path.number"), against)
        found = answer.value
        members = {"number": found.number, "against": found.against, **asdict(found.diff)}
        return make_response(msgspec.convert(members, PolicyDiffBody), answer.receipt)

    return [compare_versions]
