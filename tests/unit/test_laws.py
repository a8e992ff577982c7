"""The safety laws: a version that lets a caller approve their own hours, or locks every author out, is refused."""

from __future__ import annotations

import re
from itertools import chain, combinations, product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.administration.checks import examination
from service.authorization.enforcement.decision_point import apply_rules_and_laws
from service.authorization.engine.engine import Snapshot
from service.errors import PolicyRejected
from service.policy import laws, policy_file
from service.policy.access_request import ANYONE, NO_STATE, AccessRequest
from service.values import replace
from tests import policy_forge

if TYPE_CHECKING:
    from service.policy.policy_file import PolicyText

KEEP = (
    "p, allow, role:author, propose, any, policy, any, always, propose",
    "p, allow, role:author, activate, any, policy, any, always, activate",
    "p, allow, role:auditor, read, any, log, any, always, audit",
)
NEVER_OWN = "p, deny, owner, approve, any, timesheet, any, always, never-own"
NEVER_FOR = "p, deny, anyone, approve, any, timesheet, any, acted_for_owner, never-for"


def broken(text: PolicyText) -> list[str]:
    try:
        examination.load(text, 1)
    except PolicyRejected as refused:
        return [complaint.message for complaint in refused.complaints]
    return []


def test_the_shipped_policy_keeps_the_laws() -> None:
    assert broken(policy_forge.read_shipped()) == []


def test_a_version_from_before_access_requests_keeps_the_laws() -> None:
    shipped = policy_forge.read_shipped()
    vocabulary = re.sub(r"(?s)\[kinds\.access_request\].*?(?=\[kinds\.token\])", "", shipped.vocabulary)
    rules = "".join(row for row in shipped.rules.splitlines(keepends=True) if "access_request," not in row)
    assert "access_request" not in vocabulary + rules
    assert broken(replace(shipped, vocabulary=vocabulary, rules=rules, cases={})) == []


@pytest.mark.parametrize(
    ("removed", "law"),
    [
        ("never-own-hours", "Nobody may approve their own hours"),
        ("never-for-owner", "on the owner's behalf"),
        ("never-own-access", "their own access request"),
        ("policy-propose", "propose a policy version"),
        ("policy-activate", "activate a policy version"),
        ("audit-read", "read the decision log"),
    ],
)
def test_a_version_without_a_row_that_the_laws_need_is_refused(removed: str, law: str) -> None:
    (message,) = broken(policy_forge.without_rule(removed))
    assert law in message


@pytest.mark.parametrize(
    ("row", "law"),
    [
        ("p, deny, owner, approve, submitted, timesheet, any, always, never-own", "their own hours"),
        ("p, deny, owner, approve, any, timesheet, approve:timesheets, always, never-own", "their own hours"),
        ("p, deny, owner, approve, any, timesheet, any, mfa, never-own", "their own hours"),
        ("p, deny, role:staff, approve, any, timesheet, any, always, never-own", "their own hours"),
        ("p, deny, owner, reject, any, timesheet, any, always, never-own", "their own hours"),
    ],
)
def test_a_narrower_row_than_the_law_is_refused(row: str, law: str) -> None:
    allow = "p, allow, anyone, approve, any, timesheet, any, always, free-for-all"
    (message,) = broken(policy_forge.rows(*KEEP, NEVER_FOR, allow, row))
    assert law in message


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("p, deny, requester, grant, any, access_request, any, always, never", []),
        ("p, deny, anyone, grant, any, access_request, any, always, never", []),
        ("p, deny, requester, grant, granted, access_request, any, always, never", ["'free-for-all'"]),
        ("p, deny, requester, grant, any, access_request, any, mfa, never", ["'free-for-all'"]),
        ("p, deny, lead, grant, any, access_request, any, always, never", ["'free-for-all'"]),
        ("p, deny, requester, decline, any, access_request, any, always, never", ["'free-for-all'"]),
    ],
)
def test_only_a_row_as_broad_as_the_law_keeps_requesters_from_granting(row: str, told: list[str]) -> None:
    allow = "p, allow, anyone, grant, open, access_request, any, always, free-for-all"
    messages = broken(policy_forge.rows(*KEEP, allow, row))
    assert len(messages) == len(told)
    assert all("their own access request" in message for message in messages)
    assert all(name in message for name, message in zip(told, messages, strict=True))


