"""The pages for people who approve: the inbox with a sheet beside the list, many at once, and delegations."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlencode
from uuid import UUID

import httpx2
import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from service.console import access
from service.console.failure_answers import step_up_path
from service.console.failures import NOT_FOUND, Failure, describe_problem, describe_refusal, find_failure
from service.console.form_values import number_of, start_of
from service.console.people import resolve_person, teams_of
from service.console.rendering import STATES
from service.console.rooms import NavigationLink, Room
from service.console.sign_in_server import Demand
from service.console.visits import ListPage, TheVisit, Visit, is_over
from service.console.weeks import make_grid
from service.standalone.client import Batch, Delegation, Problem, Receipt, Timesheet, Unauthenticated
from service.standalone.client import PendingApproval as Pending
from service.standalone.client.shapes import ItemResult

MAX_SHOWN = 200
# Pending approvals that a search looks through, the longest waiting first.
MAX_SEARCHED = 1_000
MAX_DELEGATIONS = 2_000
# As many as one request of the API takes.
MAX_AT_ONCE = 100


class _ApprovalsPage(msgspec.Struct):
    items: list[Pending]
    next_cursor: str | None = None
    step_up: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class InboxFilters:
    """Which pending weeks to list: of owners whose name contains `who`, with hours on the project, and by the relation
    `through` which the person approves them. Empty does not filter."""

    who: str = ""
    project: str = ""
    through: str = ""

    @classmethod
    def of(cls, visit: Visit) -> Self:
        """Those in the address."""
        asked = visit.request.query_params
        return cls(*(asked.get(name, "").strip()[:100] for name in ("who", "project", "through")))

    @property
    def given(self) -> dict[str, str]:
        """Those that filter."""
        return {name: value for name, value in asdict(self).items() if value}

    def fit(self, item: Pending, owner: str) -> bool:
        """Whether a pending week is listed."""
        return (
            self.who.casefold() in owner.casefold()
            and (not self.project or any(entry.project == self.project for entry in item.timesheet.entries))
            and (not self.through or self.through in item.as_)
        )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result for one sheet of a batch. `sign_in`: where to sign in again, if that is what is missing."""

    sheet: Timesheet | None
    state: str | None
    failure: Failure | None
    sign_in: str = ""


@get("/inbox")
async def show_inbox(visit: TheVisit, sheet: FromQuery[str] = "") -> Response[str]:
    """Pending weeks, oldest first, beside the week that is chosen, or else the first."""
    filters = InboxFilters.of(visit)
    (page, items), asking = await asyncio.gather(_find_pending(visit, filters), access.find_waiting(visit))
    chosen = next((item for item in items if item.timesheet.id == sheet), items[0] if items and not sheet else None)
    failure = await _explain_absence(visit, sheet) if sheet and chosen is None and not filters.given else None
    status = failure.status if failure else 200
    return await _render(
        visit,
        "inbox.html",
        page,
        items,
        chosen,
        filters,
        status,
        asking=asking.items,
        more_ask=asking.next_cursor is not None,
        failure=failure,
    )


@get("/inbox/{sheet_id:uuid}/sheet")
async def show_pending_sheet(visit: TheVisit, sheet_id: FromPath[UUID]) -> Response[str]:
    """The sheet beside the list, for htmx. It alone is read, not the list."""
    sheet = await visit.api.timesheet(str(sheet_id), names=True)
    if sheet.state != "submitted" or sheet.submitted_at is None:
        return visit.render("failure_fragment.html", HTTPStatus.NOT_FOUND, failure=_not_pending(sheet))
    chosen, filters = Pending(timesheet=sheet, waiting_since=sheet.submitted_at, as_=[]), InboxFilters.of(visit)
    return await _render(visit, "inbox_sheet.html", _ApprovalsPage([chosen]), [chosen], chosen, filters)


