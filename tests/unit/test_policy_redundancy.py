"""Conflicting, unsatisfiable and shadowed rules: each is found with its line, and no finding is wrong."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.administration.checks import examination, redundancy
from service.authorization.engine.engine import Snapshot
from service.directory.access_request_store import ACCESS_REQUEST_FACTS
from service.errors import PolicyRejected
from service.policy import policy_file
from service.policy.access_request import Effect, Rule
from service.policy.known_words import (
    ACTIONS,
    ALLOWED_IN_ANY_STATE,
    CLIENT_ACTIONS,
    FIRST_STATES,
    RELATIONS,
    RELATIONS_WITHOUT_A_ROW,
    STARTS,
    STATES,
    WITHOUT_A_ROW,
)
from service.policy.laws import law_forbids
from service.policy.path_parser import default_paths
from service.policy.paths import is_of_people
from service.timesheets.relations import TIMESHEET_FACTS
from service.timesheets.timesheet import TRANSITIONS
from tests import policy_forge
from tests.example_count import example_count
from tests.unit.test_engine_differential import access_request, build, links, policies, requests

# Complaints about rules that the engine would still apply, to requests that cannot occur or lead to nothing.
NOT_OF_THE_RULES = ("never true for the owner", "has no effect")
MAY = "timesheet, approve:timesheets, always"


def find_refusals(*lines: str) -> list[str]:
    return [str(complaint) for complaint in redundancy.find_redundancy(policy_forge.policy(*lines)).complaints]


def find_warnings(*lines: str) -> list[str]:
    return [str(complaint) for complaint in redundancy.find_redundancy(policy_forge.policy(*lines)).warnings]


def test_the_shipped_rules_are_neither_conflicting_nor_shadowed() -> None:
    policy = Snapshot.build(policy_forge.policy(*policy_forge.read_shipped().rules.splitlines()), 1).policy
    found = redundancy.find_redundancy(policy)
    assert (found.complaints, found.warnings) == ([], [])


def test_an_allow_and_a_deny_with_the_same_conditions_conflict_at_the_later_line() -> None:
    rows = (f"p, deny, manager, reject, submitted, {MAY}, no", f"p, allow, manager, reject, submitted, {MAY}, yes")
    for lines, late, early in ((rows, "yes", "no"), (rows[::-1], "no", "yes")):
        (message,) = find_refusals(*lines)
        assert message.startswith(f"policy.csv:2:1: This row conflicts with '{early}' in line 1")
        assert f"(rule '{late}')" in message
        assert find_warnings(*lines) == []


@pytest.mark.parametrize(
    ("row", "because"),
    [
        ("p, allow, owner, create, submitted or approved, timesheet, any, always, late", "'create' is decided only in"),
        ("p, deny, anyone, create, rejected, timesheet, any, always, late", "'create' is decided only in"),
        ("p, allow, owner, approve, submitted, timesheet, any, mfa, own", "a safety law forbids everything"),
        ("p, allow, manager, approve, any, timesheet, any, mfa and acted_for_owner, own", "a safety law forbids"),
        ("p, allow, role:payroll, unlock, any, timesheet, any, locked_by_asker, own", "a safety law forbids"),
        (
            "p, allow, role:author, propose, proposed, policy, any, always, early",
            "without a policy, so without a state",
        ),
        ("p, deny, proposer, propose, any, policy, any, always, again", "so nobody is its proposer"),
        ("p, deny, proposer, simulate, any, policy, any, always, again", "so nobody is its proposer"),
        (
            "p, deny, delegate, grant, any, delegation, any, always, not-to-oneself",
            "so nobody is its delegate",
        ),
        ("p, allow, owner, read, any, timesheet, any, acted_for_owner, self", "never true for the owner"),
        ("p, allow, anyone, read, draft or approved, timesheet, any, locked_by_asker, x", "only in the state locked"),
        ("p, allow, manager, upload, any, timesheet, batch:upload, always, by-hand", "only clients acting for"),
        ("p, allow, group:hr, upload, any, timesheet, batch:upload, always, by-hr", "only clients acting for"),
        ("p, allow, via:app, upload, any, timesheet, batch:upload, always, by-app", "only clients acting for"),
        ("p, allow, role:r, read, any, log, any, recent_sign_in and not this_hour, x", "recent_sign_in and not this_h"),
        ("p, allow, manager, approve, draft or approved, timesheet, any, always, early", "starts only from submitted"),
    ],
)
def test_an_unsatisfiable_rule_is_refused(row: str, because: str) -> None:
    hour = "[request.facts]\nthis_hour = { max_age = 3600, yes = 'you signed in this hour', no = 'you did not' }"
    words = policy_forge.read_shipped().vocabulary.replace("[request.facts]", hour)
    text = replace(
        policy_forge.read_shipped(), rules=f"p, allow, anyone, read, any, me, any, always, me\n{row}\n", cases={}
    )
    (complaint,) = redundancy.find_redundancy(policy_file.parse(replace(text, vocabulary=words))).complaints
    assert str(complaint).startswith("policy.csv:2:1: This row ")
    assert because in complaint.message


@pytest.mark.parametrize(
    "row",
    [
        "deny, owner, read, any, timesheet, any, acted_for_owner",
        "deny, role:r, read, any, log, any, recent_sign_in and not this_hour",
        "allow, role:r, read, any, log, any, not recent_sign_in and this_hour",
        "allow, role:r, read, any, log, any, not recent_sign_in and not this_hour",
        "allow, importer, upload, submitted, timesheet, batch:upload, always",
        "allow, role:jobs, upload, any, timesheet, batch:upload, always",
        "deny, owner, upload, any, timesheet, any, always",
        "allow, anyone, read, draft or locked, timesheet, any, locked_by_asker",
        "allow, anyone, read, draft, timesheet, any, not locked_by_asker",
        "deny, manager, approve, draft, timesheet, any, always",
        "allow, delegate, end, any, delegation, any, always",
        "allow, proposer, read, proposed, policy, any, always",
        "allow, anyone, create, draft or approved, timesheet, any, always",
    ],
)
def test_a_rule_that_can_match_some_request_is_accepted(row: str) -> None:
    hour = "[request.facts]\nthis_hour = { max_age = 3600, yes = 'you signed in this hour', no = 'you did not' }"
    words = policy_forge.read_shipped().vocabulary.replace("[request.facts]", hour)
    text = replace(policy_forge.read_shipped(), rules=f"p, {row}, row\n", vocabulary=words, cases={})
    assert redundancy.find_redundancy(policy_file.parse(text)).complaints == []


@pytest.mark.parametrize(
    ("narrow", "broad", "says"),
    [
        ("allow, manager, reject, submitted, timesheet, approve:timesheets, mfa",
         "allow, manager, reject, any, timesheet, approve:timesheets, always", "already allows everything"),
        ("allow, role:lead, read, any, log, read:audit, always", "allow, role:staff, read, any, log, any, always",
         "already allows everything"),
        ("deny, via:app, read, any, timesheet, any, always", "deny, client:app, read, any, timesheet, any, always",
         "already denies everything"),
        ("deny, owner, reject, draft, timesheet, any, mfa", "deny, anyone, reject, any, timesheet, any, always",
         "already denies everything"),
        ("allow, manager, reject, submitted, timesheet, approve:timesheets, always",
         "deny, anyone, reject, any, timesheet, any, always", "denies everything that it allows"),
        ("allow, client:app, read, any, timesheet, any, mfa", "deny, client:app, read, any, timesheet, any, always",
         "denies everything that it allows"),
    ],
)  # fmt: skip
def test_a_shadowed_rule_gets_a_warning_and_is_not_refused(narrow: str, broad: str, says: str) -> None:
    lines = (f"p, {narrow}, narrow", f"p, {broad}, broad", "g, role:lead, role:staff")
    message = find_warnings(*lines)[0]
    assert message.startswith("policy.csv:1:1: ")
    assert says in message
    assert "'broad' in line 2" in message
    assert find_refusals(*lines) == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("deny, owner, withdraw, draft, timesheet, any, always", "'withdraw' starts only from submitted"),
        (
            "deny, owner, submit, submitted or locked, timesheet, any, mfa",
            "'submit' starts only from draft or rejected",
        ),
        ("deny, lead, end, open, access_request, any, always", "'end' starts only from granted"),
        ("deny, owner, withdraw, draft or submitted, timesheet, any, always", None),
        ("deny, importer, upload, approved, timesheet, any, always", None),
        ("deny, owner, read, draft, timesheet, any, always", None),
        ("deny, owner, withdraw, any, timesheet, any, always", None),
    ],
)
def test_a_deny_in_states_from_which_its_action_never_starts_gets_a_warning(row: str, says: str | None) -> None:
    found = [str(warning) for warning in redundancy.find_idle_denies(policy_forge.policy(f"p, {row}, odd"))]
    assert [f"policy.csv:1:1: This row has no effect: {says} (rule 'odd')" in warning for warning in found] == (
        [True] if says else []
    )
    assert find_refusals(f"p, {row}, odd") == []


def test_a_proposal_tells_of_a_deny_without_effect() -> None:
    text = policy_forge.with_more("p, deny, owner, withdraw, draft, timesheet, any, always, odd\n")
    told = [str(warning) for warning in examination.examine(text, examination.PROPOSAL).warnings]
    assert any("'withdraw' starts only from submitted (rule 'odd') (write submitted)" in warning for warning in told)
    shipped = policy_file.parse(policy_forge.read_shipped())
    assert redundancy.find_idle_denies(shipped) == []


@pytest.mark.parametrize(
    ("denied", "approving", "warns"),
    [
        ("manager, read, any, timesheet, any, not mfa", "manager, approve, any, timesheet, any, agent", True),
        (
            "manager, read, submitted, timesheet, any, always",
            "delegate, approve, submitted, timesheet, any, always",
            True,
        ),
        ("manager, read, any, timesheet, any, not mfa", "manager, approve, submitted, timesheet, any, not mfa", False),
        ("role:lead, read, any, timesheet, any, always", "role:staff, approve, any, timesheet, any, always", False),
        ("manager, read, approved, timesheet, any, always", "owner, approve, any, timesheet, any, always", False),
        ("owner, read, any, timesheet, any, always", "manager, approve, any, timesheet, any, always", False),
        ("anyone, read, any, log, any, always", "manager, approve, any, timesheet, any, always", False),
    ],
)
def test_a_deny_of_reading_alone_gets_a_warning_that_approving_shows_a_timesheet(
    denied: str, approving: str, *, warns: bool
) -> None:
    policy = policy_forge.policy(f"p, deny, {denied}, a", f"p, deny, {approving}, b", "g, role:lead, role:staff")
    messages = [str(warning) for warning in redundancy.find_shown(policy)]
    assert len(messages) == warns
    assert all("policy.csv:1:1: This row hides no submitted timesheet" in message for message in messages)


@pytest.mark.parametrize(
    ("row", "other"),
    [
        ("allow, client:app, read, any, timesheet, any, always", "allow, via:app, read, any, timesheet, any, always"),
        ("deny, client:app, read, any, timesheet, any, mfa", "deny, via:app, read, any, timesheet, any, always"),
        ("allow, owner, read, any, timesheet, any, always", "allow, manager, read, any, timesheet, any, always"),
        ("allow, owner, read, any, timesheet, any, mfa", "allow, owner, read, any, timesheet, any, not mfa"),
        ("allow, role:lead, read, any, log, any, always", "allow, role:other, read, any, log, any, always"),
        (
            "allow, manager, approve, submitted, timesheet, any, always",
            "deny, owner, approve, any, timesheet, any, mfa",
        ),
    ],
)
def test_rules_with_different_verdicts_get_no_warning(row: str, other: str) -> None:
    messages = find_warnings(f"p, {row}, row", f"p, {other}, other", "g, role:lead, role:staff")
    assert [message for message in messages if "policy.csv: The row 'g," not in message] == []


def test_a_proposal_with_a_conflict_is_refused_and_a_stored_version_still_loads() -> None:
    text = policy_forge.read_shipped()
    row = "p, deny, role:auditor, read, any, log, read:audit, always, no-audit\n"
    keep = "p, allow, role:controller, read, any, log, read:audit, always, still-somebody\n"
    text = replace(text, rules=text.rules + keep + row, cases={})
    with pytest.raises(PolicyRejected) as error:
        examination.load(text, examination.PROPOSAL)
    (complaint,) = error.value.complaints
    assert (complaint.file, complaint.line) == ("policy.csv", len(text.rules.splitlines()))
    assert examination.load(text, 7).number == examination.build(text, 7).number == 7


def test_a_link_to_a_role_that_no_row_names_gets_a_warning() -> None:
    lines = ("p, allow, role:c, read, any, log, any, always, log", "g, role:a, role:b", "g, role:b, role:c")
    assert find_warnings(*lines) == []
    (message,) = find_warnings(*lines, "g, role:a, role:d")
    assert "'g, role:a, role:d' has no effect" in message


def test_the_findings_are_bounded() -> None:
    rows = [f"p, allow, role:r{n}, read, any, log, any, mfa, r-{n}" for n in range(300)]
    messages = find_warnings("p, allow, anyone, read, any, log, any, always, all", *rows)
    assert len(messages) == redundancy.MAX_FOUND + 1
    assert "stopped here" in messages[-1]


def test_a_deny_row_that_freezes_an_action_is_a_warning_for_each_row_that_it_stops() -> None:
    text = policy_forge.read_shipped()
    text = replace(text, rules=text.rules + "p, deny, anyone, reject, any, timesheet, any, always, freeze\n", cases={})
    found = examination.report(text, examination.PROPOSAL)
    assert found.complaints == ()
    stopped = ("'reject-team'", "'reject-as-delegate'", "'reject-as-fallback'", "'reject-as-temporary-approver'")
    assert [name in str(warning) for name, warning in zip(stopped, found.warnings, strict=True)] == [True] * 4


def test_the_states_known_here_are_those_of_the_timesheet() -> None:
    assert {action: starts for (kind, action), starts in STARTS.items() if kind == "timesheet"} == {
        action: frozenset(str(start) for start in step.starts) for action, step in TRANSITIONS.items()
    }
    assert {
        ("timesheet", "create"): {TIMESHEET_FACTS.imagined_state},
        ("access_request", "request"): {ACCESS_REQUEST_FACTS.imagined_state},
    } == FIRST_STATES
    for (kind, action), states in {**STARTS, **FIRST_STATES}.items():
        assert action in ACTIONS[kind]
        assert states <= STATES[kind]


def test_the_known_words_about_relations_name_relations() -> None:
    for (kind, action), relations in RELATIONS_WITHOUT_A_ROW.items():
        assert action in ACTIONS[kind]
        assert relations <= RELATIONS[kind]
    paths = {("timesheet", relation): path for relation, path in default_paths("timesheet").items()}
    assert [word for word in RELATIONS["timesheet"] if not is_of_people("timesheet", word, paths)] == ["importer"]
    for kind, action in WITHOUT_A_ROW | CLIENT_ACTIONS | ALLOWED_IN_ANY_STATE:
        assert action in ACTIONS[kind]


def test_a_proposal_that_does_not_declare_a_state_is_refused_and_a_stored_version_is_not() -> None:
    """Nobody could do anything to a version in that state: none that is `proposed` could ever be activated."""
    text = replace(policy_forge.read_shipped(), cases={})
    lines = [line for line in text.vocabulary.split("\n") if not line.startswith("proposed ")]
    without = replace(text, vocabulary="\n".join(lines))

    with pytest.raises(PolicyRejected) as refusal:
        examination.load(without, examination.PROPOSAL)

    assert [complaint.file for complaint in refusal.value.complaints] == ["vocabulary.toml"]
    assert "'policy' does not declare the state 'proposed'" in str(refusal.value.complaints[0])
    assert examination.load(without, 2).number == 2


@settings(max_examples=example_count(60))
@given(given_rules=policies, role_links=links, asked=st.lists(requests, min_size=10, max_size=25))
def test_without_a_shadowed_rule_no_verdict_changes(
    given_rules: list[Rule], role_links: list[tuple[str, str]], asked: list[tuple[object, ...]]
) -> None:
    snapshot = build(given_rules, role_links)
    found = redundancy.find_redundancy(snapshot.policy)
    shadowed = {warning.line for warning in found.warnings if warning.line}
    for line in shadowed:
        kept = [rule for rule in snapshot.policy.rules if rule.line != line]
        without = Snapshot.build(replace(snapshot.policy, rules=tuple(kept)), 1)
        for request in asked:
            before = snapshot.decide(access_request(snapshot, request))
            assert without.decide(access_request(without, request)).allowed is before.allowed, str(line)


@settings(max_examples=example_count(60))
@given(given_rules=policies, asked=st.lists(requests, min_size=10, max_size=20), data=st.data())
def test_without_a_refused_rule_no_verdict_changes(
    given_rules: list[Rule], asked: list[tuple[object, ...]], data: st.DataObject
) -> None:
    opposite = {Effect.ALLOW: Effect.DENY, Effect.DENY: Effect.ALLOW}
    mirrored = data.draw(st.lists(st.sampled_from(given_rules), max_size=4, unique_by=id))
    snapshot = build([*given_rules, *(replace(rule, effect=opposite[rule.effect]) for rule in mirrored)], [])
    for complaint in redundancy.find_redundancy(snapshot.policy).complaints:
        if any(words in complaint.message for words in NOT_OF_THE_RULES):
            continue
        lines = {complaint.line, *(int(line) for line in re.findall(r"in line (\d+)", complaint.message))}
        kept = [rule for rule in snapshot.policy.rules if rule.line not in lines or rule.effect is Effect.DENY]
        without = Snapshot.build(replace(snapshot.policy, rules=tuple(kept) or snapshot.policy.rules), 1)
        for request in asked:
            whole, other = access_request(snapshot, request), access_request(without, request)
            before = snapshot.decide(whole).allowed and not law_forbids(whole)
            assert (without.decide(other).allowed and not law_forbids(other)) is before, complaint.message


def test_ten_thousand_rules_of_one_action_are_each_read_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing each with each would read each ten thousand times."""
    rows = [
        f"p, {effect}, role:r{n}, approve, {state}, timesheet, {scope}, {when}, {effect}-{n}-{index}"
        for n in range(625)
        for index, (effect, state, scope, when) in enumerate(
            (effect, state, scope, when)
            for effect, state in (("allow", "submitted"), ("allow", "any"), ("deny", "draft"), ("deny", "approved"))
            for scope in ("approve:timesheets", "read:timesheets")
            for when in (("mfa", "not mfa") if state == "any" else ("recent_sign_in", "not recent_sign_in"))
        )
    ]
    policy = policy_forge.policy(*rows)
    assert len(policy.rules) == 10_000
    reads = 0

    def read(rule: Rule, name: str) -> object:
        nonlocal reads
        reads += 1
        return object.__getattribute__(rule, name)

    with monkeypatch.context() as patched:
        patched.setattr(Rule, "__getattribute__", read, raising=False)
        found = redundancy.find_redundancy(policy)
    assert (found.complaints, found.warnings) == ([], [])
    assert 0 < reads < 50 * len(policy.rules)


