"""GET /v1/timesheets/{id}/access: who may do what to a timesheet, by which rule, scope and sign-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import Response, get
from msgspec import Meta

from service.timesheets.timesheet import State
from service.web.http.operations import ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import CurrentCaller, Cursor, Limit, WithNames, parse_uuid
from service.web.http.parameters import SheetId as SheetInPath
from service.web.http.responses import Names, NextCursor, PersonId, RuleName, SheetId, make_response, names_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.authorization.enforcement.access import Way
    from service.timesheets.access import TimesheetAccess
    from service.web.http.paging import Cursors

LISTING = "access"
MANAGER: Final = "0198c0de-0000-7000-8000-000000000002"
WAY: Final = {"rule": "approve-team", "scope": "approve:timesheets", "sign_in": []}


class WayBody(msgspec.Struct):
    """One rule that allows an action, and what it requires."""

    rule: Annotated[RuleName, Meta(description="The rule that allows it")]
    scope: Annotated[
        str | None,
        Meta(description="The scope that the token must have; null: none", examples=["approve:timesheets"]),
    ]
    sign_in: Annotated[
        list[str],
        Meta(description="Required facts about the sign-in, such as `mfa`, or `not mfa`", examples=[[]]),
    ]


class GranteeBody(msgspec.Struct):
    """A person, or a client that acts for itself, and what they may do to the timesheet."""

    person: Annotated[PersonId | None, Meta(description="The person's id; null for a client", examples=[MANAGER])]
    client: Annotated[str | None, Meta(description="The client's id; null for a person", examples=[None])]
    relations: Annotated[list[str], Meta(description="Their relations to the timesheet", examples=[["manager"]])]
    may: Annotated[
        dict[str, list[WayBody]],
        Meta(
            description="Each action that they may take in its present state, with the rules that allow it",
            examples=[{"approve": [WAY]}],
        ),
    ]
    names: Names = msgspec.UNSET


class AccessBody(msgspec.Struct):
    """The people who may act on a timesheet in its present state, and how."""

    timesheet: SheetId
    state: Annotated[State, Meta(description="The present state of the timesheet", examples=["submitted"])]
    version: Annotated[int, Meta(description="The active policy version", ge=1, examples=[1])]
    items: Annotated[
        list[GranteeBody],
        Meta(
            description="The people and clients who may do anything, with the roles that the directory gives them, and"
            " not those of their tokens; a page may hold fewer than `limit`"
        ),
    ]
    tokens_with: Annotated[
        dict[str, dict[str, list[WayBody]]],
        Meta(
            description="What a token with a word such as `role:auditor` may do. Its holder may be missing from"
            " `items`, because the directory does not know the roles of tokens. Only on the first page. Facts about the"
            " holder are unknown here, so a rule that needs one is missing",
            examples=[
                {"role:auditor": {"read": [{"rule": "read-auditor", "scope": "read:timesheets", "sign_in": []}]}}
            ],
        ),
    ]
    cut_short: Annotated[
        bool,
        Meta(
            description="Whether rules may be missing because the policy has too many rules or facts", examples=[False]
        ),
    ]
    next_cursor: NextCursor


def timesheet_access_route(access: TimesheetAccess, cursors: Cursors) -> Any:
    """The handler, bound to its use case."""

    @get(
        "/v1/timesheets/{timesheet_id:str}/access",
        **operation("List who may do what to a timesheet", scope="read:timesheets", problems=ROW, tag="Timesheets"),
    )
    async def read_timesheet_access(
        caller: CurrentCaller,
        timesheet_id: SheetInPath,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[AccessBody]:
        sheet = parse_uuid(timesheet_id, "path.timesheet_id")
        bound = {"timesheet": sheet}
        place = cursors.read(LISTING, bound, cursor)
        answer = await access.of(caller, sheet, with_names=names, after=place[0] if place else None, limit=limit)
        found = answer.value
        body = AccessBody(
            timesheet=str(sheet),
            state=State(found.state),
            version=found.version,
            items=[
                GranteeBody(
                    str(grantee.person) if grantee.person else None,
                    grantee.client,
                    sorted(grantee.relations),
                    _may(grantee.may),
                    names_body(grantee.names),
                )
                for grantee in found.grantees
            ],
            tokens_with={word: _may(may) for word, may in found.by_word.items()},
            cut_short=found.cut_short,
            next_cursor=cursors.make(LISTING, bound, [found.after]) if found.after else None,
        )
        return make_response(body, answer.receipt)

    return read_timesheet_access


def _may(may: Mapping[str, tuple[Way, ...]]) -> dict[str, list[WayBody]]:
    return {action: [WayBody(way.rule, way.scope, list(way.sign_in)) for way in ways] for action, ways in may.items()}
