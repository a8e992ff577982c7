"""The index gives the same results as reading every rule, and the cost does not grow with rules about others."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.authorization.enforcement.access import find_named, find_ways
from service.authorization.enforcement.capabilities import list_capabilities
from service.authorization.enforcement.changes import Caller
from service.authorization.enforcement.decision_point import Resource, decide
from service.authorization.enforcement.fact_lookup import About, FactLookup
from service.authorization.enforcement.refusal import refusal_of
from service.authorization.enforcement.visibility import visible
from service.authorization.engine import engine
from service.authorization.engine.explanation import (
    MAX_SENTENCES,
    explain,
    explain_nearest,
    nearest,
    sentences_for_caller,
)
from service.errors import Forbidden
from service.identity.principal import Principal, PrincipalKind
from service.policy.access_request import AccessRequest, Effect, Rule
from service.policy.request_space import Budget
from service.timesheets.relations import TIMESHEET_FACTS
from tests import policy_forge
from tests.example_count import example_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import asyncpg

    from service.authorization.engine.engine import Snapshot

T = TypeVar("T")
BEN = "person:" + "2" * 8 + "-2222-2222-2222-" + "2" * 12
WHO = ["owner", "manager", "role:a", "role:b", "role:c", "group:g", BEN, "client:job", "via:app", "anyone"]
STATES = ["draft", "submitted", "approved", "rejected"]
SCOPES = ["read:timesheets", "approve:timesheets", "create:timesheets"]
WHEN = ["always", "mfa", "not mfa", "acted_for_owner", "mfa and not acted_for_owner", "recent_sign_in"]

rows = st.builds(
    "p, {}, {}, read, {}, timesheet, {}, {}".format,
    st.sampled_from(["allow", "allow", "allow", "deny"]),
    st.sampled_from(WHO),
    st.sampled_from(["any", *STATES, "draft or rejected"]),
    st.sampled_from(["any", *SCOPES]),
    st.sampled_from(WHEN),
)
access_requests = st.builds(
    AccessRequest,
    st.just("timesheet"),
    st.just("read"),
    st.sampled_from(STATES),
    st.frozensets(st.sampled_from(WHO[:-1])).map(lambda who: who | {"anyone"}),
    st.frozensets(st.sampled_from(SCOPES)),
    st.dictionaries(st.sampled_from(["mfa", "acted_for_owner", "recent_sign_in"]), st.booleans()).map(
        lambda facts: frozenset(facts.items())
    ),
)


@settings(max_examples=example_count(300))
@given(st.lists(rows, min_size=1, max_size=40, unique=True), access_requests)
def test_the_nearest_rules_explain_as_all_rules_do(lines: list[str], access_request: AccessRequest) -> None:
    version = policy_forge.snapshot(*(f"{line}, rule-{number}" for number, line in enumerate(lines)))
    words = access_request, version.vocabulary
    whole = explain(version.rules_of("timesheet", "read"), access_request)
    near = explain_nearest(version.index_of("timesheet", "read"), access_request)
    assert (near.allowed_by, near.denied_because) == (whole.allowed_by, whole.denied_because)
    assert sentences_for_caller(near, *words) == sentences_for_caller(whole, *words)
    assert nearest(near, *words)[:MAX_SENTENCES] == nearest(whole, *words)[:MAX_SENTENCES]
    own = {rule.name for rule in version.rules_of("timesheet", "read") if rule.who in access_request.who}
    assert [near_miss for near_miss in near.near_misses if near_miss.rule in own] == [
        near_miss for near_miss in whole.near_misses if near_miss.rule in own
    ]


def test_the_nearest_of_thousands_of_other_rules_is_found_at_any_place() -> None:
    lines = [f"p, allow, role:r{n}, read, approved, timesheet, approve:timesheets, mfa, far-{n}" for n in range(3_000)]
    version = policy_forge.snapshot(*lines, "p, allow, role:x, read, draft, timesheet, read:timesheets, always, close")
    access_request = version.access_request("timesheet", "read", "draft", ["role:y"], ["read:timesheets"], {})
    error = refusal_of(version, decide(version, asking().principal, "read", Resource("timesheet"), lookup()), None)
    assert nearest(
        explain_nearest(version.index_of("timesheet", "read"), access_request), access_request, version.vocabulary
    )[0].rule == ("close")
    assert isinstance(error, Forbidden)


def asking() -> Caller:
    principal = Principal(
        PrincipalKind.USER, "", "", "app", frozenset(SCOPES), frozenset({"role:r7", "role:mine"}), None, 0, 1,
        authenticated_at=0, methods=frozenset(), person=UUID(int=7),
    )  # fmt: skip
    return Caller(principal, "r", "GET", "/v1/test")


def lookup(about: About = About.KIND) -> FactLookup:
    return FactLookup(
        1, 1, datetime(2026, 11, 23, tzinfo=UTC), frozenset(), about=about, evaluated=frozenset({"owner"})
    )


def many(count: int, who: str = "role:r{}") -> Snapshot:
    """A version with this many rows about reading that do not concern the caller, or that do with `role:mine`."""
    lines = [
        f"p, allow, {who.format(n)}, read, {STATES[n % 4]}, timesheet, {SCOPES[n % 3]}, mfa, r-{n}"
        for n in range(8, count)
    ]
    return policy_forge.snapshot(*lines, "p, allow, role:r7, read, draft, timesheet, read:timesheets, always, own")


def rows_looked_at(monkeypatch: pytest.MonkeyPatch, version: Snapshot, work: Callable[[], object]) -> int:
    """How often the work reads something of a rule, or takes one out of the index, the second time: whatever is
    remembered is remembered then. Steps of the interpreter are not counted: each version of Python takes others."""
    work()
    count = 0

    def read(rule: Rule, name: str) -> object:
        nonlocal count
        count += 1
        return object.__getattribute__(rule, name)

    class Counted(tuple[T, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[T]:
            nonlocal count
            for rule in super().__iter__():
                count += 1
                yield rule

    index = version.index_of("timesheet", "read")
    counted = {
        "rules": Counted(index.rules),
        "_by_word": {word: Counted(places) for word, places in index._by_word.items()},
        "_shapes": Counted(Counted(places) for places in index._shapes),
    }
    plain = {name: getattr(index, name) for name in counted}
    with monkeypatch.context() as patched:
        patched.setattr(Rule, "__getattribute__", read, raising=False)
        for name, value in counted.items():
            object.__setattr__(index, name, value)
        work()
    for name, value in plain.items():
        object.__setattr__(index, name, value)
    return count


def about_a_row(version: Snapshot, state: str) -> object:
    row = cast("asyncpg.Record", {"id": UUID(int=1)})
    found = FactLookup(
        1, 1, datetime(2026, 11, 23, tzinfo=UTC), frozenset(), row=row, about=About.ROW,
        facts={"acted_for_owner": False, "locked_by_asker": False}, evaluated=frozenset({"owner"}),
        on_behalf_of=UUID(int=9),
    )  # fmt: skip
    decision = decide(version, asking().principal, "read", Resource("timesheet", "1", None, state, 1), found)
    return decision.allowed or refusal_of(version, decision, None)


def a_list(version: Snapshot, _: str) -> object:
    decision = decide(version, asking().principal, "read", Resource("timesheet"), lookup(About.LIST))
    return visible(version, decision.access_request, asking().principal, lookup(About.LIST), TIMESHEET_FACTS).condition


def of_me(version: Snapshot, _: str) -> object:
    return list_capabilities(version, asking().principal, lookup())


def of_access(version: Snapshot, state: str) -> object:
    facts = {"acted_for_owner": False, "locked_by_asker": False}
    who = find_named(version, "timesheet", ("read",))
    return who, find_ways(version, ("timesheet", state), "read", {"owner", "role:r7"}, facts, Budget())


@pytest.mark.parametrize("state", ["draft", "approved"])
@pytest.mark.parametrize("ask", [about_a_row, a_list, of_me, of_access])
def test_a_repeated_request_reads_the_same_rows_under_a_larger_policy(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Snapshot, str], object], state: str
) -> None:
    few, more = (
        rows_looked_at(monkeypatch, version, partial(ask, version, state)) for version in (many(20), many(1_500))
    )
    assert few == more


@pytest.mark.parametrize("ask", [about_a_row, a_list])
def test_a_first_request_reads_only_rows_near_the_caller(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Snapshot, str], object]
) -> None:
    """Only casbin's verdict is remembered here."""
    versions = many(60), many(1_500)
    for version in versions:
        ask(version, "approved")
    monkeypatch.setattr(engine.Snapshot, "memoize", forgetful)
    few, more = (rows_looked_at(monkeypatch, version, partial(ask, version, "approved")) for version in versions)
    assert 0 < more < 1.5 * few


def forgetful(_: Snapshot, _what: str, _key: object, work: Callable[[], object]) -> object:
    return work()


def test_memoized_results_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_MEMOIZED", 4)
    version = many(10)
    for number in range(20):
        assert version.memoize("x", number, partial(str, number)) == str(number)
        assert version.recall("x", number) == str(number)
        assert len(version._memoized["x"]) <= 4


def test_names_and_words_find_the_rules_that_a_search_would_find() -> None:
    version = policy_forge.snapshot(*policy_forge.read_shipped().rules.splitlines())
    for kind, actions in version.vocabulary.actions.items():
        for action in actions:
            index, rules = version.index_of(kind, action), version.rules_of(kind, action)
            assert index.rules_named(rule.name for rule in reversed(rules)) == list(rules)
            assert index.near(rule.who for rule in rules) == list(rules)
            assert index.allowing == {rule.who for rule in rules if rule.effect is Effect.ALLOW}
