"""The law of replay: under the version that decided, a record gives the same verdict, reason and rules. Under a draft
it gives the engine's verdict, or is undecidable because the record lacks a value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from service.administration.replay.recorded_request import NotARequest, parse_request
from service.administration.replay.reevaluation import (
    FORMER_IDS,
    NO_KIND,
    NO_VERSION,
    NOT_LOOKED,
    OTHER_ROWS,
    STATE_NOT_RECORDED,
    Undecidable,
    reevaluate,
)
from service.audit.export_ocsf import READ, UPDATE, event
from service.audit.sealed_rows import SealedRow
from service.authorization.enforcement.changes import Caller
from service.authorization.enforcement.decision_point import BY_LAW, NO_ROW, Decision, Resource, decide
from service.authorization.enforcement.decision_record import of_decision
from service.authorization.enforcement.fact_lookup import About, FactLookup
from service.authorization.enforcement.visibility import visible
from service.authorization.engine.engine import Snapshot
from service.identity.principal import UNLISTED, Principal, PrincipalKind
from service.log.record import Kind, Record
from service.policy import policy_file
from service.policy.access_request import Reason, Verdict
from service.policy.known_words import LIST_APPROVALS
from service.timesheets.relations import TIMESHEET_FACTS
from service.values import replace
from tests.example_count import example_count
from tests.policy_forge import policy, read_shipped, snapshot

if TYPE_CHECKING:
    import asyncpg

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ANA = UUID("0198c0de-0000-7000-8000-0000000000aa")
# Ana's id before an erasure.
BEFORE = UUID("0198c0de-0000-7000-8000-0000000000bb")
ACTIONS = ("read", "approve", "create", "submit")
WHO = st.sampled_from(
    [
        "owner",
        "manager",
        "importer",
        "anyone",
        "role:auditor",
        "role:lead",
        "client:job",
        "via:app",
        f"person:{ANA}",
        f"person:{BEFORE}",
        "delegate",
        "temporary_approver",
        "actor:assistant",
        "actor:tool",
        "client:assistant",
    ]
)
WHEN = st.sampled_from(
    [
        "always",
        "acted_for_owner",
        "not acted_for_owner",
        "mfa",
        "not mfa",
        "recent_sign_in",
        "not recent_sign_in and mfa",
        "agent",
        "not agent",
        "locked_by_asker",
        "not locked_by_asker",
    ]
)
ROW = st.tuples(
    st.sampled_from(["allow", "allow", "deny"]),
    WHO,
    st.sampled_from(ACTIONS),
    st.sampled_from(["any", "draft", "submitted", "draft or rejected"]),
    st.sampled_from(["any", "read:timesheets", "approve:timesheets"]),
    WHEN,
)


def draft_of(*rows: str) -> Snapshot:
    """A version after the one that decided."""
    return Snapshot.build(policy(*rows), 2)


@st.composite
def policies(draw: st.DrawFn, number: int = 1) -> Snapshot:
    """A random policy about timesheets as the version `number`, and a random age for its threshold."""
    drawn = draw(st.lists(ROW, min_size=1, max_size=7, unique=True))
    lines = [
        f"p, {effect}, {who}, {action}, {states}, timesheet, {scope}, {when}, rule-{place}"
        for place, (effect, who, action, states, scope, when) in enumerate(drawn)
    ]
    lines += ["g, role:lead, role:auditor"] * draw(st.booleans())
    text = replace(read_shipped(), rules="\n".join(lines) + "\n", cases={})
    text = replace(
        text, vocabulary=text.vocabulary.replace("max_age = 900", f"max_age = {draw(st.sampled_from([60, 900]))}")
    )
    return Snapshot.build(policy_file.parse(text), number)


# Actors, and whether an agent acts.
ACTING: Final[list[tuple[tuple[str, ...], bool | None]]] = [
    ((), False),
    ((), True),
    (("assistant",), True),
    (("tool", "assistant"), True),
    (("tool",), False),
    ((UNLISTED,), None),
]
PRINCIPALS = st.builds(
    lambda kind, scopes, roles, age, methods, acting: Principal(
        kind,
        "https://issuer.example",
        "subject",
        "app" if kind is PrincipalKind.USER else "job",
        scopes,
        roles,
        "token",
        0,
        1,
        authenticated_at=None if age is None else int(NOW.timestamp()) - age,
        methods=methods,
        person=ANA if kind is PrincipalKind.USER else None,
        actors=acting[0],
        agent=acting[1],
    ),
    st.sampled_from(PrincipalKind),
    st.frozensets(st.sampled_from(["read:timesheets", "approve:timesheets"])),
    st.frozensets(st.sampled_from(["role:lead", "role:auditor", "role:cook"])),
    st.sampled_from([None, 10, 100, 5000]),
    st.sampled_from([None, frozenset(), frozenset({"mfa", "pwd"})]),
    st.sampled_from(ACTING),
)


@dataclass(frozen=True, slots=True)
class World:
    """The facts of a moment, and how the gate looks them up under any version."""

    principal: Principal
    action: str
    about: About
    exists: bool
    state: str
    relations: frozenset[str]
    acted: bool | None
    roles: frozenset[str]
    former: frozenset[UUID] = frozenset()
    recorded_as: str | None = None

    def decide(self, version: Snapshot) -> Decision:
        """As `enforcement` does, with the same functions, but for the statement that reads."""
        asked = ("timesheet", self.action)
        may_look = version.could_allow(*asked, self.principal.scopes)
        lookup = FactLookup(1, 1, NOW, self.roles, former_ids=self.former if self.principal.person else frozenset())
        row = {"id": ANA, "owner_id": ANA, "state": self.state, "version": 3}
        there = may_look and self.exists and self.about in {About.ROW, About.NEW}
        if there or (may_look and self.about is About.NEW):
            lookup = replace(
                lookup,
                row=cast("asyncpg.Record", row) if there else None,
                relations=self.relations,
                facts={"acted_for_owner": self.acted, "locked_by_asker": self.acted},
                evaluated=frozenset(TIMESHEET_FACTS.relations),
            )
        looked = may_look or self.about in {About.KIND, About.LIST}
        lookup = lookup.complete(TIMESHEET_FACTS, self.about, looked=looked)
        if there:
            resource = Resource("timesheet", str(ANA), ANA, self.state, 3)
        elif self.about is About.NEW:
            resource = Resource("timesheet", None, ANA, "draft")
        else:
            resource = Resource("timesheet", str(ANA) if self.about is About.ROW else None)
        decision = decide(version, self.principal, self.action, resource, lookup)
        if self.about is About.LIST and decision.verdict.reason is not Reason.INSUFFICIENT_SCOPE:
            shown = visible(version, decision.access_request, self.principal, lookup, TIMESHEET_FACTS)
            if shown.rules or decision.allowed:
                decision = replace(decision, verdict=Verdict(allowed=True, reason=Reason.ALLOWED, rules=shown.rules))
        return decision

    def record(self, version: Snapshot) -> bytes:
        caller = Caller(self.principal, "request", "POST", "/v1/test", recorded_as=self.recorded_as)
        return of_decision(caller, self.decide(version), applied=None).body


OWNING: Final[list[set[str]]] = [set(), {"owner"}, {"former:owner"}]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    return World(
        draw(PRINCIPALS),
        draw(st.sampled_from(ACTIONS)),
        draw(st.sampled_from(About)),
        draw(st.booleans()),
        draw(st.sampled_from(["draft", "submitted", "rejected"])),
        frozenset(
            {
                *draw(st.sets(st.sampled_from(["manager", "importer", "delegate", "temporary_approver"]))),
                *draw(st.sampled_from(OWNING)),
            }
        ),
        draw(st.sampled_from([True, False, None])),
        frozenset(draw(st.sets(st.sampled_from(["lead", "cook"])))),
        draw(st.sampled_from([frozenset(), frozenset(), frozenset({BEFORE}), frozenset({BEFORE, UUID(int=1)})])),
        # Older records of lists of approvals say `approve`, newer ones `list-approvals`.
        draw(st.sampled_from([None, LIST_APPROVALS])),
    )


@settings(max_examples=example_count(100))
@given(version=policies(), world=worlds())
def test_the_version_that_decided_gives_the_same_verdict_reason_and_rules(version: Snapshot, world: World) -> None:
    recorded = parse_request(world.record(version))

    assert reevaluate(version, recorded, version) == world.decide(version).verdict
    # The same version, built again as in another process.
    assert reevaluate(Snapshot.build(version.policy, 2), recorded, version) == world.decide(version).verdict


@settings(max_examples=example_count(100, uncut=150))
@given(version=policies(), draft=policies(2), world=worlds())
def test_under_a_draft_replay_says_what_the_engine_would_have_said_or_that_it_cannot_tell(
    version: Snapshot, draft: Snapshot, world: World
) -> None:
    recorded = parse_request(world.record(version))
    again = reevaluate(draft, recorded, version)
    live = world.decide(draft).verdict

    if isinstance(again, Undecidable) and recorded.listed:
        assert again.cause.startswith(OTHER_ROWS) or (again.cause == FORMER_IDS and world.former)
    elif isinstance(again, Undecidable):
        # The record holds all but the state of an existing row where a new one was requested.
        if again.cause == FORMER_IDS:
            assert world.former
            return
        if again.cause == STATE_NOT_RECORDED:
            assert world.about is About.NEW
            assert world.exists
            assert not draft.could_allow("timesheet", world.action, world.principal.scopes)
            return
        assert again.cause == NOT_LOOKED
        assert not version.could_allow("timesheet", world.action, world.principal.scopes)
    else:
        assert (again.allowed, again.reason) == (live.allowed, live.reason)
        assert set(again.rules) <= set(live.rules)


@settings(max_examples=example_count(100, uncut=150))
@given(version=policies(), draft=policies(2), world=worlds())
def test_a_list_is_the_same_under_a_draft_only_if_every_single_read_is(
    version: Snapshot, draft: Snapshot, world: World
) -> None:
    listing = replace(world, about=About.LIST, action="read")
    body = listing.record(version)
    if not (parse_request(body).listed and listing.decide(draft).allowed):
        return
    rows = [
        replace(listing, about=About.ROW, exists=True, state=state, relations=frozenset(relations), acted=acted)
        for state in ("draft", "submitted", "approved", "rejected", "locked")
        for owning in OWNING
        for relations in ({*owning}, {"manager", *owning} - {"owner"}, {"importer", *owning})
        for acted in (True, False, None)
    ]
    reads = [(row.decide(version).allowed, row.decide(draft).allowed) for row in rows]

    again = reevaluate(draft, parse_request(edit_record(body, returned=[str(ANA)])), version)

    if isinstance(again, Verdict) and again.allowed:
        assert all(was == now for was, now in reads)
    elif isinstance(again, Verdict):
        assert not any(now for _, now in reads)
    if all(was == now for was, now in reads) and any(was for was, _ in reads):
        # The difference is then a row whose owner is also the manager, which cannot exist.
        assert not isinstance(again, Verdict) or again.allowed


OWN = World(
    Principal(
        PrincipalKind.USER, "i", "s", "app", frozenset({"approve:timesheets"}), frozenset(), None, 0, 1, person=ANA
    ),
    "approve",
    About.ROW,
    exists=True,
    state="submitted",
    relations=frozenset({"manager"}),
    acted=False,
    roles=frozenset(),
)
APPROVING = "p, allow, manager, approve, submitted, timesheet, approve:timesheets, always, approve-team"


def edit_record(body: bytes, **members: object) -> bytes:
    """The record with other members; None takes one away."""
    whole = {**json.loads(body), **members}
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def before(body: bytes) -> bytes:
    """The record in the format of the first release."""
    whole = json.loads(body)
    looked = (
        whole["asked"]["looked"] and whole["asked"]["about"] in {"row", "new"} and whole["reason"] != "unknown-resource"
    )
    facts = (
        whole["facts"]
        if looked
        else {name: value for name, value in whole["facts"].items() if name != "acted_for_owner"}
    )
    return edit_record(body, asked=None, facts=facts, relations=whole["relations"] if looked else {})


OF_OLD: Final = {
    (About.ROW, "read"),
    (About.ROW, "approve"),
    (About.ROW, "submit"),
    (About.NEW, "create"),
    (About.LIST, "read"),
}


@settings(max_examples=example_count(60))
@given(version=policies(), world=worlds().filter(lambda item: (item.about, item.action) in OF_OLD))
def test_records_of_the_first_release_are_reproduced(version: Snapshot, world: World) -> None:
    again = reevaluate(version, parse_request(before(replace(world, recorded_as=None).record(version))), version)

    assert isinstance(again, Undecidable) or again == world.decide(version).verdict


def test_a_relation_that_no_record_evaluated_is_not_guessed() -> None:
    body = OWN.record(snapshot(APPROVING))
    older = edit_record(body, relations={"owner": False, "manager": True})
    draft = draft_of("p, allow, importer, approve, any, timesheet, approve:timesheets, always, by-importer")

    assert reevaluate(draft, parse_request(body)) == Verdict(allowed=False, reason=Reason.NO_RULE)
    assert reevaluate(draft, parse_request(older)) == Undecidable("relation importer was not evaluated")


def test_a_relation_under_its_old_name_counts_as_not_evaluated() -> None:
    version = snapshot(APPROVING.replace("manager", "delegate"))
    body = OWN.record(version)
    older = edit_record(body, relations={"owner": False, "manager": False, "deputy": True})

    assert reevaluate(version, parse_request(older)) == Undecidable("relation delegate was not evaluated")


def test_a_kind_that_this_release_lacks_is_not_guessed() -> None:
    resource = {"kind": "deputy", "id": None, "owner": None, "state": None, "version": None}
    older = edit_record(OWN.record(snapshot(APPROVING)), resource=resource, action="grant")

    assert reevaluate(snapshot(APPROVING), parse_request(older)) == Undecidable(NO_KIND.format(kind="deputy"))


@pytest.mark.parametrize("facts", [{"mfa": None}, {"mfa": None, "agent": False}])
def test_a_fact_that_no_record_evaluated_is_not_guessed(facts: dict[str, bool | None]) -> None:
    older = edit_record(OWN.record(snapshot(APPROVING)), facts=facts)
    draft = draft_of(APPROVING.replace("always", "not acted_for_owner"))

    assert reevaluate(draft, parse_request(older)) == Undecidable("fact acted_for_owner was not evaluated")


def test_actors_that_an_older_release_ignored_are_not_guessed() -> None:
    body = OWN.record(snapshot(APPROVING))
    older = edit_record(
        body, facts={name: value for name, value in json.loads(body)["facts"].items() if name != "agent"}
    )
    by_fact, by_word = (
        draft_of(
            APPROVING.replace("manager", "anyone"), f"p, deny, {who}, approve, any, timesheet, any, {when}, no-agent"
        )
        for who, when in (("anyone", "agent"), ("actor:assistant", "always"))
    )

    for draft, cause in ((by_fact, "fact agent was not evaluated"), (by_word, "actors were not recorded")):
        assert reevaluate(draft, parse_request(older)) == Undecidable(cause)
        assert reevaluate(draft, parse_request(body)) == OWN.decide(draft).verdict
    # A deny on a client is as it was meant then: for the client itself, and through it.
    client = draft_of(
        APPROVING.replace("manager", "anyone"),
        APPROVING.replace("allow, manager", "deny, client:x").replace("approve-team", "no"),
    )
    assert reevaluate(client, parse_request(older)) == OWN.decide(client).verdict


def test_a_verdict_that_is_the_same_for_every_missing_value_is_given() -> None:
    older = edit_record(OWN.record(snapshot(APPROVING)), relations={"owner": False, "manager": True})
    draft = draft_of(
        "p, allow, importer, submit, any, timesheet, approve:timesheets, always, by-importer",
        "p, allow, anyone, submit, any, timesheet, approve:timesheets, always, by-anyone",
    )

    assert reevaluate(draft, parse_request(edit_record(older, action="submit"))) == Verdict(
        allowed=True, reason=Reason.ALLOWED, rules=("by-anyone",)
    )


def test_facts_that_were_not_looked_up_without_a_scope_are_not_guessed() -> None:
    stranger = replace(OWN, principal=replace(OWN.principal, scopes=frozenset({"read:timesheets"})))
    body = stranger.record(snapshot(APPROVING))
    draft = draft_of(APPROVING.replace("approve:timesheets", "read:timesheets"))

    assert parse_request(body).verdict.reason is Reason.INSUFFICIENT_SCOPE
    assert reevaluate(draft, parse_request(body)) == Undecidable(NOT_LOOKED)


def test_an_unknown_resource_stays_unknown() -> None:
    nowhere = replace(OWN, exists=False)
    body = nowhere.record(snapshot(APPROVING))

    assert reevaluate(draft_of(APPROVING.replace("manager", "anyone")), parse_request(body)) == NO_ROW


def test_a_threshold_of_the_draft_applies_to_the_recorded_age() -> None:
    signed_in = replace(OWN.principal, authenticated_at=int(NOW.timestamp()) - 300)
    body = replace(OWN, principal=signed_in).record(snapshot(APPROVING))
    text = replace(read_shipped(), rules=APPROVING.replace("always", "fresh") + "\n", cases={})
    fresh = 'fresh = {{ max_age = {0}, yes = "you signed in just now", no = "you did not sign in just now" }}'

    def draft(seconds: int) -> Snapshot:
        words = text.vocabulary.replace("[request.facts]", "[request.facts]\n" + fresh.format(seconds))
        return Snapshot.build(policy_file.parse(replace(text, vocabulary=words)), 2)

    assert reevaluate(draft(301), parse_request(body)) == Verdict(
        allowed=True, reason=Reason.ALLOWED, rules=("approve-team",)
    )
    assert reevaluate(draft(299), parse_request(body)) == Verdict(allowed=False, reason=Reason.NO_RULE)


def test_a_refusal_by_a_law_stays_a_refusal() -> None:
    body = edit_record(OWN.record(snapshot(APPROVING)), outcome="deny", reason="law", rules=[])

    assert reevaluate(snapshot(APPROVING), parse_request(body)) == BY_LAW
    assert reevaluate(draft_of(APPROVING.replace("manager", "owner")), parse_request(body)) == Verdict(
        allowed=False, reason=Reason.NO_RULE
    )


def test_a_list_of_approvals_is_reevaluated_by_the_rules_for_approving_and_keeps_its_name() -> None:
    listing = replace(OWN, about=About.LIST, action="approve", recorded_as=LIST_APPROVALS)
    version = snapshot(TEAM_ROWS.replace("read", "approve"))
    body = listing.record(version)
    recorded = parse_request(body)
    assert json.loads(body)["action"] == recorded.action == LIST_APPROVALS
    assert recorded.request.action == "approve"
    assert reevaluate(version, recorded, version) == listing.decide(version).verdict
    older = parse_request(replace(listing, recorded_as=None).record(version))
    assert (older.action, older.request.action) == ("approve", "approve")
    assert reevaluate(version, older, version) == reevaluate(version, recorded, version)


@pytest.mark.parametrize("recorded_as", [LIST_APPROVALS, None])
def test_a_list_of_approvals_is_exported_as_reading(recorded_as: str | None) -> None:
    """Also for a record from before the list had its own name."""
    listing = replace(OWN, about=About.LIST, action="approve", recorded_as=recorded_as)
    for asked, activity in ((listing, READ), (OWN, UPDATE)):
        body = asked.record(snapshot(APPROVING))
        row = SealedRow(position=7, pruned=False, sealed=None, uid=None, leaf=None, body=body, columns={})
        assert event(row)["activity_id"] == activity


def test_an_action_unknown_to_the_version_is_refused_again() -> None:
    asked = replace(OWN, action="frobnicate")
    version = snapshot(APPROVING)

    assert reevaluate(version, parse_request(asked.record(version))) == asked.decide(version).verdict


LISTING = replace(
    OWN, principal=replace(OWN.principal, scopes=frozenset({"read:timesheets"})), about=About.LIST, action="read"
)
OWN_ROWS = "p, allow, owner, read, any, timesheet, read:timesheets, always, read-own"
TEAM_ROWS = "p, allow, manager, read, any, timesheet, read:timesheets, always, read-team"
GOT = snapshot(OWN_ROWS, TEAM_ROWS)


@pytest.mark.parametrize(
    ("rules", "cause"),
    [
        ([OWN_ROWS], "read-team"),
        ([OWN_ROWS, TEAM_ROWS.replace("any, timesheet", "submitted, timesheet")], "read-team"),
        ([OWN_ROWS, TEAM_ROWS, "p, deny, anyone, read, draft, timesheet, any, always, no-drafts"], "no-drafts"),
        (
            [OWN_ROWS, TEAM_ROWS, "p, deny, anyone, read, any, timesheet, any, acted_for_owner, not-others"],
            "not-others",
        ),
        ([OWN_ROWS, TEAM_ROWS, "p, allow, importer, read, any, timesheet, read:timesheets, always, more"], "more"),
    ],
    ids=["one rule gone", "fewer states", "a deny", "a deny on a fact", "one rule more"],
)
def test_a_list_under_rules_that_may_show_other_rows_is_undecidable(rules: list[str], cause: str) -> None:
    body = edit_record(LISTING.record(GOT), returned=[str(ANA)])

    assert reevaluate(draft_of(*rules), parse_request(body), GOT) == Undecidable(f"{OTHER_ROWS}: {cause}")


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ([TEAM_ROWS.replace("read-team", "team"), OWN_ROWS], ("team", "read-own")),
        ([OWN_ROWS, TEAM_ROWS, "p, deny, role:cook, read, any, timesheet, any, always, no-cooks"], None),
        ([OWN_ROWS, TEAM_ROWS, "p, deny, anyone, read, any, timesheet, any, mfa, never-with"], None),
        (
            [
                OWN_ROWS.replace("any, timesheet", "draft or submitted or approved, timesheet"),
                OWN_ROWS.replace("any, timesheet", "approved or locked or rejected, timesheet").replace(
                    "-own", "-rest"
                ),
                TEAM_ROWS,
            ],
            ("read-own", "read-rest", "read-team"),
        ),
    ],
    ids=["by another name", "a deny of others", "a deny of another sign-in", "said in two rows"],
)
def test_a_list_that_would_show_the_same_rows_is_allowed(rules: list[str], names: tuple[str, ...] | None) -> None:
    signed_in = replace(LISTING, principal=replace(LISTING.principal, methods=frozenset({"pwd"})))
    again = reevaluate(draft_of(*rules), parse_request(signed_in.record(GOT)), GOT)

    assert again == Verdict(allowed=True, reason=Reason.ALLOWED, rules=names or ("read-own", "read-team"))


def test_a_list_that_would_lose_all_its_rows_counts_as_denied() -> None:
    nobody = draft_of(OWN_ROWS, TEAM_ROWS, "p, deny, anyone, read, any, timesheet, any, always, nobody-reads")
    full = edit_record(LISTING.record(GOT), returned=[str(ANA)])

    assert reevaluate(nobody, parse_request(full), GOT) == Verdict(
        allowed=False, reason=Reason.DENY_RULE, rules=("nobody-reads",)
    )
    # A list without recorded ids may have shown rows.
    assert reevaluate(nobody, parse_request(LISTING.record(GOT)), GOT) == Undecidable(f"{OTHER_ROWS}: nobody-reads")


def test_a_list_of_an_unknown_version_is_not_guessed() -> None:
    assert reevaluate(GOT, parse_request(LISTING.record(GOT))) == Undecidable(NO_VERSION)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"uid": "x"}'])
def test_bytes_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(NotARequest):
        parse_request(body)


def test_a_change_is_no_request() -> None:
    body = Record.make(Kind.SYSTEM, {"decided_at": NOW, "event": "x"}, uid=uuid7()).body

    with pytest.raises(NotARequest):
        parse_request(body)


def test_a_row_that_may_have_existed_is_not_taken_for_a_new_one() -> None:
    """Without the scope it was not looked up whether the week had a sheet already, and in which state."""
    poor = replace(OWN.principal, scopes=frozenset({"read:timesheets"}))
    body = replace(OWN, principal=poor, about=About.NEW, action="create").record(
        snapshot("p, allow, anyone, create, any, timesheet, approve:timesheets, always, create")
    )
    draft = draft_of("p, allow, anyone, create, draft, timesheet, any, always, create-drafts")
    any_state = draft_of("p, allow, anyone, create, any, timesheet, any, always, create-any")

    assert reevaluate(draft, parse_request(body)) == Undecidable(NOT_LOOKED)
    assert reevaluate(any_state, parse_request(body)) == Verdict(
        allowed=True, reason=Reason.ALLOWED, rules=("create-any",)
    )
