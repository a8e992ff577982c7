"""An erasure lifts no law and revives no token: an erased person who returns is a new person, but the same to
denials."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from service.administration.replay import recorded_request
from service.administration.replay.reevaluation import FORMER_IDS, Undecidable, reevaluate
from service.administration.versions import version_store
from service.administration.versions.simulated_request import SimulatedRequest, SimulatedResource, Subject
from service.administration.versions.simulation import Simulation
from service.authorization.enforcement.policy_relations import POLICY_FACTS
from service.authorization.enforcement.relationships import Relationships
from service.authorization.enforcement.stored_responses import ResponseSweeper
from service.directory import erased_store
from service.directory.entities import Link, Part
from service.directory.erasure import NO_KEY, OWN, PENDING, Erasure, Memory
from service.directory.legal_holds import LegalHolds
from service.directory.merging import Merging
from service.directory.people import People
from service.directory.people_store import is_known
from service.errors import Conflict, Denied, ErasureKeyMissing, Forbidden, InvalidField, InvalidToken, NotFound
from service.identity.subject_hashes import NO_KEYS, SubjectHashes
from service.log.packing import unpack
from service.log.partitions import add_partition
from service.log.record import read_body
from service.log.retention import prune
from service.log.sealing import Sealer
from service.timesheets.access import TimesheetAccess
from service.timesheets.actions import Details
from service.timesheets.approvals import Approvals
from service.timesheets.listing import Filters
from service.timesheets.relations import TIMESHEET_FACTS
from service.timesheets.timesheet import State
from service.values import replace
from tests.integration.house import ALL_SCOPES, HASHES, MONDAY, activate_unread, anything, at, speaking
from tests.integration.test_erasure import auditor, sign_in_again
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Caller
    from service.authorization.engine.engine import Snapshot
    from service.identity.principal import Principal
    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ISSUER = "https://issuer.example"
HOUR = timedelta(hours=1)


def issue_earlier(principal: Principal, ago: int) -> Principal:
    """The same with a token of so many seconds ago."""
    return replace(principal, issued_at=int(datetime.now(UTC).timestamp()) - ago)


async def erase(house: House, name: str) -> None:
    await house.erasure.erase(house.administrator(), house.people[name])


async def come_back(house: House, name: str) -> str:
    """Sign in again after an erasure; returns the name of the new person."""
    house.people[f"{name}-again"] = await sign_in_again(house, name)
    return f"{name}-again"


async def put(house: House, sheet: UUID, **columns: object) -> None:
    """Write columns of a sheet past the service."""
    for name, value in columns.items():
        await house.owner.execute(f"UPDATE timesheet SET {name} = $2 WHERE id = $1", sheet, value)


async def submit_and_approve(house: House, name: str) -> Timesheet:
    sheet = await house.submit_week(name)
    return (await house.timesheets.approve(house.caller("dora"), sheet.id, at(sheet.version))).value


async def activate(house: House, *rows: str, without: str = "no such row") -> None:
    """Let the shipped policy decide with these rows more, and without one of its own."""
    kept = [line for line in read_shipped().rules.splitlines() if not line.endswith(f" {without}")]
    text = replace(read_shipped(), rules="\n".join([*kept, *rows, ""]), cases={})
    await activate_unread(house, text)


async def record_of(house: House, refused: pytest.ExceptionInfo[Denied]) -> bytes:
    assert refused.value.decision is not None
    uid = UUID(refused.value.decision[0])
    return unpack(await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1", uid))


@pytest.fixture
async def waiting(house: House) -> UUID:
    """Ana's sheet, which waits for approval; she was erased, came back as `ana-again`, and leads the team."""
    sheet = await submit_and_approve(house, "ana")
    await erase(house, "ana")
    name = await come_back(house, "ana")
    await house.directory.add_membership(house.administrator(), house.people[name], house.teams["east"], Part.LEAD)
    await put(house, sheet.id, state="submitted")
    return sheet.id


# --- who may erase, and what goes with it