@post("/inbox", status_code=200)
async def decide_many(visit: TheVisit) -> Response[Any]:
    """Approve or reject the chosen sheets, each on its own, in the versions that the person has seen."""
    form, filters = await visit.request.form(), InboxFilters.of(visit)
    chosen = [str(value).partition("/") for value in form.getall("sheet", [])][:MAX_SHOWN]
    reason, decision = str(form.get("reason", "")).strip(), form.get("decision")
    page, items = await _find_pending(visit, filters)
    if not chosen or decision not in ("approve", "reject") or (decision == "reject" and not reason):
        missing = "Choose at least one week" if not chosen else "Say why you reject, so that the owner can correct it"
        failure = Failure(422, "Nothing was changed", f"{missing}.")
        checked = {sheet for sheet, _, _ in chosen}
        here = next((item for item in items if item.timesheet.id in checked), None)
        return await _render(
            visit, "inbox.html", page, items, here, filters, 422, failure=failure, reason=reason, checked=checked
        )
    results, broken = await _decide_each(visit, decision, [(sheet, version) for sheet, _, version in chosen], reason)
    demands = [result.problem["step_up"] for result in results if result.problem and "step_up" in result.problem]
    if broken is None and len(demands) == len(results):
        raise _need_sign_in(results[0], demands)
    if broken is None and all(result.problem is None for result in results):
        count = "one" if len(results) == 1 else "many"
        # Under a policy that asks for several approvals, a week can need more than this one.
        done = "approve-part" if any(result.state == "submitted" for result in results) else f"{decision}-{count}"
        return visit.redirect(_inbox(filters), done=done)
    known = {item.timesheet.id: item.timesheet for item in items}
    # A week that does not wait any more, such as one that was withdrawn meanwhile.
    gone = [result.id for result in results if result.problem and result.id not in known]
    known |= {sheet_id: sheet for sheet_id in gone if (sheet := await _find(visit, sheet_id))}
    outcomes = [
        _Outcome(
            known.get(item.id),
            item.state,
            _describe(item.problem, item.decision_id) if item.problem else None,
            _step_up(item.problem.get("step_up") if item.problem else None, filters),
        )
        for item in results
    ]
    outcomes += [_Outcome(known.get(sheet), None, broken) for sheet, _, _ in chosen[len(results) :]]
    more: dict[str, Any] = {"outcomes": outcomes, "decision": decision}
    try:
        page, items = await _find_pending(visit, filters)
    except (Problem, httpx2.HTTPError) as error:
        # The page shows the results without the list.
        page, items, more["failure"] = _ApprovalsPage([]), [], find_failure(error)
    return await _render(visit, "inbox.html", page, items, None, filters, **more)


@get("/delegations")
async def show_delegations(visit: TheVisit) -> Response[str]:
    """The delegations, and the form to name a delegate."""
    return await _render_delegations(visit)


@post("/delegations", status_code=303)
async def grant_delegation(visit: TheVisit) -> Response[Any]:
    """Let a delegate approve in the person's place."""
    form = await visit.read_form()
    try:
        times = {
            name: start_of(form[field], visit.zone, after=after)
            # The last day is included, as in the form of access for a time.
            for name, field, after in (("valid_from", "from", 0), ("valid_to", "until", 1))
            if form.get(field)
        }
        people = {
            field: await resolve_person(visit, form[field], field)
            for field in ("delegate", "delegator")
            if form.get(field)
        }
        await visit.api.grant_delegation(people.pop("delegate", ""), **people, **times)
    except ValueError:
        failure = Failure(422, "Nothing was changed", "Write days as year, month and day, for example 2026-03-02.")
        return await _render_delegations(visit, failure, form)
    except Problem as found:
        return await _render_delegations(visit, describe_refusal(found), form)
    return visit.redirect("/delegations", done="granted")


@post("/delegations/{delegation_id:uuid}/end", status_code=303)
async def end_delegation(visit: TheVisit, delegation_id: FromPath[UUID]) -> Response[Any]:
    """End a delegation now."""
    await visit.api.end_delegation(str(delegation_id))
    return visit.redirect("/delegations", done="ended")


async def _find_pending(visit: Visit, filters: InboxFilters) -> tuple[_ApprovalsPage, list[Pending]]:
    """The last page of pending approvals that was read, and those that fit, of MAX_SEARCHED if there are filters."""
    found: list[Pending] = []
    cursor: str | None = None
    searched = 0
    while True:
        query = {"limit": MAX_SHOWN, "names": "true", "cursor": cursor}
        answer = await visit.api.send("GET", "/v1/approvals", query=query)
        page = msgspec.json.decode(answer.content, type=_ApprovalsPage)
        found += [item for item in page.items if filters.fit(item, visit.owner_of(item.timesheet))]
        cursor, searched = page.next_cursor, searched + MAX_SHOWN
        if cursor is None or not filters.given or len(found) >= MAX_SHOWN or searched >= MAX_SEARCHED:
            return page, found[:MAX_SHOWN]


async def _decide_each(
    visit: Visit, decision: str, chosen: Sequence[tuple[str, str]], reason: str
) -> tuple[list[ItemResult], Failure | None]:
    """The results for sheets in their versions, with a request for each MAX_AT_ONCE. A failure after the first request
    is returned; then the sheets from that request on have no result."""
    word = "comment" if decision == "approve" else "reason"
    results: list[ItemResult] = []
    for start in range(0, len(chosen), MAX_AT_ONCE):
        part = chosen[start : start + MAX_AT_ONCE]
        items = [{"id": sheet, "version": number_of(version) or 0} for sheet, version in part]
        body = {"items": items, "mode": "per-item", **({word: reason} if reason else {})}
        try:
            batch = await visit.api.call(Batch, "POST", f"/v1/timesheets/batch-{decision}", body=body)
        except (Problem, httpx2.HTTPError) as error:
            if not results:
                raise
            return results, find_failure(error)
        results += batch.items
    return results, None


async def _find(visit: Visit, sheet_id: str) -> Timesheet | None:
    """A sheet, if it can be read now."""
    try:
        return await visit.api.timesheet(sheet_id, names=True)
    except (Problem, httpx2.HTTPError):
        return None