@given(
    who=st.frozensets(st.sampled_from(["requester", "former:requester", "lead", "role:administrator", "client:x"])),
    state=st.sampled_from([NO_STATE, "open", "granted"]),
    action=st.sampled_from(["grant", "decline", "end", "withdraw"]),
)
def test_the_law_forbids_every_grant_by_a_requester_and_nothing_else(
    who: frozenset[str], state: str, action: str
) -> None:
    snapshot = policy_forge.snapshot(f"p, allow, anyone, {action}, any, access_request, any, always, free")
    access_request = snapshot.access_request("access_request", action, state, [*who, ANYONE], [], {})
    own = action == "grant" and not who.isdisjoint({"requester", "former:requester"})
    assert laws.law_forbids(access_request) is own
    assert apply_rules_and_laws(snapshot, access_request).allowed is not own


def test_the_complaint_names_the_row_that_would_allow() -> None:
    with pytest.raises(PolicyRejected) as refused:
        examination.load(policy_forge.without_rule("never-own-hours"), 1)
    (complaint,) = refused.value.complaints
    assert "'approve-team'" in complaint.message
    assert complaint.line > 0
    assert "p, deny, owner, approve" in (complaint.suggestion or "")


def test_a_policy_that_allows_no_approval_keeps_the_laws_without_a_deny() -> None:
    assert broken(policy_forge.rows(*KEEP)) == []


def test_an_allow_that_requires_not_having_acted_keeps_the_second_law() -> None:
    allow = "p, allow, manager, approve, any, timesheet, any, not acted_for_owner, approve"
    assert broken(policy_forge.rows(*KEEP, NEVER_OWN, allow)) == []


def test_an_allow_that_a_deny_always_overrides_does_not_keep_a_law() -> None:
    deny = "p, deny, role:staff, activate, any, policy, any, always, blocked"
    text = policy_forge.rows(*KEEP, deny)
    assert broken(text) == []
    (message,) = broken(replace(text, rules=text.rules + "g, role:author, role:staff\n"))
    assert "activate a policy version" in message


def test_a_law_that_takes_too_long_to_prove_counts_as_broken() -> None:
    facts = "\n".join(f'f{n} = {{ max_age = {n + 1}, yes = "y", no = "n" }}' for n in range(12))
    rows = [
        f"p, allow, role:r{n}, approve, any, timesheet, any, f{n % 12} and not acted_for_owner, a-{n}"
        for n in range(60)
    ]
    text = policy_forge.rows(*KEEP, *rows)
    text = replace(text, vocabulary=text.vocabulary.replace("[request.facts]", "[request.facts]\n" + facts))
    halves = "".join(
        f"p, deny, owner, approve, any, timesheet, any, {when}, {name}\n"
        for when, name in (("mfa", "never-own"), ("not mfa", "never-own-either"))
    )
    messages = broken(replace(text, rules=text.rules + halves))
    assert len(messages) == 2
    assert all("too many rows and facts to prove this" in message for message in messages)


def with_secrets(*rows: str, kind: str = "timesheet", expression: str = "'S{n}' in resource.projects") -> PolicyText:
    """The texts of these rows, with 12 facts `secret_0`, `secret_1`, ... that are unrelated."""
    text = policy_forge.rows(*KEEP, *rows)
    facts = "".join(
        f'\n[kinds.{kind}.facts.secret_{n}]\nis = "{expression.format(n=n)}"\nyes = "y"\nno = "n"\n' for n in range(12)
    )
    return replace(text, vocabulary=text.vocabulary + facts)


