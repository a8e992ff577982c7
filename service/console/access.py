"""Access for a time: a person asks for a relation, another person grants or declines it, and both see it end."""

import asyncio
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from litestar import Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from service.console.failures import Failure, describe_refusal
from service.console.form_values import start_of
from service.console.rooms import NavigationLink
from service.console.visits import ListPage, TheVisit, Visit, first_of
from service.standalone.client import Problem, RequestedAccess

PATH: Final = "/access"
LINK: Final = NavigationLink("Access for a time", PATH, "access_request", ("request", "grant"))
PAGE: Final = 100
MAX_SUGGESTED: Final = 200
DEFAULT_DAYS: Final = 7
NEWEST_FIRST: Final = "-requested_at"
DONE: Final = {
    "asked": "Your request is made. Another person decides.",
    "access-granted": "The access is granted, and ends by itself.",
    "access-declined": "The request is declined, and the person reads why.",
    "access-withdrawn": "Your request is taken back.",
    "access-ended": "The access has ended.",
}


@get(PATH)
async def show_access(visit: TheVisit) -> Response[str]:
    """Requests for the person to decide, their own, those that they may end, and a form to ask."""
    asked = visit.request.query_params
    return await _show(visit, form={name: asked[name] for name in ("decision", "relation") if asked.get(name)})


@post(PATH, status_code=303)
async def ask_for_access(visit: TheVisit) -> Response[Any]:
    """Ask for access: after a refusal for what was missing, else for a relation to a team or project."""
    form = await visit.read_form()
    try:
        # The day itself is included, in the zone of the person.
        until = start_of(form.get("until"), visit.zone, after=1)
    except ValueError:
        wrong = Failure(422, "Nothing was asked for", "Say until which day: year, month and day, such as 2026-03-02.")
        return await _show(visit, wrong, form)
    wanted = {name: form[name] for name in ("team", "project") if form.get(name)}
    if not form.get("decision"):
        wanted["relation"] = form.get("relation", "")
    try:
        await visit.api.request_access(until, form.get("reason", ""), decision=form.get("decision") or None, **wanted)
    except Problem as found:
        return await _show(visit, describe_refusal(found), form)
    return visit.redirect(PATH, done="asked")


@post(f"{PATH}/{{request_id:uuid}}/{{step:str}}", status_code=303)
async def decide_access(visit: TheVisit, request_id: FromPath[UUID], step: FromPath[str]) -> Response[Any]:
    """Grant or decline the request of another person, take one's own back, or end access."""
    form, uid = await visit.read_form(), str(request_id)
    reason = form.get("reason", "")
    try:
        if step == "grant":
            await visit.api.grant_access(uid, reason=reason or None)
        elif step == "decline":
            await visit.api.decline_access(uid, reason)
        elif step == "withdraw":
            await visit.api.withdraw_access_request(uid)
        elif step == "end":
            await visit.api.end_access(uid)
        else:
            raise NotFoundException
    except Problem as found:
        return await _show(visit, describe_refusal(found), reasons={uid: reason})
    done = {"grant": "granted", "decline": "declined", "withdraw": "withdrawn", "end": "ended"}[step]
    return visit.redirect(PATH, done=f"access-{done}")


async def find_waiting(visit: Visit, cursor: str | None = None) -> ListPage[RequestedAccess]:
    """The open requests of others that the person may grant now, oldest first."""
    if not visit.may("access_request", "grant"):
        return ListPage[RequestedAccess]([], None)
    return await _find(visit, cursor, state="open", to_decide=True)


async def _find(visit: Visit, cursor: str | None, **query: Any) -> ListPage[RequestedAccess]:
    query = {"names": True, "limit": PAGE, "cursor": cursor, **query}
    return await visit.api.call(ListPage[RequestedAccess], "GET", "/v1/access-requests", query=query)


async def _show(
    visit: Visit,
    failure: Failure | None = None,
    form: dict[str, str] | None = None,
    reasons: dict[str, str] | None = None,
) -> Response[str]:
    """`form`: what was typed to ask; `reasons`: what was typed to decide, by request."""
    at = {name: visit.request.query_params.get(name) or None for name in ("waiting", "mine", "others")}
    # Relations that would allow nothing are no choice.
    choices = [relation for relation in visit.me.requestable if relation["may"]]
    places = sorted({place for relation in choices for place in relation["on"]}, reverse=True)
    waiting, mine, known = await asyncio.gather(
        find_waiting(visit, at["waiting"]),
        _find(visit, at["mine"], mine=True, sort=NEWEST_FIRST),
        _find(visit, at["others"], sort=NEWEST_FIRST),
    )
    to_decide = {request.id for request in waiting.items}
    return visit.render(
        "access.html",
        failure.status if failure else 200,
        waiting=waiting.items,
        mine=mine.items,
        others=[
            request for request in known.items if request.person != visit.me.person and request.id not in to_decide
        ],
        at=at,
        following={"waiting": waiting.next_cursor, "mine": mine.next_cursor, "others": known.next_cursor},
        choices=choices,
        places=places,
        teams=await _list_teams(visit),
        projects=await _list_projects(visit) if "project" in places else [],
        MAX_SUGGESTED=MAX_SUGGESTED,
        failure=failure,
        reasons=reasons or {},
        form={"until": str(visit.today + timedelta(days=DEFAULT_DAYS)), **(form or {})},
    )


async def _list_teams(visit: Visit) -> list[tuple[str, str]] | None:
    """The teams to choose from; None for a person who may not read the directory, and can name their own."""
    if not visit.may("directory", "read"):
        return None
    return [(team.name, "") for team in await first_of(visit.api.teams(), MAX_SUGGESTED)]


async def _list_projects(visit: Visit) -> list[tuple[str, str]]:
    """The projects to choose from, with their names."""
    if not (visit.may("project", "read") or visit.may("directory", "read")):
        return []
    return [(project.code, project.name) for project in await first_of(visit.api.projects(active=True), MAX_SUGGESTED)]
