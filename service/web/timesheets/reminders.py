"""POST /v1/approvals/reminders: a nightly job requests reminders of pending approvals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, post
from litestar.params import JSONBody  # noqa: TC002 — Litestar reads handler signatures
from msgspec import Meta

from service.timesheets.reminders import MAX_DAYS
from service.web.http.operations import BODY, COMMON, operation
from service.web.http.parameters import CurrentCaller  # noqa: TC001 — as above
from service.web.http.responses import make_response

if TYPE_CHECKING:
    from service.timesheets.reminders import Reminders


class ReminderRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which pending timesheets to remind of."""

    waiting_days: Annotated[
        int,
        Meta(
            description="Remind of timesheets that were submitted more than so many days ago",
            ge=0,
            le=MAX_DAYS,
            examples=[3],
        ),
    ]


class RemindedBody(msgspec.Struct):
    """The published reminders: at most one a day for each timesheet."""

    reminded: Annotated[int, Meta(description="The number of `timesheet.reminded` events", ge=0, examples=[12])]
    more: Annotated[bool, Meta(description="Whether there are more: send the request again", examples=[False])]


def reminder_route(reminders: Reminders) -> Any:
    """The handler, bound to its use case."""

    @post(
        "/v1/approvals/reminders",
        status_code=200,
        **operation("Remind approvers", scope="manage:directory", problems=(*COMMON, *BODY, 409), tag="Approvals"),
    )
    async def remind_approvers(caller: CurrentCaller, data: JSONBody[ReminderRequest]) -> Response[RemindedBody]:
        answer = await reminders.remind(caller, data.waiting_days)
        return make_response(RemindedBody(answer.value.sheets, answer.value.more), answer.receipt)

    return remind_approvers