async def test_nobody_erases_themselves(house: House) -> None:
    for call in (house.erasure.preview, house.erasure.erase):
        with pytest.raises(Forbidden) as refused:
            await call(house.administrator(), house.people["adam"])
        assert refused.value.reasons == (OWN,)
    assert await house.count("person_link WHERE subject = 'adam'") == 1
    assert await house.count("audit_record WHERE action = 'erase' AND outcome = 'deny' AND reason = 'law'") == 1


async def test_nobody_erases_themselves_under_another_account_of_theirs(house: House) -> None:
    night = await house.known_people.person_for(speaking(ISSUER, "adam-at-night"))
    await Merging(house.gate).merge(house.administrator(), night, house.people["adam"])
    for person in (night, house.people["adam"]):
        with pytest.raises(Forbidden):
            await house.erasure.erase(house.administrator(), person)


async def test_an_erasure_waits_for_sheets_that_wait_for_approval(house: House) -> None:
    sheet = await house.submit_week("ana")
    preview = (await house.erasure.preview(house.administrator(), house.people["ana"])).value
    assert preview.pending == (sheet.id,)
    with pytest.raises(Conflict) as refused:
        await erase(house, "ana")
    assert (refused.value.public, refused.value.extra) == (PENDING, {"timesheets": [str(sheet.id)]})
    assert await house.count("person_link WHERE subject = 'ana'") == 1
    await house.timesheets.reject(house.caller("mia"), sheet.id, anything, "a mistake")
    await erase(house, "ana")


async def test_drafts_and_rejected_sheets_go_with_their_owner_on_record_and_others_stay(house: House) -> None:
    kept = await submit_and_approve(house, "ana")
    draft = (await house.timesheets.create(house.caller("ana"), MONDAY + timedelta(weeks=1), "UTC")).value
    rejected = await house.submit_week("ana", MONDAY + timedelta(weeks=2))
    await house.timesheets.reject(house.caller("mia"), rejected.id, anything, "a mistake")
    preview = (await house.erasure.preview(house.administrator(), house.people["ana"])).value
    gone = (await house.erasure.erase(house.administrator(), house.people["ana"])).value
    assert (preview.sheets, gone.sheets) == (2, 2)
    owner = house.people["ana"]
    left = await house.owner.fetch("SELECT id FROM timesheet WHERE owner_id = $1", owner)
    assert [row["id"] for row in left] == [kept.id]
    rows = await house.owner.fetch(
        "SELECT body FROM audit_record WHERE kind = 'change' AND owner_id = $1 ORDER BY id DESC LIMIT 2", owner
    )
    bodies = [read_body(row["body"]) for row in rows]
    assert {body["resource"]["id"] for body in bodies} == {str(draft.id), str(rejected.id)}  # type: ignore[index]
    changes = [body["change"] for body in bodies]
    assert {change["type"] for change in changes} == {"timesheet.deleted"}  # type: ignore[index]
    assert {(change["from"]["state"], change["from"]["minutes"]) for change in changes} == {  # type: ignore[index]
        ("draft", 0),
        ("rejected", 480),
    }


async def test_without_a_key_nobody_is_erased(house: House) -> None:
    without = Erasure(house.gate, Memory(NO_KEYS, 400, 86_400, 30))
    draft = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value
    with pytest.raises(Conflict) as refused:
        await without.erase(house.administrator(), house.people["ana"])
    assert refused.value.public == NO_KEY
    assert await house.count("person_link WHERE subject = 'ana'") == 1
    assert (await house.timesheets.read(house.caller("ana"), draft.id)).value.id == draft.id


async def test_the_database_erases_nobody_whose_links_leave_no_hash(house: House) -> None:
    async with house.requests.connection() as connection:
        with pytest.raises(Exception, match="has no hash"):
            await connection.execute(
                "SELECT erase_person($1, '{}', '{}', '{}', '0123456789abcdef', '1 day', now(), '1 day')",
                house.people["ana"],
            )


