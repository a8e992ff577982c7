"""A decision uses the directory as it is when the sheet is locked, and not as it was when the request came."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from service.administration.versions.administration import PolicyAdministration
from service.authorization.active.versions import PROPOSAL_LOCK
from service.authorization.enforcement.changes import Target
from service.authorization.enforcement.person_references import PersonReference
from service.authorization.enforcement.stored_responses import IdempotentChange
from service.authorization.enforcement.token_revocation import RevocationKind, RevocationRequest, Revocations
from service.directory import store
from service.directory.entities import Part
from service.directory.legal_holds import LegalHolds
from service.directory.merging import Merging
from service.errors import Conflict, Denied, Forbidden, InvalidToken
from service.log.retention import HOLDS_LOCK
from service.timesheets import store as sheet_store
from service.timesheets.actions import approve, save
from service.timesheets.approvals import Approvals, Item
from service.timesheets.change_record import record_change
from service.timesheets.timesheet import State
from service.values import replace
from tests.integration.house import anything, at, check_in_process
from tests.policy_forge import read_shipped
from tests.until import lock_is_waited_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer
    from service.directory.entities import Delegation
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


async def membership(house: House, name: str) -> UUID:
    found: UUID = await house.owner.fetchval("SELECT id FROM membership WHERE person_id = $1", house.people[name])
    return found


async def test_who_ends_a_standing_in_holds_nothing_that_another_change_of_the_directory_waits_for(
    house: House,
) -> None:
    """A merge ends grants too, and has the directory before it comes to them."""
    grant = (await house.delegations.grant(house.manager("mia"), house.people["mia"], house.people["ben"])).value
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await store.advance(other)
        ending = asyncio.create_task(house.delegations.end(house.caller("mia"), grant.id))
        await lock_is_waited_for(house.owner)
        await other.execute("SELECT FROM delegation WHERE id = $1 FOR UPDATE NOWAIT", grant.id)
    assert (await ending).value.validity.valid_to is not None


@pytest.mark.parametrize("caller", ["mia", "adam"])
async def test_a_delegation_is_granted_for_the_person_about_whom_it_was_decided_or_not_at_all(
    house: House, caller: str
) -> None:
    """While the grant waits for the directory, the address of the delegator moves from mia to max, or stays."""
    people = house.people
    who = house.administrator() if caller == "adam" else house.manager(caller)
    address = PersonReference(email="swap@example.com")
    await house.owner.execute("UPDATE person SET email = $2 WHERE id = $1", people["mia"], address.email)
    other = await house.log_database.connect("owner")

    async def grant_while(*, moves: bool) -> asyncio.Task[Answer[Delegation]]:
        async with other.transaction():
            await store.advance(other)
            granting = asyncio.create_task(house.delegations.grant(who, address, people["carl"]))
            await lock_is_waited_for(house.owner)
            if moves:
                await other.execute("UPDATE person SET email = NULL WHERE id = $1", people["mia"])
                await other.execute("UPDATE person SET email = $2 WHERE id = $1", people["max"], address.email)
        return granting

    granted = (await (await grant_while(moves=False))).value
    assert granted.delegator == people["mia"]
    await house.delegations.end(who, granted.id)
    with pytest.raises(Conflict, match="delegator: another person"):
        await (await grant_while(moves=True))
    assert await house.count("delegation") == 1
    assert await house.read_last_record() == ("grant", "allow", False, "conflict")


async def test_what_somebody_may_change_in_the_directory_is_decided_once_they_have_it(house: House) -> None:
    """Two administrators take each other's role at the same moment: one of them is no longer an administrator then."""
    people = house.people
    for name in ("dora", "max"):
        await house.directory.give_role(house.administrator(), people[name], "administrator")
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await store.advance(other)
        taking = [
            asyncio.create_task(house.directory.take_role(house.caller(name), people[from_whom], "administrator"))
            for name, from_whom in (("dora", "max"), ("max", "dora"))
        ]
        await lock_is_waited_for(house.owner, by=2)
    outcomes = await asyncio.gather(*taking, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Answer", "Forbidden"]
    assert await house.count("person_role WHERE role = 'administrator' AND valid_to = 'infinity'") == 1


@pytest.mark.parametrize("change", [None, IdempotentChange(b"name", b"request")], ids=["no key", "key"])
async def test_who_may_not_change_the_directory_is_refused_without_waiting_for_it(
    house: House, change: IdempotentChange | None
) -> None:
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await store.advance(other)
        with pytest.raises(Forbidden):
            await house.directory.add_team(replace(house.caller("mia"), idempotent=change), "north")


async def add_north(house: House) -> None:
    await house.directory.add_team(house.administrator(), "north")


async def hold_everything(house: House) -> None:
    auditor = house.caller("adam", scopes=frozenset({"read:audit"}), roles=frozenset({"role:auditor"}))
    await LegalHolds(house.gate).set(auditor, "all", None, "a case")


async def propose_a_version(house: House) -> None:
    author = house.caller("adam", scopes=frozenset({"write:policies"}), roles=frozenset({"role:policy-author"}))
    administration = PolicyAdministration(house.gate, house.versions, check_in_process)
    await administration.propose(author, read_shipped(), "once more")


@pytest.mark.parametrize(
    ("lock", "change"),
    [
        ("SELECT FROM directory_revision FOR UPDATE", add_north),
        (HOLDS_LOCK, hold_everything),
        (f"SELECT pg_advisory_xact_lock({PROPOSAL_LOCK})", propose_a_version),
    ],
)
async def test_a_token_that_was_revoked_while_its_change_waited_changes_nothing(
    house: House, lock: str, change: Callable[[House], Coroutine[Any, Any, None]]
) -> None:
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute(lock)
        changing = asyncio.create_task(change(house))
        await lock_is_waited_for(house.owner)
        revoker = house.caller("dora", scopes=frozenset({"manage:tokens"}), roles=frozenset({"role:administrator"}))
        wanted = RevocationRequest(RevocationKind.PERSON, str(house.people["adam"]))
        await Revocations(house.gate, 86_400, 30).revoke(revoker, wanted)
    with pytest.raises(InvalidToken):
        await changing
    assert await house.count("audit_record WHERE kind <> 'decision' AND action IN ('hold', 'propose')") == 0
    assert await house.count("team WHERE name = 'north'") == 0


async def test_two_people_become_one_after_the_changes_that_were_decided_about_two(house: House) -> None:
    """Else the log would hold an approval by a person who had been merged with the owner before."""
    people, sheet = house.people, await house.submit_week("ana")
    target = Target(str(sheet.id), sheet_store.lock(sheet.id), row_id=sheet.id, must_exist=True)
    async with house.gate.change(house.caller("mia"), "timesheet", "approve", target) as change:
        merging = asyncio.create_task(Merging(house.gate).merge(house.administrator(), people["ana"], people["mia"]))
        waiting = asyncio.create_task(lock_is_waited_for(house.owner))
        await asyncio.wait({merging, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        before = sheet_store.sheet_of_row(change.permit, change.found)
        record_change(change, "timesheet.approved", before, await save(change, before, approve(before, change)))
    await merging
    records = await house.owner.fetch(
        "SELECT action FROM audit_record WHERE kind = 'decision' ORDER BY id DESC LIMIT 2"
    )
    assert [record["action"] for record in records] == ["manage", "approve"]


async def the_lead_ends(house: House) -> None:
    await house.directory.end_membership(house.administrator(), await membership(house, "mia"))


async def the_owner_moves_away(house: House) -> None:
    await house.directory.move_membership(house.administrator(), await membership(house, "ana"), house.teams["west"])


async def the_lead_becomes_a_member(house: House) -> None:
    mine = await membership(house, "mia")
    await house.directory.move_membership(house.administrator(), mine, house.teams["east"], Part.MEMBER)


async def both_turn_out_to_be_one(house: House) -> None:
    people = house.people
    await Merging(house.gate).merge(house.administrator(), people["ana"], people["mia"])


@pytest.mark.parametrize(
    "meanwhile",
    [the_lead_ends, the_owner_moves_away, the_lead_becomes_a_member, both_turn_out_to_be_one],
)
async def test_an_approval_that_waited_for_the_sheet_is_decided_by_the_directory_of_then(
    house: House, meanwhile: Callable[[House], Awaitable[None]]
) -> None:
    sheet = await house.submit_week("ana")
    mia, approvals = house.caller("mia"), Approvals(house.gate)
    items = [Item(sheet.id, at(sheet.version))]
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute("SELECT FROM timesheet WHERE id = $1 FOR UPDATE", sheet.id)
        alone = asyncio.create_task(house.timesheets.approve(mia, sheet.id, anything))
        together = asyncio.create_task(approvals.approve_all(mia, items))
        each = asyncio.create_task(approvals.approve_each(mia, items))
        await lock_is_waited_for(house.owner)
        await meanwhile(house)
    for refused in (alone, together):
        with pytest.raises(Denied):
            await refused
    assert isinstance((await each)[0].error, Denied)
    found = (await house.timesheets.read(house.caller("ana"), sheet.id)).value
    assert found.state is State.SUBMITTED
    assert await house.count("audit_record WHERE kind = 'change' AND action = 'approve'") == 0
