"""/v1/policies/versions/{number}/diff: which rows differ from another version, and whose verdicts change."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.params import Parameter

from service.web.http.answers import answered
from service.web.http.operations import ROW, operation
from service.web.http.parameters import LARGEST, Asking, Number, number_of

if TYPE_CHECKING:
    from service.administration.versions.policy_comparison import PolicyComparison

TAG = "Policy"
Against = Annotated[
    int | None, Parameter(ge=1, le=LARGEST, description="The version to compare with; without it, the one that decides")
]


class RowChangeBody(msgspec.Struct):
    """A row that differs. `name` is the rule's, empty for a g row; `line` is where it stands in the later version, or,
    of a removed row, in the earlier, 0 for a g row. `before` and `after` are the row's fields."""

    change: Literal["added", "removed", "changed"]
    name: str
    line: int
    before: str | None
    after: str | None


class ChangedVerdictBody(msgspec.Struct):
    """A verdict that differs, as a sentence and in parts. `allowed` is what it is afterwards. All of `who` (empty for
    anyone) and of `scopes` must hold, one of `states` (an empty one: without a state), and each fact at one of its
    values: true, false, unknown."""

    sentence: str
    kind: str
    action: str
    allowed: bool
    who: list[str]
    scopes: list[str]
    states: list[str]
    facts: dict[str, list[str]]


class CaseChangeBody(msgspec.Struct):
    """A case that differs, and where it stands in the later version, or, if it was removed, in the earlier."""

    change: Literal["added", "removed", "changed"]
    name: str
    file: str
    line: int


class PolicyDiffBody(msgspec.Struct):
    """What differs in version `number` from version `against`. `words` tells of the vocabulary, `files` names those
    whose text differs; `cut_short` names actions with so many rows that not all changes of verdicts are told: those
    that are told are whole. `cases` are known by their names."""

    number: int
    against: int
    same: bool
    rows: list[RowChangeBody]
    words: list[str]
    files: list[str]
    verdicts: list[ChangedVerdictBody]
    cut_short: list[str]
    cases: list[CaseChangeBody]


def policy_diff_routes(comparison: PolicyComparison) -> list[Any]:
    """The handler, bound to its use case."""

    @get(
        "/v1/policies/versions/{number:str}/diff",
        **operation("Compare a version with another one", scope="read:policies", problems=ROW, tag=TAG),
    )
    async def compare_versions(ask: Asking, number: Number, against: Against = None) -> Response[PolicyDiffBody]:
        answer = await comparison.compare(ask, number_of(number, "path.number"), against)
        found = answer.value
        members = {"number": found.number, "against": found.against, **asdict(found.diff)}
        return answered(msgspec.convert(members, PolicyDiffBody), answer.receipt)

    return [compare_versions]
