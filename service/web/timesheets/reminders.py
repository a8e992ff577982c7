"""POST /v1/approvals/reminders: what a nightly job asks for, so that whoever must approve hears of what waits."""

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


class Waited(msgspec.Struct, forbid_unknown_fields=True):
    """Which weeks to remind of."""

    waiting_days: Annotated[
        int,
        Meta(
            description="Days for which a week must have waited since it was submitted",
            ge=0,
            le=MAX_DAYS,
            examples=[3],
        ),
    ]


class RemindedBody(msgspec.Struct):
    """The events that were published. A week is reminded of once a day at the most."""

    reminded: Annotated[
        int, Meta(description="Of how many weeks an event `timesheet.reminded` is published", ge=0, examples=[12])
    ]
    more: Annotated[bool, Meta(description="Whether more weeks wait: ask again for the rest", examples=[False])]


def reminder_route(reminders: Reminders) -> Any:
    """The handler, bound to its use case."""

    @post(
        "/v1/approvals/reminders",
        status_code=200,
        **operation("Remind approvers", scope="manage:directory", problems=(*COMMON, *BODY, 409), tag="Approvals"),
    )
    async def remind_approvers(caller: CurrentCaller, data: JSONBody[Waited]) -> Response[RemindedBody]:
        answer = await reminders.remind(caller, data.waiting_days)
        return make_response(RemindedBody(answer.value.sheets, answer.value.more), answer.receipt)

    return remind_approvers
