"""The engine: what a snapshot decides, which words it sees, and that nothing changes it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

import pytest
from casbin.model import Model

from service.authorization.enforcement.decision_point import who_words
from service.authorization.enforcement.fact_lookup import FactLookup
from service.authorization.engine import casbin_functions, engine
from service.authorization.engine.rule_index import VisibleWords
from service.directory.actions import ALWAYS
from service.directory.entities import check_grant
from service.errors import InvalidField, PolicyRejected
from service.identity.principal import Principal, PrincipalKind
from service.policy import policy_file
from service.policy.access_request import NO_STATE, AccessRequest, Reason, Verdict
from service.values import replace
from tests import policy_forge

WHO = ["role:lead", "role:staff", "group:night", "client:job", "via:job", "actor:job", f"person:{UUID(int=7)}"]
READ = "p, allow, owner, read, any, timesheet, read:timesheets, always, read-own"


def decide(snapshot: engine.Snapshot, *who: str, scopes: tuple[str, ...] = ("read:timesheets",)) -> Verdict:
    return snapshot.decide(snapshot.access_request("timesheet", "read", "draft", who, scopes, {}))


def test_a_verdict_names_every_rule_that_allowed() -> None:
    snapshot = policy_forge.snapshot(READ, READ.replace("owner", "manager").replace("read-own", "read-team"))
    assert decide(snapshot, "owner", "manager") == Verdict(True, Reason.ALLOWED, ("read-own", "read-team"))
    assert decide(snapshot, "manager") == Verdict(True, Reason.ALLOWED, ("read-team",))
    assert decide(snapshot, "importer") == Verdict(False, Reason.NO_RULE)


def test_a_deny_overrides_every_allow_and_is_named() -> None:
    deny = "p, deny, role:suspended, read, any, timesheet, any, always, never-suspended"
    snapshot = policy_forge.snapshot(READ, deny)
    assert decide(snapshot, "owner", "role:suspended") == Verdict(False, Reason.DENY_RULE, ("never-suspended",))


def test_a_role_that_is_named_with_a_prefix_meets_no_rule_on_another_word() -> None:
    """A token may name any role. The directory gives no such role, and no row can name it."""
    rows = [f"p, allow, {who}, read, any, timesheet, any, always, rule-{place}" for place, who in enumerate(WHO)]
    snapshot = policy_forge.snapshot(*rows, "g, role:lead, role:staff")
    assert snapshot.decide(snapshot.access_request("timesheet", "read", "draft", ["role:lead"], [], {})).allowed
    for name in [*WHO, "former:owner", "role:", ":lead", "lead:role:lead"]:
        caller = Principal(PrincipalKind.USER, "", "", "app", frozenset(), frozenset({f"role:{name}"}), None, 0, 1)
        words = who_words(caller, FactLookup(1, 1, datetime.now(UTC), frozenset()))
        request = snapshot.access_request("timesheet", "read", "draft", words, [], {})
        assert snapshot.decide(request) == Verdict(False, Reason.NO_RULE), name
        with pytest.raises(InvalidField):
            check_grant(ALWAYS, role=name)
        with pytest.raises(PolicyRejected):
            policy_forge.policy(READ.replace("owner", f"role:{name}"))


def test_an_action_that_no_rule_mentions_is_denied_and_an_unknown_one_is_an_error() -> None:
    snapshot = policy_forge.snapshot(READ)
    assert (
        snapshot.decide(snapshot.access_request("timesheet", "approve", "draft", ["owner"], [], {})).reason
        is Reason.NO_RULE
    )
    for kind, action, state in (
        ("timesheet", "frobnicate", "draft"),
        ("invoice", "read", NO_STATE),
        ("timesheet", "read", "shredded"),
    ):
        verdict = snapshot.decide(snapshot.access_request(kind, action, state, ["owner"], ["read:timesheets"], {}))
        assert verdict == Verdict(False, Reason.POLICY_ERROR)
    assert snapshot.errors == 3


def test_states_are_whole_words() -> None:
    snapshot = policy_forge.snapshot(READ.replace("any,", "draft or rejected,"))
    for state, allowed in (("draft", True), ("rejected", True), ("submitted", False), (NO_STATE, False)):
        access_request = snapshot.access_request("timesheet", "read", state, ["owner"], ["read:timesheets"], {})
        assert snapshot.decide(access_request).allowed is allowed


@pytest.mark.parametrize("words", [("client:x",), ("via:x",)])
def test_a_deny_on_a_client_applies_for_itself_and_for_users(words: tuple[str, ...]) -> None:
    snapshot = policy_forge.snapshot(READ, "p, deny, client:x, read, any, timesheet, any, always, no-x")
    assert decide(snapshot, "owner", *words).rules == ("no-x",)
    assert decide(snapshot, "owner", "client:y").allowed


def test_an_allow_on_a_client_applies_only_while_it_acts_for_itself() -> None:
    snapshot = policy_forge.snapshot(READ.replace("owner", "client:x"))
    assert decide(snapshot, "client:x").allowed
    assert not decide(snapshot, "via:x").allowed


def test_a_deny_on_a_client_acting_for_users_does_not_apply_to_the_client_itself() -> None:
    snapshot = policy_forge.snapshot(
        READ.replace("owner", "client:x"), "p, deny, via:x, read, any, timesheet, any, always, no-x"
    )
    assert decide(snapshot, "client:x").allowed
    assert decide(snapshot, "client:x", "via:x").rules == ("no-x",)


@pytest.mark.parametrize(
    ("effect", "when", "known", "holds"),
    [
        ("allow", "mfa", True, True),
        ("allow", "mfa", False, False),
        ("allow", "mfa", None, False),
        ("allow", "not mfa", True, False),
        ("allow", "not mfa", False, True),
        ("allow", "not mfa", None, False),
        ("deny", "mfa", True, True),
        ("deny", "mfa", False, False),
        ("deny", "mfa", None, True),
        ("deny", "not mfa", True, False),
        ("deny", "not mfa", False, True),
        ("deny", "not mfa", None, True),
    ],
)
def test_an_unknown_fact_never_helps_an_allow_and_always_helps_a_deny(
    *, effect: str, when: str, known: bool | None, holds: bool
) -> None:
    row = f"p, {effect}, anyone, read, any, timesheet, any, {when}, the-rule"
    snapshot = policy_forge.snapshot(row)
    verdict = snapshot.decide(snapshot.access_request("timesheet", "read", "draft", [], [], {"mfa": known}))
    assert (verdict.rules == ("the-rule",)) is holds


def test_roles_are_followed_through_any_number_of_steps() -> None:
    links = [f"g, role:r{n}, role:r{n + 1}" for n in range(40)]
    snapshot = policy_forge.snapshot(READ.replace("owner", "role:r40"), *links)
    assert decide(snapshot, "role:r0").allowed
    assert not decide(snapshot, "role:r41").allowed
    assert not decide(policy_forge.snapshot(READ.replace("owner", "role:r0"), *links), "role:r40").allowed


def test_a_deny_on_an_included_role_applies_to_the_role_that_includes_it() -> None:
    deny = "p, deny, role:b, read, any, timesheet, any, always, no-b"
    snapshot = policy_forge.snapshot(READ, deny, "g, role:a, role:b")
    assert decide(snapshot, "owner", "role:a").rules == ("no-b",)


def test_words_that_no_rule_mentions_are_dropped() -> None:
    snapshot = policy_forge.snapshot(READ)
    for number in range(500):
        assert decide(
            snapshot, "owner", f"person:{number}", f"role:{number}", scopes=("read:timesheets", str(number))
        ).allowed
    assert len(snapshot._remembered) == 1
    assert snapshot.words == VisibleWords(frozenset({"owner", "anyone"}), frozenset({"read:timesheets"}), frozenset())


def test_the_memory_of_verdicts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_VERDICTS_REMEMBERED", 4)
    snapshot = policy_forge.snapshot(*(READ.replace("owner", f"role:r{n}").replace("own", f"r{n}") for n in range(20)))
    for number in range(20):
        assert decide(snapshot, f"role:r{number}").allowed
        assert len(snapshot._remembered) <= 4


def test_scopes_that_would_help_are_known_before_facts_are_looked_up() -> None:
    snapshot = policy_forge.snapshot(
        READ, READ.replace("read:timesheets", "approve:timesheets").replace("read-own", "read-to-approve"),
        "p, allow, anyone, read, any, me, any, always, read-me",
        "p, deny, anyone, create, any, timesheet, any, always, no-create",
    )  # fmt: skip
    assert snapshot.scopes_for("timesheet", "read") == ("read:timesheets", "approve:timesheets")
    assert snapshot.could_allow("timesheet", "read", {"approve:timesheets", "openid"})
    assert not snapshot.could_allow("timesheet", "read", {"create:timesheets"})
    assert snapshot.scopes_for("me", "read") == ()
    assert snapshot.could_allow("me", "read", ())
    assert snapshot.scopes_for("timesheet", "create") == ()
    assert not snapshot.could_allow("timesheet", "create", {"create:timesheets"})


def test_the_rules_of_an_action_come_in_the_order_of_the_file() -> None:
    snapshot = policy_forge.snapshot(*policy_forge.read_shipped().rules.splitlines())
    assert [rule.name for rule in snapshot.rules_of("timesheet", "approve")] == [
        "approve-team", "approve-as-delegate", "approve-as-fallback", "approve-as-temporary-approver",
        "never-own-hours", "never-for-owner", "agents-never-approve",
    ]  # fmt: skip
    assert snapshot.rules_of("timesheet", "frobnicate") == ()


def test_a_remembered_verdict_is_the_verdict() -> None:
    snapshot = policy_forge.snapshot(READ)
    first = decide(snapshot, "owner")
    assert decide(snapshot, "owner") is first


def test_many_threads_get_the_same_verdicts() -> None:
    rows = [READ.replace("owner", f"role:r{n}").replace("own", f"r{n}") for n in range(30)]
    deny = "p, deny, role:bad, read, any, timesheet, any, always, no-bad"
    wrong: list[str] = []

    def work(snapshot: engine.Snapshot, seed: int) -> None:
        for step in range(300):
            number = (seed * 31 + step) % 60
            bad = step % 3 == 0
            words = frozenset({f"role:r{number}"} | ({"role:bad"} if bad else set()))
            scopes = frozenset({"read:timesheets", f"s{seed}-{step}"})
            verdict = snapshot.decide(AccessRequest("timesheet", "read", "draft", words, scopes, frozenset()))
            if verdict.allowed is not (number < 30 and not bad):
                wrong.append(f"{words}: {verdict}")

    for _ in range(3):
        fresh = policy_forge.snapshot(*rows, deny)
        threads = [threading.Thread(target=work, args=(fresh, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert fresh.errors == 0
    assert wrong == []


def test_a_fact_that_is_both_true_and_false_is_an_error() -> None:
    snapshot = policy_forge.snapshot(READ.replace("always", "not mfa"))
    access_request = snapshot.access_request(
        "timesheet", "read", "draft", ["owner"], ["read:timesheets"], {"mfa": False}
    )
    assert snapshot.decide(access_request).allowed
    both = replace(access_request, facts=frozenset({("mfa", True), ("mfa", False)}))
    assert snapshot.decide(both).reason is Reason.POLICY_ERROR


def test_many_threads_build_versions_at_once() -> None:
    """Parsing in two threads at once sometimes fails on older Pythons (gh-106905), so builds take turns."""
    text = policy_file.parse(policy_forge.read_shipped())
    with ThreadPoolExecutor(8) as threads:
        built = list(threads.map(lambda number: engine.Snapshot.build(text, number), range(1, 97)))
    assert [snapshot.number for snapshot in built] == list(range(1, 97))


def test_building_a_version_compares_no_row_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """casbin's `add_policy` does, in a time that grows with their square."""

    def never(*_: object) -> bool:
        raise AssertionError("casbin was asked whether it has the row")

    monkeypatch.setattr(Model, "has_policy", never)
    rows = [f"p, allow, role:r{n}, read, any, timesheet, read:timesheets, always, r-{n}" for n in range(50)]
    assert decide(policy_forge.snapshot(*rows), "role:r49").rules == ("r-49",)


def test_casbin_reads_only_the_rows_on_a_word_of_the_caller() -> None:
    rows = [READ.replace("owner", f"role:r{n}").replace("own", f"r{n}") for n in range(500)]
    snapshot = policy_forge.snapshot(*rows, "p, deny, client:x, read, any, timesheet, any, always, no-x")
    read: list[str] = []

    def answers(who: frozenset[str], wanted: str, effect: str) -> bool:
        read.append(wanted)
        return casbin_functions.answers(who, wanted, effect)

    snapshot._parts["timesheet", "read"].enforcer.add_function("answers", answers)
    snapshot._parts["timesheet", "read"].enforcer.parsed = None
    assert decide(snapshot, "role:r7").rules == ("read-r7",)
    assert read == ["role:r7"]
    read.clear()
    assert decide(snapshot, "via:x").rules == ("no-x",)
    assert read == ["client:x"]
    read.clear()
    assert not decide(snapshot, "role:none").allowed
    assert read == ["role:r0"], "casbin may allow everything over no rows, so it gets one"
