"""The SQL of lists: few rules have that of their facts, and many rules on long facts share it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.fact_lookup import FactLookup
from service.authorization.enforcement.visibility import GIVEN_FACTS, Visibility, visible
from service.authorization.engine.engine import Snapshot
from service.identity.principal import Principal, PrincipalKind
from service.policy import policy_file
from service.policy.expressions.source import MAX_EXPRESSION_CHARACTERS
from service.policy.vocabulary_file import MAX_DEFINED_FACTS
from service.timesheets.relations import TIMESHEET_FACTS
from tests.policy_forge import read_shipped, rows

SCOPES = frozenset({"read:timesheets", "approve:timesheets"})
ROLES = frozenset({"role:employee", "role:manager", "role:auditor"})
PERSON = UUID(int=7)
# Characters; with the facts in each rule, these lists have millions.
BOUND = 400_000


def list_under(rules: Snapshot) -> Visibility:
    asker = Principal(PrincipalKind.USER, "i", "s", "app", SCOPES, ROLES, None, 0, 1, person=PERSON)
    lookup = FactLookup(1, 1, datetime.now(UTC), frozenset())
    facts = facts_under(TIMESHEET_FACTS, rules)
    request = evaluate(rules, asker, "read", Resource("timesheet"), lookup).access_request
    return visible(rules, request, asker, lookup, facts)


def under_rows_on(part: str, effect: str, who: list[str], *lines: str) -> Visibility:
    """The list under 1,000 rows that each name three facts. There are as many facts as a kind may define, each as long
    as an expression may be: `part` with a number, again and again."""
    facts = [f"w{number:02}" for number in range(MAX_DEFINED_FACTS)]
    count = (MAX_EXPRESSION_CHARACTERS + 4) // (len(part) + 4)
    tables = [
        f'[kinds.timesheet.facts.{fact}]\nis = "{" || ".join([part.replace("NUM", fact)] * count)}"\n'
        'yes = "it is"\nno = "it is not"\n'
        for fact in facts
    ]
    added = [
        f"p, {effect}, {who[place % len(who)]}, read, any, timesheet, any, {' and '.join(named)}, rule-{place}"
        for place, named in enumerate(itertools.islice(itertools.combinations(facts, 3), 1_000))
    ]
    text = rows(*lines, *added)
    directory = '[directory.people]\ncountry = "string"\n'
    vocabulary = "\n".join([text.vocabulary, directory, *tables])
    return list_under(Snapshot.build(policy_file.parse(replace(text, vocabulary=vocabulary)), 1))


def computes_once(sql: str) -> bool:
    """Whether each fact is computed in a single place."""
    return {sql.count(f'AS "w{number:02}"') for number in range(MAX_DEFINED_FACTS)} == {1}


def test_few_rules_have_the_sql_of_their_facts() -> None:
    assert GIVEN_FACTS not in list_under(Snapshot.build(policy_file.parse(read_shipped()), 1)).condition


def test_many_rules_that_deny_have_each_fact_once() -> None:
    own = "p, allow, owner, read, any, timesheet, any, always, own"
    shown = under_rows_on("resource.projects.exists(p, p == 'NUM')", "deny", ["anyone", "manager"], own)
    assert computes_once(shown.condition)
    assert len(shown.condition) < BOUND


def test_many_rules_that_allow_have_each_fact_and_each_relation_once() -> None:
    shown = under_rows_on("resource.projects.exists(p, p == 'NUM')", "allow", ["manager", "owner"])
    shown.owners = {"manager": [UUID(int=8)], "owner": [PERSON]}
    by_owners, arrays, _ = shown.condition_by_owners(3)
    assert [by_owners.count(array) for array in arrays] == [1, 1]
    for condition in (shown.condition, by_owners):
        assert computes_once(condition)
        assert len(condition) < BOUND


def test_a_list_that_starts_from_owners_finds_them_by_each_fact_once() -> None:
    shown = under_rows_on("resource.owner.country == 'NUM'", "allow", ["anyone"])
    assert shown.reach is not None
    for sql in (shown.condition, shown.reach):
        assert computes_once(sql)
        assert len(sql) < BOUND
