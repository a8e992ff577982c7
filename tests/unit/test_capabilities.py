"""Capabilities agree with the verdicts on every possible request, under the shipped policy and any other."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain, combinations, product
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.authorization.enforcement import capabilities
from service.authorization.enforcement.attribute_values import TEAMS
from service.authorization.enforcement.capabilities import (
    Availability,
    Capability,
    list_capabilities,
    list_requestable,
)
from service.authorization.enforcement.decision_point import sign_in_facts, who_words
from service.authorization.enforcement.fact_lookup import FactLookup
from service.authorization.engine.engine import Snapshot
from service.authorization.engine.rule_index import RuleIndex
from service.identity.principal import UNLISTED, Principal, PrincipalKind
from service.policy import laws, policy_file
from service.policy.access_request import NO_STATE, AccessRequest, Verdict
from service.policy.paths import NodeType
from service.policy.request_space import RULES_PER_CASBIN_ROW, smallest_requests
from service.values import replace
from tests import policy_forge
from tests.example_count import example_count
from tests.policy_forge import read_shipped, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.policy.access_request import Rule
    from service.policy.request_space import RequestSpace

T = TypeVar("T")
SCOPES = ("read:timesheets", "create:timesheets", "approve:timesheets", "manage:directory", "manage:tokens")
ROLES = ("role:manager", "role:administrator", "role:auditor")
SEEN = FactLookup(1, 1, datetime(2026, 11, 23, tzinfo=UTC), frozenset())
IN_TEAM = replace(SEEN, caller={TEAMS: ("0198c0de-0000-7000-8000-000000000002",)})
SHIPPED = Snapshot.build(policy_file.parse(read_shipped()), 1)
STATES = SHIPPED.vocabulary.states["timesheet"]
NOW = int(SEEN.at.timestamp())
ANA = UUID("0198c0de-0000-7000-8000-000000000001")
REQUEST = "p, allow, anyone, request, any, access_request, approve:timesheets, always, ask"
PROJECTS = "p, allow, anyone, read, any, project, approve:timesheets, always, see-projects"
READ_AS_APPROVER = "p, allow, temporary_approver, read, any, timesheet, any, always, read-as-approver"
# Relations to ask for on teams and on projects, one that a grant of another gives too, and one that goes to delegates.
ASKED_FOR = """
[kinds.timesheet.relations.project_helper]
is = "resource.projects.granted - resource.owner"
yes = "x"
no = "y"

[kinds.timesheet.relations.reviewer]
is = "resource.temporary_approver | resource.manager"
yes = "x"
no = "y"

