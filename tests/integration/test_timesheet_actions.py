"""Use cases on a real database under the shipped policy: what is done, recorded, refused, and what racing comes to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from service.errors import (
    Conflict,
    Forbidden,
    InsufficientScope,
    InvalidField,
    NotFound,
    PreconditionFailed,
    TimewardenError,
    WrongState,
)
from service.log.record import read_body
from service.policy import laws
from service.timesheets.entry import Hours
from service.timesheets.listing import Filters
from service.timesheets.timesheet import Actor, State
from tests.integration.house import ALL_SCOPES, EIGHT_HOURS, MONDAY, House, activate_unread, anything, at
from tests.policy_forge import rows
from tests.until import lock_is_waited_for

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from service.authorization.enforcement.changes import Answer
    from service.timesheets.store import StoredSheet
    from service.timesheets.timesheet import Timesheet

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


async def test_a_week_goes_from_draft_to_approved_and_each_step_is_recorded(house: House) -> None:
    ana, mia = house.caller("ana"), house.caller("mia")
    created = (await house.timesheets.create(ana, MONDAY, "Europe/Berlin")).value
    assert (created.owner, created.version, created.state) == (house.people["ana"], 1, State.DRAFT)
    added = (await house.timesheets.add_entry(ana, created.id, at(1), replace(EIGHT_HOURS, note="kick-off"))).value
    changed = (
        await house.timesheets.replace_entry(ana, created.id, at(2), added.entry.id, Hours(MONDAY, "zeus", 60))
    ).value
    assert (changed.entry.id, changed.entry.minutes, changed.entry.note) == (added.entry.id, 60, None)
    await house.timesheets.submit(ana, created.id, at(3))
    await house.timesheets.withdraw(ana, created.id, at(4))
    await house.timesheets.submit(ana, created.id, at(5))
    rejected = (await house.timesheets.reject(mia, created.id, at(6), "Zeus is closed")).value
    assert (rejected.state, rejected.reason) == (State.REJECTED, "Zeus is closed")
    await house.timesheets.submit(ana, created.id, at(7))
    approved = (await house.timesheets.approve(mia, created.id, at(8))).value
    assert (approved.state, approved.version, approved.reason) == (State.APPROVED, 9, None)
    reopened = (await house.timesheets.reopen(mia, created.id, at(9), "Wrong project")).value
    assert (reopened.state, reopened.editors) == (State.DRAFT, frozenset({house.people["ana"]}))
    stored = (await house.timesheets.read(ana, created.id)).value
    assert stored == reopened
    emptied = (await house.timesheets.remove_entry(ana, created.id, at(10), added.entry.id)).value
    assert emptied.entries == ()
    await house.timesheets.delete(ana, created.id, at(11))
    with pytest.raises(NotFound):
        await house.timesheets.read(ana, created.id)
    rows = await house.owner.fetch(
        "SELECT convert_from(body, 'UTF8')::jsonb #>> '{change,type}' FROM audit_record WHERE kind = 'change'"
        " ORDER BY id"
    )
    assert " ".join(row[0].removeprefix("timesheet.") for row in rows) == (
        "created edited edited submitted withdrawn submitted rejected submitted approved reopened edited deleted"
    )
    for text in ("kick-off", "Zeus is closed", "Wrong project"):
        assert await house.count_records_with(text) == 0
    assert await house.count("audit_text WHERE value IN ('kick-off', 'Zeus is closed', 'Wrong project')") == 3


async def test_one_sheet_a_person_and_week(house: House) -> None:
    ana = house.caller("ana")
    made = (await house.timesheets.create(ana, MONDAY, "UTC")).value
    with pytest.raises(Conflict) as refused:
        await house.timesheets.create(ana, MONDAY, "UTC")
    assert refused.value.extra == {"timesheet": str(made.id)}
    assert refused.value.decision is not None


async def test_of_many_who_create_the_same_week_at_once_one_wins(house: House) -> None:
    found = await asyncio.gather(
        *(house.timesheets.create(house.caller("ana"), MONDAY, "UTC") for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Conflict) for outcome in found) == 4
    assert await house.count("timesheet") == 1


@pytest.mark.parametrize(("name", "wanted"), [("ana", Forbidden), ("max", NotFound), ("ben", NotFound)])
async def test_whoever_is_not_the_manager_cannot_approve(
    house: House, name: str, wanted: type[TimewardenError]
) -> None:
    sheet = await house.submit_week("ana")
    with pytest.raises(wanted):
        await house.timesheets.approve(house.caller(name), sheet.id, at(sheet.version))
    assert (await house.timesheets.read(house.caller("ana"), sheet.id)).value == sheet


async def test_a_manager_who_submitted_for_the_owner_cannot_approve_but_the_one_above_can(house: House) -> None:
    sheet = await house.submit_week("ana")
    await house.owner.execute("UPDATE timesheet SET editors = editors || $1::uuid", house.people["mia"])
    with pytest.raises(Forbidden):
        await house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version))
    assert (await house.timesheets.approve(house.caller("dora"), sheet.id, at(sheet.version))).value.state == "approved"


async def test_a_sheet_says_when_it_was_handed_in_and_who_decided(house: House) -> None:
    people, ana, mia = house.people, house.caller("ana"), house.caller("mia")
    sheet = await house.submit_week("ana")
    assert (sheet.submitted_at, sheet.decided_at, sheet.decided_by) == (sheet.updated_at, None, None)
    rejected = (await house.timesheets.reject(mia, sheet.id, at(sheet.version), "Friday is missing")).value
    assert (rejected.submitted_at, rejected.decided_by) == (sheet.submitted_at, Actor(people["mia"]))
    assert rejected.decided_at == rejected.updated_at
    more = (await house.timesheets.add_entry(ana, sheet.id, anything, EIGHT_HOURS)).value.sheet
    assert (more.decided_at, more.decided_by) == (rejected.decided_at, Actor(people["mia"]))
    again = (await house.timesheets.submit(ana, sheet.id, anything)).value
    assert again.submitted_at is not None
    assert sheet.submitted_at is not None
    assert (again.submitted_at > sheet.submitted_at, again.decided_at, again.decided_by) == (True, None, None)
    approved = (await house.timesheets.approve(house.caller("dora"), sheet.id, at(again.version))).value
    assert (approved.submitted_at, approved.decided_by) == (again.submitted_at, Actor(people["dora"]))
    assert (await house.timesheets.read(ana, sheet.id)).value == approved
    draft = (await house.timesheets.reopen(mia, sheet.id, at(approved.version), "a mistake")).value
    assert (draft.submitted_at, draft.decided_at, draft.decided_by) == (None, None, None)


async def test_of_approvals_that_race_one_wins_and_the_others_hear_of_it(house: House) -> None:
    sheet = await house.submit_week("ana")
    found = await asyncio.gather(
        *(
            house.timesheets.approve(house.caller(name), sheet.id, at(sheet.version))
            for name in ("mia", "dora", "mia", "dora")
        ),
        return_exceptions=True,
    )
    refused = [outcome for outcome in found if isinstance(outcome, BaseException)]
    assert len(refused) == 3
    assert all(isinstance(outcome, PreconditionFailed | WrongState) for outcome in refused)
    assert await house.count("audit_record WHERE kind = 'change' AND action = 'approve'") == 1


async def test_approving_what_one_has_not_seen_is_refused(house: House) -> None:
    sheet = await house.submit_week("ana")
    with pytest.raises(PreconditionFailed):
        await house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version - 1))


async def test_a_submitted_sheet_is_frozen(house: House) -> None:
    sheet = await house.submit_week("ana")
    ana = house.caller("ana")
    attempts: list[Awaitable[object]] = [
        house.timesheets.add_entry(ana, sheet.id, anything, EIGHT_HOURS),
        house.timesheets.remove_entry(ana, sheet.id, anything, sheet.entries[0].id),
        house.timesheets.delete(ana, sheet.id, anything),
        house.timesheets.submit(ana, sheet.id, anything),
    ]
    for attempt in attempts:
        with pytest.raises(WrongState):
            await attempt


async def test_a_client_that_acts_for_itself_has_no_sheet(house: House) -> None:
    with pytest.raises(Forbidden):
        await house.timesheets.create(house.machine(scopes=ALL_SCOPES), MONDAY, "UTC")
    assert await house.count("timesheet") == 0


async def test_without_the_scope_known_and_unknown_sheets_are_refused_alike(house: House) -> None:
    sheet = await house.submit_week("ana")
    asks = house.caller("ana", scopes=frozenset({"read:timesheets"}))
    for sheet_id in (sheet.id, uuid4()):
        with pytest.raises(InsufficientScope):
            await house.timesheets.delete(asks, sheet_id, anything)


async def test_what_only_the_sheet_can_tell_is_refused_by_field_after_the_decision(house: House) -> None:
    ana = house.caller("ana")
    sheet = (await house.timesheets.create(ana, MONDAY, "UTC")).value
    edited = (await house.timesheets.add_entry(ana, sheet.id, at(1), Hours(MONDAY, "apollo", 1440))).value.sheet
    for hours, wrong in (
        (Hours(MONDAY, "zeus", 1), "minutes"),
        (Hours(MONDAY + timedelta(days=7), "zeus", 1), "day"),
    ):
        with pytest.raises(InvalidField) as refused:
            await house.timesheets.add_entry(ana, sheet.id, at(2), hours)
        assert [field.field for field in refused.value.fields] == [wrong]
        assert refused.value.decision is not None
    with pytest.raises(NotFound, match="entry"):
        await house.timesheets.remove_entry(ana, sheet.id, at(2), uuid4())
    assert (await house.timesheets.read(ana, sheet.id)).value == edited


async def test_a_refused_caller_knows_of_a_sheet_only_while_they_may_read_it(house: House) -> None:
    """Payroll reads approved sheets, and approves none."""
    mia, payroll = house.caller("mia"), house.caller("ben", roles=frozenset({"role:payroll"}))
    sheet = await house.submit_week("ana")

    async def refuse(version: int) -> type[TimewardenError]:
        with pytest.raises(TimewardenError) as refused:
            await house.timesheets.approve(payroll, sheet.id, at(version))
        return type(refused.value)

    assert [await refuse(sheet.version) for _ in range(2)] == [NotFound] * 2
    await house.timesheets.approve(mia, sheet.id, at(sheet.version))
    assert [await refuse(sheet.version + 1) for _ in range(2)] == [Forbidden] * 2
    await house.timesheets.reopen(mia, sheet.id, at(sheet.version + 1), "Wrong project")
    assert await refuse(sheet.version + 2) is NotFound


async def test_an_empty_sheet_cannot_be_submitted(house: House) -> None:
    sheet = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value
    with pytest.raises(Conflict):
        await house.timesheets.submit(house.caller("ana"), sheet.id, at(1))


async def test_a_list_is_what_single_reads_allow_page_by_page(house: House) -> None:
    weeks = [MONDAY + timedelta(days=7 * number) for number in range(3)]
    sheets = [await house.submit_week(name, week) for name in ("ana", "ben", "carl", "mia", "max") for week in weeks]
    for name in house.people:
        asks = house.caller(name)
        allowed = set()
        for sheet in sheets:
            try:
                allowed.add((await house.timesheets.read(asks, sheet.id)).value)
            except NotFound:
                continue
        listed: list[Timesheet] = []
        after = None
        while True:
            page = (await house.timesheets.list(asks, Filters(), after=after, limit=2)).value
            listed += page.items
            if (after := page.after) is None:
                break
        assert set(listed) == allowed
        assert len(listed) == len(allowed)
        assert listed == sorted(listed, key=lambda sheet: (sheet.period_start, sheet.id), reverse=True)


async def test_filters_narrow_a_list(house: House) -> None:
    mia = house.caller("mia")
    for name in ("ana", "ben"):
        await house.submit_week(name)
        await house.timesheets.create(house.caller(name), MONDAY + timedelta(days=7), "UTC")

    async def count_sheets(**wanted: object) -> int:
        return len((await house.timesheets.list(mia, Filters(**wanted))).value.items)  # type: ignore[arg-type]  # by name

    assert await count_sheets() == 4
    assert await count_sheets(owner=house.people["ana"]) == 2
    assert await count_sheets(states=(State.SUBMITTED,)) == 2
    assert await count_sheets(states=(State.SUBMITTED, State.DRAFT)) == 4
    assert await count_sheets(projects=("apollo", "x")) == 2
    assert await count_sheets(projects=("x",)) == 0
    assert await count_sheets(since=MONDAY + timedelta(days=7)) == 2
    assert await count_sheets(since=MONDAY + timedelta(days=6)) == 4
    assert await count_sheets(until=MONDAY + timedelta(days=6)) == 2
    assert await count_sheets(until=MONDAY - timedelta(days=1)) == 0
    assert await count_sheets(since=date.min, until=date.max, owner=house.people["ben"], states=(State.DRAFT,)) == 1


async def test_an_allowed_change_that_did_not_take_place_is_recorded_with_what_stood_in_the_way(house: House) -> None:
    sheet = await house.submit_week("ana")
    with pytest.raises(PreconditionFailed) as refused:
        await house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version + 1))
    record = await body_of(house, refused.value)
    assert (record["outcome"], record["applied"]) == ("allow", False)
    assert record["not_applied_because"] == "precondition-failed"


async def test_a_refusal_by_a_law_in_code_is_recorded_as_what_the_caller_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should every rule and the law behind the decision fail, the state machine still refuses, and the log says so."""
    sheet = await house.submit_week("ana")
    await house.owner.execute("UPDATE timesheet SET editors = editors || $1::uuid", house.people["mia"])
    lenient = rows("p, allow, manager, approve, submitted, timesheet, approve:timesheets, always, approve-team")
    await house.versions.switch_to(await activate_unread(house, lenient))
    monkeypatch.setattr(laws, "law_forbids", lambda _: False)
    with pytest.raises(Forbidden) as refused:
        await house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version))
    record = await body_of(house, refused.value)
    assert (record["outcome"], record["reason"], record["applied"]) == ("deny", "law", False)


