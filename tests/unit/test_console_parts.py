"""The pure parts of the console: hours as people write them, a week as a grid, and paths to go back to."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin, urlsplit
from zoneinfo import ZoneInfo

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.datastructures import MultiDict
from markupsafe import escape

from service.console.approver import decide_many
from service.console.employee import show_week
from service.console.failures import describe_problem, describe_refusal
from service.console.form_values import number_of
from service.console.protection import local_path
from service.console.rendering import format_hours, format_moment, format_value, zone_of
from service.console.weeks import (
    MINUTES_PER_DAY,
    WrongHours,
    find_changes,
    is_same,
    list_unsaved,
    make_grid,
    monday_of,
    parse_hours,
    read_form,
)
from service.standalone.client import Denied, Entry, Invalid, Receipt, Stale, Timewarden, Unauthenticated

MONDAY = date(2026, 3, 2)
SHEET = "01a22dbb-bfe4-7380-8f12-31185ed87f61"
HOSTILE_PATHS = [
    "//evil.example/",
    "/\\evil.example/",
    "https://evil.example/",
    "javascript:alert(1)",
    "/\t/evil.example/",
    "/\n/evil.example",
    "\\\\evil.example",
    "/x\r\nSet-Cookie: a=b",
    "/week#<script>",
    " /week",
    "",
    "/" + "a" * 3000,
    "/wéek",
]


@pytest.mark.parametrize("given_path", HOSTILE_PATHS)
def test_a_browser_is_never_sent_to_another_site(given_path: str) -> None:
    assert local_path(given_path) == "/"


@given(st.text(st.sampled_from("/\\.:@?#%a\t\n\r \x00é"), max_size=12) | st.text(max_size=20))
def test_a_browser_stays_here_for_any_text(given_path: str) -> None:
    went = urlsplit(urljoin("https://console.example/sign-in", local_path(given_path)))
    assert (went.scheme, went.netloc) == ("https", "console.example")
    assert local_path(given_path) in (given_path, "/")


def test_a_path_of_ours_is_kept() -> None:
    assert local_path("/week/2026-03-02?done=saved&x=%0a") == "/week/2026-03-02?done=saved&x=%0a"


@pytest.mark.parametrize("text", [None, "", "abc", "-1", "1.5", "\u0663", str(2**31), "1" * 11, "9" * 5000])
def test_what_is_no_number_of_ours_is_none(text: str | None) -> None:
    assert number_of(text) is None


@given(st.integers(0, 2**31 - 1))
def test_a_number_of_ours_is_read(number: int) -> None:
    assert number_of(str(number)) == number


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("resource.minutes", 2160, "36:00"),
        ("resource.days", 5, "<bdi>5</bdi>"),
        ("resource.owner.teams", ["t1", "<b>"], '<bdi title="t1">&lt;i&gt;</bdi>, <bdi>&lt;b&gt;</bdi>'),
        ("resource.period_start", "2026-03-02T00:00:00Z", "2 March 2026"),
        ("resource.owner", {"<country>": "<de>"}, "&lt;country&gt; &lt;de&gt;"),
    ],
)
def test_a_recorded_value_is_shown_as_readers_know_it_and_escaped(name: str, value: object, shown: str) -> None:
    assert escape(format_value(name, value, UTC, {"t1": "<i>"})) == shown


def test_a_recorded_time_is_shown_in_the_zone_of_the_viewer() -> None:
    shown = format_value("resource.submitted_at", "2026-03-02T23:30:00.25Z", ZoneInfo("Europe/Berlin"), {})
    assert "3 Mar 2026, 00:30" in shown
    assert 'title="2026-03-02 23:30:00 UTC"' in shown


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_first_and_the_last_moment_are_shown_in_every_zone(moment: datetime) -> None:
    for zone in ("America/New_York", "Asia/Kolkata"):
        assert moment.isoformat() in format_moment(moment, ZoneInfo(zone))


def test_what_holds_until_the_end_of_a_day_shows_its_last_day() -> None:
    midnight = datetime(2031, 3, 4, tzinfo=ZoneInfo("Europe/Berlin"))
    assert ">3 Mar 2031<" in format_moment(midnight, ZoneInfo("Europe/Berlin"), ends=True)
    assert ">3 Mar 2031, 23:00<" in format_moment(midnight, ZoneInfo("UTC"), ends=True)
    assert ">4 Mar 2031, 00:00<" in format_moment(midnight, ZoneInfo("Europe/Berlin"))


@given(st.integers(0, MINUTES_PER_DAY))
def test_hours_that_are_shown_can_be_typed(minutes: int) -> None:
    assert parse_hours(format_hours(minutes)) == minutes
    assert parse_hours(f"{minutes}m") == minutes


@pytest.mark.parametrize(
    ("typed", "minutes"),
    [("", 0), (" 7:30 ", 450), ("7.5", 450), ("7,25", 435), ("8", 480), ("8h", 480), ("7h5", 425), ("7 h 30 m", 450)],
)
def test_hours_are_read_as_people_write_them(typed: str, minutes: int) -> None:
    assert parse_hours(typed) == minutes


@pytest.mark.parametrize("typed", ["a lot", "7:60", "25:00", "-1", "1441m", "7:3", "\u0667", "1e3", "7.", "=1+1"])
def test_hours_that_mean_nothing_are_refused(typed: str) -> None:
    with pytest.raises(WrongHours):
        parse_hours(typed)


@given(st.text(max_size=10))
def test_any_text_is_a_time_or_refused(typed: str) -> None:
    try:
        minutes = parse_hours(typed)
    except WrongHours:
        return
    assert 0 <= minutes <= MINUTES_PER_DAY


ENTRIES = st.lists(
    st.builds(
        Entry,
        id=st.uuids().map(str),
        day=st.integers(0, 6).map(lambda number: MONDAY + timedelta(days=number)),
        project=st.sampled_from(["ATLAS", "SITE"]),
        minutes=st.integers(1, MINUTES_PER_DAY),
        note=st.none() | st.just("a note"),
    ),
    max_size=12,
)


def test_what_was_typed_and_is_not_saved_is_listed() -> None:
    tuesday, wednesday = MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)
    entry = Entry(id="e1", day=MONDAY, project="SITE", minutes=60, note="a\nnote")
    typed, saved = make_grid(MONDAY, [entry], ["ATLAS"]), make_grid(MONDAY, [entry])
    form = {f"SITE/{MONDAY}": "1h", f"SITE/{tuesday}": "a lot", f"ATLAS/{wednesday}": " 2:30 ", "note:e1": "a\r\nnote"}
    with pytest.raises(WrongHours):
        read_form(typed, form)
    assert list_unsaved(typed, saved) == [("ATLAS", wednesday, "2:30", ""), ("SITE", tuesday, "a lot", "")]
    read_form(typed, {f"SITE/{MONDAY}": "", "note:e1": ""})
    assert list_unsaved(typed, saved) == [("SITE", MONDAY, "0", ""), ("SITE", MONDAY, "", "none")]


@given(ENTRIES)
def test_a_form_that_is_sent_as_it_was_shown_changes_nothing(entries: list[Entry]) -> None:
    grid = make_grid(MONDAY, entries)
    shown = {
        cell.name: format_hours(cell.minutes) if cell.minutes else ""
        for cells in grid.rows.values()
        for cell in cells
        if cell.editable
    }
    assert is_same(read_form(make_grid(MONDAY, entries), shown), entries)
    assert grid.minutes == sum(entry.minutes for entry in entries) == sum(map(grid.day_minutes, range(7)))


def test_a_cell_changes_its_entry_is_removed_or_begins_one() -> None:
    kept, gone = Entry("1", MONDAY, "ATLAS", 60, "why"), Entry("2", MONDAY + timedelta(days=1), "ATLAS", 30)
    tuesday, friday = gone.day, MONDAY + timedelta(days=4)
    form = {f"ATLAS/{MONDAY}": "2", f"ATLAS/{tuesday}": " ", f"SITE/{friday}": "1:15", "note:1": " because "}
    assert read_form(make_grid(MONDAY, [kept, gone], ["SITE"]), form) == [
        {
            "id": "1",
            "day": MONDAY,
            "project": "ATLAS",
            "minutes": 120,
            "note": "because",
            "activity": None,
            "billable": False,
            "tags": [],
        },
        {"day": friday, "project": "SITE", "minutes": 75},
    ]


@given(ENTRIES, st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(1, 600))), st.integers(0, 3))
def test_the_changes_of_a_large_week_lead_to_what_the_form_holds(
    before: list[Entry], edits: list[tuple[int, int | None]], more: int
) -> None:
    """An entry is removed by None and amended by a number of minutes, and there are some more."""
    edited = {before[place].id: minutes for place, minutes in edits if place < len(before)}
    wanted: list[dict[str, Any]] = [
        {"id": entry.id, "minutes": edited.get(entry.id, entry.minutes) or 0, "note": entry.note}
        for entry in before
        if edited.get(entry.id, entry.minutes) is not None
    ]
    wanted += [{"minutes": 5 + number} for number in range(more)]
    changes = find_changes(wanted, before)
    after = {entry.id: (entry.minutes, entry.note) for entry in before if entry.id not in changes.removed}
    grown = [fields["minutes"] - after[entry_id][0] for entry_id, fields in changes.amended]
    after |= {entry_id: (fields["minutes"], fields["note"]) for entry_id, fields in changes.amended}
    assert after == {entry["id"]: (entry["minutes"], entry["note"]) for entry in wanted if "id" in entry}
    assert [entry["minutes"] for entry in changes.added] == [5 + number for number in range(more)]
    # No day is fuller meanwhile than before or after.
    assert grown == sorted(grown)


@given(st.dates())
def test_a_week_begins_on_a_monday(day: date) -> None:
    if day >= date(1, 1, 8):
        assert monday_of(day).weekday() == 0
        assert 0 <= (day - monday_of(day)).days < 7


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "Europe/Nowhere", "a" * 500, "Europe/Zürich", "\x00", "/etc"])
def test_an_unknown_time_zone_is_utc(name: str) -> None:
    assert str(zone_of(name)) == "UTC"
    assert str(zone_of("Europe/Berlin")) == "Europe/Berlin"


def test_a_refusal_that_access_for_a_time_would_end_says_what_to_ask_for() -> None:
    wanted = {"relation": "temporary_approver", "decision": "d"}
    refused = Denied(Receipt(403, "d"), {"type": "urn:timewarden:problem:forbidden", "request_access": wanted})
    assert describe_problem(refused).requestable == wanted
    assert describe_problem(Denied(Receipt(403, "d"), {"type": refused.members["type"]})).requestable is None


def test_a_failure_names_the_labels_of_a_form_and_no_headers() -> None:
    found = describe_problem(
        Invalid(
            Receipt(422),
            {
                "type": "urn:timewarden:problem:invalid-field",
                "detail": "valid_to: must be after valid_from; delegate: must not be the delegator",
                "fields": [
                    {"field": "valid_to", "message": "must be after valid_from"},
                    {"field": "delegate", "message": "must not be the delegator"},
                ],
            },
        )
    )
    said = ["Until: must not be before From", "Delegate: must not be the person in whose place they approve"]
    assert found.detail == "; ".join(said)
    assert [f"{label}: {message}" for label, message in found.complaints] == said
    # Pages look these up by the names of the API.
    assert [name for name, _ in found.fields] == ["valid_to", "delegate"]
    filters = [{"field": "query.since", "message": "must be a day"}, {"field": "query.person", "message": "is nobody"}]
    detail = "query.since: must be a day; query.person: is nobody"
    searched = {"type": "urn:timewarden:problem:invalid-field", "detail": detail, "fields": filters}
    assert describe_problem(Invalid(Receipt(422), searched)).detail == "From: must be a day; Person: is nobody"
    words = "must be an RFC 3339 time with an offset, such as 2026-11-23T09:00:00Z"
    searched |= {"detail": f"query.since: {words}", "fields": [{"field": "query.since", "message": words}]}
    told = describe_problem(Invalid(Receipt(422), searched)).detail
    assert told == "From: write the day as year, month and day, for example 2026-03-02"
    stale = {"type": "urn:timewarden:problem:precondition-failed", "detail": "The version in If-Match; read it again"}
    assert "If-Match" not in describe_problem(Stale(Receipt(412), stale)).detail


def test_a_refusal_is_shown_in_its_page_unless_another_sign_in_helps() -> None:
    refused = Denied(Receipt(403, "d"), {"type": "urn:timewarden:problem:forbidden", "detail": "you are the owner"})
    assert describe_refusal(refused).detail == "you are the owner"
    step_up = Unauthenticated(Receipt(401, "d"), {"type": "urn:timewarden:problem:step-up-needed"})
    with pytest.raises(Unauthenticated) as raised:
        describe_refusal(step_up)
    assert raised.value is step_up


def test_a_time_says_that_it_is_in_utc_while_the_zone_of_the_viewer_is_not_known() -> None:
    moment = datetime(2031, 3, 4, tzinfo=UTC)
    assert ">4 Mar 2031, 00:00 UTC<" in format_moment(moment, zone_of(""))
    assert ">3 Mar 2031 UTC<" in format_moment(moment, zone_of("no zone"), ends=True)
    assert ">4 Mar 2031, 00:00<" in format_moment(moment, zone_of("Europe/London"))


async def test_every_active_project_can_be_chosen_for_a_week() -> None:
    """There are more than a page of the API holds."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/timesheets":
            return httpx2.Response(200, json={"items": [], "next_cursor": None})
        second = "cursor" in request.url.params
        codes = [f"P{number:03}" for number in (range(200, 201) if second else range(200))]
        items = [{"code": code, "name": code, "active": True, "version": 1} for code in codes]
        return httpx2.Response(200, json={"items": items, "next_cursor": None if second else "c"})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        visit: Any = SimpleNamespace(
            api=Timewarden("http://127.0.0.1:9", "token", http=http),
            me=SimpleNamespace(person="p"),
            may=lambda *_: True,
            today=MONDAY,
            render=lambda *_, **context: [project.code for project in context["other_projects"]],
        )
        assert len(await show_week.fn(visit, MONDAY)) == 201


async def test_weeks_that_were_approved_are_not_read_again() -> None:
    """They need no name: the page goes on to the inbox."""
    asked: list[str] = []
    approved: dict[str, Any] = {"id": SHEET, "status": 200, "state": "approved", "version": 3, "problem": None}
    approved |= {"approvals_given": 1, "approvals_needed": 1, "decision_id": SHEET, "decision_leaf": "00"}

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        body = {"changed": 1, "items": [approved]} if request.method == "POST" else {"items": [], "next_cursor": None}
        return httpx2.Response(200, json=body)

    async def form() -> MultiDict[str]:
        return MultiDict([("sheet", f"{SHEET}/2"), ("decision", "approve")])

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        visit: Any = SimpleNamespace(
            api=Timewarden("http://127.0.0.1:9", "token", http=http),
            request=SimpleNamespace(form=form, query_params={}),
            redirect=lambda path, done: (path, done),
        )
        assert await decide_many.fn(visit) == ("/inbox", "approve-one")
    assert asked == ["/v1/approvals", "/v1/timesheets/batch-approve"]
