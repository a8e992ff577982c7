"""Proposers cannot get around four eyes on the policy: each story is a way to try.

Paula, ben and mia write and activate policies. `four eyes` is the row that denies the activation to the proposer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from service.administration.replay.recorded_explanation import explain_record
from service.administration.replay.recorded_request import parse_request
from service.administration.replay.reevaluation import reevaluate
from service.administration.versions.administration import PolicyAdministration
from service.errors import Forbidden, StaleExpectation
from service.identity.principal import PrincipalKind
from service.log.packing import unpack
from service.values import replace
from tests.integration.house import check_in_process, principal
from tests.policy_forge import with_more

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Caller
    from service.authorization.engine.engine import Snapshot
    from service.policy.policy_file import PolicyText
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
SCOPES = frozenset({"read:policies", "write:policies"})
ROLES = frozenset({"role:policy-author"})
ROW = "p, deny, proposer, activate, any, policy, any, always, four-eyes\n"
OF_PROPOSALS = ROW.replace("any, policy", "proposed, policy")


def text(row: str = "") -> PolicyText:
    """The shipped policy, perhaps with four eyes, and without cases."""
    return with_more(row)


@dataclass(frozen=True, slots=True)
class Desk:
    """Administers policies. Each method is one call of the API."""

    house: House

    @property
    def steps(self) -> PolicyAdministration:
        return PolicyAdministration(self.house.gate, self.house.versions, check_in_process)

    def caller(self, name: str) -> Caller:
        return self.house.caller(name, scopes=SCOPES, roles=ROLES)

    async def propose(self, name: str, row: str = "") -> int:
        return (await self.steps.propose(self.caller(name), text(row), "why not")).value.version.number

    async def activates(self, name: str, number: int) -> int:
        """Activate it; the number that decides then."""
        answer = await self.steps.activate(self.caller(name), number, expected=await self.active())
        return answer.value.number

    async def goes_back(self, name: str) -> int:
        return (await self.steps.roll_back(self.caller(name), expected=await self.active())).value.number

    async def under_four_eyes(self, row: str = ROW) -> int:
        """Ben proposed them and mia turned them on; the number of that version."""
        return await self.activates("mia", await self.propose("ben", row))

    async def expect_refusal(self, name: str, number: int) -> Forbidden:
        active = await self.active()
        with pytest.raises(Forbidden) as refused:
            await self.activates(name, number)
        assert await self.active() == active
        return refused.value

    async def active(self) -> int:
        found: int = await self.house.owner.fetchval("SELECT active FROM policy_head")
        return found


@pytest.fixture
def desk(house: House) -> Desk:
    house.people["paula"] = house.people["adam"]
    return Desk(house)


async def test_a_rollback_does_not_let_the_proposer_activate_their_own_version(desk: Desk) -> None:
    four_eyes = await desk.under_four_eyes()
    own = await desk.propose("paula")
    await desk.expect_refusal("paula", own)
    assert await desk.activates("paula", 1) == 1
    refused = await desk.expect_refusal("paula", own)
    assert f"the four eyes of version {four_eyes} still apply" in refused.reasons[0]


async def test_nor_does_proposing_the_same_again_after_a_rollback(desk: Desk) -> None:
    await desk.under_four_eyes()
    await desk.activates("paula", 1)
    await desk.expect_refusal("paula", await desk.propose("paula"))


async def test_nor_does_a_rollback_in_place_of_an_activation(desk: Desk) -> None:
    await desk.under_four_eyes()
    own = await desk.propose("paula")
    assert await desk.goes_back("paula") == 1
    await desk.expect_refusal("paula", own)


async def test_nor_does_activating_several_older_versions_first(desk: Desk) -> None:
    for _ in range(3):
        await desk.activates("paula", await desk.propose("paula"))
    await desk.under_four_eyes(OF_PROPOSALS)
    for number in (4, 2, 3, 1, 2):
        await desk.activates("paula", number)
    await desk.expect_refusal("paula", await desk.propose("paula"))


async def test_nor_does_activating_an_older_draft_of_another_person(desk: Desk) -> None:
    """Both drafts are older than the rule of four eyes."""
    drafts = [await desk.propose("ben"), await desk.propose("mia", "# Another one.\n")]
    await desk.under_four_eyes()
    for draft in drafts:
        await desk.activates("paula", draft)
        await desk.expect_refusal("paula", await desk.propose("paula"))


async def test_nor_does_an_earlier_version_with_narrower_four_eyes(desk: Desk) -> None:
    narrow = await desk.under_four_eyes(ROW.replace("always", "not recent_sign_in"))
    await desk.under_four_eyes()
    await desk.activates("paula", narrow)
    own = await desk.propose("paula")
    just_signed_in = replace(desk.caller("paula").principal, authenticated_at=2_000_000_000)
    with pytest.raises(Forbidden) as refused:
        await desk.steps.activate(replace(desk.caller("paula"), principal=just_signed_in), own, expected=narrow)
    assert "still apply" in refused.value.reasons[0]


async def test_nobody_else_gains_by_it(desk: Desk) -> None:
    await desk.under_four_eyes()
    await desk.activates("paula", 1)
    await desk.expect_refusal("ben", await desk.propose("ben"))


async def test_a_client_that_proposed_for_itself_is_bound_like_a_person(desk: Desk) -> None:
    await desk.under_four_eyes()
    pipeline = replace(desk.caller("paula"), principal=principal(PrincipalKind.CLIENT, "pipeline", SCOPES, ROLES, None))
    own = (await desk.steps.propose(pipeline, text(), "built")).value.version.number
    await desk.steps.activate(pipeline, 1, expected=await desk.active())
    with pytest.raises(Forbidden):
        await desk.steps.activate(pipeline, own, expected=1)
    assert await desk.activates("paula", own) == own


async def test_four_eyes_bind_the_person_who_turned_them_on_alone(desk: Desk) -> None:
    await desk.activates("paula", await desk.propose("paula", ROW))
    await desk.activates("paula", 1)
    await desk.expect_refusal("paula", await desk.propose("paula"))


async def test_a_rollback_is_one_call_and_so_is_the_activation_after_it(desk: Desk) -> None:
    four_eyes = await desk.activates("paula", await desk.propose("paula", ROW))
    assert await desk.activates("paula", 1) == 1
    assert await desk.goes_back("paula") == four_eyes


async def test_a_second_person_lifts_them_by_activating_a_later_proposal(desk: Desk) -> None:
    await desk.under_four_eyes()
    without = await desk.propose("paula")
    await desk.activates("paula", 1)
    assert await desk.activates("ben", without) == without
    own = await desk.propose("paula")
    assert await desk.activates("paula", own) == own


async def test_four_eyes_that_were_lifted_do_not_apply_again(desk: Desk) -> None:
    four_eyes = await desk.under_four_eyes()
    await desk.activates("ben", await desk.propose("paula"))
    await desk.activates("mia", four_eyes)
    await desk.activates("ben", await desk.propose("paula"))
    await desk.activates("paula", 1)
    own = await desk.propose("paula")
    assert await desk.activates("paula", own) == own


async def test_versions_without_four_eyes_forbid_nothing(desk: Desk) -> None:
    await desk.activates("paula", await desk.propose("paula"))
    await desk.activates("paula", 1)
    own = await desk.propose("paula")
    assert await desk.activates("paula", own) == own


async def test_other_restrictions_of_a_left_version_do_not_apply(desk: Desk) -> None:
    """Errors of a version must not outlive it: only its four eyes do."""
    only = "p, deny, role:policy-author, activate, proposed, policy, any, always, frozen\n"
    await desk.activates("mia", await desk.propose("ben", only))
    await desk.goes_back("mia")
    own = await desk.propose("paula")
    assert await desk.activates("paula", own) == own


async def test_a_concurrent_activation_makes_the_check_of_four_eyes_start_over(desk: Desk) -> None:
    four_eyes, own = await desk.propose("mia", ROW), await desk.propose("paula")

    class Slow(PolicyAdministration):
        async def _check_stored(self, number: int) -> Snapshot:
            await desk.activates("mia", four_eyes)
            await desk.activates("mia", 1)
            return await super()._check_stored(number)

    slow = Slow(desk.house.gate, desk.house.versions, check_in_process)
    with pytest.raises(StaleExpectation):
        await slow.activate(desk.caller("paula"), own, expected=1)
    await desk.expect_refusal("paula", own)


async def test_the_refusal_is_recorded_with_its_cause_and_reproduced_by_a_replay(desk: Desk) -> None:
    four_eyes = await desk.under_four_eyes()
    await desk.activates("paula", 1)
    refused = await desk.expect_refusal("paula", await desk.propose("paula"))
    assert refused.decision is not None
    body = unpack(
        await desk.house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1::text::uuid", refused.decision[0])
    )
    record: dict[str, Any] = json.loads(body)
    assert (record["outcome"], record["reason"], record["applied"]) == ("deny", "law", False)
    assert record["four_eyes_of"] == [four_eyes]
    recorded, first = parse_request(body), await desk.house.versions.load(1)
    assert reevaluate(first, recorded) == recorded.verdict
    assert "going back does not lift four eyes" in explain_record(first, recorded).because
