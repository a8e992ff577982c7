"""Capabilities agree with the verdicts on every possible request, under the shipped policy and any other."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain, combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from service.authorization.enforcement.capabilities import Availability, Capability, list_capabilities
from service.authorization.enforcement.decision_point import sign_in_facts, who_words
from service.authorization.enforcement.relationships import FactLookup
from service.authorization.engine.engine import Snapshot
from service.identity.principal import Principal, PrincipalKind
from service.policy import laws, policy_file
from service.policy.access_request import NO_STATE
from tests.example_count import example_count
from tests.policy_forge import read_shipped, snapshot

SCOPES = ("read:timesheets", "create:timesheets", "approve:timesheets", "manage:directory", "manage:tokens")
ROLES = ("role:manager", "role:administrator", "role:auditor")
SEEN = FactLookup(1, 1, datetime(2026, 11, 23, tzinfo=UTC), frozenset())
SHIPPED = Snapshot.build(policy_file.parse(read_shipped()), 1)
NOW = int(SEEN.at.timestamp())


def principal(scopes: frozenset[str], roles: frozenset[str], methods: frozenset[str] | None) -> Principal:
    return Principal(
        PrincipalKind.USER, "https://issuer.example", "ana", "app", scopes, roles, None, NOW, NOW + 60, None, methods
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


rows = st.builds(
    "p, {}, {}, {}, {}, timesheet, {}, {}".format,
    st.sampled_from(["allow", "allow", "deny"]),
    st.sampled_from(["owner", "manager", "anyone", "role:manager"]),
    st.sampled_from(["read", "approve", "edit"]),
    st.sampled_from(["any", "draft", "draft or rejected"]),
    st.sampled_from(["any", "read:timesheets", "approve:timesheets"]),
    st.sampled_from(["always", "mfa", "not mfa", "acted_for_owner", "not acted_for_owner and mfa"]),
)
principals = st.builds(
    principal,
    st.frozensets(st.sampled_from(SCOPES)),
    st.frozensets(st.sampled_from(ROLES)),
    st.sampled_from([None, frozenset({"pwd"}), frozenset({"mfa"})]),
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
