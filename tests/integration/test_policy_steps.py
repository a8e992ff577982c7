"""Policy administration on a real database: every step is recorded, and callers without permission block nobody."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from service.administration.checks import examination
from service.administration.versions.administration import PolicyAdministration
from service.authorization.active.versions import PolicyVersions, hold_active_version
from service.errors import Forbidden, InsufficientScope, NotFound, PolicyRejected, StaleExpectation, TimewardenError
from service.log.packing import stored_leaf
from tests.integration.house import MONDAY, anything, check_in_process
from tests.policy_forge import read_shipped, without_rule

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Caller
    from service.authorization.engine.engine import Snapshot
    from service.policy.policy_file import PolicyText
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
SCOPES = frozenset({"read:policies", "write:policies"})


def administration(house: House) -> PolicyAdministration:
    return PolicyAdministration(house.gate, house.versions, check_in_process)


def author(house: House) -> Caller:
    return house.caller("adam", scopes=SCOPES, roles=frozenset({"role:policy-author"}))


async def read_record(house: House, error: TimewardenError) -> tuple[str, bool | None]:
    """The outcome of the decision that the error names, and whether it was applied."""
    assert error.decision is not None
    row = await house.owner.fetchrow(
        "SELECT outcome, applied, body, stored_hash FROM audit_record WHERE uid = $1::text::uuid", error.decision[0]
    )
    assert row is not None
    assert stored_leaf(row["body"], row["stored_hash"]).hex() == error.decision[1]
    return row["outcome"], row["applied"]


async def test_a_proposal_that_is_refused_for_its_texts_is_recorded(house: House) -> None:
    bad = replace(read_shipped(), rules="p, allow, everybody\n")
    with pytest.raises(PolicyRejected) as refused:
        await administration(house).propose(author(house), bad, "A typing mistake")
    assert await read_record(house, refused.value) == ("allow", False)
    assert await house.count("policy_version") == 1


async def test_a_failed_activation_is_recorded(house: House) -> None:
    for number, expected, kind, outcome in ((1, 2, StaleExpectation, "allow"), (7, 1, NotFound, "deny")):
        with pytest.raises(kind) as refused:
            await administration(house).activate(author(house), number, expected=expected)
        assert await read_record(house, refused.value) == (outcome, False)


async def test_a_request_for_an_unknown_version_is_recorded(house: House) -> None:
    with pytest.raises(NotFound) as refused:
        await administration(house).read(author(house), 7)
    assert await read_record(house, refused.value) == ("deny", None)


async def test_the_largest_number_is_an_unknown_version(house: House) -> None:
    with pytest.raises(NotFound):
        await administration(house).read(author(house), 2_147_483_647)


async def test_a_caller_who_may_not_activate_neither_waits_for_changes_nor_blocks_them(house: House) -> None:
    async with house.requests.transaction() as somebodys_change:
        await hold_active_version(somebodys_change)
        with pytest.raises(InsufficientScope):
            # The lock is held until the end, so a caller who waited for it would get another error.
            await administration(house).activate(house.caller("ana"), 1, expected=1)


async def test_a_version_whose_rules_all_match_can_be_recorded_and_rolled_back(house: House) -> None:
    many = [f"g, role:policy-author, role:r{number}" for number in range(900)]
    many += [
        f"p, allow, role:r{number}, activate, any, policy, write:policies, always, {'long-name-' * 7}{number}"
        for number in range(900)
    ]
    text = replace(read_shipped(), rules="\n".join([read_shipped().rules, *many, ""]), cases={})
    steps = administration(house)
    proposed = (await steps.propose(author(house), text, "Every role may")).value.version
    await steps.activate(author(house), proposed.number, expected=1)
    back = await steps.activate(author(house), 1, expected=proposed.number)
    assert back.value.number == 1


async def test_an_action_without_a_rule_asks_for_no_scope_and_does_not_reveal_ids(house: House) -> None:
    steps = administration(house)
    for name, number in (("delete-own", 2), ("directory-manage", 3)):
        await steps.propose(author(house), without_rule(name), "Nobody may")
        await steps.activate(author(house), number, expected=number - 1)
        if number == 2:
            sheet, ana = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value, house.caller("ana")
            for known_or_not in (sheet.id, uuid4()):
                with pytest.raises(NotFound):
                    await house.timesheets.delete(ana, known_or_not, anything)
    with pytest.raises(Forbidden) as refused:
        await house.directory.add_team(house.administrator(), "north")
    assert await read_record(house, refused.value) == ("deny", False)


async def test_a_process_waits_for_its_version_at_the_start_without_a_limit(house: House) -> None:
    def slowly(text: PolicyText, number: int) -> Snapshot:
        time.sleep(0.5)
        return examination.load(text, number)

    versions = PolicyVersions(await house.log_database.open("app", size=1), slowly, timeout=0.1)
    assert (await versions.start()).number == versions.current().number == 1


async def test_a_caller_cannot_activate_a_version_that_would_lock_them_out(house: House) -> None:
    """The laws accept a role that nobody holds, so the caller must be able to roll back."""
    text = read_shipped()
    handed_over = replace(
        text,
        rules=text.rules.replace("role:policy-author, activate,", "role:nobody-at-all, activate,"),
        cases={},
    )
    proposed = await administration(house).propose(author(house), handed_over, "Hand it to nobody")
    with pytest.raises(PolicyRejected, match="could not roll back") as refused:
        await administration(house).activate(author(house), proposed.value.version.number, expected=1)
    assert await read_record(house, refused.value) == ("allow", False)
    assert await house.owner.fetchval("SELECT active FROM policy_head") == 1
