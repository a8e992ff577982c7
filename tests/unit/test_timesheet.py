"""The life of a timesheet: every sequence of actions keeps the laws, and every wrong field is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.errors import Conflict, Forbidden, InvalidField, NotFound, TimesheetFull, TimewardenError, WrongState
from service.policy.approval import MAX_APPROVALS
from service.timesheets import timesheet
from service.timesheets.entry import (
    LAST_WEEK,
    Entry,
    Hours,
    WeekHours,
    check_hours,
    check_reason,
    check_week,
    hours_of,
    week_of,
)
from service.timesheets.timesheet import MAX_ENTRIES, TRANSITIONS, Actor, State, Timesheet
from tests.example_count import example_count

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

MONDAY = date(2026, 3, 2)
OWNER, MANAGER, DELEGATE = (UUID(int=number) for number in (1, 2, 3))
PEOPLE = st.sampled_from([Actor(OWNER), Actor(MANAGER), Actor(DELEGATE), Actor(client="import"), Actor(client="other")])
DAYS = st.integers(-2, 8).map(lambda days: MONDAY + timedelta(days=days))


def sheet(*entries: Entry, **more: Any) -> Timesheet:
    return Timesheet(id=uuid4(), owner=OWNER, period_start=MONDAY, time_zone="UTC", entries=entries, **more)


def entry(minutes: int = 60, day: date = MONDAY) -> Entry:
    return Entry(day, "apollo", minutes, id=uuid4())


class Life(RuleBasedStateMachine):
    """Everybody tries everything; a model remembers who acted."""

    def __init__(self) -> None:
        super().__init__()
        self.sheet = sheet()
        self.hands: set[Actor] = set()
        self.locker: Actor | None = None
        self.approvers: list[Actor] = []

    def attempt(self, action: str, move: Callable[[Timesheet], Timesheet]) -> bool:
        """Whether it was done. A refusal names its cause and leaves the sheet as it was."""
        before = self.sheet
        transition = TRANSITIONS[action]
        try:
            after = move(before)
        except WrongState:
            assert before.state not in transition.starts
            return False
        except TimewardenError:
            return False
        assert before.state in transition.starts
        if after is before:
            return False
        assert after.state == (transition.leads_to or before.state) or (action, after.state) == (
            "approve",
            before.state,
        )
        assert after.version == before.version + 1
        assert (after.id, after.owner, after.period_start) == (before.id, before.owner, before.period_start)
        if action != "edit":
            assert after.entries == before.entries
        self.sheet = after
        return True

    def note_edit(self, by: Actor, *, done: bool) -> None:
        if done:
            self.hands.add(by)

    @rule(by=PEOPLE, day=DAYS, minutes=st.integers(-1, 1441))
    def add(self, by: Actor, day: date, minutes: int) -> None:
        self.note_edit(by, done=self.attempt("edit", lambda week: timesheet.add_entry(week, entry(minutes, day), by)))

    @precondition(lambda self: self.sheet.entries)
    @rule(by=PEOPLE, place=st.integers(0, 20), day=DAYS, minutes=st.integers(1, 1440))
    def replace(self, by: Actor, place: int, day: date, minutes: int) -> None:
        chosen = self.sheet.entries[place % len(self.sheet.entries)].id
        hours = Hours(day, "zeus", minutes)
        self.note_edit(by, done=self.attempt("edit", lambda week: timesheet.replace_entry(week, chosen, hours, by)))

    @rule(by=PEOPLE, days=st.lists(DAYS, max_size=4), minutes=st.integers(1, 800))
    def replace_all(self, by: Actor, days: list[date], minutes: int) -> None:
        """Entries of the list keep the ids of the first entries."""
        named: list[UUID | None] = [*(entered.id for entered in self.sheet.entries[: len(days)])]
        named += [None] * (len(days) - len(named))
        hours = [WeekHours(day, "zeus", minutes, id=name) for day, name in zip(days, named, strict=True)]
        done = self.attempt("edit", lambda week: timesheet.replace_entries(week, hours, by))
        self.note_edit(by, done=done)
        if done:
            assert Counter(map(hours_of, self.sheet.entries)) == Counter(map(hours_of, hours))
            assert set(named) - {None} <= {entered.id for entered in self.sheet.entries}

    @precondition(lambda self: self.sheet.entries)
    @rule(by=PEOPLE, place=st.integers(0, 20))
    def remove(self, by: Actor, place: int) -> None:
        chosen = self.sheet.entries[place % len(self.sheet.entries)].id
        self.note_edit(by, done=self.attempt("edit", lambda week: timesheet.remove_entry(week, chosen, by)))

    @rule(by=PEOPLE)
    def submit(self, by: Actor) -> None:
        if self.attempt("submit", lambda week: timesheet.submit(week, by)):
            self.hands.add(by)
            assert self.sheet.entries

    @rule()
    def withdraw(self) -> None:
        self.attempt("withdraw", timesheet.withdraw)

    @rule(by=PEOPLE, needed=st.integers(1, 3))
    def approve(self, by: Actor, needed: int) -> None:
        """The number that the policy asks for may change in between."""
        submitted = self.sheet.state is State.SUBMITTED
        may = submitted and by not in {Actor(OWNER), Actor(), *self.hands}
        counted = len({*self.approvers, by})
        done = self.attempt("approve", lambda week: timesheet.approve(week, by, lambda given: len(given) >= needed))
        assert done is (may and (by not in self.approvers or counted >= needed))
        if done:
            self.approvers += [by] if by not in self.approvers else []
            assert (self.sheet.state is State.APPROVED) is (counted >= needed)

    @rule()
    def reject(self) -> None:
        if self.attempt("reject", lambda week: timesheet.reject(week, "look again")):
            assert self.sheet.reason == "look again"

    @rule()
    def reopen(self) -> None:
        if self.attempt("reopen", lambda week: timesheet.reopen(week, "wrong project")):
            assert self.sheet.reason == "wrong project"

    @rule(by=PEOPLE)
    def lock(self, by: Actor) -> None:
        if self.attempt("lock", lambda week: timesheet.lock(week, "paid", by)):
            self.locker = by

    @rule(by=PEOPLE)
    def unlock(self, by: Actor) -> None:
        locked = self.sheet.state is State.LOCKED
        done = self.attempt("unlock", lambda week: timesheet.unlock(week, "a mistake", by))
        assert done is (locked and by != self.locker)
        self.locker = None if done else self.locker

    @rule()
    def delete(self) -> None:
        try:
            timesheet.check_deletable(self.sheet)
        except WrongState:
            assert self.sheet.state in {State.SUBMITTED, State.APPROVED, State.LOCKED}

    @invariant()
    def who_locked_it_is_known_while_it_is_locked(self) -> None:
        assert self.sheet.locked_by == self.locker
        assert (self.locker is None) is (self.sheet.state is not State.LOCKED)

    @invariant()
    def its_approvals_are_of_different_people_and_end_with_the_submission(self) -> None:
        if self.sheet.state in {State.DRAFT, State.REJECTED}:
            self.approvers = []
        assert [given.by for given in self.sheet.approvals] == self.approvers
        assert self.sheet.state is not State.APPROVED or self.approvers

    @invariant()
    def who_ever_wrote_in_it_is_remembered(self) -> None:
        assert {hand.person for hand in self.hands if hand.person} <= self.sheet.editors
        assert {hand.client for hand in self.hands if hand.client} <= self.sheet.uploaders

    @invariant()
    def no_day_has_more_minutes_than_a_day(self) -> None:
        for days in range(7):
            day = MONDAY + timedelta(days=days)
            assert sum(entered.minutes for entered in self.sheet.entries if entered.day == day) <= 1440
        assert all(
            MONDAY <= entered.day <= self.sheet.period_end and entered.minutes > 0 for entered in self.sheet.entries
        )


Life.TestCase.settings = settings(max_examples=example_count(150), stateful_step_count=30)
TestLife = Life.TestCase


HOURS = st.builds(Hours, DAYS, st.sampled_from(["apollo", "zeus"]), st.sampled_from([60, 700, 1440]))


@given(st.lists(HOURS, max_size=6), st.lists(HOURS, max_size=6), st.randoms(use_true_random=False))
def test_a_list_that_replaces_entries_keeps_those_that_it_repeats(
    stored: list[Hours], wanted: list[Hours], random: Random
) -> None:
    try:
        week = timesheet.replace_entries(sheet(), [week_hours(item) for item in stored], Actor(OWNER))
        after = timesheet.replace_entries(week, [week_hours(item) for item in wanted], Actor(OWNER))
    except InvalidField:
        assert any(not 0 <= (item.day - MONDAY).days < 7 for item in (*stored, *wanted)) or any(
            sum(item.minutes for item in hours if item.day == day) > 1440
            for hours in (stored, wanted)
            for day in {item.day for item in hours}
        )
        return
    assert Counter(map(hours_of, after.entries)) == Counter(wanted)
    repeated = Counter(stored) & Counter(wanted)
    kept = {entered.id for entered in week.entries} & {entered.id for entered in after.entries}
    assert len(kept) == repeated.total()
    random.shuffle(wanted)
    assert timesheet.replace_entries(after, [week_hours(item) for item in wanted], Actor(MANAGER)) is after


def week_hours(hours: Hours) -> WeekHours:
    return WeekHours(hours.day, hours.project, hours.minutes, hours.note)


@pytest.mark.parametrize("action", TRANSITIONS)
@pytest.mark.parametrize("state", State)
def test_a_state_allows_what_the_table_says_and_nothing_else(action: str, state: State) -> None:
    week = sheet(entry(), state=state)
    if state in TRANSITIONS[action].starts:
        assert timesheet.require_state(week, action) is week
    else:
        with pytest.raises(WrongState) as refused:
            timesheet.require_state(week, action)
        assert refused.value.extra["state"] == state


@pytest.mark.parametrize(
    "by",
    [Actor(OWNER), Actor(MANAGER), Actor(DELEGATE), Actor(client="import"), Actor(UUID(int=9), app="import"), Actor()],
    ids=["owner", "an editor", "another editor", "an uploader", "somebody through an uploader", "nobody"],
)
def test_nobody_who_acted_for_the_owner_approves(by: Actor) -> None:
    week = sheet(
        entry(), state=State.SUBMITTED, editors=frozenset({MANAGER, DELEGATE}), uploaders=frozenset({"import"})
    )
    with pytest.raises(Forbidden):
        timesheet.approve(week, by)
    assert timesheet.approve(week, Actor(UUID(int=9), app="hours-app")).state is State.APPROVED


def test_a_human_counts_once_under_every_id_and_a_client_once() -> None:
    week, former = sheet(entry(), state=State.SUBMITTED), UUID(int=8)

    def approve(week: Timesheet, by: Actor) -> Timesheet:
        return timesheet.approve(week, by, lambda given: len(given) >= 4)

    week = approve(approve(week, Actor(former, ids=frozenset({MANAGER}))), Actor(client="robot"))
    for again in (Actor(former), Actor(MANAGER, ids=frozenset({former})), Actor(client="robot")):
        with pytest.raises(Conflict, match="approved this timesheet already"):
            approve(week, again)
    # A person who uses the client is another human than the client for itself.
    week = approve(approve(week, Actor(MANAGER)), Actor(DELEGATE, app="robot"))
    assert week.state is State.APPROVED
    assert [given.name for given in week.approvals] == [str(former), "robot", str(MANAGER), str(DELEGATE)]


def test_a_sheet_whose_approvals_never_become_complete_takes_nine_and_refuses_the_next() -> None:
    week = sheet(entry(), state=State.SUBMITTED)
    for number in range(10, 10 + MAX_APPROVALS - 1):
        week = timesheet.approve(week, Actor(UUID(int=number)), lambda _: False)
    with pytest.raises(Conflict, match=f"has {MAX_APPROVALS - 1} approvals"):
        timesheet.approve(week, Actor(UUID(int=99)), lambda _: False)
    assert len(timesheet.approve(week, Actor(UUID(int=99)), lambda _: True).approvals) == MAX_APPROVALS


@pytest.mark.parametrize("end", [timesheet.withdraw, lambda week: timesheet.reject(week, "Friday is missing")])
def test_withdrawal_and_rejection_clear_approvals(end: Callable[[Timesheet], Timesheet]) -> None:
    week = timesheet.approve(sheet(entry(), state=State.SUBMITTED), Actor(MANAGER), lambda _: False)
    assert week.approvals
    assert end(week).approvals == ()


@pytest.mark.parametrize(
    ("by", "locker"),
    [
        (Actor(MANAGER), Actor(MANAGER, app="hours-app")),
        (Actor(client="payroll"), Actor(client="payroll")),
        (Actor(), Actor(MANAGER)),
    ],
    ids=["a person", "a client", "nobody"],
)
def test_whoever_locked_a_sheet_does_not_unlock_it_and_another_does(by: Actor, locker: Actor) -> None:
    locked = timesheet.lock(sheet(entry(), state=State.APPROVED), "paid", locker)
    with pytest.raises(Forbidden):
        timesheet.unlock(locked, "a mistake", by)
    # The same app used by a person is another actor.
    unlocked = timesheet.unlock(locked, "a mistake", Actor(DELEGATE, app="payroll"))
    assert (unlocked.state, unlocked.locked_by, unlocked.reason) == (State.APPROVED, None, "a mistake")


def test_a_locked_sheet_of_which_nobody_knows_who_locked_it_stays_locked() -> None:
    with pytest.raises(Forbidden):
        timesheet.unlock(sheet(entry(), state=State.LOCKED), "a mistake", Actor(DELEGATE))


def test_an_empty_sheet_cannot_be_submitted() -> None:
    with pytest.raises(Conflict):
        timesheet.submit(sheet(), Actor(OWNER))


def test_a_reason_lasts_until_the_sheet_is_handed_in_again() -> None:
    rejected = timesheet.reject(sheet(entry(), state=State.SUBMITTED), "Wrong project")
    edited = timesheet.add_entry(rejected, entry(), Actor(OWNER))
    assert edited.reason == "Wrong project"
    assert timesheet.submit(edited, Actor(OWNER)).reason is None


def test_replacing_uploaded_hours_keeps_the_name_that_the_job_gave_them() -> None:
    uploaded = replace(entry(), external_ref="job-1", uploader="import")
    after = timesheet.replace_entry(sheet(uploaded), uploaded.id, Hours(MONDAY, "zeus", 5), Actor(OWNER))
    assert (after.entries[0].external_ref, after.entries[0].minutes) == ("job-1", 5)


def test_an_entry_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        timesheet.remove_entry(sheet(entry()), uuid4(), Actor(OWNER))
    with pytest.raises(NotFound):
        timesheet.replace_entry(sheet(entry()), uuid4(), Hours(MONDAY, "zeus", 5), Actor(OWNER))


def test_a_sheet_holds_a_bounded_number_of_entries() -> None:
    full = sheet(*(entry(1, MONDAY + timedelta(days=number % 7)) for number in range(MAX_ENTRIES)))
    with pytest.raises(TimesheetFull, match="500 entries"):
        timesheet.add_entry(full, entry(1), Actor(OWNER))


GOOD = Hours(MONDAY, "a", 1)


@pytest.mark.parametrize(
    ("hours", "field"),
    [
        *((replace(GOOD, minutes=minutes), "minutes") for minutes in (0, -1, 1441, True)),
        *((replace(GOOD, project=code), "project") for code in ("", "-a", "a b", "ä", "a" * 41, "a\n", "a/b")),
        *((replace(GOOD, note=note), "note") for note in ("", "x" * 501, "a\x00", "a\x1b[0m", "\ud800")),
        *((replace(GOOD, day=day), "day") for day in (date.min, date.max)),
    ],
)
def test_each_wrong_field_of_hours_is_named(hours: Hours, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_hours(hours)
    assert [error.field for error in refused.value.fields] == [field]


@pytest.mark.parametrize(
    "hours", [GOOD, Hours(MONDAY, "A9._-" * 8, 1440, "x" * 500), replace(GOOD, note="Überstunden ☕")]
)
def test_good_hours_pass(hours: Hours) -> None:
    check_hours(hours)


@pytest.mark.parametrize(
    ("start", "zone", "field"),
    [
        (MONDAY + timedelta(days=1), "UTC", "period_start"),
        (date.min, "UTC", "period_start"),
        (LAST_WEEK + timedelta(days=7), "UTC", "period_start"),
        (MONDAY, "Mars/Olympus", "time_zone"),
        (MONDAY, "../../etc/passwd", "time_zone"),
        (MONDAY, "", "time_zone"),
    ],
)
def test_a_week_begins_on_a_monday_in_a_zone_that_there_is(start: date, zone: str, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_week(start, zone)
    assert [error.field for error in refused.value.fields] == [field]


def test_a_day_belongs_to_the_week_of_its_monday() -> None:
    check_week(LAST_WEEK, "Europe/Berlin")
    for days in range(7):
        assert week_of(MONDAY + timedelta(days=days)) == MONDAY


@pytest.mark.parametrize("reason", ["", "x" * 1001, "a\x07"])
def test_a_reason_is_wanted_in_plain_characters(reason: str) -> None:
    with pytest.raises(InvalidField, match="reason"):
        check_reason(reason)
