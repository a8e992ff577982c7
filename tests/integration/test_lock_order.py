"""Every kind of change takes its locks in one order, so that no two changes can deadlock. Each lock is kept from a
change in turn; what Postgres has given to it by then may only be locks that come before."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg
import pytest

from service.administration.versions.administration import PolicyAdministration
from service.authorization.active.versions import POLICY_LOCK, PROPOSAL_LOCK
from service.authorization.enforcement.merged_people import WAIT_FOR_DECIDED
from service.authorization.enforcement.token_revocation import RevocationKind, RevocationRequest, Revocations
from service.directory.entities import Link, Part, Project, WantedAccess
from service.directory.legal_holds import LegalHolds
from service.directory.merging import Merging
from service.log.retention import HOLDS_LOCK
from service.timesheets.approvals import Item
from service.timesheets.upload import UploadMode
from service.timesheets.upload_rows import Row, Rows
from tests.integration.house import EIGHT_HOURS, ISSUER, MONDAY, anything, check_in_process, speaking
from tests.policy_forge import read_shipped
from tests.until import lock_is_waited_for

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from service.directory.entities import RequestedAccess
    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
# Prepares a change, the number of which tells it from earlier ones, and returns the change.
Prepare: TypeAlias = Callable[["House", int], Coroutine[Any, Any, Coroutine[Any, Any, object]]]

# The order, with how another transaction keeps a lock from everybody. Weeks are locked by the people who have them.
ORDER: Final = {
    "policy": f"SELECT pg_advisory_xact_lock({POLICY_LOCK})",
    "proposals": f"SELECT pg_advisory_xact_lock({PROPOSAL_LOCK})",
    "legal holds": HOLDS_LOCK,
    "directory": "SELECT FROM directory_revision FOR UPDATE",
    "week": "SELECT pg_advisory_xact_lock(hashtextextended('timesheet ' || id || ' ' || monday, 0))"
    " FROM person CROSS JOIN unnest($1::text[]) AS monday",
    "sheets": "SELECT FROM timesheet FOR UPDATE",
    "people": f"SELECT {WAIT_FOR_DECIDED}",
    "person": "SELECT FROM person FOR UPDATE",
}
# What the transactions that wait for a lock have been given: keys of advisory locks, and tables with locked rows.
GIVEN: Final = """
    SELECT DISTINCT CASE WHEN held.locktype = 'advisory' THEN
               ((held.classid::bigint << 32) | held.objid::bigint)::text ELSE held.relation::regclass::text END
    FROM pg_locks AS waiting JOIN pg_locks AS held ON held.pid = waiting.pid AND held.granted
    WHERE NOT waiting.granted AND (held.locktype = 'advisory' OR (held.locktype = 'relation' AND
          held.mode IN ('RowShareLock', 'RowExclusiveLock')))
"""
KEYS: Final = """
    SELECT hashtextextended('legal_hold', 0)::text AS holds,
           array_agg(hashtextextended('timesheet ' || id || ' ' || monday, 0)::text) AS weeks
    FROM person CROSS JOIN unnest($1::text[]) AS monday
"""
# A sheet of each person.
OPEN_SHEETS: Final = """
    INSERT INTO timesheet (id, owner_id, period_start, period_end, time_zone, state, version)
    SELECT gen_random_uuid(), id, $1::date, $1::date + 6, 'UTC', 'draft', 1 FROM person