[kinds.timesheet.relations.helpers_delegate]
is = "resource.owner.teams.granted.delegates - resource.owner"
yes = "x"
no = "y"
"""
GIVEN = {
    "helpers_delegate": frozenset[str](),
    "project_helper": frozenset({"project_helper"}),
    "temporary_approver": frozenset({"temporary_approver", "reviewer"}),
}


def principal(scopes: frozenset[str], roles: frozenset[str], methods: frozenset[str] | None) -> Principal:
    return Principal(
        PrincipalKind.USER,
        "https://issuer.example",
        "ana",
        "app",
        scopes,
        roles,
        None,
        NOW,
        NOW + 60,
        None,
        methods,
        person=ANA,
    )


def possible_verdicts(policy: Snapshot, who: Principal, kind: str, action: str) -> set[bool]:
    """The verdicts on every possible resource, until both have occurred."""
    vocabulary = policy.vocabulary
    relations, names = sorted(vocabulary.relations.get(kind, ())), sorted(vocabulary.facts.get(kind, ()))
    signed_in, asking = sign_in_facts(policy, who, NOW), who_words(who, SEEN)
    found: set[bool] = set()
    for state in sorted(vocabulary.states.get(kind, ())) or [NO_STATE]:
        for held in chain.from_iterable(combinations(relations, size) for size in range(len(relations) + 1)):
            for values in product((True, False, None), repeat=len(names)):
                facts = {**dict(zip(names, values, strict=True)), **signed_in}
                access_request = policy.access_request(kind, action, state, asking.union(held), who.scopes, facts)
                found.add(policy.decide(access_request).allowed and not laws.law_forbids(access_request))
                if len(found) > 1:
                    return found
    return found


def agrees(policy: Snapshot, who: Principal, capability: Capability) -> bool:
    wanted = {Availability.ALWAYS: {True}, Availability.DEPENDS: {True, False}}.get(capability.availability, {False})
    return possible_verdicts(policy, who, capability.kind, capability.action) == wanted


READER = principal(frozenset({"read:timesheets"}), frozenset({"role:manager"}), None)
rows = st.builds(
    "p, {}, {}, {}, {}, timesheet, {}, {}".format,
    st.sampled_from(["allow", "allow", "deny"]),
    st.sampled_from(["owner", "manager", "anyone", "anyone", "role:manager", "actor:assistant"]),
    st.sampled_from(["read", "approve", "edit"]),
    st.sampled_from(["any", "draft", "draft or rejected"]),
    st.sampled_from(["any", "read:timesheets", "approve:timesheets"]),
    st.sampled_from(
        ["always", "mfa", "not mfa", "acted_for_owner", "not acted_for_owner and mfa", "agent", "not agent"]
    ),
)
# Actors, and whether an agent acts.
ACTING: list[tuple[tuple[str, ...], bool | None]] = [
    ((), False),
    (("assistant",), True),
    (("tool", "assistant"), True),
    ((UNLISTED,), None),
]
principals = st.builds(
    lambda who, acting: replace(who, actors=acting[0], agent=acting[1]),
    st.builds(
        principal,
        st.frozensets(st.sampled_from(SCOPES)),
        st.frozensets(st.sampled_from(ROLES)),
        st.sampled_from([None, frozenset({"pwd"}), frozenset({"mfa"})]),
    ),
    st.sampled_from(ACTING),
)


@settings(max_examples=example_count(20, uncut=60))
@given(principals)
def test_capabilities_under_the_shipped_policy_agree_with_every_request(who: Principal) -> None:
    assert [
        capability for capability in list_capabilities(SHIPPED, who, SEEN) if not agrees(SHIPPED, who, capability)
    ] == []


@settings(max_examples=example_count(25, uncut=60))
@given(st.lists(rows, min_size=1, max_size=5, unique=True), principals)
def test_capabilities_under_any_policy_agree_with_every_request(lines: list[str], who: Principal) -> None:
    policy = snapshot(*(f"{line}, rule-{number}" for number, line in enumerate(lines)))
    assert [
        capability for capability in list_capabilities(policy, who, SEEN) if not agrees(policy, who, capability)
    ] == []


def test_a_capability_names_the_scopes_relations_and_states_that_would_help() -> None:
    policy = Snapshot.build(policy_file.parse(read_shipped()), 1)
    found = {
        (capability.kind, capability.action): capability
        for capability in list_capabilities(policy, principal(frozenset(), frozenset(), None), SEEN)
    }
    assert found["me", "read"].availability is Availability.ALWAYS
    assert found["timesheet", "approve"].scopes == ("approve:timesheets",)
    assert found["directory", "manage"].availability is Availability.NEVER
    scopes = frozenset({"approve:timesheets"})
    found = {
        (capability.kind, capability.action): capability
        for capability in list_capabilities(policy, principal(scopes, frozenset(), None), SEEN)
    }
    approve = found["timesheet", "approve"]
    assert (approve.availability, approve.as_, approve.states) == (
        Availability.DEPENDS,
        ("fallback", "manager", "temporary_approver"),
        ("submitted",),
    )
    strict = snapshot("p, allow, anyone, read, any, timesheet, any, mfa, with-mfa")
    found = {
        (capability.kind, capability.action): capability
        for capability in list_capabilities(strict, principal(scopes, frozenset(), None), SEEN)
    }
    assert found["timesheet", "read"].availability is Availability.SIGN_IN


def asked_for(*lines: str) -> Snapshot:
    """A policy of these rows, with relations that can be asked for, by everybody who has the scope."""
    text = policy_forge.rows(REQUEST, PROJECTS, *lines)
    return Snapshot.build(policy_file.parse(replace(text, vocabulary=text.vocabulary + ASKED_FOR)), 1)


def actions_by(policy: Snapshot, who: Principal, relations: frozenset[str]) -> dict[str, set[str]]:
    """The states in which some timesheet would be allowed by a rule on these relations, by action: every request."""
    vocabulary, found = policy.vocabulary, dict[str, set[str]]()
    names = sorted(vocabulary.facts["timesheet"])
    words, signed_in = who_words(who, SEEN) | relations, sign_in_facts(policy, who, NOW)
    actions = sorted({rule.action for rule in policy.policy.rules if rule.kind == "timesheet"})
    for action, state in product(actions, sorted(vocabulary.states["timesheet"])):
        who_of = {rule.name: rule.who for rule in policy.rules_of("timesheet", action)}
        for values in product((True, False, None), repeat=len(names)):
            facts = {**dict(zip(names, values, strict=True)), **signed_in}
            request = policy.access_request("timesheet", action, state, words, who.scopes, facts)
            verdict = policy.decide(request)
            if (
                verdict.allowed
                and not laws.law_forbids(request)
                and relations & {who_of[rule] for rule in verdict.rules}
            ):
                found.setdefault(action, set()).add(state)
    return found


rows_on_relations = st.builds(
    "p, {}, {}, {}, {}, timesheet, {}, {}".format,
    st.sampled_from(["allow", "allow", "allow", "deny"]),
    st.sampled_from(["temporary_approver", "reviewer", "project_helper", "helpers_delegate", "role:manager"]),
    st.sampled_from(["read", "approve"]),
    st.sampled_from(["any", "draft", "draft or rejected"]),
    st.sampled_from(["any", "read:timesheets", "approve:timesheets"]),
    st.sampled_from(["always", "mfa", "not mfa", "acted_for_owner", "not acted_for_owner and mfa"]),
)
people_who_ask = st.builds(
    principal,
    st.frozensets(st.sampled_from(["read:timesheets", "manage:directory"])).map(
        frozenset({"approve:timesheets"}).union
    ),
    st.frozensets(st.just("role:manager")),
    st.sampled_from([None, frozenset({"pwd"}), frozenset({"mfa"})]),
)


@settings(max_examples=example_count(100, uncut=400))
@given(st.lists(rows_on_relations, min_size=2, max_size=6, unique=True), people_who_ask)
def test_what_can_be_asked_for_allows_what_a_caller_with_the_relation_could_do(
    lines: list[str], who: Principal
) -> None:
    policy = asked_for(*(f"{line}, rule-{number}" for number, line in enumerate(lines)))
    every_state = policy.vocabulary.states["timesheet"]
    found = list_requestable(policy, who, IN_TEAM)
    assert [requestable.relation for requestable in found] == sorted(GIVEN)
    for requestable in found:
        now = [action for action in requestable.may if action.availability is Availability.DEPENDS]
        assert {action.action: set(action.states) or every_state for action in now} == actions_by(
            policy, who, GIVEN[requestable.relation]
        )
        for action in requestable.may:
            assert requestable.allows(action.action) is (action.availability is not Availability.SCOPE)
            if action.availability is Availability.SCOPE:
                assert set(action.scopes) - who.scopes == set(action.scopes) != set()
                stronger = replace(who, methods=frozenset({"mfa"}), scopes=policy.vocabulary.scopes)
                assert action.action in actions_by(policy, stronger, GIVEN[requestable.relation])


@settings(max_examples=example_count(25, uncut=60))
@given(people_who_ask, st.frozensets(st.sampled_from(sorted(SHIPPED.vocabulary.relations["timesheet"]))))
def test_what_can_be_asked_for_tells_nothing_of_the_resource_that_was_looked_up(
    who: Principal, relations: frozenset[str]
) -> None:
    seen = replace(IN_TEAM, relations=relations, facts={"acted_for_owner": True})
    assert list_requestable(SHIPPED, who, seen) == list_requestable(SHIPPED, who, IN_TEAM)


def test_nothing_can_be_asked_for_by_who_may_not_ask_nor_where_the_policy_has_nothing() -> None:
    able = principal(frozenset({"approve:timesheets", "read:timesheets"}), frozenset(), None)
    (found,) = list_requestable(SHIPPED, able, IN_TEAM)
    assert (found.relation, sorted(action.action for action in found.may)) == (
        "temporary_approver",
        ["approve", "read", "reject"],
    )
    assert not found.allows("reopen")
    (found,) = list_requestable(SHIPPED, replace(able, agent=True), IN_TEAM)
    assert sorted(action.action for action in found.may) == ["read", "reject"]
    assert list_requestable(SHIPPED, replace(able, person=None, kind=PrincipalKind.CLIENT), IN_TEAM) == ()
    assert list_requestable(SHIPPED, replace(able, scopes=frozenset({"read:timesheets"})), IN_TEAM) == ()
    refused = asked_for("p, deny, via:app, request, any, access_request, any, always, not-by-this-app")
    assert list_requestable(refused, able, IN_TEAM) == ()
    text = policy_forge.rows("p, allow, manager, read, any, timesheet, any, always, read")
    for vocabulary in policy_forge.vocabulary_without_paths():
        older = Snapshot.build(policy_file.parse(replace(text, vocabulary=vocabulary)), 1)
        assert list_requestable(older, able, IN_TEAM) == ()


def test_what_can_be_asked_for_is_bounded_for_a_policy_of_thousands_of_rows() -> None:
    """None of which allows: a law forbids what they all ask for."""
    states = [" or ".join(some) for size in (1, 2, 3) for some in combinations(sorted(STATES), size)]
    signed_in = [
        " and ".join(("acted_for_owner", *words))
        for words in product(("mfa", "not mfa"), ("recent_sign_in", "not recent_sign_in"), ("agent", "not agent"))
    ]
    rows = [
        f"p, allow, temporary_approver, approve, {state}, timesheet, {scope}, {facts}, rule-{number}"
        for number, (state, scope, facts) in enumerate(product(states, SCOPES, signed_in))
    ]
    assert len(rows) == 1_000
    policy = asked_for(*rows)
    able = principal(frozenset(SCOPES), frozenset(), frozenset({"pwd"}))
    decided = policy.decide
    requests: list[AccessRequest] = []

    def count(request: AccessRequest) -> Verdict:
        requests.append(request)
        return decided(request)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Snapshot, "decide", lambda _, request: count(request))
        found = {requestable.relation: requestable.may for requestable in list_requestable(policy, able, IN_TEAM)}
    assert found["temporary_approver"] == ()
    assert len([request for request in requests if request.kind == "timesheet"]) <= 2


def test_what_can_be_asked_for_takes_no_more_work_than_its_budget() -> None:
    """Under thousands of rows with four facts each. Work is rules read, requests made and rows that casbin walks."""
    facts = [" and ".join(names) for names in combinations((f"f{number}" for number in range(20)), 4)]
    actions = sorted(SHIPPED.vocabulary.actions["timesheet"])
    rows = [
        f"p, {effect}, {who}, {actions[number % len(actions)]}, any, timesheet, any, {facts[number]}, {effect}-{number}"
        for effect, who in (("allow", "temporary_approver"), ("deny", "anyone"))
        for number in range(2_000)
    ]
    policy = with_facts("timesheet", 20, *rows)
    able = principal(frozenset(SCOPES), frozenset(), frozenset({"pwd"}))
    work = dict.fromkeys(("rules read", "requests made", "rows walked"), 0)
    read, decide = RuleIndex.near, Snapshot.decide

    def count_rules(index: RuleIndex, who: Iterable[str]) -> list[Rule]:
        found = read(index, who)
        work["rules read"] += len(found)
        return found

    def count_requests(*given: Any) -> RequestSpace:
        space = smallest_requests(*given)
        work["requests made"] += 1 + space.size
        return space

    def count_rows(policy: Snapshot, request: AccessRequest) -> Verdict:
        work["rows walked"] += len(read(policy.index_of(request.kind, request.action), request.who))
        with pytest.MonkeyPatch.context() as uncounted:
            uncounted.setattr(RuleIndex, "near", read)
            return decide(policy, request)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RuleIndex, "near", count_rules)
        patched.setattr(capabilities, smallest_requests.__name__, count_requests)
        patched.setattr(Snapshot, "decide", count_rows)
        assert list_requestable(policy, able, IN_TEAM) != ()
    in_rows = work["rules read"] / RULES_PER_CASBIN_ROW + work["requests made"] + work["rows walked"]
    # The last rules that were read may go beyond the budget.
    assert in_rows < 1.1 * capabilities.MAX_REQUESTABLE_ROWS, work


def with_facts(kind: str, count: int, *lines: str) -> Snapshot:
    """A policy of these rows, with facts `f0`, `f1`, ... about resources of the kind."""
    text = policy_forge.rows(REQUEST, PROJECTS, *lines)
    attribute = "resource.until" if kind == "access_request" else "resource.period_start"
    facts = "".join(
        f"\n[kinds.{kind}.facts.f{n}]\nis = \"{attribute} > timestamp('{2030 + n}-01-01T00:00:00Z')\"\n"
        'yes = "y"\nno = "n"\n'
        for n in range(count)
    )
    return Snapshot.build(policy_file.parse(replace(text, vocabulary=text.vocabulary + facts)), 1)


def decisions_for(ask: Callable[[], T]) -> tuple[T, int]:
    """The answer, and how many requests the engine decided for it."""
    decide, requests = Snapshot.decide, list[AccessRequest]()

    def count(policy: Snapshot, request: AccessRequest) -> Verdict:
        requests.append(request)
        return decide(policy, request)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Snapshot, "decide", count)
        return ask(), len(requests)


def test_what_can_be_asked_for_takes_few_decisions_under_denies_on_many_facts() -> None:
    denies = [f"p, deny, anyone, request, any, access_request, any, f{n}, deny-{n}" for n in range(12)]
    able = principal(frozenset({"approve:timesheets", "read:timesheets"}), frozenset(), None)
    policy = with_facts("access_request", 12, READ_AS_APPROVER, *denies)
    found, decisions = decisions_for(lambda: list_requestable(policy, able, IN_TEAM))
    assert [requestable.relation for requestable in found] == ["temporary_approver"]
    assert decisions < 20


def test_capabilities_take_few_decisions_under_denies_on_many_facts() -> None:
    denies = [f"p, deny, manager, read, any, timesheet, any, f{n}, deny-{n}" for n in range(12)]
    policy = with_facts("timesheet", 12, "p, allow, manager, read, any, timesheet, any, always, read-team", *denies)
    found, decisions = decisions_for(lambda: list_capabilities(policy, READER, SEEN))
    (read,) = (able for able in found if (able.kind, able.action) == ("timesheet", "read"))
    assert (read.availability, read.as_) == (Availability.DEPENDS, ("manager",))
    assert decisions < 1_000


def test_capabilities_take_few_decisions_under_a_deny_of_everything_beside_many_facts() -> None:
    allows = [f"p, allow, anyone, read, any, timesheet, any, f{n}, read-{n}" for n in range(12)]
    freeze = "p, deny, anyone, read, any, timesheet, any, always, freeze"
    policy = with_facts("timesheet", 12, *allows, freeze)
    found, decisions = decisions_for(lambda: list_capabilities(policy, READER, SEEN))
    (read,) = (able for able in found if (able.kind, able.action) == ("timesheet", "read"))
    assert read.availability is Availability.NEVER
    assert decisions < 1_000


def entangled(kind: str, action: str) -> list[str]:
    """Denies of everybody that match whatever their 42 facts are, which takes all of 2^20 attempts to see."""
    pairs = [f"f{2 * n} and f{2 * n + 1}" for n in range(20)]
    last = ["f40 and f41", "f40 and not f41", "not f40 and f41", "not f40 and not f41"]
    return [
        f"p, deny, anyone, {action}, any, {kind}, any, {facts}, entangled-{n}"
        for n, facts in enumerate([*pairs, *last])
    ]


def test_a_capability_that_takes_too_many_attempts_counts_as_possible() -> None:
    allow = "p, allow, manager, read, any, timesheet, any, always, read-team"
    policy = with_facts("timesheet", 42, allow, *entangled("timesheet", "read"))
    found = {(able.kind, able.action): able for able in list_capabilities(policy, READER, SEEN)}
    read = found["timesheet", "read"]
    assert (read.availability, read.as_) == (Availability.DEPENDS, ("manager",))
    assert found["timesheet", "edit"].availability is Availability.NEVER


def test_a_capability_that_takes_too_many_attempts_names_only_what_some_rule_could_give() -> None:
    allows = [
        "p, allow, manager, approve, submitted, timesheet, any, mfa, approve-team",
        "p, allow, delegate, approve, rejected, timesheet, any, not mfa, approve-as-delegate",
        "p, allow, owner, approve, draft, timesheet, any, always, approve-own",
        "p, allow, fallback, approve, approved, timesheet, any, acted_for_owner, approve-after-acting",
        "p, allow, manager, lock, approved, timesheet, any, mfa, lock-team",
    ]
    denies = [
        "p, deny, owner, approve, any, timesheet, any, always, never-own-hours",
        "p, deny, anyone, approve, any, timesheet, any, acted_for_owner, never-for-owner",
        *entangled("timesheet", "approve"),
        *(deny.replace("entangled-", "lock-") for deny in entangled("timesheet", "lock")),
    ]
    policy = with_facts("timesheet", 42, *allows, *denies)
    signed_in = replace(READER, methods=frozenset({"mfa"}))
    found = {(able.kind, able.action): able for able in list_capabilities(policy, signed_in, SEEN)}
    for action, state in (("approve", "submitted"), ("lock", "approved")):
        able = found["timesheet", action]
        assert (able.availability, able.as_, able.states) == (Availability.DEPENDS, ("manager",), (state,))


def test_nothing_is_offered_where_asking_takes_too_many_attempts_to_try() -> None:
    able = principal(frozenset({"approve:timesheets", "read:timesheets"}), frozenset(), None)
    assert list_requestable(with_facts("access_request", 42, READ_AS_APPROVER), able, IN_TEAM) != ()
    policy = with_facts("access_request", 42, READ_AS_APPROVER, *entangled("access_request", "request"))
    assert list_requestable(policy, able, IN_TEAM) == ()


def test_what_can_be_asked_for_is_on_places_that_the_caller_could_name() -> None:
    able = principal(frozenset({"approve:timesheets"}), frozenset(), None)
    teams, projects = frozenset({NodeType.TEAMS}), frozenset({NodeType.PROJECTS})

    def places(policy: Snapshot, lookup: FactLookup) -> dict[str, frozenset[NodeType]]:
        return {requestable.relation: requestable.on for requestable in list_requestable(policy, able, lookup)}

    policy = asked_for()
    assert places(policy, SEEN) == {"project_helper": projects}
    everywhere = {"helpers_delegate": teams, "project_helper": projects, "temporary_approver": teams}
    assert places(policy, IN_TEAM) == everywhere
    reads = "p, allow, anyone, read, any, directory, approve:timesheets, always, read-directory"
    assert places(asked_for(reads), SEEN) == everywhere