SECRETS = tuple(
    f"p, deny, role:contractor, approve, any, timesheet, any, secret_{n}, hide-secret-{n}" for n in range(12)
)
FREE = "p, allow, manager, approve, any, timesheet, any, always, free"


def test_a_deny_without_other_facts_proves_a_law_however_many_facts_other_rows_have() -> None:
    assert broken(with_secrets(FREE, *SECRETS, NEVER_OWN, NEVER_FOR)) == []


@pytest.mark.parametrize(
    "row",
    [
        "p, deny, owner, approve, submitted, timesheet, any, always, never-own",
        "p, deny, owner, approve, any, timesheet, approve:timesheets, always, never-own",
        "p, deny, owner, approve, any, timesheet, any, acted_for_owner, never-own",
        "p, deny, owner, approve, any, timesheet, any, secret_0, never-own",
        "p, deny, role:staff, approve, any, timesheet, any, always, never-own",
        "p, deny, owner, reject, any, timesheet, any, always, never-own",
    ],
)
def test_a_narrower_deny_beside_many_facts_proves_no_law(row: str) -> None:
    (message,) = broken(with_secrets(FREE, *SECRETS, row, NEVER_FOR))
    assert "their own hours" in message


def test_the_remedy_for_a_law_without_a_proof_is_the_row_that_proves_it() -> None:
    halves = [
        "p, deny, owner, approve, any, timesheet, any, secret_0, never-own",
        "p, deny, owner, approve, any, timesheet, any, not secret_0, never-own-either",
    ]
    text = with_secrets(FREE, *SECRETS, *halves, NEVER_FOR)
    with pytest.raises(PolicyRejected) as refused:
        examination.load(text, 1)
    (complaint,) = refused.value.complaints
    assert "too many rows and facts" in complaint.message
    assert complaint.suggestion is not None
    assert complaint.suggestion.endswith("p, deny, owner, approve, any, timesheet, any, always, never-own-hours")
    kept = complaint.suggestion.removeprefix("keep a row like: ")
    assert broken(replace(text, rules=text.rules + kept + "\n")) == []


BEFORE_FREEZE = """
[request.facts.before_freeze]
is = "context.now < timestamp('2026-12-24T00:00:00Z')"
yes = "it is before the freeze"
no = "it is not before the freeze"

[request.facts.working_day]
is = "!(context.weekday in ['saturday', 'sunday'])"
yes = "it is a working day"
no = "it is {context.weekday}"
"""


@pytest.mark.parametrize(
    ("row", "law"),
    [
        ("deny, anyone, activate, any, policy, any, not before_freeze", "activate a policy version at any time"),
        ("deny, anyone, activate, proposed or retired, policy, any, not working_day", "activate a policy version at"),
        ("deny, role:author, propose, any, policy, any, before_freeze", "propose a policy version at any time"),
        ("deny, role:auditor, read, any, log, any, not working_day and mfa", None),
        ("deny, role:auditor, read, any, log, any, not working_day", "read the decision log at any time"),
        ("deny, role:intern, activate, any, policy, any, not before_freeze", None),
        ("deny, anyone, activate, proposed, policy, any, not before_freeze", None),
    ],
)
def test_a_version_that_can_lock_everybody_out_by_time_is_refused(row: str, law: str | None) -> None:
    text = policy_forge.rows(*KEEP, f"p, {row}, freeze")
    text = replace(text, vocabulary=text.vocabulary + BEFORE_FREEZE)
    assert [message.startswith(f"Some caller must be able to {law}") for message in broken(text)] == [True] * bool(law)


