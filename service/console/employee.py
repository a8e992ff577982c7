"""The pages for everybody: my week, as a grid that is edited in place, submitted and withdrawn."""

import asyncio
from datetime import date, timedelta
from itertools import islice
from typing import Any

from litestar import Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from service.console import own_log
from service.console.rooms import NavigationLink, Room
from service.console.visits import TheVisit, Visit, first_of
from service.console.weeks import Grid, WrongHours, find_changes, is_same, list_unsaved, make_grid, monday_of, read_form
from service.standalone.client import Conflict, Invalid, Problem, Project, Stale, Timesheet

FIRST, LAST = date(2000, 1, 3), date(2099, 12, 28)
MAX_PROJECTS = 2_000
MAX_ROWS = 500
# Of the API.
MAX_ENTRIES_PER_REQUEST = 100


@get("/week")
async def show_this_week(visit: TheVisit) -> Response[str]:
    """The present week."""
    return await _show(visit, monday_of(visit.today))


@get("/week/{day:date}")
async def show_week(visit: TheVisit, day: FromPath[date]) -> Response[Any]:
    """The week of a day."""
    _check(day)
    return await _show(visit, day) if day == monday_of(day) else visit.redirect(f"/week/{monday_of(day)}")


@post("/week/{day:date}", status_code=303)
async def save_week(visit: TheVisit, day: FromPath[date]) -> Response[Any]:
    """Save the cells of the grid, in the version that the person has seen, and then submit if they ask for it."""
    _check(day)
    form = {name: value for name, value in (await visit.request.form()).items() if isinstance(value, str)}
    sheet = await _find(visit, day)
    grid = make_grid(day, sheet.entries if sheet else (), _projects_of(form))
    stale = sheet is not None and form.get("version", "") != str(sheet.version)
    try:
        entries = read_form(grid, form)
    except WrongHours:
        return await _show(visit, day, grid=grid, status=422, stale=stale)
    if stale:
        return await _show(visit, day, grid=grid, status=412, stale=True)
    if form.get("then") == "add" and form.get("add"):
        return await _show(visit, day, grid=grid)
    try:
        done = await _save(visit, day, sheet, entries, submits=form.get("then") == "submit")
    except Stale:
        return await _show(visit, day, grid=grid, status=412, stale=True)
    except (Invalid, Conflict) as found:
        return await _show(visit, day, grid=grid, status=found.receipt.status, problem=found)
    return visit.redirect(f"/week/{day}", done=done)


@post("/week/{day:date}/copy", status_code=303)
async def copy_week(visit: TheVisit, day: FromPath[date]) -> Response[Any]:
    """Begin the week with the hours of the week before."""
    _check(day)
    try:
        await visit.api.open_week(day, visit.zone_name, copy_from=day - timedelta(days=7))
    except (Invalid, Conflict) as found:
        return await _show(visit, day, status=found.receipt.status, problem=found)
    return visit.redirect(f"/week/{day}", done="copied")


@post("/week/{day:date}/withdraw", status_code=303)
async def withdraw_week(visit: TheVisit, day: FromPath[date]) -> Response[Any]:
    """Withdraw the submitted week, to change it."""
    _check(day)
    sheet = await _find(visit, day)
    if sheet is None:
        raise NotFoundException
    try:
        await visit.api.withdraw(sheet)
    except (Conflict, Stale):
        return visit.redirect(f"/week/{day}", done="not-withdrawn")
    return visit.redirect(f"/week/{day}", done="withdrawn")


def _check(day: date) -> None:
    if not FIRST <= day <= LAST + timedelta(days=6):
        raise NotFoundException


