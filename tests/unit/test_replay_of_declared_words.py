"""The law of replay for facts and relations that a vocabulary declares: a record evaluated under another version gives
the verdict that the version would have given, or is undecidable for a named value that the record does not hold."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.administration.replay.approvals_again import compare_approvals
from service.administration.replay.batches import count_again
from service.administration.replay.recorded_explanation import explain_record
from service.administration.replay.recorded_request import NotARequest, RecordedRequest, parse_request
from service.administration.replay.reevaluation import NO_VERSION, OTHER_ROWS, Reevaluation, Undecidable, reevaluate
from service.administration.replay.tally import ReplayOutcome, Tally
from service.authorization.enforcement.caller_values import caller_values
from service.authorization.enforcement.changes import Caller
from service.authorization.enforcement.decision_point import Decision, Resource, decide
from service.authorization.enforcement.decision_record import of_decision
from service.authorization.enforcement.declared_facts import facts_under, mentioned_attributes
from service.authorization.enforcement.fact_lookup import About, FactLookup
from service.authorization.engine.engine import Snapshot
from service.identity.principal import Principal, PrincipalKind
from service.policy import policy_file
from service.policy.access_request import Reason, Verdict
from service.timesheets.relations import TIMESHEET_FACTS
from service.values import replace
from tests.example_count import example_count
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from service.policy.attributes import Value

# A Monday.
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ANA, MIA, SHEET = (UUID(f"0198c0de-0000-7000-8000-0000000000{digits}") for digits in ("aa", "bb", "cc"))
FACTS: Final = (
    "resource.minutes > 2400",
    "resource.minutes > 2000 && size(resource.projects) > 0",
    "resource.owner.country == principal.country",
    "has(principal.country) && principal.country == 'DE'",
    "has(resource.owner.country)",
    "resource.owner.country == 'DE' || resource.minutes > 2400",
    "'ATLAS' in resource.projects",
    "size(resource.approvals) >= 1",
    "resource.submitted_at > timestamp('2026-01-01T00:00:00Z')",
    "'finance' in principal.groups && principal.client == 'app'",
    "'eu' in resource.owner.teams.region",
    "principal.id == resource.owner.id",
    "context.sign_in_age < 60",
    "size(resource.owner.skills) == 0",
    "'law' in principal.skills",
)
REQUEST_FACTS: Final = (
    "context.weekday == 'monday'",
    "'finance' in principal.groups",
    "principal.country == 'DE'",
    "context.delegated && 'assistant' in context.actors",
    "context.now < timestamp('2026-11-23T10:00:00Z')",
)
PATHS: Final = (
    "resource.projects.leads",
    "resource.projects.leads - resource.owner",
    "resource.owner.groups.members",
    "resource.projects.leads | resource.owner.groups.members",
    "resource.owner.teams.above.leads - resource.owner",
    "resource.projects.leads | resource.manager",
)


def build(
    rules: tuple[str, ...], facts: Mapping[str, str], requests: Mapping[str, str], path: str | None, number: int = 1
) -> Snapshot:
    """A version with these rows, facts of timesheets and of requests, and the relation project_lead."""
    said = 'yes = "a"\nno = "b"\n'
    parts = [
        '\n[directory.people]\ncountry = "string"\nskills = "list<string>"\n[directory.teams]\nregion = "string"\n'
    ]
    parts += [f'[kinds.timesheet.facts.{name}]\nis = "{text}"\n{said}' for name, text in facts.items()]
    parts += [f'[request.facts.{name}]\nis = "{text}"\n{said}' for name, text in requests.items()]
    parts += [f'[kinds.timesheet.relations.project_lead]\nis = "{path}"\n{said}'] if path else []
    text = read_shipped()
    vocabulary = text.vocabulary.replace("[request.facts]\n", "[request.facts]\n", 1) + "\n".join(parts)
    return Snapshot.build(
        policy_file.parse(replace(text, rules="\n".join(rules) + "\n", cases={}, vocabulary=vocabulary)), number
    )


@st.composite
def versions(draw: st.DrawFn, number: int = 1) -> Snapshot:
    facts = dict(zip(("first", "second"), draw(st.lists(st.sampled_from(FACTS), min_size=2, max_size=2)), strict=True))
    requests = {"asked": draw(st.sampled_from(REQUEST_FACTS))}
    path = draw(st.sampled_from([None, *PATHS]))
    words = ["anyone", "owner", "manager", "group:finance", *(["project_lead"] * 3 if path else [])]
    conditions = [f"{negation}{name}" for negation in ("", "not ") for name in (*facts, *requests)]
    row = st.tuples(
        st.sampled_from(["allow", "allow", "deny"]), st.sampled_from(words), st.sampled_from([*conditions, "always"])
    )
    drawn = draw(st.lists(row, min_size=1, max_size=5, unique=True))
    rules = tuple(
        f"p, {effect}, {who}, read, any, timesheet, any, {when}, rule-{place}"
        for place, (effect, who, when) in enumerate(drawn)
    )
    # With it, the row is looked up under every version.
    rules = (*rules, "p, allow, role:nobody, read, any, timesheet, any, always, look")
    return build(rules, facts, requests, path, number)


@dataclass(frozen=True, slots=True)
class World:
    """The facts at a moment, asked for by a version or not."""

    principal: Principal
    row: Mapping[str, Value]
    caller: Mapping[str, Value]
    owner: bool = False
    leads_team: bool = False
    about: About = About.ROW
    action: str = "read"
    state: str = "submitted"

    @property
    def manager(self) -> bool:
        return self.leads_team and not self.owner

    def values(self) -> dict[str, Value]:
        known = caller_values(self.principal, (), self.caller, NOW)
        return {**known, **self.row} if self.about is not About.KIND else known

    def leads(self, path: str) -> bool:
        """Whether a path leads to the caller."""
        projects = not set(self._list("resource.projects")).isdisjoint(self._list("principal.projects_led"))
        groups = not set(self._list("resource.owner.groups")).isdisjoint(self._list("principal.groups"))
        if self.principal.kind is PrincipalKind.CLIENT:
            return False
        return {
            "resource.projects.leads": projects,
            "resource.projects.leads - resource.owner": projects and not self.owner,
            "resource.owner.groups.members": groups,
            "resource.projects.leads | resource.owner.groups.members": projects or groups,
            "resource.owner.teams.above.leads - resource.owner": self.manager,
            "resource.projects.leads | resource.manager": projects or self.manager,
        }[path]

    def _list(self, name: str) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self.values().get(name, ()))

    def lookup(self, version: Snapshot) -> FactLookup:
        """As `enforcement` looks it up under a version: with the attributes that it mentions."""
        facts = facts_under(TIMESHEET_FACTS, version)
        mentioned = mentioned_attributes("timesheet", version.vocabulary)
        lists = ("principal.groups", "principal.teams", "principal.projects_led", "principal.id")
        known = {name: value for name, value in self.caller.items() if name in lists or name in mentioned}
        vocabulary = version.vocabulary
        evaluated = frozenset({*TIMESHEET_FACTS.relations, *vocabulary.relations["timesheet"]})
        lookup = FactLookup(1, 1, NOW, frozenset(), caller=known)
        if self.about is not About.ROW:
            return replace(lookup, evaluated=evaluated, facts=dict.fromkeys(facts.facts), about=self.about)
        held = {name for name, holds in (("owner", self.owner), ("manager", self.manager)) if holds}
        if (path := vocabulary.paths.get(("timesheet", "project_lead"))) and self.leads(path.text):
            held.add("project_lead")
        defined = {
            name: expression.evaluate(self.values())
            for (kind, name), expression in vocabulary.definitions.items()
            if kind == "timesheet"
        }
        return replace(
            lookup,
            row=cast("asyncpg.Record", {"id": SHEET, "owner_id": ANA, "state": self.state, "version": 3}),
            relations=frozenset(held),
            evaluated=evaluated,
            facts={"acted_for_owner": False, "locked_by_asker": False, **defined},
            attributes={name: value for name, value in self.row.items() if name in facts.attributes},
            personal=facts.personal,
            about=About.ROW,
        )

    def decide(self, version: Snapshot) -> Decision:
        there = self.about is About.ROW
        resource = Resource("timesheet", *((str(SHEET), ANA, self.state, 3) if there else ()))
        return decide(version, self.principal, self.action, resource, self.lookup(version))

    def record(self, version: Snapshot, *, erased: bool = False, applied: bool | None = None) -> RecordedRequest:
        made = of_decision(Caller(self.principal, "request", "GET", "/v1/test"), self.decide(version), applied=applied)
        return parse_request(made.body, {} if erased else {text.field: text.value for text in made.texts})

    def again(self, version: Snapshot, draft: Snapshot) -> Reevaluation:
        return reevaluate(draft, self.record(version), version)


def world(
    *, client: bool = False, actors: tuple[str, ...] = (), owner: bool = False, leads_team: bool = False,
    caller: Mapping[str, Value] | None = None, about: About = About.ROW, action: str = "read", **row: Value,
) -> World:  # fmt: skip
    """A world with a sheet of Ana. `row` are attributes of the sheet without their prefix, __ for a dot."""
    nothing = frozenset[str]()
    principal = Principal(
        PrincipalKind.CLIENT if client else PrincipalKind.USER, "https://issuer.example", "subject", "app",
        frozenset({"approve:timesheets"}), nothing, "token", 0, 1, authenticated_at=int(NOW.timestamp()) - 30,
        person=None if client else ANA if owner else MIA, actors=actors,
    )  # fmt: skip
    values: dict[str, Value] = {
        "resource.minutes": 2500, "resource.entry_count": 3, "resource.days": 2, "resource.projects": (),
        "resource.period_start": NOW, "resource.state_since": NOW, "resource.approvals": (),
        "resource.owner.id": str(ANA), "resource.owner.groups": (), "resource.owner.teams": ("t1",),
        **{f"resource.{name.replace('__', '.')}": value for name, value in row.items()},
    }  # fmt: skip
    held: dict[str, Value] = {
        "principal.groups": (), "principal.teams": ("t1",) if leads_team else (), "principal.projects_led": (),
        **({} if client else {"principal.id": str(principal.person)}), **(caller or {}),
    }  # fmt: skip
    known = {name: value for name, value in values.items() if value is not None}
    return World(
        principal, known, {name: value for name, value in held.items() if value is not None},
        owner=owner, leads_team=leads_team, about=about, action=action,
    )  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> World:
    projects = st.sampled_from([(), ("ATLAS",), ("ATLAS", "BOREALIS")])
    groups = st.sampled_from([(), ("finance",), ("berlin", "finance")])
    country = st.sampled_from([None, "DE", "FR"])
    skills = st.sampled_from([None, (), ("law",)])
    client = draw(st.booleans()) and draw(st.booleans())
    return world(
        client=client,
        actors=draw(st.sampled_from([(), ("assistant",)])),
        owner=not client and draw(st.booleans()),
        leads_team=not client and draw(st.booleans()),
        caller={} if client else {
            "principal.projects_led": draw(projects),
            "principal.groups": draw(groups),
            "principal.country": draw(country),
            "principal.skills": draw(skills),
        },
        about=draw(st.sampled_from([About.ROW, About.ROW, About.ROW, About.KIND])),
        minutes=draw(st.sampled_from([0, 2100, 2500])),
        projects=draw(projects),
        approvals=draw(st.sampled_from([(), (str(MIA),)])),
        submitted_at=draw(st.sampled_from([None, NOW])),
        owner__groups=draw(groups),
        owner__country=draw(country),
        owner__skills=draw(skills),
        owner__teams__region=draw(st.sampled_from([(), ("eu",), ("eu", "us")])),
    )  # fmt: skip


@settings(max_examples=example_count(100))
@given(version=versions(), here=worlds())
def test_the_version_that_decided_gives_the_same_verdict_reason_and_rules(version: Snapshot, here: World) -> None:
    assert here.again(version, version) == here.decide(version).verdict
    # The same version, built again as in another process.
    assert here.again(version, Snapshot.build(version.policy, 2)) == here.decide(version).verdict


@settings(max_examples=example_count(150, uncut=300))
@given(version=versions(), draft=versions(2), here=worlds())
def test_under_a_draft_it_is_what_the_engine_would_have_said_or_undecidable_for_a_named_value(
    version: Snapshot, draft: Snapshot, here: World
) -> None:
    again, live = here.again(version, draft), here.decide(draft).verdict
    if isinstance(again, Verdict):
        assert (again.allowed, again.reason) == (live.allowed, live.reason)
        assert set(again.rules) <= set(live.rules)
        return
    mentioned = mentioned_attributes("timesheet", version.vocabulary)
    for cause in again.cause.split("; "):
        if cause.startswith("attribute "):
            # A declared attribute that the version does not mention; everything else is in the record.
            name = cause.split(" ")[1]
            assert name.rpartition(".")[2] in {"country", "region", "skills"}
            assert name not in mentioned
        else:
            assert cause.startswith("relation project_lead has another path")


READ = "p, allow, {}, read, any, timesheet, any, {}, read-it"
SAID = "relation project_lead has another path, and the record does not say whether it leads to the caller"


@pytest.mark.parametrize(
    ("path", "here", "expected"),
    [
        ("resource.projects.leads", world(projects=("A", "B"), caller={"principal.projects_led": ("B",)}), True),
        ("resource.projects.leads", world(projects=("A",), caller={"principal.projects_led": ("B",)}), False),
        ("resource.projects.leads", world(), False),
        ("resource.projects.leads", world(client=True, projects=("A",)), False),
        ("resource.owner.teams.above.grants", world(projects=("A",)), False),
        ("resource.owner.groups.members", world(owner__groups=("g",), caller={"principal.groups": ("g",)}), True),
        ("resource.owner.teams.above.leads - resource.owner", world(leads_team=True), True),
        ("resource.owner.teams.leads", world(caller={"principal.teams": ("t2",)}), False),
        # It is a member of the team, or a lead.
        ("resource.owner.teams.leads", world(caller={"principal.teams": ("t1",)}), None),
        ("resource.owner.teams.members", world(caller={"principal.teams": ("t2",)}), False),
        ("resource.owner.delegates", world(), None),
        (
            "resource.owner.delegates | resource.projects.leads",
            world(projects=("A",), caller={"principal.projects_led": ("A",)}),
            True,
        ),
        (
            "resource.projects.leads - resource.owner",
            world(owner=True, projects=("A",), caller={"principal.projects_led": ("A",)}),
            False,
        ),
        (
            "resource.projects.leads - resource.owner.delegates",
            world(projects=("A",), caller={"principal.projects_led": ("A",)}),
            None,
        ),
    ],
)
def test_a_new_path_is_followed_as_far_as_the_record_reaches(path: str, here: World, expected: bool | None) -> None:  # noqa: FBT001 - three values
    version = build((READ.format("owner", "always"),), {}, {}, None)
    draft = build((READ.format("project_lead", "always"),), {}, {}, path, 2)
    again = here.again(version, draft)
    if expected is None:
        assert again == Undecidable(SAID)
    else:
        assert isinstance(again, Verdict)
        assert again.allowed is expected


def test_a_changed_path_of_a_shipped_relation_is_undecidable_and_named() -> None:
    version = build((READ.format("manager", "always"),), {}, {}, None)
    other = version.policy.text.vocabulary.replace(
        'is = "resource.owner.teams.above.leads - resource.owner"', 'is = "resource.owner.teams.leads - resource.owner"'
    )
    assert other != version.policy.text.vocabulary
    draft = Snapshot.build(policy_file.parse(replace(version.policy.text, vocabulary=other)), 2)
    assert world(leads_team=True).again(version, draft) == Undecidable(SAID.replace("project_lead", "manager"))
    assert world().again(version, draft) == Verdict(allowed=False, reason=Reason.NO_RULE)


COUNTRY = {"same": "resource.owner.country == principal.country"}


def test_an_attribute_that_the_version_does_not_mention_is_not_recorded_and_named() -> None:
    rules = (READ.format("anyone", "same"),)
    here = world(owner__country="DE", caller={"principal.country": "DE"})
    without = build((READ.format("anyone", "always"),), {}, {}, None)
    assert here.again(without, build(rules, COUNTRY, {}, None, 2)) == Undecidable(
        "attribute principal.country was not recorded; attribute resource.owner.country was not recorded"
    )
    # Declared by a fact that no row asks for yet, it is recorded.
    mentioned = build((READ.format("anyone", "always"),), COUNTRY, {}, None)
    assert here.again(mentioned, build(rules, COUNTRY, {}, None, 2)) == Verdict(
        allowed=True, reason=Reason.ALLOWED, rules=("read-it",)
    )
    missing = world(owner__country="DE")
    draft = build(rules, {"same": f"{COUNTRY['same']} && true"}, {}, None, 2)
    assert missing.again(mentioned, draft) == Verdict(allowed=False, reason=Reason.NO_RULE)


def test_a_value_that_decides_whatever_the_unrecorded_one_was_is_decidable() -> None:
    draft = build(
        (READ.format("anyone", "wide"),),
        {"wide": "resource.minutes > 2400 || resource.owner.country == 'DE'"},
        {},
        None,
        2,
    )
    version = build((READ.format("owner", "always"),), {}, {}, None)
    assert cast("Verdict", world(minutes=2500).again(version, draft)).allowed
    assert isinstance(world(minutes=0).again(version, draft), Undecidable)
    asks = build((READ.format("anyone", "wide"),), {"wide": "has(resource.owner.country)"}, {}, None, 2)
    assert isinstance(world().again(version, asks), Undecidable)


def test_a_record_of_an_older_release_holds_no_attributes() -> None:
    version = build((READ.format("owner", "always"),), {}, {}, None)
    made = of_decision(Caller(world().principal, "request", "GET", "/v1/test"), world().decide(version), applied=None)
    body = json.loads(made.body)
    del body["attributes"], body["facts"]["agent"]
    older = parse_request(json.dumps(body).encode())
    draft = build((READ.format("anyone", "big"),), {"big": "resource.minutes > 2400"}, {}, None, 2)
    assert reevaluate(draft, older, version) == Undecidable("attribute resource.minutes was not recorded")
    lead = build((READ.format("project_lead", "always"),), {}, {}, "resource.projects.leads", 2)
    assert reevaluate(lead, older, version) == Undecidable(SAID)
    # What the token says is in every record.
    token = build((READ.format("anyone", "app"),), {"app": "principal.client == 'app'"}, {}, None, 2)
    assert cast("Verdict", reevaluate(token, older, version)).allowed


def test_the_same_expression_under_another_name_needs_no_recorded_value_in_a_list() -> None:
    rows = (READ.format("anyone", "first"),), (READ.format("anyone", "second"),)
    version = build(rows[0], {"first": FACTS[2]}, {}, None)
    listing = world(about=About.LIST)
    decision = replace(
        listing.decide(version), verdict=Verdict(allowed=True, reason=Reason.ALLOWED, rules=("read-it",))
    )
    made = of_decision(
        Caller(listing.principal, "request", "GET", "/v1/test"), decision, applied=None, returned=[str(SHEET)]
    )
    recorded = parse_request(made.body)
    assert recorded.listed
    same = build(rows[1], {"second": FACTS[2]}, {}, None, 2)
    assert reevaluate(same, recorded, version) == Verdict(allowed=True, reason=Reason.ALLOWED, rules=("read-it",))
    other = build(rows[0], {"first": FACTS[0]}, {}, None, 2)
    assert reevaluate(other, recorded, version) == Undecidable(f"{OTHER_ROWS}: read-it")
    assert reevaluate(other, recorded) == Undecidable(NO_VERSION)
    path = build((READ.format("project_lead", "always"),), {}, {}, PATHS[0])
    same_path = build((READ.format("project_lead", "always"),), {}, {}, PATHS[0], 2)
    other_path = build((READ.format("project_lead", "always"),), {}, {}, PATHS[2], 2)
    by_path = parse_request(
        of_decision(
            Caller(listing.principal, "request", "GET", "/v1/test"),
            replace(listing.decide(path), verdict=decision.verdict), applied=None, returned=[str(SHEET)],
        ).body
    )  # fmt: skip
    assert cast("Verdict", reevaluate(same_path, by_path, path)).allowed
    assert isinstance(reevaluate(other_path, by_path, path), Undecidable)


@dataclass(frozen=True, slots=True)
class Personal:
    """Versions in which the level of people is personal data."""

    rules: tuple[str, ...] = (READ.format("anyone", "senior"),)
    declared: str = '\n[directory.people]\nlevel = { type = "int", personal = true }\n'
    fact: str = '[kinds.timesheet.facts.senior]\nis = "%s"\nyes = "a"\nno = "b"\n'
    texts: dict[str, str] = field(default_factory=dict)

    def build(self, text: str, number: int) -> Snapshot:
        shipped = read_shipped()
        vocabulary = shipped.vocabulary + self.declared + self.fact % text
        rules = "\n".join(self.rules) + "\n"
        return Snapshot.build(policy_file.parse(replace(shipped, rules=rules, cases={}, vocabulary=vocabulary)), number)


def test_a_personal_value_is_read_from_its_text_until_it_is_erased() -> None:
    version = Personal().build("resource.owner.level > 3", 1)
    draft = Personal().build("resource.owner.level > 5", 2)
    here = world(owner__level=4)
    recorded = here.record(version)
    assert recorded.attributes["resource.owner.level"] == 4
    assert reevaluate(draft, recorded, version) == Verdict(allowed=False, reason=Reason.NO_RULE)
    erased = here.record(version, erased=True)
    assert reevaluate(draft, erased, version) == Undecidable("attribute resource.owner.level was erased")
    # The version that decided needs no value: the record holds what the fact was.
    assert cast("Verdict", reevaluate(version, erased, version)).allowed


APPROVE = "p, allow, manager, approve, any, timesheet, any, always, approve-team"
TWO = '\n[kinds.timesheet.approval]\ncomplete = "size(resource.approvals) >= (resource.minutes > 2400 ? 2 : 1)"\n'


def approving(number: int, declared: str = "") -> Snapshot:
    text = read_shipped()
    text = replace(text, rules=APPROVE + "\n", cases={}, vocabulary=text.vocabulary + declared)
    return Snapshot.build(policy_file.parse(text), number)


@pytest.mark.parametrize(
    ("minutes", "given", "expected"),
    [
        (2500, (), ("1 approval of 1", "1 approval of 2")),
        (2400, (), None),
        (2500, (str(ANA),), None),
        # The same human counts once.
        (2500, (str(MIA),), ("1 approval of 1", "1 approval of 2")),
    ],
)
def test_an_approval_that_is_not_enough_any_more_is_a_difference(
    minutes: int, given: tuple[str, ...], expected: tuple[str, str] | None
) -> None:
    here = world(leads_team=True, action="approve", minutes=minutes, approvals=given)
    version, draft = approving(1), approving(2, TWO)
    recorded = here.record(version, applied=True)
    assert recorded.verdict.allowed
    assert compare_approvals(draft, recorded, version) == expected
    assert compare_approvals(version, recorded, version) is None
    assert compare_approvals(draft, here.record(version, applied=False), version) is None
    tally = Tally()
    count_again(tally, draft, recorded, version)
    assert set(tally.counts) == {ReplayOutcome.OTHER_APPROVALS if expected else ReplayOutcome.SAME}
    if expected:
        [example] = tally.examples[ReplayOutcome.OTHER_APPROVALS]
        assert (example.was, example.now) == (
            "allowed by approve-team, 1 approval of 1",
            "allowed by approve-team, 1 approval of 2",
        )


def test_approvals_of_an_older_record_are_undecidable() -> None:
    here = world(leads_team=True, action="approve")
    recorded = replace(here.record(approving(1), applied=True), attributes={}, attributes_recorded=False)
    assert compare_approvals(approving(2, TWO), recorded, approving(1)) == Undecidable(
        "attribute resource.approvals was not recorded"
    )


def test_a_value_that_was_too_large_to_be_recorded_is_named() -> None:
    version = build((READ.format("owner", "always"),), {}, {}, None)
    draft = build((READ.format("anyone", "big"),), {"big": "'A' in resource.projects"}, {}, None, 2)
    here = world(projects=tuple(f"{number:05}" * 8 for number in range(300)))
    recorded = here.record(version)
    assert "resource.projects" not in recorded.attributes
    assert reevaluate(draft, recorded, version) == Undecidable(
        "attribute resource.projects was too large to be recorded"
    )


def test_groups_that_an_older_release_did_not_record_are_not_guessed() -> None:
    version = build((READ.format("owner", "always"),), {}, {}, None)
    draft = build((READ.format("group:finance", "always"),), {}, {}, None, 2)
    recorded = world(caller={"principal.groups": ("finance",)}).record(version)
    assert cast("Verdict", reevaluate(draft, recorded, version)).allowed
    lookup = replace(recorded.request.lookup, caller={})
    older = replace(
        recorded, request=replace(recorded.request, lookup=lookup), attributes={}, attributes_recorded=False
    )
    assert reevaluate(draft, older, version) == Undecidable("groups were not recorded")


def test_an_explanation_shows_the_values_that_the_expressions_saw() -> None:
    rules = (READ.format("manager", "first"), READ.format("manager", "second").replace("read-it", "second-way"))
    version = build(rules, {"first": FACTS[0], "second": FACTS[2]}, {}, None)
    here = world(leads_team=True, minutes=2000, owner__country="DE")
    denied = explain_record(version, here.record(version))
    assert [(fact.name, fact.value, dict(fact.values)) for fact in denied.facts] == [
        ("first", "false", {"resource.minutes": "2000"}),
        ("second", "unknown", {"principal.country": "unknown", "resource.owner.country": "DE"}),
    ]
    allowed = explain_record(version, world(leads_team=True, minutes=2500).record(version))
    assert [(fact.name, fact.value, fact.expression) for fact in allowed.facts] == [("first", "true", FACTS[0])]


@pytest.mark.parametrize(
    "changes",
    [
        {
            "attributes": {
                "principal.groups": 5,
                "principal.id": 7,
                "resource.projects": "A",
                "resource.minutes": "many",
            }
        },
        {"attributes": {"principal.groups": [5], "resource.projects": [[]], "resource.minutes": None}},
        {"decided_at": "0001-01-01T00:00:00.000000+23:59"},
        {"decided_at": "yesterday"},
        {"attributes": 7},
        {"attributes_left_out": [7]},
        {"commitments": {"attributes.resource.minutes": "00"}},
    ],
)
def test_an_altered_record_is_evaluated_or_refused_but_breaks_nothing(changes: dict[str, object]) -> None:
    version = build((READ.format("owner", "always"),), {}, {}, None)
    draft = build((READ.format("group:g", "first"), READ.format("anyone", "second").replace("read-it", "it")),
                  {"first": FACTS[1], "second": FACTS[11]}, {"asked": REQUEST_FACTS[1]}, PATHS[0], 2)  # fmt: skip
    made = of_decision(Caller(world().principal, "request", "GET", "/v1/test"), world().decide(version), applied=None)
    try:
        recorded = parse_request(json.dumps({**json.loads(made.body), **changes}).encode())
    except NotARequest:
        return
    assert isinstance(reevaluate(draft, recorded, version), (Verdict, Undecidable))
    explain_record(version, recorded)
