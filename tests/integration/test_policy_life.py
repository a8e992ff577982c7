"""A version's life on a real database: proposed, active, retired; back again step by step; four eyes; old versions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.administration.versions import administration, version_store
from service.administration.versions.administration import PolicyAdministration
from service.authorization.active.versions import hold_active_version
from service.errors import Conflict, Forbidden, PolicyRejected, StaleExpectation, TimewardenError, WrongState
from service.identity.principal import PrincipalKind
from service.log.record import read_body
from service.migrations import migrate
from service.values import replace
from tests.integration.house import MONDAY, check_in_process, principal
from tests.integration.log_database import PASSWORDS
from tests.policy_forge import read_shipped, with_more
from tests.until import lock_is_waited_for

if TYPE_CHECKING:
    from service.administration.versions.version_store import PolicyVersion
    from service.authorization.enforcement.changes import Caller, Change
    from service.authorization.engine.engine import Snapshot
    from service.development.local_servers import LocalPostgres
    from service.policy.policy_file import PolicyText
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
SCOPES = frozenset({"read:policies", "write:policies"})
ROLES = frozenset({"role:policy-author"})
VERSION_COLUMNS = "number, digest, parent, model, rules, vocabulary, cases, message, author_person, author_client"
FOUR_EYES = "p, deny, proposer, activate, any, policy, any, always, four-eyes\n"


def steps(house: House) -> PolicyAdministration:
    return PolicyAdministration(house.gate, house.versions, check_in_process)


def author(house: House, name: str = "adam") -> Caller:
    return house.caller(name, scopes=SCOPES, roles=ROLES)


def with_rows(*rows: str) -> PolicyText:
    """The shipped policy with more rows, and without cases."""
    return with_more("\n".join(("", *rows)))


def before_states() -> PolicyText:
    """The shipped policy as it was when versions had no states and no proposer."""
    text = read_shipped()
    start, end = text.vocabulary.index("[kinds.policy.states]"), text.vocabulary.index("[kinds.directory]")
    return replace(text, vocabulary=text.vocabulary[:start] + text.vocabulary[end:], cases={})


async def propose(house: House, text: PolicyText, who: Caller | None = None) -> int:
    return (await steps(house).propose(who or author(house), text, "why not")).value.version.number


async def activate(house: House, text: PolicyText) -> int:
    """Propose and activate; the number."""
    number = await propose(house, text)
    await steps(house).activate(author(house), number, expected=house.versions.current().number)
    return number


async def states(house: House) -> list[str]:
    """The states of all versions, the first version first."""
    found = (await steps(house).list(author(house), before=None, limit=50)).value
    return [version.state for version in reversed(found)]


async def back(house: House, who: Caller | None = None) -> int:
    asker = who or author(house)
    return (await steps(house).roll_back(asker, expected=house.versions.current().number)).value.number


async def test_a_version_is_built_before_it_decides_and_not_again_afterwards(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await propose(house, with_rows("p, allow, anyone, read, any, timesheet, any, mfa, more"))
    moved, build, built = administration._move_head, house.versions._build, list[int]()

    def build_noted(text: PolicyText, again: int) -> Snapshot:
        built.append(again)
        return build(text, again)

    monkeypatch.setattr(house.versions, "_build", build_noted)

    async def at_once(change: Change, snapshot: Snapshot, *, back: bool) -> PolicyVersion:
        # As a request would that begins as soon as this is committed.
        assert await house.versions.load(number) is snapshot
        return await moved(change, snapshot, back=back)

    monkeypatch.setattr(administration, "_move_head", at_once)
    await steps(house).activate(author(house), number, expected=1)

    assert house.versions.current().number == number
    assert built == [number]


async def test_a_version_is_proposed_then_active_then_retired(house: House) -> None:
    number = await propose(house, with_rows())
    assert await states(house) == ["active", "proposed"]
    answer = await steps(house).activate(author(house), number, expected=1)
    assert (answer.value.state, answer.value.activated_by) == ("active", house.people["adam"])
    assert await states(house) == ["retired", "active"]
    assert (await steps(house).active(author(house))).value.version.number == number
    first = (await steps(house).read(author(house), 1)).value.version
    assert (first.state, first.activated_by, first.activated_by_client) == ("retired", None, "system")


async def test_rolling_back_twice_goes_back_twice_and_never_to_what_was_left(house: House) -> None:
    second, third = await activate(house, with_rows()), await activate(house, with_rows())
    assert [await back(house), await back(house)] == [second, 1]
    with pytest.raises(Conflict, match="No version was active before"):
        await back(house)
    await steps(house).activate(author(house), third, expected=1)
    assert await back(house) == 1
    ways = await house.owner.fetch("SELECT number, previous, way FROM policy_activation ORDER BY step")
    assert [tuple(way) for way in ways] == [
        (1, None, "first"),
        (second, 1, "activate"),
        (third, second, "activate"),
        (second, third, "rollback"),
        (1, second, "rollback"),
        (third, 1, "activate"),
        (1, third, "rollback"),
    ]


async def test_each_step_of_the_history_names_its_recorded_decision(house: House) -> None:
    await activate(house, with_rows())
    await back(house)
    named = await house.owner.fetch(
        "SELECT a.number, r.outcome, r.applied, r.resource_id FROM policy_activation AS a JOIN audit_record AS r"
        " ON r.uid = a.decision_uid ORDER BY a.step"
    )
    assert [tuple(row) for row in named] == [(2, "allow", True, "2"), (1, "allow", True, "1")]


async def test_a_rollback_that_expects_another_version_changes_nothing(house: House) -> None:
    await activate(house, with_rows())
    with pytest.raises(StaleExpectation):
        await steps(house).roll_back(author(house), expected=1)
    assert await states(house) == ["retired", "active"]


async def test_of_racing_steps_back_one_wins(house: House) -> None:
    number = await activate(house, with_rows())
    asked = [steps(house).roll_back(author(house), expected=number) for _ in range(3)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in told) == ["Answer", "StaleExpectation", "StaleExpectation"]


async def test_whoever_may_not_activate_may_not_roll_back(house: House) -> None:
    await activate(house, with_rows())
    stranger = house.caller("ana", scopes=SCOPES)
    with pytest.raises(TimewardenError) as refused:
        await back(house, stranger)
    assert refused.value.slug == "not-found"
    assert await states(house) == ["retired", "active"]


async def test_the_history_cannot_be_rewritten_by_anybody(house: House) -> None:
    for statement in ("UPDATE policy_activation SET by_client = 'x'", "DELETE FROM policy_activation"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await house.owner.execute(statement)
    app = await house.log_database.connect("app")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute(
            "INSERT INTO policy_activation (step, number, way, by_client, at) VALUES (9, 1, 'x', 'y', now())"
        )


async def test_under_four_eyes_nobody_activates_what_they_proposed(house: House) -> None:
    await activate(house, with_rows(FOUR_EYES))
    number = await propose(house, with_rows(FOUR_EYES))
    with pytest.raises(Forbidden) as refused:
        await steps(house).activate(author(house), number, expected=2)
    assert refused.value.reasons == ("you proposed this version",)
    assert await states(house) == ["retired", "active", "proposed"]
    other = await steps(house).activate(author(house, "mia"), number, expected=2)
    assert other.value.activated_by == house.people["mia"]


async def test_under_four_eyes_a_client_that_proposed_for_itself_does_not_activate(house: House) -> None:
    await activate(house, with_rows(FOUR_EYES))
    caller = author(house)
    machine = replace(caller, principal=principal(PrincipalKind.CLIENT, "pipeline", SCOPES, ROLES, None))
    number = await propose(house, with_rows(FOUR_EYES), machine)
    with pytest.raises(Forbidden):
        await steps(house).activate(machine, number, expected=2)
    # The same app in the hands of a person is another person.
    handed = replace(caller, principal=replace(caller.principal, client="pipeline"))
    assert (await steps(house).activate(handed, number, expected=2)).value.number == number


async def test_without_the_row_whoever_proposed_a_version_activates_it(house: House) -> None:
    assert await activate(house, with_rows()) == 2


async def test_an_author_alone_can_go_back_to_the_first_version_under_four_eyes(house: House) -> None:
    """Nobody proposed the first version, so whoever may activate can at least go back to it."""
    second = await activate(house, with_rows())
    third = await activate(house, with_rows(FOUR_EYES))
    with pytest.raises(Forbidden):
        await back(house)
    assert (await steps(house).activate(author(house), 1, expected=third)).value.number == 1
    assert second == 2


async def test_four_eyes_for_new_versions_alone_let_the_author_go_back(house: House) -> None:
    await activate(house, with_rows())
    await activate(house, with_rows(FOUR_EYES.replace("any, policy", "proposed, policy")))
    number = await propose(house, with_rows())
    with pytest.raises(Forbidden):
        await steps(house).activate(author(house), number, expected=3)
    assert await back(house) == 2


async def test_a_version_that_lets_nobody_go_back_is_not_activated(house: House) -> None:
    text = read_shipped()
    forward = text.rules.replace("role:policy-author, activate, any,     ", "role:policy-author, activate, proposed,")
    assert forward != text.rules
    number = await propose(house, replace(text, rules=forward, cases={}))
    with pytest.raises(PolicyRejected, match="could not roll back"):
        await steps(house).activate(author(house), number, expected=1)


async def test_a_version_that_only_goes_back_needs_a_version_that_decided(house: House) -> None:
    """The state is a condition like any other: what is wrong with it alone is said so."""
    rows = "p, allow, role:policy-author, activate, retired, policy, write:policies, always, only-back"
    text = with_rows(rows)
    text = replace(
        text, rules="\n".join(line for line in text.rules.splitlines() if not line.endswith(" policy-activate"))
    )
    await activate(house, replace(text, rules=text.rules + "\n"))
    number = await propose(house, with_rows())
    with pytest.raises(WrongState) as refused:
        await steps(house).activate(author(house), number, expected=2)
    assert refused.value.extra == {"state": "proposed", "wanted": "retired"}
    assert await back(house) == 1


async def test_a_version_without_states_of_versions_goes_on_working(house: House) -> None:
    """The active version may be older than the code: for it a version has no state and no proposer."""
    old = await activate(house, before_states())
    assert await states(house) == ["retired", "active"]
    new = await activate(house, with_rows(FOUR_EYES))
    assert await states(house) == ["retired", "retired", "active"]
    await steps(house).activate(author(house, "mia"), old, expected=new)
    again = await propose(house, with_rows(FOUR_EYES))
    assert (await steps(house).activate(author(house, "mia"), again, expected=old)).value.number == again
    recorded = await house.owner.fetchval(
        "SELECT body FROM audit_record"
        " WHERE action = 'activate' AND kind = 'decision' AND resource_id = $1 ORDER BY id DESC LIMIT 1",
        str(again),
    )
    assert read_body(recorded)["resource"]["state"] == "proposed"  # type: ignore[index]  # it is an object


async def test_the_list_shows_what_single_reads_would_show(house: House) -> None:
    shown = "p, allow, role:payroll, read, active or retired, policy, read:policies, always, payroll-reads-decided"
    await activate(house, with_rows(shown))
    await propose(house, with_rows())
    payroll = house.caller("ben", scopes=SCOPES, roles=frozenset({"role:payroll"}))
    listed = (await steps(house).list(payroll, before=None, limit=50)).value
    assert [version.number for version in listed] == [2, 1]
    for number in (1, 2):
        assert (await steps(house).read(payroll, number)).value.version.number == number
    with pytest.raises(TimewardenError) as refused:
        await steps(house).read(payroll, 3)
    assert refused.value.slug == "not-found"


async def test_a_database_that_had_no_history_gets_it_from_its_log(
    house: House, postgres: LocalPostgres, empty_database: str
) -> None:
    """Versions, head and log of a house, as the second release would hold them, are brought to the newest schema."""
    await activate(house, with_rows())
    await activate(house, with_rows())
    await steps(house).activate(author(house), 2, expected=3)
    history = "SELECT number, previous, by_person, by_client, decision_uid FROM policy_activation ORDER BY step"
    wanted = await house.owner.fetch(history)
    name = empty_database.rpartition("/")[2]
    superuser = await asyncpg.connect(empty_database)
    await superuser.execute(f"ALTER DATABASE {name} OWNER TO timewarden_owner")
    await superuser.close()
    url = postgres.url("timewarden_owner", PASSWORDS["owner"], name)
    await migrate(url, "0002")
    owner = await asyncpg.connect(url)
    for table, columns, order in (
        ("policy_version", VERSION_COLUMNS, "number"),
        ("policy_head", "active", "active"),
        ("audit_record", "uid, kind, action, policy_version, body", "id"),
    ):
        rows = [tuple(row) for row in await house.owner.fetch(f"SELECT {columns} FROM {table} ORDER BY {order}")]
        marks = ", ".join(f"${place}" for place in range(1, len(rows[0]) + 1))
        await owner.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
    await migrate(url)
    assert [tuple(row) for row in await owner.fetch(history)] == [tuple(step) for step in wanted]
    assert await version_store.find_rollback_target(owner) == 3
    await owner.close()


async def test_an_activation_waits_for_the_changes_that_are_under_way(house: House) -> None:
    number = await propose(house, with_rows())
    async with house.requests.transaction() as somebodys_change:
        await hold_active_version(somebodys_change)
        activation = asyncio.create_task(steps(house).activate(author(house), number, expected=1))
        await lock_is_waited_for(house.owner)
        assert not activation.done()
        assert await house.owner.fetchval("SELECT active FROM policy_head") == 1
    assert (await activation).value.active


async def test_a_change_waits_for_the_activation_that_is_under_way_and_is_decided_by_it(house: House) -> None:
    number = await propose(house, with_rows())
    async with house.requests.transaction() as activation:
        await hold_active_version(activation, exclusively=True)
        assert await version_store.move_head(activation, number, expected=1)
        change = asyncio.create_task(house.timesheets.create(house.caller("ana"), MONDAY, "UTC"))
        await lock_is_waited_for(house.owner)
        assert not change.done()
    decision = (await change).receipt.uid
    version = await house.owner.fetchval("SELECT policy_version FROM audit_record WHERE uid = $1", decision)
    assert version == number