async def test_nothing_of_a_subject_is_left_in_clear_nor_as_a_hash_that_can_be_tried(house: House) -> None:
    await house.owner.execute(
        "INSERT INTO revocation (id, what, value, issuer, issued_before, expires_at, by_client)"
        " VALUES (gen_random_uuid(), 'subject', 'ana', $1, now(), now() + interval '1 day', 'c')",
        ISSUER,
    )
    await erase(house, "ana")
    assert await house.count("person_link WHERE subject = 'ana'") == 0
    assert await house.count("revocation WHERE value = 'ana'") == 0
    (stored,) = [row["hash"] for row in await house.owner.fetch("SELECT hash FROM erased_subject")]
    assert stored == HASHES.compute(ISSUER, "ana")[0]
    assert stored not in SubjectHashes(["another key, as long as the first, that is tried"]).compute(ISSUER, "ana")


# --- laws


async def test_nobody_approves_their_own_hours_after_an_erasure_as_their_own_lead(house: House, waiting: UUID) -> None:
    caller = house.caller("ana-again")
    with pytest.raises(Forbidden) as refused:
        await house.timesheets.approve(caller, waiting, anything)
    assert refused.value.extra["rules"] == ["never-own-hours", "never-for-owner"]
    told = read_body(await record_of(house, refused))
    assert told["relations"]["owner"] is None  # type: ignore[index]
    assert told["relations"]["manager"] is True  # type: ignore[index]


async def test_neither_lists_nor_hints_nor_who_can_tell_otherwise(house: House, waiting: UUID) -> None:
    caller = house.caller("ana-again")
    assert (await Approvals(house.gate).list_pending(caller)).value.items == ()
    shown = (await house.timesheets.read_with_details(caller, waiting, Details(actions=True))).value
    assert "approve" not in (shown.actions or ())
    assert "reject" in (shown.actions or ())
    found = (await TimesheetAccess(house.gate).of(caller, waiting)).value.grantees
    may = {grantee.person: grantee.may for grantee in found}
    assert "approve" not in may[house.people["ana-again"]]
    assert "approve" in may[house.people["mia"]]
    assert next(grantee for grantee in found if grantee.person == house.people["ana-again"]).relations == {"manager"}


@pytest.mark.parametrize("without", ["never-own-hours", "never-for-owner"])
async def test_the_laws_in_code_know_them_under_any_policy(house: House, waiting: UUID, without: str) -> None:
    await activate(house, without=without)
    with pytest.raises(Forbidden):
        await house.timesheets.approve(house.caller("ana-again"), waiting, anything)
    with pytest.raises(Forbidden):
        await house.timesheets.approve(house.caller("ana-again"), waiting, anything)
    assert (await house.timesheets.approve(house.caller("mia"), waiting, anything)).value.state is State.APPROVED


async def test_what_they_wrote_for_others_they_do_not_approve_after_an_erasure(house: House) -> None:
    sheet = await house.submit_week("ana")
    await put(house, sheet.id, editors=[house.people["ana"], house.people["max"]])
    await erase(house, "max")
    name = await come_back(house, "max")
    await house.directory.add_membership(house.administrator(), house.people[name], house.teams["east"], Part.LEAD)
    with pytest.raises(Forbidden) as refused:
        await house.timesheets.approve(house.caller(name), sheet.id, anything)
    assert refused.value.extra["rules"] == ["never-for-owner"]
    assert read_body(await record_of(house, refused))["facts"]["acted_for_owner"] is None  # type: ignore[index]


async def test_whoever_locked_a_sheet_does_not_unlock_it_after_an_erasure(house: House) -> None:
    payroll = frozenset({"role:payroll"})
    sheet = await submit_and_approve(house, "ana")
    await house.timesheets.lock(house.caller("ben", roles=payroll), sheet.id, anything, "paid")
    await erase(house, "ben")
    name = await come_back(house, "ben")
    for without in ("nothing", "never-unlock-own-lock"):
        await activate(house, without=without)
        with pytest.raises(Forbidden):
            await house.timesheets.unlock(house.caller(name, roles=payroll), sheet.id, anything, "a mistake")
    again = (await house.timesheets.unlock(house.caller("carl", roles=payroll), sheet.id, anything, "a mistake")).value
    assert again.state is State.APPROVED