async def body_of(house: House, error: TimewardenError) -> dict[str, object]:
    """The record that an error names."""
    assert error.decision is not None
    return read_body(
        await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1::text::uuid", error.decision[0])
    )


async def test_a_change_that_is_refused_now_waits_for_no_lock(house: House) -> None:
    sheet = await house.submit_week("ana")
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute("SELECT FROM timesheet WHERE id = $1 FOR UPDATE", sheet.id)
        with pytest.raises(Forbidden):
            await asyncio.wait_for(house.timesheets.approve(house.caller("ana"), sheet.id, at(sheet.version)), 2)
        with pytest.raises(PreconditionFailed):
            await asyncio.wait_for(house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version - 1)), 2)
    assert (await house.read_last_record())[1:] == ("allow", False, "precondition-failed")


async def test_a_caller_who_changes_a_row_again_is_decided_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ana, early, looks = house.caller("ana"), house.gate._refuse_early, list[str]()

    async def look(caller: Any, kind: str, action: str, target: Any) -> None:
        looks.append(action)
        await early(caller, kind, action, target)

    monkeypatch.setattr(house.gate, "_refuse_early", look)
    sheet = (await house.timesheets.create(ana, MONDAY, "UTC")).value
    for version in (1, 2):
        await house.timesheets.add_entry(ana, sheet.id, at(version), EIGHT_HOURS)
    assert looks == []
    # The refusal is recorded once it holds no lock, and the next change is looked at first.
    with pytest.raises(PreconditionFailed):
        await house.timesheets.submit(ana, sheet.id, at(2))
    assert (await house.read_last_record())[1:] == ("allow", False, "precondition-failed")
    await house.timesheets.submit(ana, sheet.id, at(3))
    assert looks == ["submit"]
    # Another caller.
    await house.timesheets.approve(house.caller("mia"), sheet.id, at(4))
    assert looks == ["submit", "approve"]


