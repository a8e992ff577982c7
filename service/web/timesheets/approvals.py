"""Routes of pending approvals, and of batches that approve, reject, lock or unlock many timesheets."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody  # noqa: TC002 — Litestar reads handler signatures
from litestar.types import Scope  # noqa: TC002
from msgspec import UNSET, Meta, UnsetType

from service.authorization.enforcement.changes import Outcome  # noqa: TC001 — Litestar reads handler signatures
from service.errors import NotFound, StepUpNeeded
from service.pacing import pace_page
from service.timesheets.actions import Details
from service.timesheets.approvals import MAX_ITEMS, Approvals, Item
from service.timesheets.timesheet import State
from service.web.http.direct_routes import DIRECT
from service.web.http.operations import BODY, COMMON, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    CurrentCaller,
    Cursor,
    Limit,
    WithNames,
    fields_parameter,
    parse_fields,
    parse_uuid,
    pick_fields,
)
from service.web.http.preconditions import parse_if_match
from service.web.http.problem_documents import AccessToRequest, ProblemType, RequestAccess
from service.web.http.problems import TYPE_PREFIX, status_of
from service.web.http.responses import (
    DecisionId,
    Hex,
    Names,
    NextCursor,
    PersonId,
    RuleName,
    SheetId,
    Time,
    make_response,
    names_body,
)
from service.web.timesheets.timesheet_shapes import ApprovalCount, Comment, SheetBody, sheet_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from service.authorization.enforcement.changes import AnswerToAll, Caller
    from service.log.log import Receipt
    from service.timesheets.actions import DetailedSheet
    from service.web.http.paging import Cursors

    Challenge = Callable[[Scope, StepUpNeeded], str | None]

LISTING = "approvals"
SCOPE = "approve:timesheets"
TAG = "Approvals"
Fields = Annotated[list[str] | None, fields_parameter(SheetBody, " of each `timesheet`")]


class ApprovalBody(msgspec.Struct):
    """A timesheet that you may approve."""

    timesheet: Annotated[SheetBody, Meta(description="The timesheet")]
    waiting_since: Annotated[Time, Meta(description="When it was submitted", examples=["2026-11-30T09:00:00.125000Z"])]
    by: Annotated[
        list[str],
        Meta(
            description="Your relations that allow the approval, such as `manager` or `delegate`",
            examples=[["manager"]],
        ),
    ] = msgspec.field(name="as")
    rules: Annotated[list[RuleName], Meta(description="The rules that allow the approval")] = []


class SignIn(msgspec.Struct):
    """A required sign-in (RFC 9470)."""

    acr_values: Annotated[str | None, Meta(description="The required strength; null: any", examples=["mfa"])]
    max_age: Annotated[int | None, Meta(description="The maximum age in seconds; null: any age", examples=[900])]


class ApprovalsPage(msgspec.Struct):
    """Pending approvals, oldest first."""

    items: Annotated[list[ApprovalBody], Meta(description="The pending approvals of this page")]
    next_cursor: NextCursor
    step_up: Annotated[
        SignIn | None, Meta(description="The sign-in that would show more pending approvals; null: there are no more")
    ]


class BatchItem(msgspec.Struct, forbid_unknown_fields=True):
    """A timesheet, and the version that you have read."""

    id: Annotated[
        str,
        Meta(description="The timesheet's id", max_length=64, examples=["0198c0de-0000-7000-8000-000000000000"]),
    ]
    version: Annotated[
        int,
        Meta(description="The version that you have read, as in its ETag", ge=1, le=2_147_483_647, examples=[3]),
    ]


Items = Annotated[list[BatchItem], Meta(description="The timesheets", min_length=1, max_length=MAX_ITEMS)]
Mode = Annotated[
    Literal["all-or-nothing", "per-item"],
    Meta(description="Whether one refused item keeps the others from changing"),
]


class BatchApproval(msgspec.Struct, forbid_unknown_fields=True):
    """Timesheets to approve with one request."""

    items: Items
    comment: Annotated[Comment | None, Meta(description="A comment; every owner reads it")] = None
    mode: Mode = "all-or-nothing"


class BatchRejection(msgspec.Struct, forbid_unknown_fields=True):
    """Timesheets to reject with one request."""

    items: Items
    reason: Annotated[
        str,
        Meta(description="Why; every owner reads it", min_length=1, max_length=1000, examples=["Friday is missing"]),
    ]
    mode: Mode = "all-or-nothing"


class BatchStep(msgspec.Struct, forbid_unknown_fields=True):
    """Timesheets to lock for payroll, or to unlock, with one request."""

    items: Items
    reason: Annotated[
        str,
        Meta(description="Why; every owner reads it", min_length=1, max_length=1000, examples=["Payroll of November"]),
    ]
    mode: Mode = "all-or-nothing"


class ItemProblem(msgspec.Struct):
    """Why an item was refused, as in the problem document of a request for this item alone."""

    type: ProblemType
    title: Annotated[str, Meta(description="The kind of problem in a sentence", examples=[NotFound.summary])]
    status: Annotated[int, Meta(description="The HTTP status", examples=[404])]
    detail: Annotated[str, Meta(description="This problem in a sentence", examples=[NotFound.summary])]
    request_access: RequestAccess = UNSET
    step_up: Annotated[SignIn | UnsetType, Meta(description="The sign-in that would allow it")] = UNSET


class ItemResult(msgspec.Struct):
    """The result of one item."""

    id: SheetId
    owner: Annotated[PersonId | None, Meta(description="The owner of the timesheet; null if nothing changed")]
    status: Annotated[int, Meta(description="The status of a request for this item alone", examples=[200])]
    version: Annotated[int | None, Meta(description="The new version; null if nothing changed", examples=[4])]
    state: Annotated[State | None, Meta(description="The new state; null if nothing changed", examples=["approved"])]
    approvals_given: Annotated[
        ApprovalCount | None, Meta(description="How many approvals it has; null if nothing changed", examples=[1])
    ]
    approvals_needed: Annotated[
        ApprovalCount | None,
        Meta(description="How many it needs in all; null: unknown, or nothing changed", examples=[1]),
    ]
    decision_id: Annotated[DecisionId, Meta(description="The decision about this item")]
    decision_leaf: Annotated[Hex, Meta(description="The leaf hash of the decision's record")]
    problem: Annotated[ItemProblem | None, Meta(description="Why it was refused; null: it was not", examples=[None])]
    names: Names = UNSET


class BatchResult(msgspec.Struct):
    """The result of a batch."""

    changed: Annotated[int, Meta(description="How many items changed", ge=0, examples=[1])]
    items: Annotated[list[ItemResult], Meta(description="The result of each item, in the order of the request")]


def approval_routes(approvals: Approvals, cursors: Cursors, challenge: Challenge) -> list[Any]:
    """The handlers, bound to the use cases. `challenge` writes a WWW-Authenticate header."""

    @get("/v1/approvals", opt=DIRECT, **operation("List pending approvals", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_approvals(
        scope: Scope,
        caller: CurrentCaller,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        fields: Fields = None,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[ApprovalsPage]:
        wanted = parse_fields(fields, SheetBody)
        place = cursors.read(LISTING, {}, cursor)
        after = (datetime.fromisoformat(place[0]), UUID(place[1])) if place else None
        details = Details(names=names, fields=wanted)
        answer = await approvals.list_pending(caller, details, after=after, limit=limit)
        found = answer.value.items
        sheets = [sheet_body(approval.sheet, names=approval.names) async for approval in pace_page(found)]
        items = [
            ApprovalBody(sheet, approval.since, list(approval.relations), list(approval.rules))
            for approval, sheet in zip(found, pick_fields(sheets, wanted), strict=True)
        ]
        following = answer.value.after
        more = cursors.make(LISTING, {}, [following[0].isoformat(), str(following[1])]) if following else None
        step_up = answer.value.step_up
        if step_up is None:
            return make_response(ApprovalsPage(items, more, None), answer.receipt)
        # RFC 9110 section 11.6.1: other credentials might change the answer. The challenge fills in `acr_values`.
        header = challenge(scope, step_up) or ""
        response = make_response(
            ApprovalsPage(items, more, SignIn(step_up.acr_values, step_up.max_age)), answer.receipt
        )
        response.headers["WWW-Authenticate"] = header
        return response

    return [list_approvals, *_batches(approvals, challenge)]


def _batches(approvals: Approvals, challenge: Challenge) -> list[Any]:
    batch: dict[str, Any] = {"scope": SCOPE, "problems": (*COMMON, *BODY, 409), "tag": TAG, "names": True}

    @post("/v1/timesheets/batch-approve", status_code=200, **operation("Approve many timesheets", **batch))
    async def approve_timesheets(
        scope: Scope, caller: CurrentCaller, data: JSONBody[BatchApproval]
    ) -> Response[BatchResult]:
        steps = approvals.approve_all, approvals.approve_each
        return await _decide_batch(caller, data, *steps, data.comment, partial(challenge, scope))

    @post("/v1/timesheets/batch-reject", status_code=200, **operation("Reject many timesheets", **batch))
    async def reject_timesheets(
        scope: Scope, caller: CurrentCaller, data: JSONBody[BatchRejection]
    ) -> Response[BatchResult]:
        steps = approvals.reject_all, approvals.reject_each
        return await _decide_batch(caller, data, *steps, data.reason, partial(challenge, scope))

    @post("/v1/timesheets/batch-lock", status_code=200, **operation("Lock many timesheets for payroll", **batch))
    async def lock_timesheets(scope: Scope, caller: CurrentCaller, data: JSONBody[BatchStep]) -> Response[BatchResult]:
        steps = approvals.lock_all, approvals.lock_each
        return await _decide_batch(caller, data, *steps, data.reason, partial(challenge, scope))

    @post("/v1/timesheets/batch-unlock", status_code=200, **operation("Unlock many timesheets", **batch))
    async def unlock_timesheets(
        scope: Scope, caller: CurrentCaller, data: JSONBody[BatchStep]
    ) -> Response[BatchResult]:
        steps = approvals.unlock_all, approvals.unlock_each
        return await _decide_batch(caller, data, *steps, data.reason, partial(challenge, scope))

    return [approve_timesheets, reject_timesheets, lock_timesheets, unlock_timesheets]


async def _decide_batch(
    caller: Caller,
    data: BatchApproval | BatchRejection | BatchStep,
    together: Callable[..., Awaitable[AnswerToAll[Sequence[DetailedSheet]]]],
    each: Callable[..., Awaitable[Sequence[Outcome[DetailedSheet]]]],
    reason: str | None,
    challenge: Callable[[StepUpNeeded], str | None],
) -> Response[BatchResult]:
    """Run the batch in the mode of the request."""
    items = _items(data.items)
    if data.mode == "per-item":
        outcomes = await each(caller, items, reason)
        for outcome in outcomes:
            if isinstance(outcome.error, StepUpNeeded):
                # It fills in `acr_values`.
                challenge(outcome.error)
        return _respond_each(items, outcomes)
    return _respond_all(await together(caller, items, reason))


def _items(items: Sequence[BatchItem]) -> list[Item]:
    return [
        Item(parse_uuid(item.id, f"items[{index}].id"), parse_if_match([f'"{item.version}"']))
        for index, item in enumerate(items)
    ]


def _respond_all(answer: AnswerToAll[Sequence[DetailedSheet]]) -> Response[BatchResult]:
    items = [_accept(sheet, receipt) for sheet, receipt in zip(answer.value, answer.receipts, strict=True)]
    return make_response(BatchResult(len(items), items), answer.receipts[0])


def _respond_each(items: Sequence[Item], outcomes: Sequence[Outcome[DetailedSheet]]) -> Response[BatchResult]:
    results = [_result(item, outcome) for item, outcome in zip(items, outcomes, strict=True)]
    return make_response(BatchResult(sum(result.problem is None for result in results), results), outcomes[0].receipt)


def _result(item: Item, outcome: Outcome[DetailedSheet]) -> ItemResult:
    if outcome.error is None and outcome.value is not None:
        return _accept(outcome.value, outcome.receipt)
    decision, problem = (str(outcome.receipt.uid), outcome.receipt.leaf), _problem(outcome)
    return ItemResult(str(item.sheet), None, problem.status, None, None, None, None, *decision, problem)


def _accept(changed: DetailedSheet, receipt: Receipt) -> ItemResult:
    sheet = changed.sheet
    approvals = len(sheet.approvals), sheet.approvals_needed
    decision, names = (str(receipt.uid), receipt.leaf), names_body(changed.names)
    changes = sheet.version, sheet.state, *approvals
    return ItemResult(str(sheet.id), str(sheet.owner), 200, *changes, *decision, None, names)


def _problem(outcome: Outcome[DetailedSheet]) -> ItemProblem:
    error = outcome.error
    if error is None:
        raise ValueError("an item is changed or refused")
    return ItemProblem(
        TYPE_PREFIX + error.slug,
        error.summary,
        status_of(type(error)),
        error.public,
        UNSET if error.request_access is None else AccessToRequest(**error.request_access),
        SignIn(error.acr_values, error.max_age) if isinstance(error, StepUpNeeded) else UNSET,
    )