async def test_an_erasure_grants_nothing_of_before(house: House) -> None:
    sheet = await submit_and_approve(house, "ana")
    await erase(house, "ana")
    caller = house.caller(await come_back(house, "ana"))
    assert (await house.timesheets.list(caller, Filters())).value.items == ()
    with pytest.raises(NotFound):
        await house.timesheets.read(caller, sheet.id)
    # They wrote in it, which is unknown to allows: neither such a row nor its opposite helps.
    for who, when in (
        (f"person:{house.people['ana']}", "always"), ("owner", "always"),
        ("anyone", "acted_for_owner"), ("anyone", "not acted_for_owner"),
    ):  # fmt: skip
        await activate(house, f"p, allow, {who}, read, any, timesheet, any, {when}, one-more")
        with pytest.raises(NotFound):
            await house.timesheets.read(caller, sheet.id)
        assert (await house.timesheets.list(caller, Filters())).value.items == ()
    await activate(house, "p, allow, anyone, read, any, timesheet, any, always, one-more")
    assert (await house.timesheets.read(caller, sheet.id)).value.id == sheet.id


async def test_whoever_set_a_hold_does_not_lift_it_after_an_erasure(house: House) -> None:
    holds, reader = LegalHolds(house.gate), auditor(house)
    by_ben = replace(reader, principal=replace(reader.principal, person=house.people["ben"]))
    hold = (await holds.set(by_ben, "person", house.people["carl"], "Case 17/26")).value
    await erase(house, "ben")
    await come_back(house, "ben")
    again = replace(reader, principal=replace(reader.principal, person=house.people["ben-again"]))
    with pytest.raises(Forbidden):
        await holds.lift(again, hold.id)
    assert (await holds.lift(reader, hold.id)).value.until is not None


# --- four eyes, and rules on persons


async def test_four_eyes_recognise_a_proposer_after_an_erasure(house: House) -> None:
    made = await version_store.insert(
        house.owner, read_shipped(), message="m", author_person=house.people["ana"], author_client="c"
    )
    await erase(house, "ana")
    principal = house.caller(await come_back(house, "ana")).principal
    seen = await Relationships([POLICY_FACTS]).of_row(house.owner, principal, POLICY_FACTS, made.number)
    assert seen.relations == {"former:proposer"}
    await activate(house, "p, deny, proposer, activate, any, policy, any, always, four-eyes")
    await house.owner.execute("UPDATE policy_head SET active = 1")
    await version_store.move_head(house.owner, 3, expected=1)
    await version_store.move_head(house.owner, 1, expected=3)
    assert await version_store.find_left_behind(house.owner, made.number, principal) == [3]
    assert await version_store.find_left_behind(house.owner, made.number, house.caller("ben").principal) == []


async def test_a_rule_that_denies_to_a_person_denies_to_them_after_an_erasure_and_is_decided_again_alike(
    house: House,
) -> None:
    sheet = await house.submit_week("ben")
    await activate(house, f"p, deny, person:{house.people['max']}, approve, any, timesheet, any, always, never-max")
    await erase(house, "max")
    name = await come_back(house, "max")
    await house.directory.add_membership(house.administrator(), house.people[name], house.teams["east"], Part.LEAD)
    with pytest.raises(Forbidden) as refused:
        await house.timesheets.approve(house.caller(name), sheet.id, anything)
    body = await record_of(house, refused)
    told = read_body(body)
    assert told["rules"] == ["never-max"]
    assert told["principal"]["former"] == {"named": [str(house.people["max"])], "others": 0}  # type: ignore[index]
    recorded = recorded_request.parse_request(body)
    assert reevaluate(house.versions.current(), recorded) == recorded.verdict
    assert (await Approvals(house.gate).list_pending(house.caller(name))).value.items == ()