def test_the_refusal_of_a_lock_by_time_names_the_facts_and_what_to_do() -> None:
    propose, _, audit = KEEP
    by_day = "p, allow, role:author, activate, any, policy, any, working_day, activate"
    text = policy_forge.rows(propose, by_day, audit)
    text = replace(text, vocabulary=text.vocabulary + BEFORE_FREEZE)
    with pytest.raises(PolicyRejected) as refused:
        examination.load(text, 1)
    (complaint,) = refused.value.complaints
    assert complaint.message.endswith("here it depends on working_day, so there can be times when nobody can")
    assert complaint.suggestion == "a safety law: allow it to a role that no row with these facts is about"
    always = "p, allow, role:keeper, activate, any, policy, any, always, activate-always\n"
    assert broken(replace(text, rules=text.rules + always)) == []


@pytest.mark.parametrize(
    ("who", "facts", "forbidden"),
    [
        ({"manager"}, {("acted_for_owner", False)}, False),
        ({"manager", "owner"}, {("acted_for_owner", False)}, True),
        ({"manager"}, {("acted_for_owner", True)}, True),
        ({"manager"}, set(), True),
    ],
)
def test_a_law_forbids_what_rules_may_have_allowed(
    who: set[str], facts: set[tuple[str, bool]], *, forbidden: bool
) -> None:
    access_request = AccessRequest(
        "timesheet", "approve", "submitted", frozenset(who), frozenset({"approve:timesheets"}), frozenset(facts)
    )
    assert laws.law_forbids(access_request) is forbidden
    assert not laws.law_forbids(replace(access_request, action="read"))


def test_the_engine_never_drops_the_words_of_the_law() -> None:
    snapshot = policy_forge.snapshot("p, allow, manager, approve, any, timesheet, any, always, approve")
    access_request = snapshot.access_request(
        "timesheet", "approve", "draft", ["owner", "manager"], [], {"acted_for_owner": False}
    )
    assert laws.law_forbids(access_request)
    assert not laws.law_forbids(replace(access_request, who=frozenset({"manager"})))
    without_rules = policy_forge.snapshot(*KEEP).access_request("timesheet", "approve", "draft", ["owner"], [], {})
    assert "owner" in without_rules.who


APPROVE_ROWS = st.tuples(
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["owner", "manager", "role:a", "role:b", "anyone"]),
    st.sampled_from(["any", "submitted", "draft or submitted"]),
    st.sampled_from(["any", "approve:timesheets"]),
    st.sampled_from(["always", "mfa", "not mfa", "acted_for_owner", "not acted_for_owner", "mfa and acted_for_owner"]),
)


@given(rows=st.lists(APPROVE_ROWS, min_size=1, max_size=6, unique=True), linked=st.booleans())
def test_the_proof_agrees_with_asking_every_request(rows: list[tuple[str, ...]], *, linked: bool) -> None:
    lines = [
        f"p, {effect}, {who}, approve, {state}, timesheet, {scope}, {when}, row-{n}"
        for n, (effect, who, state, scope, when) in enumerate(rows)
    ]
    links = ["g, role:a, role:b"] if linked else []
    snapshot = Snapshot.build(policy_file.parse(policy_forge.rows(*KEEP, *lines, *links)), 1)
    found = laws.check(
        snapshot.policy.rules,
        snapshot.vocabulary,
        lambda access_request: snapshot.decide(replace(access_request, who=snapshot.close(access_request.who))),
    )
    own, acted = False, False
    words = ["owner", "manager", "role:a", "role:b"]
    for chosen, state, scopes, mfa, did in product(
        chain.from_iterable(combinations(words, size) for size in range(5)),
        ["draft", "submitted", "approved", NO_STATE],
        [(), ("approve:timesheets",)],
        [True, False, None],
        [True, False, None],
    ):
        facts = {"mfa": mfa, "acted_for_owner": did}
        access_request = snapshot.access_request("timesheet", "approve", state, (*chosen, ANYONE), scopes, facts)
        if snapshot.decide(access_request).allowed:
            own |= "owner" in chosen
            acted |= did is not False
    assert {complaint.message.split(":")[0] for complaint in found} == {
        law.sentence for law, broken_by in ((laws.NEVER_OWN, own), (laws.NEVER_FOR_OWNER, acted)) if broken_by
    }
