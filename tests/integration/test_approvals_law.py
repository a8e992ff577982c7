"""The law of approvals, as a property: over random organisations and random policies, and by every way that the list
can look for its rows, its pages together hold exactly the sheets of which a single approval would be allowed, in the
order in which they were handed in; and nobody's own, nor what they entered for somebody. Where sheets need several
approvals, those that have one of the caller's are left out.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.authorization.enforcement.allowed_actions import explain_listed_row
from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.visibility import visible
from service.authorization.engine.engine import Snapshot
from service.identity.principal import PrincipalKind
from service.policy import policy_file
from service.timesheets import approvals_store
from service.timesheets.relations import TIMESHEET_FACTS
from tests.example_count import example_count
from tests.integration.house import principal
from tests.integration.random_organisation import CLIENTS, settle
from tests.integration.test_list_law import RELATIONSHIPS, SCOPE, WHEN, WHO, World, askers, bounds
from tests.policy_forge import rows

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from service.identity.principal import Principal
    from tests.integration.house import House
    from tests.integration.test_list_law import Asker

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

LAW = (
    "p, deny, owner, approve, any, timesheet, any, always",
    "p, deny, anyone, approve, any, timesheet, any, acted_for_owner",
)
NEVER_ENOUGH = """
[kinds.timesheet.approval]
complete = "size(resource.approvals) >= 10"
"""
Row = tuple[str, str, str, str, list[str]]
policies: st.SearchStrategy[list[Row]] = st.lists(
    st.tuples(
        st.sampled_from(["allow", "allow", "allow", "deny"]),
        st.sampled_from([*WHO, *TIMESHEET_FACTS.relations]),
        st.sampled_from(["any", "submitted", "submitted", "draft or submitted", "approved"]),
        SCOPE,
        WHEN,
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(params=[4, 5])
async def world(house: House, request: pytest.FixtureRequest) -> World:
    await house.owner.execute("TRUNCATE timesheet, entry, membership, person_role, importer_grant CASCADE")
    made = World(await settle(house.owner, request.param), house.owner, {})
    # Handed in one after the other, and some at the same moment.
    await house.owner.execute(
        "UPDATE timesheet SET state = 'submitted', locked_by = NULL,"
        " submitted_at = timestamptz '2026-03-01' + (get_byte(uuid_send(id), 0) % 16) * interval '1 hour'"
        " WHERE get_byte(uuid_send(id), 1) % 3 > 0"
    )
    # Half of them have approvals, by people under any of their ids and by clients.
    givers = [*made.organisation.people, *made.organisation.merged, *made.organisation.former]
    await house.owner.execute(
        "UPDATE timesheet SET earlier_approvals = (SELECT coalesce(jsonb_agg(jsonb_build_object("
        " 'person', giver.id, 'client', CASE WHEN giver.id IS NULL THEN $2 END, 'at', submitted_at)), '[]')"
        " FROM unnest($1::uuid[] || NULL::uuid) WITH ORDINALITY AS giver (id, place)"
        " WHERE get_byte(uuid_send(timesheet.id), 2) % 2 = 0"
        "   AND (get_byte(uuid_send(timesheet.id), 3) + place) % 11 = 0)",
        givers,
        CLIENTS[0],
    )
    for row in await house.owner.fetch("SELECT id, owner_id, state, period_start FROM timesheet"):
        made.organisation.sheets[row["id"]] = (row["owner_id"], row["state"], row["period_start"])
    person = made.organisation.people[0]
    await made.look(principal(PrincipalKind.USER, "hours-app", frozenset(), frozenset(), person))
    return made


def policy(world: World, drawn: list[Row], *, several: bool) -> Snapshot:
    people = world.organisation.people
    lines = dict.fromkeys(
        f"p, {effect}, {who}, approve, {states}, timesheet, {scope}, {' and '.join(when) or 'always'}"
        for effect, who, states, scope, when in drawn
    )
    named = [
        line.replace("person:0", f"person:{people[0]}").replace("person:1", f"person:{people[1]}") for line in lines
    ]
    text = rows(*(f"{line}, rule-{place}" for place, line in enumerate(dict.fromkeys([*LAW, *named]))))
    declared = text.vocabulary + (NEVER_ENOUGH if several else "")
    return Snapshot.build(policy_file.parse(replace(text, vocabulary=declared)), 1)


async def find_approved(world: World, asker: Principal, ids: Collection[UUID]) -> set[UUID]:
    """The sheets that have an approval of these ids, or of the client that acts for itself."""
    rows = await world.connection.fetch("SELECT id, earlier_approvals FROM timesheet")
    wanted = {str(person) for person in ids} | ({asker.client} if asker.kind is PrincipalKind.CLIENT else set())
    return {row["id"] for row in rows for given in json.loads(row["earlier_approvals"]) if wanted & {*given.values()}}


@settings(max_examples=example_count(30, uncut=40), suppress_health_check=list(HealthCheck))
@given(
    several=st.booleans(),
    drawn=policies,
    who=st.lists(askers, min_size=4, max_size=4, unique_by=lambda who: who[0]),
    bound=bounds,
)
async def test_what_waits_is_what_a_single_approval_would_be_allowed(
    world: World,
    several: bool,  # noqa: FBT001 - drawn by its name
    drawn: list[Row],
    who: list[Asker],
    bound: tuple[int, int],
) -> None:
    rules = policy(world, drawn, several=several)
    for asker in map(world.asker, who):
        ambient, one_by_one = await world.look(asker)
        allowed = set()
        for sheet, (owner, state, _) in world.organisation.sheets.items():
            resource = Resource("timesheet", str(sheet), owner, state, 1)
            if state == "submitted" and evaluate(rules, asker, "approve", resource, one_by_one[sheet]).allowed:
                allowed.add(sheet)
        if several:
            allowed -= await find_approved(world, asker, ambient.same_human)
        access_request = evaluate(rules, asker, "approve", Resource("timesheet"), ambient).access_request
        shown = visible(rules, access_request, asker, ambient, TIMESHEET_FACTS)
        found: list[tuple[datetime, UUID]] = []
        after = None
        with pytest.MonkeyPatch.context() as small:
            small.setattr(approvals_store, "FEW", bound[0])
            small.setattr(approvals_store, "WINDOW", bound[1])
            while True:
                page = await approvals_store.list_pending(shown, world.connection, after=after, limit=4)
                for pending, row in page.items:
                    found.append((row["submitted_at"], pending.id))
                    assert explain_listed_row(shown, row).rules, "in the list, and by no rule"
                    same = world.organisation.same
                    assert asker.person is None or not any(
                        same(asker.person, by) for by in {pending.owner, *pending.editors}
                    )
                    assert asker.person is not None or asker.client not in pending.uploaders
                after = page.after
                if after is None:
                    break
        assert found == sorted(found)
        assert {listed for _, listed in found} == allowed
        assert len(found) == len(allowed)
    assert rules.errors == 0
    assert RELATIONSHIPS.of("timesheet") is TIMESHEET_FACTS
