"""Erasing a person: what goes, what stays, what forbids it, and that every record is what it was."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.administration.checks import examination
from service.administration.versions.bootstrap import bootstrap
from service.audit.search import load_record, search_records
from service.directory.erasure import ERASE_PERSON, Erased
from service.directory.legal_holds import LegalHolds
from service.errors import Conflict, Forbidden, InvalidField, NotFound
from service.log import merkle
from service.log.log import Log
from service.log.record import commitment, read_body
from service.log.record_query import RecordFilters
from service.log.retention import HOLDS_LOCK
from service.timesheets.entry import Hours
from service.values import replace
from tests.integration.house import ALL_SCOPES, MONDAY, add_organisation, at, speaking, wire_house
from tests.policy_forge import read_shipped
from tests.until import lock_is_waited_for, until

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Caller
    from tests.integration.house import House
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
DAY = timedelta(days=1)
WAITED_FOR = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass)"
NOTED = Hours(MONDAY, "apollo", 480, "at the dentist's in the morning")


def auditor(house: House) -> Caller:
    return house.caller("audrey", scopes=frozenset({"read:audit"}), roles=frozenset({"role:auditor"}))


async def with_texts(house: House, name: str) -> UUID:
    """A rejected sheet with a note, and with a reason."""
    caller = house.caller(name)
    sheet = (await house.timesheets.create(caller, MONDAY, "UTC")).value
    await house.timesheets.add_entry(caller, sheet.id, at(1), NOTED)
    await house.timesheets.submit(caller, sheet.id, at(2))
    await house.timesheets.reject(house.caller("mia"), sheet.id, at(3), f"{name} was seen elsewhere")
    return sheet.id


async def sign_in_again(house: House, name: str) -> UUID:
    """The person of the next token of an erased person."""
    later = int(datetime.now(UTC).timestamp()) + 60
    return await house.known_people.person_for(replace(speaking("https://issuer.example", name), issued_at=later))


async def test_what_is_about_a_person_goes_and_every_record_stays_as_it_was(house: House) -> None:
    ana = house.people["ana"]
    await house.directory.amend_person(house.administrator(), ana, {"display_name": "Ana", "email": "ana@example.com"})
    await with_texts(house, "ana")
    await with_texts(house, "ben")
    stored = {
        row["id"]: (row["body"], row["stored_hash"]) for row in await house.owner.fetch("SELECT * FROM audit_record")
    }
    erasure = house.erasure
    wanted = Erased(links=1, texts=4, notes=1, attributes=0, sheets=1)
    assert (await erasure.preview(house.administrator(), ana)).value == wanted
    assert await house.read_last_record() == ("erase", "allow", False, "dry-run")
    assert (await erasure.erase(house.administrator(), ana)).value == wanted
    assert (await erasure.preview(house.administrator(), ana)).value == Erased(0, 0, 0, 0)

    person = await house.owner.fetchrow("SELECT display_name, email FROM person WHERE id = $1", ana)
    assert person is not None
    assert tuple(person) == (None, None)
    left = {row["value"] for row in await house.owner.fetch("SELECT value FROM audit_text")}
    assert "ben was seen elsewhere" in left
    assert not left & {"ana was seen elsewhere", "Ana", "ana@example.com"}
    for row in await house.owner.fetch(
        "SELECT id, body, stored_hash FROM audit_record WHERE id = ANY($1)", list(stored)
    ):
        assert (row["body"], row["stored_hash"]) == stored[row["id"]]
        assert merkle.leaf_hash(row["body"]) == row["stored_hash"]


async def test_a_note_that_is_being_written_is_waited_for_and_goes_too(house: House) -> None:
    ana = house.people["ana"]
    sheet = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value
    other = await house.log_database.connect("app")
    async with other.transaction():
        await other.execute("SELECT FROM timesheet WHERE id = $1 FOR UPDATE", sheet.id)
        await other.execute(
            "INSERT INTO entry (id, timesheet_id, day, project, minutes, note)"
            " VALUES ($1, $2, $3, 'apollo', 60, 'ill')",
            uuid4(),
            sheet.id,
            MONDAY,
        )
        erasing = asyncio.create_task(house.erasure.erase(house.administrator(), ana))
        await lock_is_waited_for(house.owner)
    assert (await erasing).value.notes == 1
    assert await house.count("entry WHERE note IS NOT NULL") == 0


async def erase_while_week_is_opened(house: House, state: str) -> asyncio.Task[Any]:
    """An erasure that locked all sheets of ana before this one was opened."""
    opening = await house.log_database.connect("owner")
    async with opening.transaction():
        await opening.execute(
            "INSERT INTO timesheet (id, owner_id, period_start, period_end, time_zone, state, version)"
            " VALUES ($1, $2, $3::date, $3::date + 6, 'UTC', $4, 1)",
            uuid4(),
            house.people["ana"],
            MONDAY,
            state,
        )
        erasing = asyncio.create_task(house.erasure.erase(house.administrator(), house.people["ana"]))
        await lock_is_waited_for(house.owner)
    return erasing


async def test_a_sheet_that_is_opened_and_submitted_during_an_erasure_forbids_it(house: House) -> None:
    with pytest.raises(Conflict, match="submitted timesheets"):
        await (await erase_while_week_is_opened(house, "submitted"))
    assert await house.count("timesheet WHERE state = 'submitted'") == 1


async def test_nobody_submits_a_sheet_that_is_opened_during_an_erasure(house: House) -> None:
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute("LOCK TABLE kept_answer")
        erasing = await erase_while_week_is_opened(house, "draft")
        await until(partial(house.owner.fetchval, WAITED_FOR, "kept_answer"))
        with pytest.raises(asyncpg.LockNotAvailableError):
            await house.owner.execute("SELECT FROM timesheet FOR UPDATE NOWAIT")
    assert (await erasing).value.sheets == 1
    assert await house.count("timesheet") == 0


async def test_the_record_of_an_erasure_says_who_and_how_much_and_no_more(house: House) -> None:
    ana = house.people["ana"]
    await house.directory.amend_person(house.administrator(), ana, {"display_name": "Ana", "email": "ana@example.com"})
    await house.erasure.erase(house.administrator(), ana)
    body = await house.owner.fetchval("SELECT body FROM audit_record WHERE kind = 'directory' ORDER BY id DESC LIMIT 1")
    assert read_body(body)["change"] == {
        "type": "directory.changed",
        "from": {},
        "to": {"what": "person.erased", "links": 1, "texts": 2, "notes": 0, "attributes": 0, "sheets": 0},
    }
    assert b"Ana" not in body


async def test_who_was_erased_and_signs_in_again_is_a_new_person(house: House) -> None:
    await house.erasure.erase(house.administrator(), house.people["ana"])
    assert await sign_in_again(house, "ana") != house.people["ana"]


async def test_texts_of_others_still_open_their_commitments(house: House) -> None:
    sheet = await with_texts(house, "ben")
    await house.erasure.erase(house.administrator(), house.people["ana"])
    async with house.requests.connection() as connection:
        found = await search_records(connection, RecordFilters(history=str(sheet), action="reject"))
        shown = await load_record(connection, found[0].uid)
    assert shown is not None
    salt = await house.owner.fetchval("SELECT salt FROM audit_text WHERE record_uid = $1", shown.uid)
    assert read_body(shown.json)["commitments"] == {"reason": commitment(salt, shown.texts["reason"]).hex()}


@pytest.mark.parametrize("what", ["all", "person", "resource"])
async def test_a_legal_hold_keeps_everything_until_it_is_lifted(house: House, what: str) -> None:
    sheet, ana = await with_texts(house, "ana"), house.people["ana"]
    holds, erasure = LegalHolds(house.gate), house.erasure
    about = {"all": None, "person": ana, "resource": sheet}[what]
    hold = (await holds.set(auditor(house), what, about, "Case 12/26")).value
    before = await house.count("audit_text")
    assert (await erasure.preview(house.administrator(), ana)).value.hold == hold.id
    with pytest.raises(Conflict) as refused:
        await erasure.erase(house.administrator(), ana)
    assert refused.value.extra == {"hold": str(hold.id)}
    assert await house.count("audit_text") == before
    await holds.lift(auditor(house), hold.id)
    assert (await erasure.erase(house.administrator(), ana)).value.texts > 0
    with pytest.raises(NotFound):
        await holds.lift(auditor(house), hold.id)
    ((listed, _),) = (await holds.list(auditor(house))).value
    assert (listed.id, listed.reason, listed.until is None) == (hold.id, "Case 12/26", False)


async def test_an_erasure_waits_for_a_hold_that_is_being_set_and_keeps_the_log_free_meanwhile(house: House) -> None:
    """Retention has the lock of holds before it takes partitions of the log away."""
    ana = house.people["ana"]
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute(HOLDS_LOCK)
        erasing = asyncio.create_task(house.erasure.erase(house.administrator(), ana))
        await lock_is_waited_for(house.owner)
        await other.execute("LOCK TABLE audit_record IN ACCESS EXCLUSIVE MODE NOWAIT")
        await other.execute(
            "INSERT INTO legal_hold (id, what, about, reason, by_client) VALUES ($1, 'person', $2, 'a case', 'cli')",
            uuid4(),
            ana,
        )
    with pytest.raises(Conflict, match="legal hold"):
        await erasing
    assert await house.read_last_record() == ("erase", "allow", False, "conflict")


async def test_a_hold_on_a_sheet_keeps_its_texts_when_its_records_were_pruned(house: House) -> None:
    sheet, ana = await with_texts(house, "ana"), house.people["ana"]
    superuser = await asyncpg.connect(house.log_database.postgres.superuser_database_url(house.log_database.name))
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute("DELETE FROM audit_record WHERE resource_id = $1", str(sheet))
    await superuser.close()
    hold = (await LegalHolds(house.gate).set(auditor(house), "resource", sheet, "Case 15/26")).value
    with pytest.raises(Conflict) as refused:
        await house.erasure.erase(house.administrator(), ana)
    assert refused.value.extra == {"hold": str(hold.id)}
    assert await house.count("entry WHERE note IS NOT NULL") == 1


async def test_setting_and_lifting_a_hold_is_on_record_without_its_reason(house: House) -> None:
    holds = LegalHolds(house.gate)
    hold = (await holds.set(auditor(house), "person", house.people["ana"], "Case 12/26")).value
    await holds.lift(auditor(house), hold.id)
    bodies = await house.owner.fetch("SELECT body FROM audit_record WHERE kind = 'system' AND resource_kind = 'log'")
    assert [read_body(row["body"])["action"] for row in bodies] == ["hold", "hold"]
    assert not any(b"12/26" in row["body"] for row in bodies)


async def test_whoever_set_a_hold_cannot_lift_it(house: House) -> None:
    holds, audrey = LegalHolds(house.gate), auditor(house)
    hold = (await holds.set(audrey, "person", house.people["ana"], "Case 16/26")).value
    with pytest.raises(Forbidden):
        await holds.lift(audrey, hold.id)
    assert await house.count("legal_hold WHERE until IS NULL") == 1
    assert await house.count("audit_record WHERE action = 'hold' AND NOT applied AND outcome = 'deny'") == 1
    other = replace(audrey, principal=replace(audrey.principal, person=house.people["ben"]))
    again = replace(audrey, principal=replace(audrey.principal, person=house.people["dora"]))
    await house.owner.execute("INSERT INTO person (id) VALUES ($1)", audrey.principal.person)
    await house.owner.execute(
        "INSERT INTO merged_person (person_id, into_id) VALUES ($1, $2)",
        again.principal.person,
        audrey.principal.person,
    )
    with pytest.raises(Forbidden):
        await holds.lift(again, hold.id)
    assert (await holds.lift(other, hold.id)).value.until is not None


async def test_a_hold_on_somebody_else_keeps_nobody_from_being_erased(house: House) -> None:
    await LegalHolds(house.gate).set(auditor(house), "person", house.people["ben"], "Case 13/26")
    assert (await house.erasure.erase(house.administrator(), house.people["ana"])).value.links == 1


async def test_not_even_the_function_in_the_database_gets_around_a_hold(house: House) -> None:
    await LegalHolds(house.gate).set(auditor(house), "all", None, "Case 14/26")
    async with house.requests.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchrow(ERASE_PERSON, house.people["ana"], [], [], [], "0" * 16, 1, DAY, DAY, [])
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM legal_hold")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM audit_text")
    assert await house.count("person_link WHERE subject = 'ana'") == 1


async def test_the_roles_are_apart_and_nobody_else_erases_or_holds(house: House) -> None:
    with pytest.raises(Forbidden):
        await LegalHolds(house.gate).set(
            house.caller("adam", scopes=ALL_SCOPES | {"read:audit"}, roles=frozenset({"role:administrator"})),
            "all",
            None,
            "mine",
        )
    with pytest.raises(Forbidden):
        await house.erasure.erase(house.caller("mia", roles=frozenset({"role:manager"})), house.people["ana"])


async def test_nobody_is_erased_who_is_not_there(house: House) -> None:
    erasure = house.erasure
    for call in (erasure.preview, erasure.erase):
        with pytest.raises(NotFound) as missing:
            await call(house.administrator(), uuid4())
        assert missing.value.decision is not None


@pytest.mark.parametrize(
    ("what", "about", "field"), [("some", None, "what"), ("all", uuid4(), "about"), ("person", None, "about")]
)
async def test_a_hold_that_makes_no_sense_is_told_its_field(
    house: House, what: str, about: UUID | None, field: str
) -> None:
    with pytest.raises(InvalidField) as wrong:
        await LegalHolds(house.gate).set(auditor(house), what, about, "why")
    assert [error.field for error in wrong.value.fields] == [field]


async def test_under_a_policy_that_is_older_than_these_words_nobody_erases_or_holds(log_database: LogDatabase) -> None:
    new = read_shipped()
    rows = [line for line in new.rules.splitlines() if not re.search("log-hold|directory-erase", line)]
    words = [line for line in new.vocabulary.splitlines() if not line.startswith(("hold = ", "erase = "))]
    old = replace(new, rules="\n".join([*rows, ""]), vocabulary="\n".join([*words, ""]), cases={})
    owner = await log_database.open("owner", size=1)
    async with owner.transaction() as connection:
        await bootstrap(connection, Log(owner), old, examination.load, datetime.now(UTC))
    house = await add_organisation(await wire_house(log_database))
    with pytest.raises(Forbidden):
        await house.erasure.erase(house.administrator(), house.people["ana"])
    with pytest.raises(Forbidden):
        await LegalHolds(house.gate).set(auditor(house), "all", None, "why")
    assert await house.count("audit_record WHERE outcome = 'deny'") == 2