async def test_a_record_names_no_former_id_that_no_rule_asked_for_and_does_not_guess_for_a_rule_that_does(
    house: House,
) -> None:
    sheet = await house.submit_week("ben")
    await erase(house, "max")
    name = await come_back(house, "max")
    await house.directory.add_membership(house.administrator(), house.people[name], house.teams["east"], Part.LEAD)
    answer = await house.timesheets.approve(house.caller(name), sheet.id, anything)
    body = unpack(await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1", answer.receipt.uid))
    assert read_body(body)["principal"]["former"] == {"named": [], "others": 1}  # type: ignore[index]
    assert str(house.people["max"]).encode() not in body
    recorded, before = recorded_request.parse_request(body), house.versions.current()
    assert reevaluate(before, recorded) == recorded.verdict
    for person in ("max", "carl"):
        row = f"p, deny, person:{house.people[person]}, approve, any, timesheet, any, always, never-{person}"
        await activate(house, row)
        assert reevaluate(await current(house), recorded) == Undecidable(FORMER_IDS)


async def test_a_person_who_came_back_is_decided_again_alike_beside_a_denial_to_somebody_else(house: House) -> None:
    sheet = await house.submit_week("ben")
    await activate(house, f"p, deny, person:{house.people['carl']}, approve, any, timesheet, any, always, never-carl")
    await erase(house, "max")
    name = await come_back(house, "max")
    await house.directory.add_membership(house.administrator(), house.people[name], house.teams["east"], Part.LEAD)
    answer = await house.timesheets.approve(house.caller(name), sheet.id, anything)
    body = unpack(await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1", answer.receipt.uid))
    recorded = recorded_request.parse_request(body)
    assert reevaluate(house.versions.current(), recorded) == recorded.verdict


async def test_a_record_does_not_say_who_came_back_where_no_rule_asked_and_does_not_guess_for_a_rule_that_does(
    house: House, waiting: UUID
) -> None:
    answer = await house.timesheets.read(house.caller("ana-again"), waiting)
    body = unpack(await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1", answer.receipt.uid))
    told = read_body(body)
    stranger = await house.timesheets.read(house.caller("dora"), waiting)
    of_stranger = await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1", stranger.receipt.uid)
    assert told["relations"] == {**read_body(of_stranger)["relations"], "manager": True}  # type: ignore[dict-item]
    assert told["facts"] == read_body(of_stranger)["facts"]
    recorded, before = recorded_request.parse_request(body), house.versions.current()
    assert reevaluate(before, recorded) == recorded.verdict
    await activate(house, "p, deny, owner, read, any, timesheet, any, always, never-own")
    assert reevaluate(await current(house), recorded, before) == Undecidable(FORMER_IDS)


async def test_a_simulation_does_not_tell_who_came_back(house: House, waiting: UUID) -> None:
    for name in ("ana-again", "dora"):
        asked = SimulatedRequest(
            subject=Subject(client="hours-app", user=True, person=house.people[name], scopes=ALL_SCOPES),
            action="approve",
            resource=SimulatedResource("timesheet", id=waiting),
        )
        simulation = Simulation(house.gate, house.versions, Relationships([TIMESHEET_FACTS, POLICY_FACTS]), is_known)
        scopes = frozenset({"read:audit", "read:policies"})
        author = house.caller("audrey", scopes=scopes, roles=frozenset({"role:auditor", "role:policy-admin"}))
        simulated = await simulation.run(author, asked)
        assert simulated.value.decision.request.lookup.relations == {"manager"}
        body = unpack(await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1", simulated.receipt.uid))
        assert b"former" not in body


async def current(house: House) -> Snapshot:
    """The version that is active now."""
    return await house.versions.load(await house.owner.fetchval("SELECT active FROM policy_head"))


# --- who is recognised


async def test_two_accounts_that_were_one_person_stay_one_human_after_an_erasure(house: House) -> None:
    await house.directory.link_person(house.administrator(), house.people["ana"], [Link(ISSUER, "ana-at-night")])
    await erase(house, "ana")
    day, night = await come_back(house, "ana"), await come_back(house, "ana-at-night")
    assert house.people[day] != house.people[night]
    for name, part in ((day, Part.MEMBER), (night, Part.LEAD)):
        await house.directory.add_membership(house.administrator(), house.people[name], house.teams["east"], part)
    sheet = await house.submit_week(day)
    with pytest.raises(Forbidden):
        await house.timesheets.approve(house.caller(night), sheet.id, anything)
    assert (await house.timesheets.approve(house.caller("mia"), sheet.id, anything)).value.state is State.APPROVED


async def test_a_second_erasure_forgets_nobody_of_before_the_first(house: House) -> None:
    sheet = await submit_and_approve(house, "ana")
    await erase(house, "ana")
    await come_back(house, "ana")
    await house.directory.link_person(house.administrator(), house.people["ana-again"], [Link(ISSUER, "other")])
    await house.erasure.erase(house.administrator(), house.people["ana-again"])
    house.people["third"] = await sign_in_again(house, "other")
    assert await formers(house, "third") == {house.people["ana"], house.people["ana-again"]}
    await house.directory.add_membership(house.administrator(), house.people["third"], house.teams["east"], Part.LEAD)
    await put(house, sheet.id, state="submitted")
    with pytest.raises(Forbidden):
        await house.timesheets.approve(house.caller("third"), sheet.id, anything)


async def formers(house: House, name: str) -> set[UUID]:
    seen = await Relationships([]).ambient(house.owner, house.caller(name).principal)
    return set(seen.former_ids)


@pytest.mark.parametrize("way", ["added", "linked", "imported"])
async def test_an_administrator_who_makes_the_link_makes_them_known_too(house: House, way: str) -> None:
    await erase(house, "ana")
    admin, link = house.administrator(), Link(ISSUER, "ana")
    if way == "added":
        person = (await house.directory.add_person(admin, "Ana", "ana@example.com", [link])).value.id
    elif way == "linked":
        person = (await house.directory.link_person(admin, house.people["ben"], [link])).value.id
    else:
        lines = ["record,email,name,issuer,subject", f"person,ana@example.com,Ana,{ISSUER},ana"]
        await house.imports.load(admin, "\n".join(lines).encode())
        person = await house.owner.fetchval("SELECT person_id FROM person_link WHERE subject = 'ana'")
    house.people["known"] = person
    assert await formers(house, "known") == {house.people["ana"]}


async def test_whoever_came_back_and_is_merged_is_known_as_before(house: House) -> None:
    await erase(house, "ana")
    await come_back(house, "ana")
    await Merging(house.gate).merge(house.administrator(), house.people["ana-again"], house.people["ben"])
    assert await formers(house, "ben") == {house.people["ana"]}
    assert await formers(house, "ana-again") == {house.people["ana"]}


async def test_whoever_is_merged_with_who_they_were_is_not_held_against_themselves(house: House) -> None:
    await erase(house, "ana")
    await come_back(house, "ana")
    await Merging(house.gate).merge(house.administrator(), house.people["ana"], house.people["ana-again"])
    assert await formers(house, "ana-again") == set()


async def test_two_first_requests_on_two_replicas_make_one_person_who_is_known(house: House) -> None:
    await erase(house, "ana")
    found = await asyncio.gather(*(sign_in_again(house, "ana") for _ in range(4)))
    assert len(set(found)) == 1
    house.people["again"] = found[0]
    assert await formers(house, "again") == {house.people["ana"]}
    assert await house.count("former_person") == 1


# --- keys and time


async def test_where_a_key_is_missing_nobody_new_is_taken_in_and_everybody_known_is(house: House) -> None:
    await erase(house, "ana")
    people = People(house.requests, house.log, SubjectHashes(["some other key of enough characters"]))
    for name in ("ana", "somebody-new"):
        with pytest.raises(ErasureKeyMissing):
            await people.person_for(issue_earlier(speaking(ISSUER, name), -60))
    assert await people.person_for(speaking(ISSUER, "ben")) == house.people["ben"]
    assert await house.count("person_link WHERE subject IN ('ana', 'somebody-new')") == 0


async def test_an_older_key_still_recognises_what_it_made(house: House) -> None:
    await erase(house, "ana")
    newer = SubjectHashes(
        ["the key that came after the first one", "the erasure key of the tests, which is long enough"]
    )
    people = People(house.requests, house.log, newer)
    house.people["again"] = await people.person_for(issue_earlier(speaking(ISSUER, "ana"), -60))
    assert await formers(house, "again") == {house.people["ana"]}


async def test_when_its_time_is_over_an_erasure_is_forgotten_and_the_keeper_removes_it(house: House) -> None:
    await erase(house, "ana")
    name = await come_back(house, "ana")
    await house.owner.execute("UPDATE former_person SET until = now() - interval '1 second'")
    await house.owner.execute("UPDATE erased_subject SET until = now() - interval '1 second'")
    assert await formers(house, name) == set()
    await ResponseSweeper(await house.log_database.open("keeper", size=1), erased_store.FORGET).sweep()
    assert await house.count("former_person") == await house.count("erased_subject") == 0


async def test_the_keeper_removes_nothing_before_its_time(house: House) -> None:
    await erase(house, "ana")
    await come_back(house, "ana")
    await ResponseSweeper(await house.log_database.open("keeper", size=1), erased_store.FORGET).sweep()
    assert await house.count("former_person") == await house.count("erased_subject") == 1


# --- revocation


async def test_every_token_of_before_an_erasure_is_revoked_and_makes_nobody_known(house: House) -> None:
    for ahead in (3600, 10, -20):
        token = issue_earlier(speaking(ISSUER, "ana"), ahead)
        assert await house.known_people.person_for(token) == house.people["ana"]
    await erase(house, "ana")
    for ahead in (3600, 10, -20):
        with pytest.raises(InvalidToken):
            await house.known_people.person_for(issue_earlier(speaking(ISSUER, "ana"), ahead))
    assert await house.count("person_link WHERE subject = 'ana'") == 0
    await come_back(house, "ana")
    with pytest.raises(InvalidToken):
        await house.known_people.person_for(issue_earlier(speaking(ISSUER, "ana"), 10))


async def test_a_request_that_is_under_way_as_the_erased_person_is_refused(house: House) -> None:
    caller = asked_with_token(house, "ana")
    assert (await house.timesheets.list(caller, Filters())).value.items == ()
    await erase(house, "ana")
    with pytest.raises(InvalidToken):
        await house.timesheets.list(caller, Filters())
    with pytest.raises(InvalidToken):
        await house.timesheets.create(caller, MONDAY, "UTC")


async def test_a_sheet_that_is_being_made_does_not_outlive_the_erasure_of_its_owner(house: House) -> None:
    ana, caller = house.people["ana"], asked_with_token(house, "ana")
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with house.owner.transaction():
        # As an erasure does it, after it looked for sheets and before it commits.
        await house.owner.execute("SELECT FROM person WHERE id = $1 FOR UPDATE", ana)
        making = asyncio.create_task(house.timesheets.create(caller, MONDAY, "UTC"))
        async with asyncio.timeout(2):
            while not await house.owner.fetchval(waits):  # noqa: ASYNC110 — for a lock of Postgres
                await asyncio.sleep(0.01)
        await house.owner.execute(
            "INSERT INTO revocation (id, what, value, issued_before, expires_at, by_client)"
            " VALUES (gen_random_uuid(), 'person', $1, now() + interval '1 minute', now() + interval '1 day', 'c')",
            str(ana),
        )
    with pytest.raises(InvalidToken):
        await making
    assert await house.count("timesheet") == 0


def asked_with_token(house: House, name: str) -> Caller:
    caller = house.caller(name, scopes=ALL_SCOPES)
    return replace(caller, principal=issue_earlier(caller.principal, 10))


async def test_a_revocation_that_reaches_further_than_the_erasure_does_so_after_it(house: House) -> None:
    reach = datetime.now(UTC) + timedelta(seconds=55)
    await house.owner.execute(
        "INSERT INTO revocation (id, what, value, issued_before, expires_at, by_client)"
        " VALUES (gen_random_uuid(), 'person', $1, $2, $2::timestamptz + interval '1 day', 'c')",
        str(house.people["ana"]),
        reach,
    )
    await erase(house, "ana")
    with pytest.raises(InvalidToken):
        await house.known_people.person_for(replace(speaking(ISSUER, "ana"), issued_at=int(reach.timestamp()) - 5))
    await house.known_people.person_for(replace(speaking(ISSUER, "ana"), issued_at=int(reach.timestamp()) + 5))


# --- however many were erased


async def test_a_hundred_thousand_erased_people_are_not_looked_through(house: House) -> None:
    await house.owner.execute(
        "INSERT INTO person (id) SELECT md5('gone' || n)::uuid FROM generate_series(1, 100000) AS n"
    )
    await house.owner.execute(
        "INSERT INTO erased_subject SELECT sha256(('gone' || n)::bytea), md5('gone' || n)::uuid, now(), 'infinity'"
        " FROM generate_series(1, 100000) AS n"
    )
    await house.owner.execute(
        "INSERT INTO former_person SELECT md5('gone' || n)::uuid, md5('gone' || n + 1)::uuid, 'infinity'"
        " FROM generate_series(1, 99999) AS n"
    )
    await house.owner.execute("VACUUM ANALYZE person, erased_subject, former_person")
    ana = house.people["ana"]
    for statement, parameters in (
        ("SELECT former_ids_of_person($1)", (ana,)),
        ("SELECT FROM erased_subject WHERE hash = ANY ($1::bytea[])", ([b"0" * 32, b"1" * 32],)),
        (erased_store.RECOGNISE, ([ana], [b"0" * 32])),
        (erased_store.COPY, (ana, house.people["ben"])),
        (erased_store.FORGET[0], ()),
        (erased_store.FORGET[1], ()),
    ):
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
        # Once before: what a connection reads to learn of tables and functions is no part of the plan.
        await house.owner.fetchval(explain, *parameters)
        explained = await house.owner.fetchval(explain, *parameters)
        plan = json.loads(explained)[0]["Plan"]
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 60, statement


async def test_an_erasure_by_the_id_of_a_merged_person_is_on_record_as_that_of_the_person(house: House) -> None:
    """A verifier accounts for missing texts by that record: those about the person and about merged people."""
    people = house.people
    await Merging(house.gate).merge(house.administrator(), people["carl"], people["ben"])
    await erase(house, "carl")
    found = "kind = 'directory' AND action = 'erase'"
    assert await house.owner.fetchval(f"SELECT resource_id FROM audit_record WHERE {found}") == str(people["ben"])
    with pytest.raises(InvalidField, match="was erased"):
        await house.project_leads.add(house.administrator(), "apollo", people["ben"])


async def test_an_erased_person_is_given_nothing_more_when_the_record_of_the_erasure_was_pruned(house: House) -> None:
    ana, mia, by = house.people["ana"], house.people["mia"], house.administrator()
    await house.groups.add(by, "night-shift")
    await erase(house, "ana")
    assert await add_partition(house.owner, date(2026, 11, 1)) is not None
    await Sealer(await house.log_database.open("keeper")).seal()
    assert (await prune(house.owner, datetime.now(UTC) + HOUR, "1d")).partitions == 1
    for change in (
        house.directory.give_role(by, ana, "payroll"),
        house.directory.add_membership(by, ana, house.teams["east"], Part.LEAD),
        house.members.add(by, "night-shift", ana),
        house.project_leads.add(by, "apollo", ana),
        house.fallbacks.name(by, ana),
        house.delegations.grant(by, mia, ana),
        house.directory.link_person(by, ana, [Link(ISSUER, "ana-once-more")]),
        house.directory.amend_person(by, ana, {"display_name": "Ana"}),
        Merging(house.gate).merge(by, mia, ana),
    ):
        with pytest.raises((Conflict, InvalidField), match="was erased"):
            await change
