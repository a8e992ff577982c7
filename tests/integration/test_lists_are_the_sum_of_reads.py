"""Under any policy, a list holds exactly the sheets that single reads allow (promise 4)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.authorization.engine.engine import Snapshot
from service.errors import Denied, Unauthenticated
from service.identity.principal import UNLISTED
from service.policy import policy_file
from service.timesheets.listing import Filters
from service.values import replace
from tests.example_count import example_count
from tests.integration.declared_world import FACTS, REQUEST_FACTS, declared_rows
from tests.integration.test_list_law import ACTORS
from tests.integration.test_replay_law import sheets

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.changes import Caller
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

__all__ = ["sheets"]

WHO = st.sampled_from(
    [
        "owner",
        "manager",
        "delegate",
        "fallback",
        "importer",
        "anyone",
        "role:auditor",
        "client:payroll-import",
        "via:hours-app",
        "temporary_approver",
        "group:night",
        "actor:assistant",
        "client:assistant",
    ]
)
STATES = st.sampled_from(["any", "draft", "submitted", "draft or rejected", "submitted or approved", "locked"])
CONDITIONS = ["always", "acted_for_owner", "not acted_for_owner", "mfa", "not mfa", "acted_for_owner and not mfa"]
CONDITIONS += ["agent", "not agent", "locked_by_asker", "not locked_by_asker"]
DECLARED = [word for fact in (*FACTS, *REQUEST_FACTS) for word in (fact, f"not {fact}")]
WHEN = st.one_of(st.sampled_from(CONDITIONS), st.sampled_from(DECLARED))
SCOPE = st.sampled_from(["any", "any", "read:timesheets", "read:audit"])
READ_ROWS = st.lists(
    st.tuples(st.sampled_from(["allow", "allow", "deny"]), WHO, STATES, SCOPE, WHEN),
    min_size=1,
    max_size=5,
    unique=True,
)
SCOPES = frozenset({"read:timesheets"})

numbers = itertools.count(2)


async def activate(house: House, lines: list[str], *, without: str = "no such word") -> None:
    """Let these rows decide, past the laws, which have nothing to say about reading. `without`: a word that this
    version's vocabulary does not declare."""
    number = next(numbers)
    text = declared_rows(*lines)
    declared = [line for line in text.vocabulary.split("\n") if not line.startswith(f"{without} ")]
    snapshot = Snapshot.build(policy_file.parse(replace(text, vocabulary="\n".join(declared))), number)
    await house.owner.execute(
        "INSERT INTO policy_version (number, digest, model, rules, vocabulary, cases, message, author_client)"
        " VALUES ($1, $2, '', '', '', '{}', 'a test', 'a test')",
        number,
        snapshot.digest,
    )
    await house.owner.execute("UPDATE policy_head SET active = $1", number)
    house.versions.keep(snapshot)


async def read_one_by_one(house: House, caller: Caller, sheets: list[UUID]) -> set[UUID]:
    allowed = set()
    for sheet in sheets:
        try:
            allowed.add((await house.timesheets.read(caller, sheet)).value.id)
        except (Denied, Unauthenticated):
            continue
    return allowed


def acting(caller: Caller, actors: tuple[str, ...]) -> Caller:
    """The caller while these actors act for them."""
    return replace(caller, principal=replace(caller.principal, actors=actors, agent=ACTORS[actors]))


@settings(max_examples=example_count(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=READ_ROWS)
async def test_a_list_holds_what_reads_allow_under_any_policy(
    house: House, sheets: list[UUID], drawn: list[tuple[str, str, str, str, str]]
) -> None:
    await activate(
        house,
        [
            f"p, {effect}, {who}, read, {states}, timesheet, {scope}, {when}, rule-{place}"
            for place, (effect, who, states, scope, when) in enumerate(drawn)
        ],
    )
    for caller in (
        house.caller("ana", scopes=SCOPES),
        acting(house.caller("mia", scopes=SCOPES), ("assistant",)),
        acting(house.caller("max", scopes=SCOPES), (UNLISTED,)),
        house.caller("dora", scopes=SCOPES, roles=frozenset({"role:auditor"})),
        house.machine(scopes=SCOPES),
    ):
        try:
            listed = [item.id for item in (await house.timesheets.list(caller, Filters())).value.items]
        except (Denied, Unauthenticated):
            # No rule could show anything.
            listed = []
        assert len(listed) == len(set(listed))
        assert set(listed) == await read_one_by_one(house, caller, sheets)


async def test_a_sheet_in_a_state_that_the_version_does_not_declare_is_neither_read_nor_listed(
    house: House, sheets: list[UUID]
) -> None:
    await activate(
        house,
        ["p, allow, anyone, read, any, timesheet, any, always, read-all"],
        without="approved",
    )
    caller = house.caller("dora", scopes=SCOPES)

    listed = {item.id for item in (await house.timesheets.list(caller, Filters())).value.items}

    assert 0 < len(listed) < len(sheets)
    assert listed == await read_one_by_one(house, caller, sheets)
