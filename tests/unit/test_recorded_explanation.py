"""An auditor gets all that the rules say about a recorded decision; a caller gets only what concerns them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from uuid import UUID

import msgspec

from service.administration.replay.recorded_explanation import BECAUSE, LAWS, LISTED, explain_record
from service.administration.replay.recorded_request import parse_request
from service.authorization.enforcement.changes import Caller
from service.authorization.enforcement.decision_point import Resource, decide
from service.authorization.enforcement.decision_record import of_decision
from service.authorization.enforcement.fact_lookup import About, FactLookup
from service.authorization.enforcement.refusal import refusal_of
from service.errors import Forbidden
from service.identity.principal import Principal, PrincipalKind
from service.policy.access_request import Reason, Verdict
from service.timesheets.relations import TIMESHEET_FACTS
from service.values import replace
from tests.policy_forge import snapshot

if TYPE_CHECKING:
    import asyncpg

    from service.administration.replay.recorded_explanation import RecordedExplanation
    from service.authorization.enforcement.decision_point import Decision
    from service.authorization.engine.engine import Snapshot

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ANA, BEN = UUID("0198c0de-0000-7000-8000-0000000000aa"), UUID("0198c0de-0000-7000-8000-0000000000bb")
READ = "p, allow, manager, read, any, timesheet, any, always, read-team"
TEAM = "p, allow, manager, approve, submitted, timesheet, approve:timesheets, always, approve-team"
STRONG = "p, allow, role:lead, approve, submitted, timesheet, approve:timesheets, mfa, approve-as-lead"
BENS = f"p, allow, person:{BEN}, approve, submitted, timesheet, approve:timesheets, always, approve-as-ben"
NEVER = "p, deny, manager, approve, draft, timesheet, any, always, never-drafts"


def decide_approval(version: Snapshot, *scopes: str, state: str = "draft", found: bool = True) -> Decision:
    """ana, the owner's manager, approves a sheet."""
    nobody: frozenset[str] = frozenset()
    principal = Principal(PrincipalKind.USER, "i", "s", "app", frozenset(scopes), nobody, None, 0, 1, person=ANA)
    lookup = FactLookup(1, 1, NOW, nobody)
    may_look = version.could_allow("timesheet", "approve", scopes)
    if may_look and found:
        row = {"id": ANA, "owner_id": BEN, "state": state, "version": 3}
        facts = {"acted_for_owner": False}
        lookup = replace(
            lookup,
            row=cast("asyncpg.Record", row),
            relations=frozenset({"manager"}),
            facts=facts,
            evaluated=frozenset({"manager"}),
        )
    lookup = lookup.complete(TIMESHEET_FACTS, About.ROW, looked=may_look)
    resource = Resource("timesheet", str(ANA), BEN, state, 3) if lookup.row else Resource("timesheet", str(ANA))
    return decide(version, principal, "approve", resource, lookup)


def why(version: Snapshot, decision: Decision) -> RecordedExplanation:
    caller = Caller(decision.request.principal, "r", "POST", "/v1/test")
    return explain_record(version, parse_request(of_decision(caller, decision, applied=None).body))


def test_an_allow_names_its_row_with_line_and_text() -> None:
    version = snapshot(READ, TEAM)
    told = why(version, decide_approval(version, "approve:timesheets", state="submitted"))

    assert told.because == BECAUSE[Reason.ALLOWED]
    assert [(row.rule, row.line, row.text, row.effect) for row in told.rows] == [("approve-team", 2, TEAM, "allow")]
    assert told.near == ()


def test_other_texts_than_those_that_decided_explain_nothing() -> None:
    decision = decide_approval(snapshot(READ, TEAM), "approve:timesheets", state="submitted")
    told = why(snapshot(READ, TEAM, NEVER), decision)
    assert (told.rows, told.near) == ((), ())
    assert "are not those that decided this" in told.because


def test_a_deny_rule_is_explained_with_its_row() -> None:
    version = snapshot(READ, TEAM, NEVER)
    told = why(version, decide_approval(version, "approve:timesheets"))

    assert told.because == BECAUSE[Reason.DENY_RULE]
    assert [(row.rule, row.line) for row in told.rows] == [("never-drafts", 3)]


