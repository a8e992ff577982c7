"""Problem documents (RFC 9457) as the OpenAPI document describes them: the shape, and the types of every status.

Pure: owns no state. Slugs and sentences come from the error tree, so what is written is what is answered.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIResponse, Reference

from service import errors
from service.web.http.documented_headers import headers

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM_JSON: Final = "application/problem+json"
# The names of RFC 9110: Python knows them under older ones until 3.13.
PHRASES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}
TYPE_PREFIX: Final = "urn:timewarden:problem:"
UNDECIDED: Final = frozenset({400, 401, 408, 413, 415, 429, 431})
TYPES: Final[Mapping[int, tuple[type[errors.TimewardenError], ...]]] = {
    400: (errors.MalformedRequest,),
    401: (
        errors.MissingToken,
        errors.InvalidToken,
        errors.InvalidProof,
        errors.NonceWanted,
        errors.StepUpNeeded,
    ),
    403: (errors.InsufficientScope, errors.Forbidden),
    404: (errors.NotFound,),
    408: (errors.BodyTooSlow,),
    409: (
        errors.WrongState,
        errors.NoApprover,
        errors.Conflict,
        errors.TimesheetFull,
        errors.StaleExpectation,
        errors.KeyInUse,
    ),
    412: (errors.PreconditionFailed,),
    413: (errors.BodyTooLarge,),
    415: (errors.UnsupportedMediaType,),
    422: (errors.InvalidField, errors.QuestionTooWide, errors.PolicyRejected, errors.KeyReused),
    428: (errors.PreconditionRequired,),
    429: (errors.TooManyRequests,),
    431: (errors.HeadersTooLarge,),
    503: (
        errors.LogUnavailable,
        errors.DatabaseUnavailable,
        errors.KeysUnavailable,
        errors.IntrospectionUnavailable,
        errors.ReplayUnavailable,
        errors.ErasureKeyMissing,
        errors.PolicyUnavailable,
        errors.NotSealed,
        errors.TryLater,
    ),
}
MORE: Final[Mapping[type[errors.TimewardenError], dict[str, object]]] = {
    errors.InsufficientScope: {"required_scope": ["approve:timesheets"]},
    errors.Forbidden: {
        "reasons": ["you do not lead this person's team"],
        "near_misses": [
            {
                "rule": "approve-team",
                "missing": [
                    {"condition": "who", "wanted": "manager", "sentence": "you do not lead this person's team"},
                ],
            }
        ],
    },
    errors.InvalidField: {"fields": [{"field": "minutes", "message": "must be a whole number from 1 to 1440"}]},
    errors.WrongState: {"state": "draft", "wanted": "submitted"},
    errors.Conflict: {"timesheet": "0198c0de-4f2a-7000-8000-00000000002a"},
    errors.TimesheetFull: {
        "rows": [
            {"row": 500, "line": 502, "problem": errors.TimesheetFull.slug, "reason": errors.TimesheetFull.summary}
        ],
        "refused": 1,
    },
    errors.PolicyRejected: {
        "complaints": [
            {
                "file": "policy.csv",
                "line": 12,
                "column": 1,
                "message": "read:timesheet is no scope",
                "suggestion": "read:timesheets",
            }
        ]
    },
}


class WrongField(msgspec.Struct):
    """A field that is wrong, and what is wanted. `field` is a path such as `rows[3].minutes` or `query.cursor`."""

    field: str
    message: str


class PolicyComplaint(msgspec.Struct):
    """One reason why a policy is refused, with its place (line and column from 1; 0 means the whole file)."""

    file: str
    line: int
    column: int
    message: str
    suggestion: str | None = None


class MissingCondition(msgspec.Struct):
    """What a rule wanted and did not find: `condition` is `who`, `state`, `scope` or `fact`; `wanted` is its word."""

    condition: str
    wanted: str
    sentence: str


class NearMiss(msgspec.Struct):
    """A rule that would have allowed this but for what is missing."""

    rule: str
    missing: list[MissingCondition]


class RefusedRow(msgspec.Struct, omit_defaults=True):
    """A row of an upload that was refused: its place from 0, its line if there is a file, the slug of the problem, and
    the field if one is to blame."""

    row: int
    problem: str
    reason: str
    line: int | None = None
    field: str | None = None


class RefusedItem(msgspec.Struct):
    """An item of a batch that was refused, by its place from 0 and its id: the slug of the problem, and a sentence."""

    item: int
    id: str
    problem: str
    detail: str


class Problem(msgspec.Struct, omit_defaults=True):
    """An RFC 9457 problem document. `type` is stable and names the kind of problem; `detail` is for people. Other
    members stand only where they help. `rows` are the first 100 faults for which an upload was refused and `refused` is
    the number of all refused rows; `items` those of a batch. `state` is that of the resource, `wanted` the one that it
    would have to be in. `timesheet`, `timesheets`, `person`, `hold` and `held` are the ids of what is in the way."""

    type: Annotated[str, msgspec.Meta(pattern=f"^{TYPE_PREFIX}[a-z-]+$")]
    title: str
    status: int
    detail: str
    request_id: str | None = None
    decision_id: str | None = None
    required_scope: list[str] | None = None
    reasons: list[str] | None = None
    rules: list[str] | None = None
    near_misses: list[NearMiss] | None = None
    fields: list[WrongField] | None = None
    complaints: list[PolicyComplaint] | None = None
    rows: list[RefusedRow] | None = None
    refused: int | None = None
    items: list[RefusedItem] | None = None
    state: str | None = None
    wanted: str | None = None
    timesheet: str | None = None
    timesheets: list[str] | None = None
    person: str | None = None
    hold: str | None = None
    held: str | None = None


def component(status: int) -> str:
    """The name of a status's answer among the document's shared parts."""
    return f"Problem{status}"


def problem_responses() -> dict[str, OpenAPIResponse]:
    """Every problem answer, once, for operations to refer to."""
    return {component(status): _response(status) for status in TYPES}


def sentence_of(status: int) -> str:
    """What a status means here, in the words of its problem types."""
    return f"{PHRASES.get(status) or HTTPStatus(status).phrase}: " + "; ".join(
        f"`{kind.slug}`" for kind in TYPES[status]
    )


def _response(status: int) -> OpenAPIResponse:
    names = ["X-Request-Id"]
    if status not in UNDECIDED:
        names += ["Decision-Id", "Decision-Leaf"]
    if status in {401, 403}:
        names.append("WWW-Authenticate")
    if status == HTTPStatus.UNAUTHORIZED:
        names.append("DPoP-Nonce")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        names += ["RateLimit", "RateLimit-Policy"]
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        names.append("Retry-After")
    examples = {kind.slug: Example(summary=kind.summary, value=_example(kind, status)) for kind in TYPES[status]}
    content = OpenAPIMediaType(schema=Reference(ref="#/components/schemas/Problem"), examples=dict(examples))
    return OpenAPIResponse(description=sentence_of(status), content={PROBLEM_JSON: content}, headers=headers(*names))


def _example(kind: type[errors.TimewardenError], status: int) -> dict[str, Any]:
    return {
        "type": TYPE_PREFIX + kind.slug,
        "title": kind.summary,
        "status": status,
        "detail": kind.summary,
        **MORE.get(kind, {}),
    }
