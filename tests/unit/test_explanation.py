"""Explanations: the rules that applied, near misses, and the sentences for callers and auditors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from service.authorization.engine.explanation import MAX_SENTENCES, explain, nearest, sentences_for_caller
from service.policy.access_request import AccessRequest, Applied, Explanation, NearRule
from tests import policy_forge

if TYPE_CHECKING:
    from service.authorization.engine.engine import Snapshot

BEN = "018f0000-0000-7000-8000-000000000000"
SHIPPED = policy_forge.snapshot(*policy_forge.read_shipped().rules.splitlines())


def explain_request(
    action: str, state: str, *who: str, scopes: tuple[str, ...] = (), facts: dict[str, bool] | None = None,
    snapshot: Snapshot = SHIPPED,
) -> tuple[Explanation, AccessRequest]:  # fmt: skip
    known = {"agent": False, **({"acted_for_owner": False} if facts is None else facts)}
    access_request = snapshot.access_request("timesheet", action, state, who, scopes, known)
    return explain(snapshot.rules_of("timesheet", action), access_request), access_request


def sentences_of(action: str, state: str, *who: str, scopes: tuple[str, ...] = (), facts: dict[str, bool] | None = None,
         snapshot: Snapshot = SHIPPED) -> tuple[str, ...]:  # fmt: skip
    explanation, access_request = explain_request(action, state, *who, scopes=scopes, facts=facts, snapshot=snapshot)
    return sentences_for_caller(explanation, access_request, snapshot.vocabulary)


def test_an_allow_names_its_rules_and_has_no_sentence() -> None:
    explanation, access_request = explain_request("approve", "submitted", "manager", scopes=("approve:timesheets",))
    assert explanation == Explanation(allowed_by=("approve-team",))
    assert sentences_for_caller(explanation, access_request, SHIPPED.vocabulary) == ()


def test_a_missing_scope_is_named() -> None:
    assert sentences_of("approve", "submitted", "manager")[0] == "needs scope approve:timesheets"


def test_a_missing_relation_is_described_by_the_vocabulary() -> None:
    assert (
        sentences_of("approve", "submitted", scopes=("approve:timesheets",))[0] == "you do not lead this person's team"
    )


def test_a_wrong_state_is_described_with_the_required_state() -> None:
    scopes = ("approve:timesheets", "create:timesheets")
    assert (
        sentences_of("approve", "approved", "manager", scopes=scopes)[0] == "the timesheet is approved, not submitted"
    )
    assert sentences_of("edit", "submitted", "owner", scopes=scopes) == (
        "the timesheet is submitted, not a draft or rejected",
    )


def test_a_sentence_names_every_missing_condition_of_a_rule() -> None:
    assert sentences_of("approve", "draft")[0] == (
        "you do not lead this person's team; the timesheet is a draft, not submitted; needs scope approve:timesheets"
    )


def test_owners_are_told_that_these_are_their_own_hours() -> None:
    explanation, access_request = explain_request("approve", "submitted", "owner", scopes=("approve:timesheets",))
    assert explanation.denied_by == ("never-own-hours",)
    assert explanation.denied_because == (Applied("never-own-hours", (("who", "owner"),)),)
    assert sentences_for_caller(explanation, access_request, SHIPPED.vocabulary) == ("these are your own hours",)


def test_a_caller_who_acted_for_the_owner_and_one_who_may_have_get_different_sentences() -> None:
    scopes = ("approve:timesheets",)
    assert sentences_of("approve", "submitted", "manager", scopes=scopes, facts={"acted_for_owner": True}) == (
        "you, or the app that you use, entered or submitted hours on the owner's behalf",
    )
    assert sentences_of("approve", "submitted", "manager", scopes=scopes, facts={}) == (
        "you may have entered or submitted hours on the owner's behalf, perhaps before you were erased",
    )


def test_near_misses_come_nearest_first_and_then_in_the_order_of_the_file() -> None:
    explanation, _ = explain_request("read", "draft", "manager")
    assert explanation.near_misses[:2] == (
        NearRule("read-team", (("scope", "read:timesheets"),)),
        NearRule("read-own", (("who", "owner"), ("scope", "read:timesheets"))),
    )
    explanation, _ = explain_request("read", "draft", scopes=("read:timesheets",))
    lines = {rule.name: rule.line for rule in SHIPPED.policy.rules}
    near = [(len(miss.conditions), lines[miss.rule]) for miss in explanation.near_misses]
    assert near == sorted(near)
    assert explanation.near_misses[0].rule == "read-own"


def test_rules_that_name_another_person_are_not_shown() -> None:
    rows = [
        f"p, allow, {who}, read, any, timesheet, any, always, rule-{n}"
        for n, who in enumerate((f"person:{BEN}", "client:partner", "via:partner"))
    ]
    snapshot = policy_forge.snapshot(*rows)
    assert sentences_of("read", "draft", snapshot=snapshot) == ("no rule of the policy allows this",)


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
    assert sentences_of("read", "draft", who, snapshot=denies) == (f"{sentence}; the timesheet is a draft",)


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
        ("group:payroll, read, any", "you are not in the group payroll", "the caller was not in the group payroll"),
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
def test_sentences_address_the_caller_or_are_about_the_caller_for_an_auditor(
    row: str, to_caller: str, of_caller: str
) -> None:
    snapshot = policy_forge.snapshot(f"p, allow, {row}, timesheet, any, always, rule")
    words = (*explain_request("read", "draft", snapshot=snapshot), snapshot.vocabulary)
    for speaks_to_caller, sentence in ((True, to_caller), (False, of_caller)):
        (near,) = nearest(*words, of_others=True, to_caller=speaks_to_caller)
        assert [condition.sentence for condition in near.missing] == [sentence]


def test_sentences_for_callers_use_the_second_person_and_those_for_auditors_the_third() -> None:
    """Every condition of every shipped rule, for a caller who meets none."""
    second, third = re.compile(r"\byou(r|rself)?\b"), re.compile(r"\b(caller|whoever|this client|they)\b")
    for rule in SHIPPED.policy.rules:
        for facts in ({}, {"mfa": False, "acted_for_owner": False, "recent_sign_in": False, "locked_by_asker": False}):
            access_request = SHIPPED.access_request(rule.kind, rule.action, "", ["anyone"], [], facts)
            words = explain([rule], access_request), access_request, SHIPPED.vocabulary
            for near in nearest(*words, of_others=True):
                told = [condition for condition in near.missing if condition.condition in {"who", "fact"}]
                assert not [item for item in told if third.search(item.sentence)], told
                assert not [item for item in told if item.condition == "who" and not second.search(item.sentence)], told
            for near in nearest(*words, of_others=True, to_caller=False):
                assert not [condition for condition in near.missing if second.search(condition.sentence)]


def test_a_missing_role_is_named_without_its_prefix() -> None:
    snapshot = policy_forge.snapshot("p, allow, role:payroll, read, any, timesheet, any, always, x")
    assert sentences_of("read", "draft", snapshot=snapshot) == ("you do not have the role payroll",)
    deny = policy_forge.snapshot("p, deny, role:payroll, read, draft, timesheet, any, not mfa, x")
    assert sentences_of("read", "draft", "role:payroll", facts={"mfa": False}, snapshot=deny) == (
        "you have the role payroll; the timesheet is a draft; you did not sign in with a second factor",
    )


def test_a_denied_group_is_named_without_its_prefix() -> None:
    deny = policy_forge.snapshot("p, deny, group:leavers, read, any, timesheet, any, always, x")
    assert sentences_of("read", "draft", "group:leavers", snapshot=deny) == ("you are in the group leavers",)


def test_an_action_without_rules_has_a_sentence_of_its_own() -> None:
    snapshot = policy_forge.snapshot("p, allow, owner, read, any, timesheet, any, always, x")
    assert sentences_of("approve", "draft", "owner", snapshot=snapshot) == ("no rule of the policy allows this",)


def test_the_number_of_sentences_is_bounded() -> None:
    rows = [f"p, allow, role:r{n}, read, any, timesheet, any, always, rule-{n}" for n in range(50)]
    assert len(sentences_of("read", "draft", snapshot=policy_forge.snapshot(*rows))) == MAX_SENTENCES
