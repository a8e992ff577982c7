"""Promise 6 over random traffic under random policies: every record reproduces its verdict. A replay of a draft
predicts what the service decides under it, or says that the record does not tell."""

from __future__ import annotations

import itertools
import json
import random
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.administration.replay.recorded_request import RecordedRequest, parse_request
from service.administration.replay.reevaluation import NOT_LOOKED, OTHER_ROWS, Undecidable, reevaluate
from service.authorization.engine.engine import Snapshot
from service.errors import TimewardenError
from service.log.packing import unpack
from service.policy import policy_file
from service.timesheets.listing import Filters
from service.timesheets.upload_rows import Row, Rows
from service.values import replace
from tests.example_count import example_count
from tests.integration.declared_world import FACTS, REQUEST_FACTS, declare, declared_rows, give_values
from tests.integration.house import EIGHT_HOURS, MONDAY, House, anything
from tests.integration.random_organisation import Organisation
from tests.integration.test_list_law import ACTORS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from service.authorization.enforcement.changes import Caller

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ACTIONS = [
    "read",
    "create",
    "edit",
    "delete",
    "submit",
    "withdraw",
    "approve",
    "reject",
    "reopen",
    "lock",
    "unlock",
    "upload",
]
SCOPES = ["read:timesheets", "create:timesheets", "approve:timesheets", "batch:upload"]
WHO = ["owner", "manager", "importer", "delegate", "fallback", "temporary_approver", "anyone", "role:lead"]
WHO += ["client:payroll-import", "via:hours-app", "actor:assistant", "actor:tool", "client:assistant", "group:night"]
CONDITIONS = ["always", "always", "acted_for_owner", "not acted_for_owner", "locked_by_asker", "not locked_by_asker"]
CONDITIONS += ["mfa", "not recent_sign_in", "agent", "not agent"]
DECLARED = [word for fact in (*FACTS, *REQUEST_FACTS) for word in (fact, f"not {fact}")]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["allow", "allow", "allow", "deny"]),
        st.sampled_from(WHO),
        st.sampled_from(ACTIONS),
        st.sampled_from(["any", "any", "draft", "submitted", "draft or rejected", "locked"]),
        st.sampled_from(["any", *SCOPES]),
        st.one_of(st.sampled_from(CONDITIONS), st.sampled_from(DECLARED)),
    ),
    min_size=4,
    max_size=14,
    unique=True,
)
WEEKS = 3
numbers = itertools.count(2)


@pytest.fixture
async def sheets(house: House) -> list[UUID]:
    """Sheets of several people in every state, some of them entered or uploaded by others."""
    made = [
        (await house.submit_week(name, MONDAY + timedelta(days=7 * week))).id
        for name in ("ana", "carl", "mia")
        for week in range(WEEKS)
    ]
    people, forever = house.people, "gen_random_uuid(), $1, $2, '-infinity'"
    await house.owner.execute("INSERT INTO person_group (name) VALUES ('night') ON CONFLICT DO NOTHING")
    for table, of, to in (
        ("group_member (id, group_name, person_id, valid_from)", "night", people["max"]),
        ("delegation (id, delegator_id, delegate_id, valid_from)", people["mia"], people["max"]),
    ):
        await house.owner.execute(f"INSERT INTO {table} VALUES ({forever})", of, to)
    await house.owner.execute(
        "INSERT INTO access_request (id, relation, team_id, person_id, requested_from, requested_until, state,"
        " valid_from, valid_to) SELECT gen_random_uuid(), 'temporary_approver', m.team_id, $1, now(), 'infinity',"
        " 'granted', now(), 'infinity' FROM membership AS m WHERE m.person_id = $2",
        people["ana"],
        people["carl"],
    )
    for place, sheet in enumerate(made):
        await house.owner.execute(
            "UPDATE timesheet SET state = $2, editors = $3, uploaders = $4,"
            " locked_by = CASE WHEN $2 = 'locked' THEN $5::uuid END WHERE id = $1",
            sheet,
            ["draft", "submitted", "approved", "rejected", "locked"][place % 5],
            [[], [house.people["mia"]]][place % 2],
            [[], [], ["payroll-import"]][place % 3],
            house.people["mia"],
        )
    sheets = {
        sheet: (people["ana"], "", MONDAY + timedelta(days=7 * (place % WEEKS))) for place, sheet in enumerate(made)
    }
    await give_values(house.owner, Organisation(list(people.values()), list(house.teams.values()), sheets), 1)
    return made


async def activate(house: House, drawn: list[tuple[str, str, str, str, str, str]], shift: int = 0) -> Snapshot:
    """Make these rules decide without checking the safety laws, so that the laws in code are tested, too. `shift`: how
    many places further the expression of each declared fact stands."""
    texts = [*FACTS.values()]
    facts = dict(zip(FACTS, texts[shift:] + texts[:shift], strict=True))
    lines = [
        f"p, {effect}, {who}, {action}, {states}, timesheet, {scope}, {when}, rule-{place}"
        for place, (effect, who, action, states, scope, when) in enumerate(drawn)
    ]
    snapshot = Snapshot.build(policy_file.parse(declared_rows(*lines, vocabulary=declare(facts))), next(numbers))
    await house.owner.execute(
        "INSERT INTO policy_version (number, digest, model, rules, vocabulary, cases, message, author_client)"
        " VALUES ($1, $2, '', '', '', '{}', 'a test', 'a test')",
        snapshot.number,
        snapshot.digest,
    )
    await house.owner.execute("UPDATE policy_head SET active = $1", snapshot.number)
    house.versions.keep(snapshot)
    return snapshot


