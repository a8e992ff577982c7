"""Merging two people: what moves, what stays where it stood, what the log tells, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from service.administration.replay import recorded_request
from service.administration.versions import version_store
from service.audit import people as auditing
from service.authorization.enforcement.decision_point import who_words
from service.authorization.enforcement.policy_relations import POLICY_FACTS
from service.authorization.enforcement.relationships import Relationships
from service.directory.entities import Link, Part, Person, Validity
from service.directory.grant_store import MembershipFilter
from service.directory.legal_holds import LegalHolds
from service.directory.merging import Merging
from service.directory.people import People
from service.errors import Conflict, Denied, InvalidField, InvalidToken, NotFound
from service.log.packing import unpack
from service.log.record import read_body
from service.log.record_query import RecordFilters
from service.timesheets import listing
from service.timesheets.access import TimesheetAccess
from service.values import replace
from service.web.audit.log_query import LogQuery
from tests.integration.house import MONDAY, activate_unread, at, speaking
from tests.integration.test_erasure import auditor, sign_in_again
from tests.integration.test_organisation import changes
from tests.policy_forge import read_shipped, with_more

if TYPE_CHECKING:
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ISSUER = "https://issuer.example"
DAY = timedelta(days=1)


async def signed_in(house: House, name: str) -> UUID:
    """A person whose token is used for the first time."""
    house.people[name] = await People(house.requests, house.log).person_for(speaking(ISSUER, name))
    return house.people[name]


async def merge(house: House, person: str, into: str) -> Person:
    people = house.people
    return (await Merging(house.gate).merge(house.administrator(), people[person], people[into])).value


async def load_grants(
    house: House, table: str, column: str, person: UUID, columns: str = "id"
) -> list[tuple[Any, ...]]:
    """The present and future grants of a person."""
    rows = await house.owner.fetch(
        f"SELECT {columns} FROM {table} WHERE {column} = $1 AND valid_from < valid_to AND now() < valid_to", person
    )
    return [tuple(row.values()) for row in rows]


async def test_what_both_had_in_the_directory_the_one_has_who_stays(house: House) -> None:
    admin, people, teams = house.administrator(), house.people, house.teams
    night, later = await signed_in(house, "mia-at-night"), datetime.now(UTC) + DAY
    await house.directory.amend_person(admin, night, {"display_name": "Mia Novak", "email": "mia@example.com"})
    await house.directory.add_membership(admin, night, teams["west"], Part.LEAD)
    await house.directory.add_membership(admin, night, teams["west"], Part.MEMBER, Validity(later, later + DAY))
    await house.directory.add_membership(admin, night, teams["east"], Part.LEAD)
    await house.directory.give_role(admin, night, "auditor")
    await house.fallbacks.name(admin, night)
    await house.delegations.grant(house.manager("mia"), people["mia"], night)
    await house.delegations.grant(house.manager("mia-at-night"), night, people["carl"], Validity(None, later))
    before = len(await changes(house))

    stays = await merge(house, "mia-at-night", "mia")

    mia = people["mia"]
    assert stays == Person(mia, "Mia Novak", "mia@example.com")
    for table, column in (
        ("membership", "person_id"), ("person_role", "person_id"), ("fallback_approver", "person_id"),
        ("delegation", "delegator_id"), ("delegation", "delegate_id"),
    ):  # fmt: skip
        assert await load_grants(house, table, column, night) == []
    found = (await house.directory.memberships(admin, MembershipFilter(person=mia))).value.items
    assert {(membership.team, membership.part, membership.validity.valid_to) for membership in found} == {
        (teams["east"], Part.LEAD, None), (teams["west"], Part.LEAD, None), (teams["west"], Part.MEMBER, later + DAY)
    }  # fmt: skip
    assert next(membership for membership in found if membership.part is Part.MEMBER).validity.valid_from == later
    assert len(await load_grants(house, "person_role", "person_id", mia)) == 1
    assert len(await load_grants(house, "fallback_approver", "person_id", mia)) == 1
    # Nobody delegates to themselves; delegations to other people are kept.
    assert await load_grants(house, "delegation", "delegator_id", mia, "delegate_id") == [(people["carl"],)]
    assert await People(house.requests, house.log).person_for(speaking(ISSUER, "mia-at-night")) == mia
    told = (await changes(house))[before:]
    assert told[0]["to"] == {"what": "person.merged", "into": str(mia), "links": 1}
    assert sorted(record["to"]["what"] for record in told[1:]) == sorted(
        ["membership.ended"] * 3 + ["membership.created"] * 2 + ["role.taken", "role.given"]
        + ["fallback.ended", "fallback.named"] + ["delegation.ended"] * 2 + ["delegation.granted"]
    )  # fmt: skip
    listed = {item.id: item for item in (await house.directory.people(admin)).value.items}
    assert listed[night] == Person(night, None, None, mia)


async def test_three_accounts_become_one_person_in_any_order(house: House) -> None:
    for name in ("one", "two", "three"):
        await signed_in(house, name)
    await merge(house, "one", "two")
    await merge(house, "two", "three")
    into = await house.owner.fetch("SELECT person_id, into_id FROM merged_person")
    assert {tuple(row) for row in into} == {
        (house.people["one"], house.people["three"]), (house.people["two"], house.people["three"])
    }  # fmt: skip
    sheet = (await house.timesheets.create(house.caller("one"), MONDAY, "UTC")).value
    for name in ("one", "two", "three"):
        assert (await house.timesheets.read(house.caller(name), sheet.id)).value.id == sheet.id


async def test_a_merge_is_a_new_version_of_everybody_who_is_told_otherwise_from_then_on(house: House) -> None:
    """Also of those who have neither a name nor an address: an ETag of before tells of nobody that is there now."""
    admin = house.administrator()
    for name in ("one", "two", "three"):
        await signed_in(house, name)
    await house.directory.amend_person(admin, house.people["three"], {"display_name": "Three"})

    async def lookup() -> list[tuple[UUID | None, int]]:
        found = [(await house.directory.person(admin, house.people[name])).value for name in ("one", "two", "three")]
        return [(person.merged_into, person.version) for person in found]

    three = house.people["three"]
    assert await lookup() == [(None, 1), (None, 1), (None, 2)]
    assert (await merge(house, "one", "two")).version == 1
    assert await lookup() == [(house.people["two"], 2), (None, 1), (None, 2)]
    assert (await merge(house, "two", "three")).version == 2
    assert await lookup() == [(three, 3), (three, 2), (None, 2)]
    await house.directory.amend_person(admin, house.people["ana"], {"email": "ana@example.com"})
    stays = await merge(house, "ana", "three")
    assert (stays.email, stays.version) == ("ana@example.com", 3)
    assert (await house.directory.person(admin, three)).value.version == 3


async def test_whoever_was_merged_is_given_nothing_and_merged_no_more(house: House) -> None:
    admin, teams = house.administrator(), house.teams
    night = await signed_in(house, "mia-at-night")
    await merge(house, "mia-at-night", "mia")
    for refused in (
        house.directory.add_membership(admin, night, teams["west"], Part.LEAD),
        house.fallbacks.name(admin, night),
        house.delegations.grant(admin, night, house.people["carl"]),
        house.delegations.grant(house.manager("mia"), house.people["mia"], night),
    ):
        with pytest.raises(InvalidField, match="was merged into"):
            await refused
    for conflict in (
        house.directory.give_role(admin, night, "auditor"),
        house.directory.link_person(admin, night, [Link(ISSUER, "third")]),
        house.directory.amend_person(admin, night, {"display_name": "Somebody", "email": None}),
        Merging(house.gate).merge(admin, night, house.people["ana"]),
        Merging(house.gate).merge(admin, house.people["ana"], night),
    ):
        with pytest.raises(Conflict) as gone:
            await conflict
        assert gone.value.extra["person"] == str(house.people["mia"])
    for wrong_one, error in ((uuid4(), NotFound), (house.people["mia"], InvalidField)):
        with pytest.raises(error):
            await Merging(house.gate).merge(admin, wrong_one, house.people["mia"])
    with pytest.raises(InvalidField):
        await Merging(house.gate).merge(admin, house.people["mia"], uuid4())
    with pytest.raises(Denied):
        await Merging(house.gate).merge(house.caller("ana"), house.people["ana"], house.people["ben"])


async def test_what_both_hold_for_times_that_overlap_in_part_is_for_people_to_sort_out(house: House) -> None:
    admin, teams, later = house.administrator(), house.teams, datetime.now(UTC) + DAY
    night = await signed_in(house, "ana-at-night")
    mine = await house.directory.add_membership(admin, house.people["ana"], teams["west"], Part.MEMBER, Validity(later))
    theirs = await house.directory.add_membership(admin, night, teams["west"], Part.MEMBER)
    with pytest.raises(Conflict) as refused:
        await merge(house, "ana-at-night", "ana")
    assert refused.value.extra["held"] == str(theirs.value.id)
    assert await house.count("merged_person") == 0
    await house.directory.end_membership(admin, mine.value.id)
    assert (await merge(house, "ana-at-night", "ana")).id == house.people["ana"]


async def test_an_installation_where_nobody_may_manage_merges_nobody(house: House) -> None:
    await signed_in(house, "ana-at-night")
    for caller in (house.caller("ana"), house.machine()):
        with pytest.raises(Denied):
            await Merging(house.gate).merge(caller, house.people["ana-at-night"], house.people["ana"])
    assert await house.count("merged_person") == 0


async def test_a_week_has_one_sheet_whatever_account_opens_it(house: House) -> None:
    await signed_in(house, "ana-at-night")
    made = (await house.timesheets.create(house.caller("ana-at-night"), MONDAY, "UTC")).value
    await merge(house, "ana-at-night", "ana")
    with pytest.raises(Conflict) as there:
        await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")
    assert there.value.extra["timesheet"] == str(made.id)
    mine = (await house.timesheets.list(house.caller("ana"), listing.Filters(owner=house.people["ana"]))).value.items
    assert [(sheet.id, sheet.owner) for sheet in mine] == [(made.id, house.people["ana-at-night"])]
    assert [item.id for item in (await house.timesheets.list(house.caller("mia"), listing.Filters())).value.items] == [
        made.id
    ]


async def test_tokens_of_either_are_refused_that_were_revoked_of_either(house: House) -> None:
    people = People(house.requests, house.log)
    night, ana = await signed_in(house, "ana-at-night"), house.people["ana"]

    async def revoke(person: UUID) -> None:
        await house.owner.execute(
            "INSERT INTO revocation (id, what, value, issued_before, expires_at, by_client)"
            " VALUES (gen_random_uuid(), 'person', $1, now(), now() + interval '1 day', 'test')",
            str(person),
        )

    await revoke(night)
    assert await people.person_for(speaking(ISSUER, "ana")) == ana
    await merge(house, "ana-at-night", "ana")
    for name in ("ana", "ana-at-night"):
        with pytest.raises(InvalidToken):
            await people.person_for(speaking(ISSUER, name))
    with pytest.raises(InvalidToken):
        await house.timesheets.list(house.caller("ana"), listing.Filters())
    fresh = replace(speaking(ISSUER, "ana-at-night"), issued_at=int(datetime.now(UTC).timestamp()) + 60)
    assert await people.person_for(fresh) == ana
    await house.owner.execute("DELETE FROM revocation")
    await revoke(ana)
    with pytest.raises(InvalidToken):
        await people.person_for(speaking(ISSUER, "ana-at-night"))


async def test_the_record_of_a_decision_tells_every_id_of_the_asker_and_is_decided_again_alike(house: House) -> None:
    night = await signed_in(house, "mia-at-night")
    await merge(house, "mia-at-night", "mia")
    rule = f"p, deny, person:{night}, approve, any, timesheet, any, always, never-mia"
    await activate_unread(house, with_more(rule + "\n"))
    sheet = await house.submit_week("ana")
    with pytest.raises(Denied) as refused:
        await house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version))
    assert refused.value.decision is not None
    uid = UUID(refused.value.decision[0])
    body = unpack(await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1", uid))
    told = read_body(body)
    assert told["principal"]["also"] == [str(night)]  # type: ignore[index]  # it is an object
    assert told["rules"] == ["never-mia"]
    again = recorded_request.parse_request(body).request
    assert f"person:{night}" in who_words(again.principal, again.lookup)


async def test_who_may_do_what_names_the_one_who_stays_for_a_rule_on_the_other(house: House) -> None:
    night = await signed_in(house, "carl-at-night")
    await merge(house, "carl-at-night", "carl")
    rule = f"p, allow, person:{night}, read, any, timesheet, read:timesheets, always, read-as-carl"
    await activate_unread(house, with_more(rule + "\n"))
    sheet = await house.submit_week("ana")
    found = (await TimesheetAccess(house.gate).of(house.caller("ana"), sheet.id)).value.grantees
    assert night not in {candidate.person for candidate in found}
    carl = next(candidate for candidate in found if candidate.person == house.people["carl"])
    assert [way.rule for way in carl.may["read"]] == ["read-as-carl"]
    assert (await house.timesheets.read(house.caller("carl"), sheet.id)).value.id == sheet.id


async def test_whoever_proposed_a_version_with_one_account_is_its_proposer_with_the_other(house: House) -> None:
    night = await signed_in(house, "ana-at-night")
    made = await version_store.insert(house.owner, read_shipped(), message="m", author_person=night, author_client="c")
    lookup = Relationships([POLICY_FACTS])
    principal = house.caller("ana").principal
    assert (await lookup.of_row(house.owner, principal, POLICY_FACTS, made.number)).relations == set()
    await merge(house, "ana-at-night", "ana")
    assert (await lookup.of_row(house.owner, principal, POLICY_FACTS, made.number)).relations == {"proposer"}


async def test_erasing_a_person_erases_every_account_of_theirs_unless_a_hold_keeps_one(house: House) -> None:
    admin, night = house.administrator(), await signed_in(house, "ana-at-night")
    await house.directory.amend_person(admin, night, {"display_name": "Ana by night", "email": None})
    made = (await house.timesheets.create(house.caller("ana-at-night"), MONDAY, "UTC")).value
    await house.owner.execute(
        "INSERT INTO entry (id, timesheet_id, day, project, minutes, note)"
        " VALUES (gen_random_uuid(), $1, $2, 'ATLAS', 60, 'a note')",
        made.id,
        MONDAY,
    )
    await merge(house, "ana-at-night", "ana")
    erasure, holds = house.erasure, LegalHolds(house.gate)
    hold = (await holds.set(auditor(house), "person", night, "a case")).value
    with pytest.raises(Conflict):
        await erasure.erase(admin, house.people["ana"])
    await holds.lift(auditor(house), hold.id)
    wanted = (await erasure.preview(admin, house.people["ana"])).value
    gone = (await erasure.erase(admin, house.people["ana"])).value
    assert gone == wanted
    assert (gone.links, gone.notes) == (2, 1)
    assert await house.count("person_link WHERE subject LIKE 'ana%'") == 0
    assert await house.count("audit_text WHERE value = 'Ana by night'") == 0
    assert await sign_in_again(house, "ana-at-night") not in {night, house.people["ana"]}


async def test_an_auditor_who_asks_about_a_person_is_told_of_every_account(house: House) -> None:
    night, ana = await signed_in(house, "ana-at-night"), house.people["ana"]
    await house.directory.amend_person(house.administrator(), ana, {"display_name": "Ana", "email": "ana@example.com"})
    await merge(house, "ana-at-night", "ana")
    assert set(await auditing.find_by_email(house.owner, "ANA@example.com")) == {night, ana}
    assert set(await auditing.find_by_subject(house.owner, ISSUER, "ana-at-night")) == {night, ana}
    assert set(await auditing.load_ids(house.owner, night)) == {night, ana}
    asked = await LogQuery(RecordFilters(), person=night, owner=night).resolve(house.owner)
    assert (set(asked.persons or ()), set(asked.owners or ())) == ({night, ana}, {night, ana})
