"""The enumeration of access requests: it misses none, closes roles as casbin does, and says when it gave up."""

from __future__ import annotations

from itertools import product

import casbin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.policy import casbin_model
from service.policy.access_request import ANYONE, AccessRequest, Condition, Effect, Rule
from service.policy.matching import matches
from service.policy.request_space import (
    KNOWN,
    KNOWN_OR_NOT,
    RULES_PER_CASBIN_ROW,
    Budget,
    RequestSpace,
    RoleClosure,
    fact_assignments,
    requests_past_denies,
    smallest_requests,
)
from service.values import replace

BASE = AccessRequest("timesheet", "read", "draft", frozenset({ANYONE}), frozenset(), frozenset())
RULE = Rule(
    name="x", effect=Effect.ALLOW, who="manager", action="read", states=frozenset({"draft", "locked"}),
    kind="timesheet", scope="read:timesheets", when=(Condition("mfa"), Condition("recent", negated=True)),
)  # fmt: skip
ROLES = [f"role:{name}" for name in "abcde"]
links = st.lists(st.tuples(st.sampled_from(ROLES), st.sampled_from(ROLES)), unique=True, max_size=10)


@given(links)
def test_roles_are_closed_as_casbin_closes_them(given_links: list[tuple[str, str]]) -> None:
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=casbin_model.MODEL))
    for role, included in given_links:
        enforcer.get_role_manager().add_link(role, included)
    roles = RoleClosure(given_links)
    for role in ROLES:
        assert roles.close([role]) == {ANYONE, role, *enforcer.get_implicit_roles_for_user(role)}
        assert roles.including(role) == {
            other for other in ROLES if other != role and role in enforcer.get_implicit_roles_for_user(other)
        }


def test_a_chain_of_roles_is_followed_beyond_the_ten_steps_of_casbin() -> None:
    roles = RoleClosure([(f"role:r{number}", f"role:r{number + 1}") for number in range(1_000)])
    assert len(roles.close(["role:r0"])) == 1_002


@given(
    facts=st.dictionaries(st.sampled_from("abcd"), st.sampled_from([KNOWN, KNOWN_OR_NOT, (None,), (True,), ()])),
    words=st.lists(st.sampled_from([("owner", None), ("owner", "former:owner", None), ("role:a",)]), max_size=3),
    states=st.sampled_from([None, (), ("draft",), ("draft", "locked")]),
)
def test_a_space_holds_every_combination(
    facts: dict[str, tuple[bool | None, ...]], words: list[tuple[str | None, ...]], states: tuple[str, ...] | None
) -> None:
    space = RequestSpace(BASE, states, facts, words)
    found = list(space)
    assert len(found) == space.size
    assert set(found) == {
        replace(
            BASE,
            state=state,
            who=BASE.who | {word for word in chosen if word is not None},
            facts=frozenset((name, value) for name, value in zip(facts, values, strict=True) if value is not None),
        )
        for state in (("draft",) if states is None else states)
        for chosen in product(*words)
        for values in product(*facts.values())
    }


def test_the_fewest_known_facts_come_first() -> None:
    known = [sum(value is not None for value in facts.values()) for facts in fact_assignments({
        "a": KNOWN_OR_NOT, "b": KNOWN_OR_NOT, "c": KNOWN,
    })]  # fmt: skip
    assert known == sorted(known)
    assert (known[0], len(known)) == (1, 18)


def test_the_smallest_requests_are_those_that_the_rule_accepts() -> None:
    facts = {"recent": KNOWN_OR_NOT, "acted": KNOWN}
    assert set(smallest_requests(RULE, BASE, ["draft", "submitted"], facts)) == {
        AccessRequest(
            "timesheet", "read", "draft", frozenset({ANYONE, "manager"}), frozenset({"read:timesheets"}),
            frozenset({("mfa", True), ("recent", False), ("acted", acted)}),
        )
        for acted in (True, False)
    }  # fmt: skip
    assert smallest_requests(RULE, BASE, ["submitted"], facts).size == 0


@pytest.mark.parametrize("values", [(None,), (True,)])
def test_a_rule_that_wants_another_value_matches_nothing(values: tuple[bool | None, ...]) -> None:
    assert list(smallest_requests(RULE, BASE, ["draft"], {"recent": values})) == []


DENIES = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.booleans(), max_size=3).map(
        lambda facts: Rule(
            name="d", effect=Effect.DENY, who=ANYONE, action="read", states=frozenset(), kind="timesheet", scope="any",
            when=tuple(Condition(fact, negated=negated) for fact, negated in sorted(facts.items())),
        )
    ),
    max_size=7,
)  # fmt: skip


@given(denies=DENIES, known=st.dictionaries(st.sampled_from("cd"), st.booleans()))
def test_a_request_is_found_past_denies_exactly_if_some_facts_keep_them_all_from_matching(
    denies: list[Rule], known: dict[str, bool]
) -> None:
    open_facts = frozenset("abc") - known.keys()
    base = replace(BASE, facts=frozenset(known.items()))
    found = list(requests_past_denies(base, denies, open_facts, Budget()))
    every = RequestSpace(base, None, dict.fromkeys(open_facts, KNOWN))
    assert bool(found) == any(not any(matches(deny, request) for deny in denies) for request in every)
    for request in found:
        assert base.facts <= request.facts
        assert {name for name, _ in request.facts - base.facts} <= open_facts
        assert not any(matches(deny, request) for deny in denies)


def test_no_request_is_made_past_denies_once_the_budget_is_exhausted() -> None:
    assert list(requests_past_denies(BASE, (), frozenset(), Budget(RULES_PER_CASBIN_ROW))) == [BASE]
    assert list(requests_past_denies(BASE, (), frozenset(), Budget(RULES_PER_CASBIN_ROW - 1))) == []


def test_a_budget_says_when_it_is_exhausted_and_stays_so() -> None:
    budget = Budget(100)
    assert budget.spend(60)
    assert budget.take_share(2).limit == 20
    assert budget.spend_on_casbin(2)
    assert not budget.spend_on_casbin(1)
    assert (budget.spent, budget.take_share(3).limit, budget.exhausted) == (60 + 3 * RULES_PER_CASBIN_ROW, 0, True)
