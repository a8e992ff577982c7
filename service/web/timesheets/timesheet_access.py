"""GET /v1/timesheets/{id}/access: who may do what to this sheet, by which rule, and what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, get

from service.web.http.answers import answered
from service.web.http.operations import ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import Asking, Cursor, Limit, SheetId, uuid_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.authorization.enforcement.access import Way
    from service.timesheets.access import TimesheetAccess
    from service.web.http.paging import Cursors

LISTING = "access"


class WayBody(msgspec.Struct):
    """By which `rule`, with which `scope` (null: any token), and what must be known of the sign-in: `mfa`, or
    `not mfa`."""

    rule: str
    scope: str | None
    sign_in: list[str]


class SomebodyBody(msgspec.Struct):
    """A person, or a client that acts for itself; what they are to the sheet; and for each action that they may do in
    its present state the ways in which they may."""

    person: str | None
    client: str | None
    relations: list[str]
    may: dict[str, list[WayBody]]


class AccessBody(msgspec.Struct):
    """Who may do what to the sheet in its `state`, under the policy `version`. `whoever`: the same for anybody whose
    token brings a word that a rule names, such as `role:auditor`, and who is nothing else to the sheet; on the first
    page. `cut_short`: the policy has so many rules that not every way is told. `next_cursor` is null on the last page;
    a page may hold fewer than `limit`, because not every candidate may do anything."""

    timesheet: str
    state: str
    version: int
    items: list[SomebodyBody]
    whoever: dict[str, dict[str, list[WayBody]]]
    cut_short: bool
    next_cursor: str | None


def timesheet_access_route(access: TimesheetAccess, cursors: Cursors) -> Any:
    """The handler, bound to its use case."""

    @get(
        "/v1/timesheets/{timesheet_id:str}/access",
        **operation("Who may do what to a timesheet", scope="read:timesheets", problems=ROW, tag="Timesheets"),
    )
    async def read_timesheet_access(
        ask: Asking,
        timesheet_id: SheetId,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[AccessBody]:
        sheet = uuid_of(timesheet_id, "path.timesheet_id")
        bound = {"timesheet": sheet}
        place = cursors.read(LISTING, bound, cursor)
        answer = await access.of(ask, sheet, after=place[0] if place else None, limit=limit)
        found = answer.value
        body = AccessBody(
            timesheet=str(sheet),
            state=found.state,
            version=found.version,
            items=[
                SomebodyBody(str(one.person) if one.person else None, one.client, sorted(one.relations), _may(one.may))
                for one in found.somebody
            ],
            whoever={word: _may(may) for word, may in found.whoever.items()},
            cut_short=found.cut_short,
            next_cursor=cursors.make(LISTING, bound, [found.after]) if found.after else None,
        )
        return answered(body, answer.receipt)

    return read_timesheet_access


def _may(may: Mapping[str, tuple[Way, ...]]) -> dict[str, list[WayBody]]:
    return {action: [WayBody(one.rule, one.scope, list(one.sign_in)) for one in some] for action, some in may.items()}