def test_near_misses_come_nearest_first_and_mention_other_people() -> None:
    version = snapshot(READ, STRONG, BENS, TEAM)
    told = why(version, decide_approval(version, "approve:timesheets"))

    assert [(miss.row.rule, [lack.wanted for lack in miss.missing]) for miss in told.near] == [
        ("approve-team", ["submitted"]),
        ("approve-as-ben", [f"person:{BEN}", "submitted"]),
        ("approve-as-lead", ["role:lead", "submitted", "mfa"]),
    ]
    assert told.near[0].missing[0].sentence == "the timesheet was a draft, not submitted"
    assert [lack.sentence for lack in told.near[2].missing] == [
        "the caller did not have the role lead",
        "the timesheet was a draft, not submitted",
        "the fact mfa was unknown",
    ]


def test_the_caller_gets_the_same_without_other_people() -> None:
    version = snapshot(READ, STRONG, BENS, "p, allow, owner, approve, any, timesheet, any, not mfa, odd")
    error = refusal_of(version, decide_approval(version, "approve:timesheets"), None)

    assert isinstance(error, Forbidden)
    near = msgspec.to_builtins(error.extra["near_misses"])
    assert [miss["rule"] for miss in near] == ["odd", "approve-as-lead"]
    assert near[0]["missing"][0] == {
        "condition": "who",
        "wanted": "owner",
        "sentence": "this is not your own timesheet",
    }
    assert str(BEN) not in str(error.extra)
    assert [miss["missing"][0]["sentence"] in reason for miss, reason in zip(near, error.reasons, strict=True)] == [
        True
    ] * 2


def test_without_a_scope_only_the_scope_is_missing() -> None:
    version = snapshot(READ, STRONG, TEAM, BENS.replace("approve:timesheets", "batch:upload"))
    decision = decide_approval(version, "read:timesheets")
    told = why(version, decision)
    error = refusal_of(version, decision, None)

    assert told.because == f"{BECAUSE[Reason.INSUFFICIENT_SCOPE]}; it needs approve:timesheets or batch:upload"
    assert told.scopes == ("approve:timesheets", "batch:upload")
    assert error.extra["required_scope"] == ["approve:timesheets", "batch:upload"]
    assert {lack.condition for miss in told.near for lack in miss.missing} == {"scope"}


def test_an_unknown_resource_and_a_law_have_their_own_sentences() -> None:
    version = snapshot(READ, TEAM)
    unknown = decide_approval(version, "approve:timesheets", found=False)
    allowed = decide_approval(version, "approve:timesheets", state="submitted")
    by_law = replace(allowed, verdict=Verdict(allowed=False, reason=Reason.LAW))

    assert why(version, unknown).because == BECAUSE[Reason.UNKNOWN_RESOURCE]
    assert why(version, by_law).because == f"{BECAUSE[Reason.LAW]}: {LAWS['approve']}"
    assert set(BECAUSE) == set(Reason)


def test_a_list_names_the_rows_that_could_show_something() -> None:
    version = snapshot(READ, TEAM)
    decision = decide_approval(version, "approve:timesheets", state="submitted")
    lookup = replace(decision.request.lookup, about=About.LIST, row=None)
    verdict = Verdict(allowed=True, reason=Reason.ALLOWED, rules=("approve-team",))
    listed = replace(decision, request=replace(decision.request, lookup=lookup), verdict=verdict)

    assert why(version, listed).because == LISTED
    assert [row.rule for row in why(version, listed).rows] == ["approve-team"]


def test_a_refused_list_misses_no_condition_of_single_rows() -> None:
    version = snapshot(STRONG)
    decision = decide_approval(version, "approve:timesheets")
    lookup = replace(decision.request.lookup, about=About.LIST, row=None)
    listed = replace(decision, request=replace(decision.request, lookup=lookup))

    assert [lack.wanted for lack in why(version, listed).near[0].missing] == ["role:lead", "mfa"]
