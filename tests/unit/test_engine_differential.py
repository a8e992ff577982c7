"""Property tests: our engine decides as a naive reading of the rules and as stock casbin do."""

from __future__ import annotations

from dataclasses import replace

import casbin
from casbin.model import Model
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.authorization.engine import engine
from service.authorization.engine.engine import Snapshot
from service.authorization.engine.explanation import explain
from service.policy import casbin_model
from service.policy.access_request import NO_STATE, AccessRequest, Condition, Effect, Reason, Rule
from tests import policy_forge
from tests.example_count import example_count

# `log.read` is an action with the same name on another kind, which has no states.
ACTIONS = ["read", "edit", "approve", "log.read"]
STATES = ["draft", "submitted", "approved"]
WHO = [
    "owner",
    "manager",
    "anyone",
    "role:a",
    "role:b",
    "role:c",
    "group:g",
    "client:x",
    "via:x",
    "actor:x",
    "person:p",
]
# Words of callers from before an erasure, and of earlier actors; no rule names them.
FORMER = ["former:owner", "former:person:p", "former:actor:x"]
SCOPES = ["read:timesheets", "approve:timesheets", "create:timesheets"]
FACTS = ["mfa", "acted_for_owner", "recent_sign_in"]
LINKS = [("role:a", "role:b"), ("role:b", "role:c"), ("role:a", "role:c")]

rules = st.builds(
    Rule,
    name=st.just(""),
    effect=st.sampled_from([Effect.ALLOW, Effect.ALLOW, Effect.DENY]),
    who=st.sampled_from(WHO),
    action=st.sampled_from(ACTIONS),
    states=st.frozensets(st.sampled_from(STATES), max_size=2),
    kind=st.just("timesheet"),
    scope=st.sampled_from(["any", *SCOPES]),
    when=st.lists(
        st.builds(Condition, st.sampled_from(FACTS), st.booleans()),
        max_size=2,
        unique_by=lambda condition: condition.fact,
    ).map(tuple),
)
requests = st.tuples(
    st.sampled_from(ACTIONS),
    st.sampled_from([*STATES, NO_STATE]),
    st.frozensets(st.sampled_from([*WHO, *FORMER]), max_size=4),
    st.frozensets(st.sampled_from(SCOPES), max_size=2),
    st.dictionaries(st.sampled_from(FACTS), st.sampled_from([True, False, None])),
)
links = st.lists(st.sampled_from(LINKS), unique=True)
# A client is denied, and an owner acts through it in each of its roles.
NO_CLIENT = [
    Rule("", Effect.ALLOW, "owner", "read", frozenset(), "timesheet", "any", ()),
    Rule("", Effect.DENY, "client:x", "read", frozenset(), "timesheet", "any", ()),
]
CLIENTS: list[tuple[object, ...]] = [
    ("read", "draft", frozenset({"owner", word}), frozenset(), {})
    for word in ("anyone", "client:x", "via:x", "actor:x", "former:actor:x")
]
policies = st.lists(rules, min_size=1, max_size=12)

SHIPPED = policy_forge.policy("p, allow, owner, read, any, timesheet, any, always, x")


def kind_of(action: str) -> str:
    return "log" if action.startswith("log.") else "timesheet"


def asked_about(request: tuple[object, ...]) -> tuple[str, str, str]:
    """Kind, action and state of a request."""
    action, state = str(request[0]), str(request[1])
    kind = kind_of(action)
    return kind, action.removeprefix("log."), state if kind == "timesheet" else NO_STATE


def build(given_rules: list[Rule], role_links: list[tuple[str, str]]) -> Snapshot:
    named = tuple(
        replace(rule, name=f"rule-{n}", kind=kind_of(rule.action), action=rule.action.removeprefix("log."), line=n)
        for n, rule in enumerate(given_rules)
    )
    policy = type(SHIPPED)(named, tuple(role_links), SHIPPED.vocabulary, SHIPPED.model, SHIPPED.text)
    return Snapshot.build(policy, 1)


def naive(snapshot: Snapshot, request: tuple[object, ...]) -> bool:
    """The rules as policies/README.md describes them, read without any code of the engine."""
    _, _, who, scopes, facts = request
    kind, action, state = asked_about(request)
    words = {*who, "anyone"}  # type: ignore[misc]  # a tuple of strategies has no better type
    for _ in LINKS:
        words |= {included for role, included in snapshot.policy.role_links if role in words}
    effects = set()
    for rule in snapshot.policy.rules:
        deny = rule.effect == "deny"
        also = {f"former:{rule.who}"} if deny else set()
        if deny and rule.who.startswith("client:"):
            also = {rule.who.replace("client:", form) for form in ("via:", "actor:", "former:actor:")}
        who_holds = rule.who in words or bool(also & words)
        state_holds = not rule.states or state in rule.states
        scope_holds = rule.scope == "any" or rule.scope in scopes  # type: ignore[operator]  # as above
        facts_hold = True
        for condition in rule.when:
            value = facts.get(condition.fact)  # type: ignore[attr-defined]  # as above
            facts_hold &= deny if value is None else value != condition.negated
        if (rule.kind, rule.action) == (kind, action) and who_holds and state_holds and scope_holds and facts_hold:
            effects.add(str(rule.effect))
    return effects == {"allow"}