async def _explain_absence(visit: Visit, sheet_id: str) -> Failure:
    """Why a sheet that the person looks for is not pending: as the API says, or by its state."""
    try:
        sheet_id = str(UUID(sheet_id))
    except ValueError:
        return NOT_FOUND
    try:
        sheet = await visit.api.timesheet(sheet_id)
    except Problem as found:
        return describe_refusal(found)
    return _not_pending(sheet)


def _not_pending(sheet: Timesheet) -> Failure:
    return Failure(404, "This week does not wait for you", f"Its state is: {STATES.get(sheet.state, sheet.state)}.")


async def _render(
    visit: Visit,
    template: str,
    page: _ApprovalsPage,
    items: list[Pending],
    chosen: Pending | None,
    filters: InboxFilters,
    status: int = 200,
    **more: Any,
) -> Response[str]:
    sheet = chosen.timesheet if chosen else None
    teams = await teams_of(visit, (item.timesheet.owner for item in items))
    return visit.render(
        template,
        status,
        items=items,
        more=page.next_cursor is not None,
        step_up=_step_up(page.step_up, filters),
        chosen=chosen,
        sheet=sheet,
        grid=make_grid(sheet.period_start, sheet.entries) if sheet else None,
        filters=filters,
        teams=teams,
        kept=urlencode(filters.given),
        projects=sorted({entry.project for item in page.items for entry in item.timesheet.entries}),
        MAX_SEARCHED=MAX_SEARCHED,
        **{
            "failure": None,
            "asking": [],
            "more_ask": False,
            "outcomes": [],
            "decision": "",
            "reason": "",
            "checked": set(),
            **more,
        },
    )


async def _render_delegations(
    visit: Visit, failure: Failure | None = None, form: dict[str, str] | None = None
) -> Response[str]:
    # The oldest come first, so that the ones that hold may come after many that have ended.
    every = await visit.read_part(ListPage[Delegation], "/v1/delegations", most=MAX_DELEGATIONS, names=True)
    current = [delegation for delegation in every.items if not is_over(delegation)]
    ended = [delegation for delegation in every.items if is_over(delegation)]
    older = 0 if "ended" in visit.request.query_params else max(0, len(ended) - MAX_SHOWN)
    ended = ended[older:]
    shown = (*current, *ended)
    teams = await teams_of(visit, (person for each in shown for person in (each.delegate, each.delegator)))
    return visit.render(
        "delegations.html",
        failure.status if failure else 200,
        current=current,
        ended=ended,
        older=older,
        all_ended=f"/delegations?{urlencode({**visit.request.query_params, 'ended': 'all'})}",
        part=every,
        teams=teams,
        failure=failure,
        form=form or {},
    )


def _step_up(wanted: dict[str, Any] | None, filters: InboxFilters) -> str:
    """Where the person signs in to meet a demand of the API, and returns to the list; empty without a demand."""
    if wanted is None:
        return ""
    return step_up_path(_inbox(filters), Demand(wanted.get("acr_values"), wanted.get("max_age")))


def _inbox(filters: InboxFilters) -> str:
    """The address of the list with these filters."""
    return f"/inbox?{urlencode(filters.given)}".rstrip("?")


def _need_sign_in(first: ItemResult, demands: Sequence[dict[str, Any]]) -> Unauthenticated:
    """What the API answers to a request that changes nothing before another sign-in: one that meets all demands."""
    levels = [demand["acr_values"] for demand in demands if demand.get("acr_values")]
    ages = [demand["max_age"] for demand in demands if demand.get("max_age") is not None]
    wanted = [f'acr_values="{levels[0]}"'] if levels else []
    wanted += [f'max_age="{min(ages)}"'] if ages else []
    return Unauthenticated(Receipt(401, first.decision_id), first.problem or {}, f"Bearer {', '.join(wanted)}")


def _describe(problem: dict[str, Any], decision: str) -> Failure:
    status = int(problem.get("status", 0))
    return describe_problem(Problem(Receipt(status, decision), problem))


ROOM = Room(
    "Approvals",
    (
        NavigationLink("Inbox", "/inbox", "timesheet", ("approve", "reject")),
        NavigationLink("Delegations", "/delegations", "delegation", ("grant", "end")),
        access.LINK,
    ),
    (
        show_inbox,
        show_pending_sheet,
        decide_many,
        show_delegations,
        grant_delegation,
        end_delegation,
        access.show_access,
        access.ask_for_access,
        access.decide_access,
    ),
    done={
        "approve-one": "The week is approved.",
        "approve-many": "All chosen weeks are approved.",
        "approve-part": "Your approval is given. A week that needs more than one waits for another person.",
        "reject-one": "The week is rejected, and its owner reads why.",
        "reject-many": "All chosen weeks are rejected, and their owners read why.",
        "granted": "The delegation holds.",
        "ended": "The delegation has ended.",
        **access.DONE,
    },
)
