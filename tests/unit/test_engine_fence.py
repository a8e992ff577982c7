"""The ways in which casbin fails open, each with a test that our engine refuses it.

The failure is reproduced with stock casbin where that takes a line or two, so that the claim stays true.
"""

from __future__ import annotations

import casbin
import pytest
from casbin.model import Model

from service.authorization.engine import engine
from service.authorization.engine.engine import Snapshot
from service.errors import PolicyRejected
from service.policy import casbin_model, policy_file
from service.policy.access_request import AccessRequest, Condition, Effect, Reason, Rule, Verdict
from service.policy.policy_file import Policy
from tests import policy_forge

READ = "p, allow, owner, read, any, timesheet, read:timesheets, always, read-own"
DENY = "p, deny, role:bad, read, any, timesheet, any, always, no-bad"
ERROR = Verdict(False, Reason.POLICY_ERROR)


def rule(**changed: object) -> Rule:
    fields: dict[str, object] = {
        "name": "read-own", "effect": Effect.ALLOW, "who": "owner", "action": "read", "states": frozenset(),
        "kind": "timesheet", "scope": "read:timesheets", "when": (),
    }  # fmt: skip
    return Rule(**{**fields, **changed})  # type: ignore[arg-type]  # some of these are wrong on purpose


def policy(*rules: Rule, model: str = casbin_model.MODEL) -> Policy:
    text = policy_forge.rows(READ)
    return Policy(rules, (), policy_file.parse(text).vocabulary, model, text)


def access_request(*who: str, scopes: object = frozenset({"read:timesheets"}), **changed: object) -> AccessRequest:
    fields: dict[str, object] = {
        "kind": "timesheet", "action": "read", "state": "draft", "who": frozenset(who), "scopes": scopes,
        "facts": frozenset(),
    }  # fmt: skip
    return AccessRequest(**{**fields, **changed})  # type: ignore[arg-type]  # some of these are wrong on purpose


def stock(effect: str, matcher: str, *rows: list[str], columns: str = "eft, sub, act") -> casbin.Enforcer:
    model = Model()
    model.load_model_from_text(
        f"[request_definition]\nr = sub, act\n[policy_definition]\np = {columns}\n"
        f"[policy_effect]\ne = {effect}\n[matchers]\nm = {matcher}\n"
    )
    enforcer = casbin.Enforcer(model)
    for row in rows:
        enforcer.model.add_policy("p", "p", row)
    return enforcer


ALLOW_AND_NO_DENY = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
PLAIN = "r.sub == p.sub && r.act == p.act"


def test_an_empty_policy_is_not_built() -> None:
    assert stock(ALLOW_AND_NO_DENY, PLAIN).enforce("", "") is True
    with pytest.raises(PolicyRejected, match="empty"):
        Snapshot.build(policy(), 1)


def test_an_empty_request_is_denied() -> None:
    snapshot = policy_forge.snapshot(READ)
    assert snapshot.decide(AccessRequest("", "", "", frozenset(), frozenset(), frozenset())) == ERROR
    assert not snapshot.decide(AccessRequest("timesheet", "read", "", frozenset(), frozenset(), frozenset())).allowed


@pytest.mark.parametrize(
    "effect",
    [
        "!some(where (p.eft == deny))",
        "some(where (p.eft == allow))",
        "priority(p.eft) || deny",
        "subjectPriority(p.eft) || deny",
        "some(where(p.eft==allow)) && !some(where(p.eft==deny))",
    ],
)
def test_another_effect_is_not_built(effect: str) -> None:
    assert stock("!some(where (p.eft == deny))", PLAIN, ["allow", "a", "b"]).enforce("x", "y") is True
    with pytest.raises(PolicyRejected, match="model is fixed"):
        Snapshot.build(policy(rule(), model=casbin_model.MODEL.replace(casbin_model.EFFECT, effect)), 1)


def test_a_matcher_that_evaluates_rule_text_is_not_built() -> None:
    broken_out = stock(ALLOW_AND_NO_DENY, "r.act == p.act && eval(p.sub)", ["allow", "False) or (True", "read"])
    assert broken_out.enforce("x", "delete") is True
    model = casbin_model.MODEL.replace("holds(r.facts, p.when, p.eft)", "eval(p.when)")
    with pytest.raises(PolicyRejected, match=r"eval\("):
        Snapshot.build(policy(rule(), model=model), 1)


@pytest.mark.parametrize("text", ["False) or (True", "r.sub.drop()", "regexMatch(r.sub)", "a && b", "hi!there"])
def test_expressions_in_a_row_are_words_that_no_caller_has(text: str) -> None:
    snapshot = Snapshot.build(policy(rule(who=text), rule(name="two", when=(Condition(text),))), 1)
    assert snapshot.decide(access_request("owner", "True", "anyone")) == Verdict(False, Reason.NO_RULE)
    assert snapshot.errors == 0


def test_switching_enforcement_off_allows_nothing() -> None:
    snapshot = policy_forge.snapshot(READ)
    snapshot._parts["timesheet", "read"].enforcer.enable_enforce(False)
    assert snapshot.decide(access_request("manager")) == ERROR
    assert snapshot.errors == 1


@pytest.mark.parametrize("effect", ["dney", "Deny", "ALLOW", "", "allow"])
def test_an_effect_that_is_not_one_of_the_two_is_not_built(effect: str) -> None:
    ignored = stock(ALLOW_AND_NO_DENY, PLAIN, ["allow", "x", "read"], ["dney", "x", "read"])
    assert ignored.enforce("x", "read") is True
    with pytest.raises(PolicyRejected):
        Snapshot.build(policy(rule(), rule(name="odd", effect=effect)), 1)