def asker(house: House, chance: random.Random) -> Caller:
    """A caller with random scopes, roles and age of the sign-in."""
    scopes = frozenset(chance.sample(SCOPES, chance.randint(0, len(SCOPES))))
    if chance.random() < 0.25:
        return house.machine(scopes=scopes)
    roles: frozenset[str] = frozenset({"role:lead"}) if chance.random() < 0.3 else frozenset()
    caller = house.caller(chance.choice(["ana", "mia", "max", "dora", "nobody"]), scopes=scopes, roles=roles)
    signed_in = chance.choice([None, 1, 4_000_000_000])
    methods = chance.choice([None, frozenset({"pwd"}), frozenset({"mfa"})])
    actors = chance.choice([(), *sorted(ACTORS)])
    principal = replace(caller.principal, authenticated_at=signed_in, methods=methods)
    return replace(caller, principal=replace(principal, actors=actors, agent=ACTORS[actors]))


def looking(house: House, caller: Caller, sheets: list[UUID], chance: random.Random) -> Awaitable[object]:
    """A random read."""
    if chance.random() < 0.3:
        return (
            house.timesheets.list(caller, Filters()) if chance.random() < 0.5 else house.approvals.list_pending(caller)
        )
    return house.timesheets.read(caller, chance.choice([*sheets, house.people["ana"]]))


def doing(house: House, caller: Caller, sheets: list[UUID], chance: random.Random) -> Awaitable[object]:
    """A random change."""
    sheet = chance.choice([*sheets, house.people["ana"]])
    works = house.timesheets
    week = MONDAY + timedelta(days=7 * chance.randint(0, WEEKS))
    owners = [house.people[chance.choice(["ana", "carl"])] for _ in range(2)]
    works_of: list[Callable[[], Awaitable[object]]] = [
        lambda: works.create(caller, week, "UTC"),
        lambda: works.add_entry(caller, sheet, anything, replace(EIGHT_HOURS, day=week)),
        lambda: works.submit(caller, sheet, anything),
        lambda: works.withdraw(caller, sheet, anything),
        lambda: works.approve(caller, sheet, anything),
        lambda: works.reject(caller, sheet, anything, "no"),
        lambda: works.reopen(caller, sheet, anything, "why"),
        lambda: works.lock(caller, sheet, anything, "why"),
        lambda: works.unlock(caller, sheet, anything, "why"),
        lambda: house.uploads.upload(
            caller,
            Rows.of(
                [
                    Row(day=week, project="p", minutes=5, owner=owner, external_ref=str(place))
                    for place, owner in enumerate(owners)
                ]
            ),
        ),
    ]
    return chance.choice(works_of)()


async def await_answer(work: Awaitable[object]) -> None:
    try:
        await work
    except TimewardenError:
        return


async def recorded_behind(house: House, place: int) -> list[tuple[RecordedRequest, list[str]]]:
    """The requests, and the ids that were returned."""
    found = await house.owner.fetch(
        "SELECT body FROM audit_record WHERE id > $1 AND kind IN ('decision', 'access') ORDER BY id", place
    )
    return [(parse_request(body), json.loads(body)["returned"]) for row in found for body in [unpack(row["body"])]]


async def last(house: House) -> int:
    found: int = await house.owner.fetchval("SELECT max(id) FROM audit_record")
    return found


@settings(max_examples=example_count(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=ROWS, seed=st.integers(0, 2**32))
async def test_the_version_that_decided_reproduces_every_record(
    house: House, sheets: list[UUID], drawn: list[tuple[str, str, str, str, str, str]], seed: int
) -> None:
    chance, start = random.Random(seed), await last(house)  # noqa: S311 — no secret comes of it
    version = await activate(house, drawn)
    for _ in range(20):
        await await_answer(chance.choice([looking, doing])(house, asker(house, chance), sheets, chance))

    found = await recorded_behind(house, start)
    assert found
    for record, _ in found:
        assert record.version == version.number
        assert reevaluate(version, record, version) == record.verdict


@settings(max_examples=example_count(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=ROWS, redrawn=ROWS, shift=st.integers(0, len(FACTS) - 1), seed=st.integers(0, 2**32))
async def test_a_replay_of_a_draft_predicts_what_the_service_decides_under_it(
    house: House,
    sheets: list[UUID],
    drawn: list[tuple[str, str, str, str, str, str]],
    redrawn: list[tuple[str, str, str, str, str, str]],
    shift: int,
    seed: int,
) -> None:
    verdicts: list[list[tuple[RecordedRequest, list[str]]]] = []
    versions = []
    for rules, places in ((drawn, 0), (redrawn, shift)):
        draft, start, chance = await activate(house, rules, places), await last(house), random.Random(seed)  # noqa: S311 — no secret comes of it
        for _ in range(10):
            await await_answer(looking(house, asker(house, chance), sheets, chance))
        verdicts.append(await recorded_behind(house, start))
        versions.append(draft)

    for (was, was_returned), (live, returned) in zip(*verdicts, strict=True):
        again = reevaluate(versions[1], was, versions[0])
        if isinstance(again, Undecidable) and was.listed:
            assert again.cause.startswith(OTHER_ROWS)
        elif isinstance(again, Undecidable):
            assert again.cause == NOT_LOOKED
            assert not was.request.lookup.looked
        elif was.listed and not again.allowed and live.verdict.allowed:
            # No row that it returned would be shown.
            assert was_returned
            assert not returned
        else:
            assert again == live.verdict
            if was.listed and again.allowed:
                assert returned == was_returned
