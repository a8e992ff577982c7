"""Why: rules that applied, near misses, and what the caller is told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from service.authorization.engine.explanation import explain, nearest, sentences_for_caller
from service.policy.access_request import AccessRequest, Applied, Explanation, NearRule
from tests import policy_forge

if TYPE_CHECKING:
    from service.authorization.engine.engine import Snapshot

BEN = "018f0000-0000-7000-8000-000000000000"
SHIPPED = policy_forge.snapshot(*policy_forge.shipped().rules.splitlines())


def asked(
    action: str, state: str, *who: str, scopes: tuple[str, ...] = (), facts: dict[str, bool] | None = None,
    snapshot: Snapshot = SHIPPED,
) -> tuple[Explanation, AccessRequest]:  # fmt: skip
    known = {"acted_for_owner": False} if facts is None else facts
    access_request = snapshot.access_request("timesheet", action, state, who, scopes, known)
    return explain(snapshot.rules_of("timesheet", action), access_request), access_request


def told(action: str, state: str, *who: str, scopes: tuple[str, ...] = (), facts: dict[str, bool] | None = None,
         snapshot: Snapshot = SHIPPED) -> tuple[str, ...]:  # fmt: skip
    explanation, access_request = asked(action, state, *who, scopes=scopes, facts=facts, snapshot=snapshot)
    return sentences_for_caller(explanation, access_request, snapshot.vocabulary)


def test_an_allow_names_the_rules_that_allowed_and_tells_nothing() -> None:
    explanation, access_request = asked("approve", "submitted", "manager", scopes=("approve:timesheets",))
    assert explanation == Explanation(allowed_by=("approve-team",))
    assert sentences_for_caller(explanation, access_request, SHIPPED.vocabulary) == ()


def test_a_missing_scope_is_named() -> None:
    assert told("approve", "submitted", "manager")[0] == "needs scope approve:timesheets"


def test_a_missing_relation_is_told_in_the_words_of_the_vocabulary() -> None:
    assert told("approve", "submitted", scopes=("approve:timesheets",))[0] == "you do not lead this person's team"


def test_a_wrong_state_is_told_with_the_one_that_is_wanted() -> None:
    scopes = ("approve:timesheets", "create:timesheets")
    assert told("approve", "approved", "manager", scopes=scopes)[0] == "the timesheet is approved, not submitted"
    assert told("edit", "submitted", "owner", scopes=scopes) == ("the timesheet is submitted, not a draft or rejected",)


def test_every_condition_that_a_rule_misses_stands_in_its_sentence() -> None:
    assert told("approve", "draft")[0] == (
        "you do not lead this person's team; the timesheet is a draft, not submitted; needs scope approve:timesheets"
    )


def test_owners_are_told_that_these_are_their_own_hours() -> None:
    explanation, access_request = asked("approve", "submitted", "owner", scopes=("approve:timesheets",))
    assert explanation.denied_by == ("never-own-hours",)
    assert explanation.denied_because == (Applied("never-own-hours", (("who", "owner"),)),)
    assert sentences_for_caller(explanation, access_request, SHIPPED.vocabulary) == ("these are your own hours",)


def test_who_acted_for_the_owner_is_told_so_and_who_may_have_is_told_that() -> None:
    scopes = ("approve:timesheets",)
    assert told("approve", "submitted", "manager", scopes=scopes, facts={"acted_for_owner": True}) == (
        "you, or the app that you use, entered or submitted hours on the owner's behalf",
    )
    assert told("approve", "submitted", "manager", scopes=scopes, facts={}) == (
        "you may have entered or submitted hours on the owner's behalf, perhaps before you were erased",
    )


def test_near_misses_come_nearest_first_and_then_in_the_order_of_the_file() -> None:
    explanation, _ = asked("read", "draft", "manager")
    assert explanation.near_misses[:2] == (
        NearRule("read-team", (("scope", "read:timesheets"),)),
        NearRule("read-own", (("who", "owner"), ("scope", "read:timesheets"))),
    )
    explanation, _ = asked("read", "draft", scopes=("read:timesheets",))
    lines = {rule.name: rule.line for rule in SHIPPED.policy.rules}
    near = [(len(miss.conditions), lines[miss.rule]) for miss in explanation.near_misses]
    assert near == sorted(near)
    assert explanation.near_misses[0].rule == "read-own"


def test_that_a_rule_names_somebody_else_is_not_told() -> None:
    rows = [
        f"p, allow, {who}, read, any, timesheet, any, always, rule-{n}"
        for n, who in enumerate((f"person:{BEN}", "client:partner", "via:partner"))
    ]
    snapshot = policy_forge.snapshot(*rows)
    assert told("read", "draft", snapshot=snapshot) == ("no rule of the policy allows this",)


@pytest.mark.parametrize(
    ("word", "who", "sentence"),
    [
        (f"person:{BEN}", f"person:{BEN}", "this is forbidden to you personally"),
        ("client:partner", "client:partner", "this is forbidden to you, the client partner"),
        ("client:partner", "via:partner", "this is forbidden to you through the client partner"),
        ("via:partner", "via:partner", "this is forbidden to you through the client partner"),
    ],
)
def test_a_deny_on_the_caller_or_their_client_says_so(word: str, who: str, sentence: str) -> None:
    denies = policy_forge.snapshot(
        f"p, deny, {word}, read, draft, timesheet, any, always, no",
        "p, allow, anyone, read, any, timesheet, any, always, yes",
    )
    assert told("read", "draft", who, snapshot=denies) == (f"{sentence}; the timesheet is a draft",)


@pytest.mark.parametrize(
    ("row", "to_caller", "of_caller"),
    [
        (f"person:{BEN}, read, any", f"you are not the person {BEN}", f"the caller was not the person {BEN}"),
        (
            "client:partner, read, any",
            "you are not the client partner acting for itself",
            "the caller was not the client partner acting for itself",
        ),
        (
            "via:partner, read, any",
            "you are not acting through the client partner",
            "the caller did not act through the client partner",
        ),
        (
            "role:payroll, read, any",
            "you do not have the role payroll",
            "the caller did not have the role payroll",
        ),
        ("owner, read, any", "this is not your own timesheet", "the caller was not owner of the timesheet"),
        (
            "manager, read, any",
            "you do not lead this person's team",
            "the caller was not manager of the timesheet",
        ),
        (
            "anyone, read, submitted",
            "the timesheet is a draft, not submitted",
            "the timesheet was a draft, not submitted",
        ),
    ],
)
def test_a_caller_is_told_of_themselves_and_an_auditor_of_the_caller(row: str, to_caller: str, of_caller: str) -> None:
    snapshot = policy_forge.snapshot(f"p, allow, {row}, timesheet, any, always, one")
    words = (*asked("read", "draft", snapshot=snapshot), snapshot.vocabulary)
    for speaks_to_caller, sentence in ((True, to_caller), (False, of_caller)):
        (near,) = nearest(*words, of_others=True, to_caller=speaks_to_caller)
        assert [condition.sentence for condition in near.missing] == [sentence]


def test_no_sentence_of_a_refusal_speaks_in_the_third_person_nor_any_of_an_audit_in_the_second() -> None:
    """Every condition of every shipped rule, to a caller whom nothing helps."""
    second, third = re.compile(r"\byou(r|rself)?\b"), re.compile(r"\b(caller|whoever|this client|they)\b")
    for rule in SHIPPED.policy.rules:
        for facts in ({}, {"mfa": False, "acted_for_owner": False, "recent_sign_in": False, "locked_by_asker": False}):
            access_request = SHIPPED.access_request(rule.kind, rule.action, "", ["anyone"], [], facts)
            words = explain([rule], access_request), access_request, SHIPPED.vocabulary
            for near in nearest(*words, of_others=True):
                told = [condition for condition in near.missing if condition.condition in {"who", "fact"}]
                assert not [one for one in told if third.search(one.sentence)], told
                assert not [one for one in told if one.condition == "who" and not second.search(one.sentence)], told
            for near in nearest(*words, of_others=True, to_caller=False):
                assert not [condition for condition in near.missing if second.search(condition.sentence)]


def test_a_missing_role_is_named_without_its_prefix() -> None:
    snapshot = policy_forge.snapshot("p, allow, role:payroll, read, any, timesheet, any, always, x")
    assert told("read", "draft", snapshot=snapshot) == ("you do not have the role payroll",)
    deny = policy_forge.snapshot("p, deny, role:payroll, read, draft, timesheet, any, not mfa, x")
    assert told("read", "draft", "role:payroll", facts={"mfa": False}, snapshot=deny) == (
        "you have the role payroll; the timesheet is a draft; you did not sign in with a second factor",
    )


def test_an_action_without_any_rule_is_told_as_that() -> None:
    snapshot = policy_forge.snapshot("p, allow, owner, read, any, timesheet, any, always, x")
    assert told("approve", "draft", "owner", snapshot=snapshot) == ("no rule of the policy allows this",)


def test_a_list_of_reasons_is_bounded() -> None:
    rows = [f"p, allow, role:r{n}, read, any, timesheet, any, always, rule-{n}" for n in range(50)]
    assert len(told("read", "draft", snapshot=policy_forge.snapshot(*rows))) == 5