async def _show(
    visit: Visit,
    monday: date,
    *,
    grid: Grid | None = None,
    status: int = 200,
    problem: Problem | None = None,
    stale: bool = False,
) -> Response[str]:
    week_before = monday - timedelta(days=7)
    sheets, projects = await asyncio.gather(_find_all(visit, week_before, monday), _projects(visit))
    sheet, before = sheets.get(monday), sheets.get(week_before)
    editable = sheet is None or "edit" in (sheet.actions or ())
    # An empty week begins with the projects of the week before.
    suggested = {entry.project for entry in before.entries} if before and not (sheet and sheet.entries) else set()
    active = {project.code for project in projects}
    typed = grid
    if typed is None or not editable:
        grid = make_grid(monday, sheet.entries if sheet else (), sorted(suggested & active) if editable else ())
    else:
        grid = typed
    return visit.render(
        "week.html",
        status,
        monday=monday,
        sheet=sheet,
        grid=grid,
        typed=typed is not None and editable,
        editable=editable,
        names={project.code: project.name for project in projects},
        other_projects=[project for project in projects if project.code not in grid.rows],
        may=set(sheet.actions or ()) if sheet else {"edit", "submit"},
        previous=week_before if week_before >= FIRST else None,
        can_copy=before is not None and bool(before.entries) and sheet is None,
        following=monday + timedelta(days=7) if monday < LAST else None,
        this_week=monday_of(visit.today),
        problem=problem,
        stale=stale,
        # The fields of a week that cannot be edited are not shown.
        unsaved=list_unsaved(typed, grid) if typed is not None and not editable else None,
    )


async def _save(
    visit: Visit, monday: date, sheet: Timesheet | None, entries: list[dict[str, Any]], *, submits: bool
) -> str:
    """Save all entries with one request, and then submit the week if that is wanted. Returns what was done."""
    done = "unchanged"
    if sheet is None and (entries or submits):
        sheet, done = await visit.api.open_week(monday, visit.zone_name, entries), "saved"
    elif sheet is not None and not is_same(entries, sheet.entries):
        fits = max(len(entries), len(sheet.entries)) <= MAX_ENTRIES_PER_REQUEST
        sheet = await visit.api.replace_entries(sheet, entries) if fits else await _save_parts(visit, sheet, entries)
        done = "saved"
    if sheet is not None and submits:
        await visit.api.submit(sheet)
        done = "submitted"
    return done


async def _save_parts(visit: Visit, sheet: Timesheet, entries: list[dict[str, Any]]) -> Timesheet:
    """Save what has changed of a week with more entries than a request may hold, such as an imported one: a request for
    each change. If one is refused, those before it are saved, and the page shows both."""
    changes = find_changes(entries, sheet.entries)
    for entry_id in changes.removed:
        sheet = await visit.api.remove_entry(sheet, entry_id)
    for entry_id, fields in changes.amended:
        sheet = await visit.api.amend_entry(sheet, entry_id, **fields)
    for start in range(0, len(changes.added), MAX_ENTRIES_PER_REQUEST):
        sheet = await visit.api.add_entries(sheet, changes.added[start : start + MAX_ENTRIES_PER_REQUEST])
    return sheet


async def _find(visit: Visit, monday: date) -> Timesheet | None:
    """The person's sheet of a week, with what they may do to it."""
    return (await _find_all(visit, monday, monday)).get(monday)


async def _find_all(visit: Visit, first: date, last: date) -> dict[date, Timesheet]:
    """The person's sheets of the weeks from the first Monday to the last, likewise."""
    sheets = visit.api.timesheets(
        owner=visit.me.person, since=first, until=last + timedelta(days=6), actions=True, names=True
    )
    found: dict[date, Timesheet] = {}
    async for sheet in sheets:
        found.setdefault(sheet.period_start, sheet)
    return found


async def _projects(visit: Visit) -> list[Project]:
    if not visit.may("project", "read"):
        return []
    return await first_of(visit.api.projects(active=True), MAX_PROJECTS)


def _projects_of(form: dict[str, str]) -> list[str]:
    """The projects that a form has rows for, and the one to add."""
    rows = {name.rpartition("/")[0] for name in islice(form, MAX_ROWS * 8 + 10) if "/" in name}
    return sorted(rows | ({form["add"]} if form.get("add") else set()))


ROOM = Room(
    "My hours",
    (NavigationLink("My week", "/week", "timesheet", ("create", "edit")), own_log.LINK),
    (
        show_this_week,
        show_week,
        save_week,
        copy_week,
        withdraw_week,
        own_log.show_own_decisions,
        own_log.show_own_decision,
    ),
    done={
        "saved": "Your hours are saved.",
        "unchanged": "Nothing had changed.",
        "copied": "These are the hours of the week before, without their notes. Change them, and save.",
        "submitted": "Your week is submitted.",
        "withdrawn": "Your week is a draft again. Change it, and submit it again.",
        "not-withdrawn": "The week was not withdrawn, because it has changed meanwhile. This is how it is now.",
    },
)