"""
ATTEMPTS: Final = range(len(ORDER))


def week(number: int) -> date:
    return MONDAY + timedelta(weeks=number)


async def draft(house: House, number: int, name: str = "ana") -> Timesheet:
    return (await house.timesheets.create(house.caller(name), week(number), "UTC", [hours(number)])).value


def hours(number: int) -> Any:
    return type(EIGHT_HOURS)(week(number), EIGHT_HOURS.project, EIGHT_HOURS.minutes)


async def ask(house: House, number: int) -> RequestedAccess:
    team = (await house.directory.add_team(house.administrator(), f"team {number}")).value.id
    until = datetime.now(UTC) + timedelta(days=1)
    wanted = WantedAccess("temporary_approver", team, None, until, "a reason")
    return (await house.access_requests.request(house.manager("ana"), wanted)).value


async def newcomer(house: House, number: int) -> UUID:
    found: UUID = await house.known_people.person_for(speaking(ISSUER, f"newcomer-{number}"))
    return found


async def create(house: House, number: int) -> Coroutine[Any, Any, object]:
    return house.timesheets.create(house.caller("ana"), week(number), "UTC", [hours(number)])


def upload(mode: UploadMode) -> Prepare:
    async def prepare(house: House, number: int) -> Coroutine[Any, Any, object]:
        """One week is new, and one has a timesheet."""
        await draft(house, number, "max")
        rows = [
            Row(week(number), "apollo", 60, owner=house.people[name], external_ref=name) for name in ("carl", "max")
        ]
        return house.uploads.upload(house.machine(), Rows.of(rows), mode=mode)

    return prepare


async def edit(house: House, number: int) -> Coroutine[Any, Any, object]:
    sheet = await draft(house, number)
    return house.timesheets.add_entry(house.caller("ana"), sheet.id, anything, hours(number))


async def delete(house: House, number: int) -> Coroutine[Any, Any, object]:
    sheet = await draft(house, number)
    return house.timesheets.delete(house.caller("ana"), sheet.id, anything)


async def submit(house: House, number: int) -> Coroutine[Any, Any, object]:
    sheet = await draft(house, number)
    return house.timesheets.submit(house.caller("ana"), sheet.id, anything)


async def approve(house: House, number: int) -> Coroutine[Any, Any, object]:
    sheet = await house.submit_week("ana", week(number))
    return house.timesheets.approve(house.caller("mia"), sheet.id, anything)


async def approve_all(house: House, number: int) -> Coroutine[Any, Any, object]:
    items = [Item((await house.submit_week(name, week(number))).id, anything) for name in ("ana", "ben")]
    return house.approvals.approve_all(house.caller("mia"), items)


async def approve_each(house: House, number: int) -> Coroutine[Any, Any, object]:
    items = [Item((await house.submit_week(name, week(number))).id, anything) for name in ("ana", "ben")]
    return house.approvals.approve_each(house.caller("mia"), items)


async def sign_in_first(house: House, number: int) -> Coroutine[Any, Any, object]:
    return newcomer(house, number)


async def add_person(house: House, number: int) -> Coroutine[Any, Any, object]:
    links = [Link(ISSUER, f"added-{number}")]
    return house.directory.add_person(house.administrator(), None, f"{number}@example.com", links)


async def amend_person(house: House, number: int) -> Coroutine[Any, Any, object]:
    person, changes = house.people["ana"], {"display_name": f"Ana the {number}th"}
    return house.directory.amend_person(house.administrator(), person, changes)


async def link_person(house: House, number: int) -> Coroutine[Any, Any, object]:
    return house.directory.link_person(house.administrator(), house.people["ana"], [Link(ISSUER, f"more-{number}")])


async def add_team(house: House, number: int) -> Coroutine[Any, Any, object]:
    return house.directory.add_team(house.administrator(), f"team {number}", house.teams["east"])


async def replace_team(house: House, number: int) -> Coroutine[Any, Any, object]:
    return house.directory.replace_team(house.administrator(), house.teams["east"], f"east {number}", None)


async def add_membership(house: House, number: int) -> Coroutine[Any, Any, object]:
    person = await newcomer(house, number)
    return house.directory.add_membership(house.administrator(), person, house.teams["east"], Part.MEMBER)


async def move_membership(house: House, number: int) -> Coroutine[Any, Any, object]:
    person, east = await newcomer(house, number), house.teams["east"]
    made = await house.directory.add_membership(house.administrator(), person, east, Part.MEMBER)
    return house.directory.move_membership(house.administrator(), made.value.id, house.teams["west"])


async def give_role(house: House, number: int) -> Coroutine[Any, Any, object]:
    return house.directory.give_role(house.administrator(), house.people["ana"], f"role-{number}")


async def take_role(house: House, number: int) -> Coroutine[Any, Any, object]:
    await house.directory.give_role(house.administrator(), house.people["ana"], f"role-{number}")
    return house.directory.take_role(house.administrator(), house.people["ana"], f"role-{number}")


async def delegate(house: House, number: int) -> Coroutine[Any, Any, object]:
    return house.delegations.grant(house.manager("mia"), house.people["mia"], await newcomer(house, number))


async def end_delegation(house: House, number: int) -> Coroutine[Any, Any, object]:
    granting = house.delegations.grant(house.manager("mia"), house.people["mia"], await newcomer(house, number))
    return house.delegations.end(house.caller("mia"), (await granting).value.id)


async def name_fallback(house: House, number: int) -> Coroutine[Any, Any, object]:
    return house.fallbacks.name(house.administrator(), await newcomer(house, number))


async def lead_project(house: House, number: int) -> Coroutine[Any, Any, object]:
    return house.project_leads.add(house.administrator(), "apollo", await newcomer(house, number))


async def join_group(house: House, number: int) -> Coroutine[Any, Any, object]:
    await house.groups.add(house.administrator(), f"group-{number}")
    return house.members.add(house.administrator(), f"group-{number}", house.people["ana"])


async def add_project(house: House, number: int) -> Coroutine[Any, Any, object]:
    return house.projects.add(house.administrator(), Project(f"P{number}", "a project"))


async def import_directory(house: House, number: int) -> Coroutine[Any, Any, object]:
    lines = (
        "record,email,name,issuer,subject,team,parent,valid_from,valid_to",
        f"person,{number}@example.com,Eve,{ISSUER},eve-{number},,,,",
        f"team,,,,,Harbour {number},division,,",
        f"lead,{number}@example.com,,,,Harbour {number},,,",
    )
    return house.imports.load(house.administrator(), "\n".join(lines).encode())


async def request_access(house: House, number: int) -> Coroutine[Any, Any, object]:
    asked = await ask(house, number)
    await house.access_requests.withdraw(house.caller("ana"), asked.id)
    wanted = WantedAccess(asked.relation, asked.team, None, datetime.now(UTC) + timedelta(days=1), "a reason")
    return house.access_requests.request(house.manager("ana"), wanted)


async def withdraw_request(house: House, number: int) -> Coroutine[Any, Any, object]:
    return house.access_requests.withdraw(house.caller("ana"), (await ask(house, number)).id)


async def merge(house: House, number: int) -> Coroutine[Any, Any, object]:
    """Also the grants and the access of a person move."""
    person = await newcomer(house, number)
    await house.directory.give_role(house.administrator(), person, f"role-{number}")
    return Merging(house.gate).merge(house.administrator(), person, house.people["ana"])


async def erase(house: House, number: int) -> Coroutine[Any, Any, object]:
    name = f"newcomer-{number}"
    house.people[name] = await newcomer(house, number)
    await house.directory.give_role(house.administrator(), house.people[name], f"role-{number}")
    await draft(house, number, name)
    return house.erasure.erase(house.administrator(), house.people[name])


def auditor(house: House, name: str) -> Any:
    return house.caller(name, scopes=frozenset({"read:audit"}), roles=frozenset({"role:auditor"}))


async def set_hold(house: House, _: int) -> Coroutine[Any, Any, object]:
    return LegalHolds(house.gate).set(auditor(house, "adam"), "person", house.people["ana"], "a case")


async def lift_hold(house: House, _: int) -> Coroutine[Any, Any, object]:
    hold = await LegalHolds(house.gate).set(auditor(house, "adam"), "person", house.people["ana"], "a case")
    return LegalHolds(house.gate).lift(auditor(house, "dora"), hold.value.id)


async def revoke(house: House, _: int) -> Coroutine[Any, Any, object]:
    caller = house.caller("dora", scopes=frozenset({"manage:tokens"}), roles=frozenset({"role:administrator"}))
    wanted = RevocationRequest(RevocationKind.PERSON, str(house.people["ben"]))
    return Revocations(house.gate, 86_400, 30).revoke(caller, wanted)


def administration(house: House) -> tuple[PolicyAdministration, Any]:
    roles = frozenset({"role:policy-author"})
    author = house.caller("adam", scopes=frozenset({"write:policies"}), roles=roles)
    return PolicyAdministration(house.gate, house.versions, check_in_process), author


async def propose(house: House, _: int) -> Coroutine[Any, Any, object]:
    steps, author = administration(house)
    return steps.propose(author, read_shipped(), "once more")


async def activate(house: House, _: int) -> Coroutine[Any, Any, object]:
    steps, author = administration(house)
    made = await steps.propose(author, read_shipped(), "once more")
    return steps.activate(author, made.value.version.number, expected=house.versions.current().number)


# Each kind of change, with the locks that it takes.
CHANGES: Final[dict[Prepare, str]] = {
    create: "policy, week, people, person",
    upload(UploadMode.TOGETHER): "policy, week, sheets, people, person",
    upload(UploadMode.PER_ROW): "policy, week, sheets, people, person",
    edit: "policy, sheets, people",
    delete: "policy, sheets, people",
    submit: "policy, sheets, people",
    approve: "policy, sheets, people",
    approve_all: "policy, sheets, people",
    approve_each: "policy, sheets, people",
    sign_in_first: "directory",
    add_person: "policy, directory",
    amend_person: "policy, directory, person",
    link_person: "policy, directory, person",
    add_team: "policy, directory",
    replace_team: "policy, directory",
    add_membership: "policy, directory, person",
    move_membership: "policy, directory, person",
    give_role: "policy, directory, person",
    take_role: "policy, directory",
    delegate: "policy, directory, person",
    end_delegation: "policy, directory",
    name_fallback: "policy, directory, person",
    lead_project: "policy, directory, person",
    join_group: "policy, directory, person",
    add_project: "policy, directory",
    import_directory: "policy, directory",
    request_access: "policy, directory, person",
    withdraw_request: "policy, directory",
    merge: "policy, directory, people, person",
    erase: "policy, legal holds, directory, sheets, person",
    set_hold: "policy, legal holds",
    lift_hold: "policy, people",
    revoke: "policy",
    propose: "policy, proposals",
    activate: "policy",
}


@pytest.mark.parametrize("prepare", CHANGES, ids=lambda change: change.__qualname__)
async def test_a_change_takes_its_locks_in_the_order_of_all_changes(house: House, prepare: Prepare) -> None:
    """While a change waits, sheets are opened and kept from it. So a change that locks sheets a second time waits once
    more, with all that it has by then."""
    mondays = [str(week(number)) for number in ATTEMPTS]
    other, taken = await house.log_database.connect("owner"), list[str]()
    keeping = await asyncpg.connect(house.log_database.postgres.superuser_database_url(house.log_database.name))
    # Without foreign keys, it opens sheets of people whose rows are locked.
    await keeping.execute("SET session_replication_role = replica")
    for number, (lock, hold) in enumerate(ORDER.items()):
        change = await prepare(house, number)
        async with AsyncExitStack() as kept:
            async with other.transaction():
                await other.fetch(hold, *([mondays] if lock == "week" else []))
                changing = asyncio.create_task(change)
                if await waits_for_lock(house, changing):
                    taken.append(lock)
                    await check_order(other, mondays, lock)
                    await keeping.execute(OPEN_SHEETS, week(len(ORDER) + number))
                    await kept.enter_async_context(keeping.transaction())
                    await keeping.execute("SELECT FROM timesheet FOR UPDATE SKIP LOCKED")
            if await waits_for_lock(house, changing):
                await check_order(keeping, mondays, "sheets")
        await changing
    await keeping.close()
    assert ", ".join(taken) == CHANGES[prepare]


async def waits_for_lock(house: House, changing: asyncio.Task[object]) -> bool:
    """Whether the change comes to wait for a lock; otherwise it is done."""
    waiting = asyncio.create_task(lock_is_waited_for(house.owner))
    await asyncio.wait({changing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return not changing.done()


async def check_order(connection: Any, mondays: list[str], lock: str) -> None:
    """Nothing that comes after this lock was given to a transaction that waits."""
    locks = [*ORDER]
    later = await read_given(connection, mondays) & set(locks[locks.index(lock) + 1 :])
    assert not later, f"{lock} comes before {', '.join(later)}"


async def read_given(connection: Any, mondays: list[str]) -> set[str]:
    """The locks of the order that were given to a transaction that waits."""
    keys = await connection.fetchrow(KEYS, mondays)
    names = {
        str(POLICY_LOCK): "policy",
        str(PROPOSAL_LOCK): "proposals",
        keys["holds"]: "legal holds",
        "directory_revision": "directory",
        **dict.fromkeys(keys["weeks"], "week"),
        "timesheet": "sheets",
        re.sub(r"\D", "", WAIT_FOR_DECIDED): "people",
        "person": "person",
    }
    return {names[row[0]] for row in await connection.fetch(GIVEN) if row[0] in names}
