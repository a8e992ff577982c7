"""The law of memory: what is remembered of the directory never changes a lookup, however the directory changes.

Two processes look at the same rows: one remembers, the other reads everything anew. Between lookups the directory is
changed by plain SQL, and time passes beginnings and ends of validities.
"""

from __future__ import annotations

import asyncio
import random
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.directory_memory import DirectoryMemory, DirectoryState
from service.authorization.enforcement.fact_lookup import About, FactLookup
from service.authorization.enforcement.relationships import Relationships
from service.development.local_postgres import clean_environment, postgres_binaries
from service.directory.people import People
from service.errors import InvalidToken
from service.identity.principal import PrincipalKind
from service.timesheets.relations import TIMESHEET_FACTS
from service.values import replace
from tests.example_count import example_count
from tests.integration.declared_world import FACTS, declare, declared_snapshot, give_values
from tests.integration.house import ISSUER, principal, speaking
from tests.integration.random_organisation import CLIENTS, NOW, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from service.development.local_servers import LocalPostgres
    from service.identity.principal import Principal
    from tests.integration.house import House
    from tests.integration.random_organisation import Organisation

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
# A beginning or an end that comes while the test looks.
SOON = timedelta(milliseconds=40)
CHANGES = [
    *("member", "lead", "delegate", "fallback", "importer", "role", "merge", "return", "end", "remove", "nothing"),
    *("access", "access", "ask", "end access"),
    *("group", "project lead", "attribute", "no attributes", "team attribute"),
]
REVOCATIONS = [
    *("revoke person", "revoke client", "revoke token", "revoke subject", "revoke nobody", "remove revocations"),
]
TOKENS = ("first", "second")
# Facts over attributes of the caller and of the owner, and what the directory holds of both.
DECLARED = ("same_country", "senior", "in_region", "leads_project", "in_group", "shares_team")
WORDS = facts_under(
    TIMESHEET_FACTS,
    declared_snapshot(
        "p, allow, owner, read, any, timesheet, any, always, own",
        vocabulary=declare({name: FACTS[name] for name in DECLARED}, {}),
    ),
)


def steps_of(changes: Sequence[str]) -> st.SearchStrategy[list[tuple[str, int, str]]]:
    """Changes with a seed each, and when they begin or end."""
    step = st.tuples(st.sampled_from(changes), st.integers(0, 2**16), st.sampled_from(["now", "soon", "until soon"]))
    return st.lists(step, min_size=3, max_size=8)


REVOKE = """
    INSERT INTO revocation (id, what, value, issuer, issued_before, expires_at, by_client)
    VALUES (gen_random_uuid(), $1, $2, $3, '{before}', 'infinity', 'hours-app')
"""