DECLARED = """
[kinds.timesheet.facts.long]
is = "resource.minutes > 2400"
yes = "a"
no = "b"
[kinds.timesheet.facts.overtime]
is = "resource.minutes > 2400"
yes = "a"
no = "b"
[kinds.timesheet.facts.longer]
is = "resource.minutes > 2401"
yes = "a"
no = "b"
[kinds.timesheet.relations.boss]
is = "resource.owner.teams.above.leads - resource.owner"
yes = "a"
no = "b"
"""
SAME_WORDS = (
    "The facts long and overtime of the kind timesheet have the same expression",
    "The relations boss and manager of the kind timesheet have the same path",
)


def findings_of(*rows: str) -> redundancy.Findings:
    text = policy_forge.rows(*rows)
    return redundancy.find_redundancy(policy_file.parse(replace(text, vocabulary=text.vocabulary + DECLARED)))


@pytest.mark.parametrize(
    ("row", "other", "warnings"),
    [
        ("allow, manager, read, any, timesheet, any, long", "allow, manager, read, any, timesheet, any, overtime", 2),
        ("allow, boss, read, any, timesheet, any, long", "allow, manager, read, any, timesheet, any, always", 1),
        ("allow, boss, read, any, timesheet, any, always", "deny, manager, read, any, timesheet, any, always", 0),
        ("allow, boss, read, any, timesheet, any, long", "deny, manager, read, any, timesheet, any, mfa", 0),
        ("allow, manager, read, any, timesheet, any, longer", "allow, manager, read, any, timesheet, any, long", 0),
    ],
)  # fmt: skip
def test_rows_are_compared_by_what_their_words_mean(row: str, other: str, warnings: int) -> None:
    found = findings_of(f"p, {row}, first", f"p, {other}, second")
    assert [warning.message for warning in found.warnings if warning.file == "vocabulary.toml"] == list(SAME_WORDS)
    of_rows = [warning for warning in found.warnings if warning.file == "policy.csv"]
    assert len(of_rows) == warnings
    conflict = other.startswith("deny") and other.split(", ")[5:] == row.split(", ")[5:]
    assert bool(found.complaints) is conflict