@pytest.mark.parametrize("field", ["name", "who", "scope"])
@pytest.mark.parametrize("text", ["", " ", "a, b", " owner"])
def test_a_blank_field_or_one_with_a_comma_is_not_built(field: str, text: str) -> None:
    with pytest.raises(PolicyRejected, match="blank or holds a comma"):
        Snapshot.build(policy(rule(**{field: text})), 1)


def test_a_row_with_an_unknown_action_or_a_repeated_name_is_not_built() -> None:
    with pytest.raises(PolicyRejected, match="not in the vocabulary"):
        Snapshot.build(policy(rule(action="frobnicate")), 1)
    with pytest.raises(PolicyRejected, match="used twice"):
        Snapshot.build(policy(rule(), rule(who="manager")), 1)


def test_a_row_that_is_too_short_denies_its_action_and_raises_nothing() -> None:
    with pytest.raises(RuntimeError, match="invalid policy size"):
        stock(ALLOW_AND_NO_DENY, PLAIN, ["allow", "x"]).enforce("x", "read")
    snapshot = policy_forge.snapshot(READ)
    snapshot._parts["timesheet", "read"].enforcer.rows["owner"].insert(0, ["allow", "owner"])
    assert snapshot.decide(access_request("owner")) == ERROR
    assert snapshot.decide(access_request("owner")) == ERROR, "an error is not remembered as a verdict"
    assert snapshot.errors == 2


def test_a_request_of_another_shape_is_denied_and_raises_nothing() -> None:
    with pytest.raises(RuntimeError, match="invalid request size"):
        stock(ALLOW_AND_NO_DENY, PLAIN, ["allow", "x", "read"]).enforce("x")
    snapshot = policy_forge.snapshot(READ)
    for odd in (
        access_request("owner", who=["owner"]),
        access_request("owner", who=None),
        access_request("owner", facts={"mfa": True}),
        access_request("owner", facts=frozenset({"mfa"})),
        access_request("owner", kind=None),
        access_request("owner", state=["draft"]),
        None,
    ):
        assert snapshot.decide(odd) == ERROR  # type: ignore[arg-type]  # that is the point


def test_a_scope_is_not_found_inside_another_one() -> None:
    substring = stock(ALLOW_AND_NO_DENY, "p.sub in r.sub", ["allow", "read:timesheets", "x"])
    assert substring.enforce("read:timesheets_all", "x") is True
    snapshot = policy_forge.snapshot(READ)
    for scopes in ("read:timesheets_all", "read:timesheets"):
        assert snapshot.decide(access_request("owner", scopes=scopes)) == ERROR
    for other in ("read:timesheets_all", "xread:timesheets", "read:timesheets\n", "READ:TIMESHEETS", "read", "any", ""):
        assert not snapshot.decide(access_request("owner", scopes=frozenset({other}))).allowed


def test_words_match_whole_and_to_their_end() -> None:
    snapshot = policy_forge.snapshot(READ, READ.replace("owner", "client:a.b").replace("read-own", "read-client"))
    for word in ("owner\n", "owner/", "own", "client:aXb", "client:a.b\n", "client:a", "any"):
        assert not snapshot.decide(access_request(word)).allowed


def test_an_id_that_reads_like_a_role_is_no_role() -> None:
    snapshot = policy_forge.snapshot(READ.replace("owner", "role:auditor"))
    for word in ("auditor", "person:auditor", "client:role:auditor", "via:auditor"):
        assert not snapshot.decide(
            snapshot.access_request("timesheet", "read", "draft", [word], ["read:timesheets"], {})
        ).allowed


def test_many_scopes_times_many_rules_are_not_too_many_steps() -> None:
    rows = [READ.replace("owner", f"role:r{n}").replace("own", f"r{n}") for n in range(700)]
    scopes = frozenset({"read:timesheets"} | {f"s{n}" for n in range(40)})
    assert policy_forge.snapshot(*rows).decide(access_request("role:r699", scopes=scopes)).allowed


def test_a_method_of_a_plain_object_is_no_state() -> None:
    snapshot = policy_forge.snapshot(READ)
    for state in ("items", "__class__", "{}"):
        assert snapshot.decide(access_request("owner", state=state)) == ERROR


def test_ten_thousand_unknown_roles_take_no_memory() -> None:
    snapshot = policy_forge.snapshot(READ, DENY, "g, role:a, role:bad")
    for number in range(10_000):
        snapshot.decide(
            snapshot.access_request("timesheet", "read", "draft", [f"role:{number}"], ["read:timesheets"], {})
        )
    assert len(snapshot._remembered) == 1
    assert set(snapshot._roles._included) == {"role:a"}
    for part in snapshot._parts.values():
        assert part.enforcer.get_role_manager().all_roles == {}


def test_a_request_is_denied_when_casbin_and_our_own_reading_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = policy_forge.snapshot(READ, DENY)
    monkeypatch.setattr(engine, "matches", lambda *_: False)
    assert snapshot.decide(access_request("owner")) == ERROR
    monkeypatch.setattr(engine, "matches", lambda rule, _: rule.effect is Effect.ALLOW)
    assert snapshot.decide(access_request("owner", "role:bad")) == ERROR


def test_an_answer_of_casbin_that_is_no_bool_denies() -> None:
    snapshot = policy_forge.snapshot(READ)
    snapshot._parts["timesheet", "read"].enforcer.add_function("answers", lambda *_: "yes")
    assert snapshot.decide(access_request("manager")) == ERROR


def test_the_matcher_is_parsed_once() -> None:
    snapshot = policy_forge.snapshot(READ)
    enforcer = snapshot._parts["timesheet", "read"].enforcer
    parsed = enforcer.parsed
    for number in range(5):
        snapshot.decide(access_request("owner", f"x{number}"))
    assert enforcer.parsed is parsed