# Moments pass while a failure would be made smaller, so it is reported as it was found.
WHILE_THE_DIRECTORY_CHANGES = settings(
    max_examples=example_count(12),
    suppress_health_check=list(HealthCheck),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@pytest.fixture
async def organisation(house: House) -> Organisation:
    made = await settle(house.owner, 4)
    await give_values(house.owner, made, 4)
    return made


@WHILE_THE_DIRECTORY_CHANGES
@given(drawn=steps_of([*CHANGES, *REVOCATIONS]))
async def test_what_is_remembered_is_what_would_be_read(
    house: House, organisation: Organisation, drawn: Sequence[tuple[str, int, str]]
) -> None:
    remembering = Relationships([TIMESHEET_FACTS], DirectoryMemory())
    reading = Relationships([TIMESHEET_FACTS])
    remembered: list[Principal] = []
    sheets: list[UUID] = []
    for change, seed, when in drawn:
        draw = random.Random(seed)  # noqa: S311 — no secret comes of it
        await apply(house.owner, organisation, change, draw, when)
        for caller in remembered:
            await expect_the_same(house, remembering, reading, caller, sheets[0])
        remembered = [caller_of(person, draw) for person in [*draw.sample(organisation.people, 2), None]]
        sheets = draw.sample(sorted(organisation.sheets), 2)
        # The first lookup after a change reads and the second remembers. At the third a moment has passed.
        for pause in (0.0, 0.0) if when == "now" else (0.0, 0.0, SOON.total_seconds()):
            await asyncio.sleep(pause)
            for caller in remembered:
                for sheet in sheets:
                    await expect_the_same(house, remembering, reading, caller, sheet)


@WHILE_THE_DIRECTORY_CHANGES
@given(
    drawn=st.lists(
        st.tuples(st.sampled_from([*REVOCATIONS, "unlink", "link", "nothing"]), st.integers(0, 2**16)),
        min_size=4,
        max_size=10,
    )
)
async def test_requests_that_share_a_statement_are_revoked_as_if_each_were_read_alone(
    house: House, organisation: Organisation, drawn: Sequence[tuple[str, int]]
) -> None:
    remembering = Relationships([TIMESHEET_FACTS], DirectoryMemory(), house.requests)
    reading = Relationships([TIMESHEET_FACTS])
    people, sheet = organisation.people[:3], min(organisation.sheets)
    links = [(ISSUER, f"subject of {person}", person) for person in people]
    await house.owner.executemany("INSERT INTO person_link VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", links)
    for change, seed in drawn:
        draw = random.Random(seed)  # noqa: S311 — no secret comes of it
        await apply(house.owner, replace(organisation, people=people), change, draw, "now")
        callers = [caller_of(person, draw) for person in [*people, *people, None]]
        callers = [
            replace(caller, is_remembered=caller.person is not None and draw.random() < 0.5) for caller in callers
        ]
        for _ in range(3):
            found = await asyncio.gather(
                *(remembering.of_row(None, caller, TIMESHEET_FACTS, sheet) for caller in callers)
            )
            expected = [await reading.of_row(house.owner, caller, TIMESHEET_FACTS, sheet) for caller in callers]
            assert [lookup.revoked for lookup in found] == [lookup.revoked for lookup in expected]


async def expect_the_same(
    house: House, remembering: Relationships, reading: Relationships, caller: Principal, sheet: UUID
) -> None:
    """Compare one lookup of each, in one snapshot of the directory and of time."""
    for _ in range(20):
        async with house.owner.transaction(isolation="repeatable_read", readonly=True):
            anew = comparable(await reading.of_row(house.owner, caller, WORDS, sheet))
            remembered = comparable(await remembering.of_row(house.owner, caller, WORDS, sheet))
            if remembered == anew:
                return
            after = comparable(await reading.of_row(house.owner, caller, WORDS, sheet))
        # A moment between two statements is no difference of theirs.
        assert after != anew, remembered
    raise AssertionError("the directory did not stand still")


def comparable(lookup: FactLookup) -> FactLookup:
    assert lookup.row is not None
    return replace(lookup, at=NOW, row=None, about=About.ROW, unchanged_until=None)


def caller_of(person: UUID | None, draw: random.Random) -> Principal:
    issued = {"token_id": draw.choice(TOKENS), "issued_at": draw.choice([0, 1_000])}
    if person is None:
        client = principal(PrincipalKind.CLIENT, draw.choice(CLIENTS), frozenset(), frozenset(), None)
        return replace(client, **issued)
    user = principal(PrincipalKind.USER, "hours-app", frozenset(), frozenset(), person)
    user = replace(user, subject=f"subject of {person}", **issued)
    return replace(user, attributes=draw.choice([{}, {}, {"country": "DE"}, {"country": 7, "level": None}]))


async def apply(
    owner: asyncpg.Connection[asyncpg.Record],
    organisation: Organisation,
    change: str,
    draw: random.Random,
    when: str,
) -> None:
    """One change, by one statement, of a kind that the service or an operator could send."""
    now = await owner.fetchval("SELECT clock_timestamp()")
    since = now + SOON if when == "soon" else now
    until = now + SOON if when == "until soon" else None
    first, second = draw.sample(organisation.people, 2)
    team, former = draw.choice(organisation.teams), draw.choice(sorted(organisation.former))
    span = f"'{since}', '{until or 'infinity'}'"
    apart = f"SELECT FROM merged_person AS known WHERE '{second}' IN (known.person_id, known.into_id)"
    statements = {
        "member": f"INSERT INTO membership VALUES (gen_random_uuid(), '{first}', '{team}', 'member', {span})",
        "lead": f"INSERT INTO membership VALUES (gen_random_uuid(), '{first}', '{team}', 'lead', {span})",
        "delegate": "INSERT INTO delegation (id, delegator_id, delegate_id, valid_from, valid_to)"
        f" VALUES (gen_random_uuid(), '{first}', '{second}', {span})",
        "fallback": "INSERT INTO fallback_approver (id, person_id, valid_from, valid_to)"
        f" VALUES (gen_random_uuid(), '{first}', {span})",
        "importer": "INSERT INTO importer_grant"
        f" VALUES (gen_random_uuid(), '{draw.choice(CLIENTS)}', '{team}', {span})",
        "role": f"INSERT INTO person_role VALUES ('{first}', 'auditor', {span})",
        "merge": f"INSERT INTO merged_person SELECT '{second}', '{first}' WHERE NOT EXISTS ({apart})"
        f" AND NOT EXISTS (SELECT FROM merged_person WHERE person_id = '{first}')",
        "return": f"INSERT INTO former_person VALUES ('{first}', '{former}', '{until or 'infinity'}')"
        " ON CONFLICT (person_id, former_id) DO UPDATE SET until = excluded.until",
        "end": f"UPDATE membership SET valid_to = '{until or since}'"
        f" WHERE person_id = '{first}' AND valid_from < '{until or since}'",
        "remove": f"DELETE FROM delegation WHERE delegator_id = '{first}'",
        "access": "INSERT INTO access_request (id, relation, team_id, person_id, requested_from, requested_until,"
        " state, valid_from, valid_to)"
        f" VALUES (gen_random_uuid(), 'temporary_approver', '{team}', '{first}', {span}, 'granted', {span})",
        "ask": "INSERT INTO access_request (id, relation, team_id, person_id, requested_from, requested_until)"
        f" VALUES (gen_random_uuid(), 'temporary_approver', '{team}', '{first}', {span})",
        "end access": f"UPDATE access_request SET state = 'ended', valid_to = '{until or since}'"
        f" WHERE person_id = '{first}' AND valid_from < '{until or since}' AND valid_to > '{until or since}'",
        "group": f"INSERT INTO group_member VALUES (gen_random_uuid(), 'night', '{first}', {span})",
        "project lead": f"INSERT INTO project_lead VALUES (gen_random_uuid(), 'apollo', '{first}', {span})",
        "attribute": f"""UPDATE person SET attributes = '{{"country": "FR", "level": 9}}' WHERE id = '{first}'""",
        "no attributes": f"UPDATE person SET attributes = '{{}}' WHERE id = '{first}'",
        "link": f"INSERT INTO person_link VALUES ('{ISSUER}', 'subject of {first}', '{first}') ON CONFLICT DO NOTHING",
        "unlink": f"DELETE FROM person_link WHERE subject = 'subject of {first}'",
        "team attribute": f"""UPDATE team SET attributes = '{{"region": "FR"}}' WHERE id = '{team}'""",
    }
    revoked = {
        "revoke person": ("person", first, None),
        "revoke client": ("client", draw.choice([*CLIENTS, "hours-app"]), draw.choice([None, ISSUER])),
        "revoke token": ("token", draw.choice(TOKENS), ISSUER),
        "revoke subject": ("subject", f"subject of {first}", ISSUER),
        "revoke nobody": ("subject", "nobody", ISSUER),
    }
    if change in revoked:
        # Some tokens were issued before it, and some after it.
        before = "infinity" if change == "revoke token" else "1970-01-01 00:10:00Z"
        what, value, issuer = revoked[change]
        await owner.execute(REVOKE.format(before=before), what, str(value), issuer)
    elif change == "remove revocations":
        await owner.execute("DELETE FROM revocation")
    elif change in statements:
        await owner.execute(statements[change])


async def test_every_table_of_the_directory_is_counted(house: House) -> None:
    """A table that relations, roles, ids or links are read from must increment the revision."""
    counted = await house.owner.fetch(
        "SELECT DISTINCT tgrelid::regclass::text AS name FROM pg_trigger"
        " WHERE starts_with(tgname, 'counted') ORDER BY 1"
    )
    assert [row["name"] for row in counted] == [
        "access_request",
        "delegation",
        "fallback_approver",
        "former_person",
        "group_member",
        "importer_grant",
        "membership",
        "merged_person",
        "person",
        "person_link",
        "person_role",
        "project",
        "project_lead",
        "team",
        "team_path",
    ]


async def test_a_change_without_triggers_counts_when_the_operator_increments_the_revision(house: House) -> None:
    """As the page for operators says."""
    sheet, mia = await house.submit_week("ana"), house.manager("mia").principal

    async def read_relations() -> frozenset[str]:
        return (await house.relationships.of_row(house.owner, mia, TIMESHEET_FACTS, sheet.id)).relations

    before = await read_relations()
    assert before
    await house.owner.execute("ALTER TABLE membership DISABLE TRIGGER USER")
    await house.owner.execute("DELETE FROM membership WHERE person_id = $1", house.people["mia"])
    await house.owner.execute("ALTER TABLE membership ENABLE TRIGGER USER")
    assert await read_relations() == before
    statement = re.search(r"`(UPDATE directory_revision [^`]+)`", OPERATIONS.read_text(encoding="utf-8"))
    assert statement
    await house.owner.execute(statement[1])
    assert await read_relations() == frozenset()


async def test_a_right_that_a_restore_takes_away_is_gone_although_the_connection_stays(
    house: House, postgres: LocalPostgres, tmp_path: Path
) -> None:
    """The next change after the restore gets the number that the lost one had."""
    owner, ana, backup = house.owner, house.caller("ana").principal, tmp_path / "backup"
    database = postgres.superuser_database_url(house.log_database.name)
    give = "INSERT INTO person_role (person_id, role, valid_from) VALUES ($1, $2, now())"

    async def read_roles() -> frozenset[str]:
        return (await house.relationships.ambient(owner, ana)).roles

    async def read_revision() -> int:
        revision: int = await owner.fetchval("SELECT revision FROM directory_revision")
        return revision

    await run_tool("pg_dump", "-Fc", "-f", str(backup), database)
    await owner.execute(give, house.people["ana"], "payroll")
    assert [await read_roles() for _ in range(2)] == [{"payroll"}] * 2
    seen = await read_revision()
    # It also tries to drop what goes with another object, and goes on after that error.
    await run_tool("pg_restore", "--clean", "--if-exists", "-d", database, str(backup))
    assert await read_revision() == seen - 1
    await owner.execute(give, house.people["ben"], "auditor")
    assert await read_revision() == seen
    assert await read_roles() == frozenset()


async def run_tool(name: str, *words: str) -> None:
    """Run a program of Postgres to its end."""
    program = str(postgres_binaries() / name)
    process = await asyncio.create_subprocess_exec(
        program, *words, env=clean_environment(), stderr=asyncio.subprocess.DEVNULL
    )
    await process.wait()


async def test_a_token_is_looked_up_once_for_each_revision_of_the_deny_list(house: House) -> None:
    sheet, caller = await house.submit_week("ana"), house.caller("ana").principal
    asked: list[bool] = []

    class Watched:
        """Notes of each statement whether it reads the deny list."""

        async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
            asked.append("FROM revocation AS denied" in statement)
            return await house.owner.fetch(statement, *values)

        def __getattr__(self, name: str) -> object:
            return getattr(house.owner, name)

    connection = cast("asyncpg.Connection[asyncpg.Record]", Watched())

    async def is_revoked() -> tuple[bool, list[bool]]:
        asked.clear()
        return (await house.relationships.of_row(connection, caller, TIMESHEET_FACTS, sheet.id)).revoked, [*asked]

    house.memory.forget()
    # The first reads everything, of the directory too.
    await house.relationships.of_row(house.owner, caller, TIMESHEET_FACTS, sheet.id)
    assert [await is_revoked() for _ in range(3)] == [(False, [True]), (False, [False]), (False, [False])]
    # Another's revocation.
    await house.owner.execute(REVOKE.format(before="9999-01-01"), "person", str(house.people["ben"]), None)
    assert [await is_revoked() for _ in range(2)] == [(False, [False, True]), (False, [False])]
    await house.owner.execute("DELETE FROM revocation")
    assert await is_revoked() == (False, [False])
    await house.owner.execute(REVOKE.format(before="9999-01-01"), "person", str(house.people["ana"]), None)
    assert [await is_revoked() for _ in range(2)] == [(True, [False, True]), (True, [True])]


async def test_a_revocation_counts_when_it_commits_and_waits_for_no_other_before(house: House) -> None:
    sheet, caller = await house.submit_week("ana"), house.caller("ana").principal
    first, second = [await house.log_database.connect("owner") for _ in range(2)]

    async def is_revoked() -> bool:
        return (await house.relationships.of_row(house.owner, caller, TIMESHEET_FACTS, sheet.id)).revoked

    async with first.transaction():
        await first.execute(REVOKE.format(before="9999-01-01"), "person", str(caller.person), None)
        # Would wait for the other transaction if it held the revision.
        await second.execute("SET lock_timeout = '5s'")
        await second.execute(REVOKE.format(before="9999-01-01"), "subject", "nobody", ISSUER)
        assert [await is_revoked() for _ in range(3)] == [False] * 3
    assert await is_revoked()


def test_only_tokens_that_were_looked_up_in_the_same_deny_list_are_remembered() -> None:
    memory, (first, second) = DirectoryMemory(), (uuid4(), uuid4())
    token, other = (ISSUER, "subject", "hours-app"), (ISSUER, "subject", "other")
    memory.remember_unrevoked(token, first)
    assert (memory.unrevoked_at(token), memory.unrevoked_at(other)) == (first, None)
    memory.remember_unrevoked(other, second)
    assert (memory.unrevoked_at(token), memory.unrevoked_at(other)) == (None, second)
    memory.forget()
    assert memory.unrevoked_at(other) is None


async def test_a_remembered_person_is_refused_once_the_link_is_gone(house: House) -> None:
    people, relationships = People(house.requests, house.log, memory=house.memory), house.relationships
    sheet = await house.submit_week("ana")
    for expected in (False, True):
        caller = await people.identify(speaking(ISSUER, "ana"))
        assert caller.is_remembered is expected
        lookup = await relationships.of_row(house.owner, caller, TIMESHEET_FACTS, sheet.id)
        assert not lookup.revoked
    remembered = await people.identify(speaking(ISSUER, "ana"))
    await house.owner.execute("DELETE FROM person_link WHERE subject = 'ana'")
    assert (await relationships.of_row(house.owner, remembered, TIMESHEET_FACTS, sheet.id)).revoked
    with pytest.raises(InvalidToken):
        await house.timesheets.read(replace(house.caller("ana"), principal=remembered), sheet.id)


async def test_a_remembered_person_who_was_merged_is_still_the_same_human(house: House) -> None:
    people = People(house.requests, house.log, memory=house.memory)
    sheet = await house.submit_week("ana")
    await people.identify(speaking(ISSUER, "ana"))
    remembered = await people.identify(speaking(ISSUER, "ana"))
    async with house.owner.transaction():
        await house.owner.execute(
            "INSERT INTO merged_person (person_id, into_id) VALUES ($1, $2)", house.people["ana"], house.people["ben"]
        )
        await house.owner.execute(
            "UPDATE person_link SET person_id = $2 WHERE person_id = $1", house.people["ana"], house.people["ben"]
        )
    lookup = await house.relationships.of_row(house.owner, remembered, TIMESHEET_FACTS, sheet.id)
    assert not lookup.revoked
    assert lookup.ids == {house.people["ana"], house.people["ben"]}
    assert (await people.identify(speaking(ISSUER, "ana"))).person == house.people["ben"]


def test_an_older_state_is_not_remembered_over_a_newer_one() -> None:
    memory, state = DirectoryMemory(), uuid4()
    soon, later = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    assert memory.enter(DirectoryState(state, 7, later), soon)
    assert not memory.enter(DirectoryState(state, 7, soon), NOW)
    assert memory.holds_at(state, soon + timedelta(seconds=1))
    # A slow statement from before the moment must not use what holds after it.
    assert not memory.holds_at(state, NOW)
    assert not memory.holds_at(state, later)


async def test_the_roles_of_an_older_directory_are_not_used_in_a_newer_one(house: House) -> None:
    relationships, sheet = house.relationships, await house.submit_week("ana")
    caller = house.caller("ana").principal
    await relationships.of_row(house.owner, caller, TIMESHEET_FACTS, sheet.id)

    class Meanwhile:
        """A connection on which another request remembers a newer directory before this one's statement runs."""

        async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
            await house.owner.execute("INSERT INTO person_role VALUES ($1, 'auditor', '-infinity')", caller.person)
            await relationships.of_row(house.owner, caller, TIMESHEET_FACTS, sheet.id)
            return await house.owner.fetch(statement, *values)

        def __getattr__(self, name: str) -> object:
            return getattr(house.owner, name)

    connection = cast("asyncpg.Connection[asyncpg.Record]", Meanwhile())
    assert (await relationships.of_row(connection, caller, TIMESHEET_FACTS, sheet.id)).roles == {"auditor"}