def stock(snapshot: Snapshot) -> casbin.Enforcer:
    """Unchanged casbin with the shipped model and all rows in a list."""
    model = Model()
    model.load_model_from_text(casbin_model.MODEL)
    enforcer = casbin.Enforcer(model)
    enforcer.add_function("answers", lambda who, word, effect: word in who or (
        effect == "deny" and ("former:" + word in who or (
            word == "client:x" and not who.isdisjoint({"via:x", "actor:x", "former:actor:x"})))))  # fmt: skip
    enforcer.add_function("stands", lambda state, wanted: wanted == "any" or state in wanted.split(" or "))
    enforcer.add_function("granted", lambda scopes, wanted: wanted in {"any", *scopes})
    enforcer.add_function("holds", stock_holds)
    for rule in snapshot.policy.rules:
        when = (
            " and ".join(("not " if condition.negated else "") + condition.fact for condition in rule.when) or "always"
        )
        state = " or ".join(rule.states) or "any"
        row = [rule.effect.value, rule.who, rule.action, state, rule.kind, rule.scope, when, rule.name]
        enforcer.model.add_policy("p", "p", row)
    return enforcer


def stock_holds(facts: frozenset[tuple[str, bool]], when: str, effect: str) -> bool:
    known = dict(facts)
    parts = [] if when == "always" else when.split(" and ")
    for part in parts:
        value = known.get(part.split()[-1])
        wanted = not part.startswith("not ")
        if value is not wanted and not (value is None and effect == "deny"):
            return False
    return True


def access_request(snapshot: Snapshot, request: tuple[object, ...]) -> AccessRequest:
    _, _, who, scopes, facts = request
    return snapshot.access_request(*asked_about(request), who, scopes, facts)  # type: ignore[arg-type]  # as above


@settings(max_examples=example_count(100, uncut=150))
@example(given_rules=NO_CLIENT, role_links=[], asked=CLIENTS)
@given(given_rules=policies, role_links=links, asked=st.lists(requests, min_size=5, max_size=15))
def test_the_engine_decides_as_a_naive_reading_and_as_stock_casbin(
    given_rules: list[Rule], role_links: list[tuple[str, str]], asked: list[tuple[object, ...]]
) -> None:
    snapshot = build(given_rules, role_links)
    plain = stock(snapshot)
    for request in asked:
        ours = access_request(snapshot, request)
        verdict = snapshot.decide(ours)
        thing = engine.CasbinResource(ours.kind, ours.state)
        assert verdict.allowed is naive(snapshot, request)
        assert verdict.allowed is plain.enforce(ours.who, ours.action, thing, ours.scopes, ours.facts)
        assert snapshot.decide(ours) == verdict
        why = explain(snapshot.policy.rules, ours)
        assert verdict.rules == (why.allowed_by if verdict.allowed else why.denied_by)
        assert bool(why.near_misses) <= (not verdict.allowed)
        counts = [len(miss.conditions) for miss in why.near_misses]
        assert counts == sorted(counts)
        assert 0 not in counts
    assert snapshot.errors == 0


@settings(max_examples=example_count(100, uncut=150))
@given(
    given_rules=policies,
    role_links=links,
    request=requests,
    who=st.frozensets(st.text(min_size=1, max_size=8)),
    scopes=st.frozensets(st.text(min_size=1, max_size=8)),
    facts=st.dictionaries(st.text(min_size=1, max_size=8), st.booleans()),
)
def test_a_verdict_never_depends_on_words_outside_the_snapshot(
    *,
    given_rules: list[Rule],
    role_links: list[tuple[str, str]],
    request: tuple[str, str, frozenset[str], frozenset[str], dict[str, bool | None]],
    who: frozenset[str],
    scopes: frozenset[str],
    facts: dict[str, bool],
) -> None:
    snapshot = build(given_rules, role_links)
    _, _, known_who, known_scopes, known_facts = request
    kind, action, state = asked_about(request)
    plain = snapshot.access_request(kind, action, state, known_who, known_scopes, known_facts)
    more = snapshot.access_request(
        kind, action, state, known_who | who, known_scopes | scopes, {**facts, **known_facts}
    )
    whole = AccessRequest(
        kind, action, state, snapshot.close(known_who | who), known_scopes | scopes,
        frozenset((name, value) for name, value in {**facts, **known_facts}.items() if value is not None),
    )  # fmt: skip
    assert more == plain
    assert snapshot.decide(whole) == snapshot.decide(plain)


@given(given_rules=policies, request=requests)
def test_what_could_not_be_allowed_is_never_allowed(given_rules: list[Rule], request: tuple[object, ...]) -> None:
    snapshot = build(given_rules, [])
    asked = access_request(snapshot, request)
    verdict = snapshot.decide(asked)
    if not snapshot.could_allow(asked.kind, asked.action, asked.scopes):
        assert not verdict.allowed
    if verdict.reason is Reason.ALLOWED and snapshot.scopes_for(asked.kind, asked.action):
        assert asked.scopes & set(snapshot.scopes_for(asked.kind, asked.action))