async def test_a_caller_who_changes_a_row_again_waits_for_it_only_if_that_is_allowed(house: House) -> None:
    ana = house.caller("ana")
    sheet = (await house.timesheets.create(ana, MONDAY, "UTC")).value
    await house.timesheets.add_entry(ana, sheet.id, at(1), EIGHT_HOURS)
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute("SELECT FROM timesheet WHERE id = $1 FOR UPDATE", sheet.id)
        with pytest.raises(PreconditionFailed):
            await asyncio.wait_for(house.timesheets.submit(ana, sheet.id, at(1)), 2)
    await house.timesheets.add_entry(ana, sheet.id, at(2), EIGHT_HOURS)
    async with other.transaction():
        await other.execute("SELECT FROM timesheet WHERE id = $1 FOR UPDATE", sheet.id)
        submitting = asyncio.create_task(house.timesheets.submit(ana, sheet.id, at(3)))
        await lock_is_waited_for(house.owner)
    assert (await submitting).value.state is State.SUBMITTED


async def test_what_a_read_shows_is_made_while_its_record_is_written_and_given_out_when_it_is_durable(
    house: House,
) -> None:
    ana = house.caller("ana")
    sheet = (await house.timesheets.create(ana, MONDAY, "UTC")).value
    # The next append finds the log idle.
    await house.timesheets.read(ana, sheet.id)
    before, shown = await house.count("audit_record"), list[int]()

    def respond(answer: Answer[StoredSheet]) -> int:
        shown.append(answer.value.row["version"])
        return shown[-1]

    def fail(_: Answer[StoredSheet]) -> int:
        shown.append(0)
        raise WrongState("cannot be shown")

    locked = await house.log_database.connect("owner")
    for how, expected in ((respond, [1]), (fail, [1, 0])):
        lock = locked.transaction()
        await lock.start()
        await locked.execute("LOCK TABLE audit_record IN SHARE MODE")
        reading = asyncio.create_task(house.timesheets.read_stored(ana, sheet.id, how))
        await lock_is_waited_for(house.owner)
        assert shown == expected
        assert not reading.done()
        await lock.rollback()
        if how is respond:
            assert await reading == 1
        else:
            with pytest.raises(WrongState):
                await reading
    assert shown == [1, 0]
    assert await house.count("audit_record") == before + 2
