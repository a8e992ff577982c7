"""The reader of policies understands a file or complains. It never guesses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.errors import PolicyRejected
from service.policy import policy_file, vocabulary_file
from service.policy.access_request import Condition, Effect
from service.policy.policy_file import PolicyText
from tests import policy_forge

if TYPE_CHECKING:
    from pathlib import Path

    from service.places import Complaint

GOOD = "p, allow, owner, read, any, timesheet, read:timesheets, always, read-own"
OR = "write a row for each, or declare a fact with || in vocabulary.toml"
ACTIONS = "approve, create, delete, edit, lock, read, reject, reopen, see_names, submit, unlock, upload, withdraw"
EXPRESSION = "declare a fact in vocabulary.toml with this expression"


def complaints(text: PolicyText) -> tuple[Complaint, ...]:
    with pytest.raises(PolicyRejected) as refused:
        policy_file.parse(text)
    return refused.value.complaints


def one_complaint(*lines: str) -> Complaint:
    found = complaints(policy_forge.rows(*lines))
    assert len(found) == 1, [str(complaint) for complaint in found]
    return found[0]


def test_the_shipped_policy_is_understood_row_by_row() -> None:
    policy = policy_file.parse(policy_forge.read_shipped())
    rule = next(rule for rule in policy.rules if rule.name == "edit-own")
    assert (rule.effect, rule.who, rule.action, rule.kind, rule.scope) == (
        Effect.ALLOW, "owner", "edit", "timesheet", "create:timesheets",
    )  # fmt: skip
    assert rule.states == {"draft", "rejected"}
    assert policy.text.rules.splitlines()[rule.line - 1].endswith("edit-own")
    assert policy.vocabulary.thresholds == {"recent_sign_in": 900}


def test_conditions_are_read_with_their_negation() -> None:
    row = "p, deny, anyone, approve, any, timesheet, any, mfa and not acted_for_owner, odd"
    assert policy_forge.policy(row).rules[0].when == (Condition("mfa"), Condition("acted_for_owner", negated=True))


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    text = policy_forge.read_shipped()
    (tmp_path / "cases").mkdir()
    for name, body in text.files():
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + body.replace("\n", "\r\n").encode())
    assert policy_file.parse(PolicyText.read(tmp_path)).rules == policy_file.parse(text).rules


@pytest.mark.parametrize(
    ("row", "column", "message", "suggestion"),
    [
        ("q, allow, owner, read, any, timesheet, any, always, x", 1, "starts with p or g", "#"),
        ("P, allow, owner, read, any, timesheet, any, always, x", 1, "starts with p or g", "#"),
        ("p, allow, owner, read, any, timesheet, any, always", 1, "9 fields, this one has 8", "rule name"),
        ("p, allow, owner, read, any, timesheet, any, always, x,", 1, "9 fields, this one has 10", "rule name"),
        ("g, role:a", 1, "3 fields, this one has 2", "role"),
        ("p, Allow, owner, read, any, timesheet, any, always, x", 4, "'Allow' is not a known effect", "'allow'"),
        ("p, dney, owner, read, any, timesheet, any, always, x", 4, "'dney' is not a known effect", "'deny'"),
        ("p, allow, ownr, read, any, timesheet, any, always, x", 11, "'ownr' is not a known relation", "'owner'"),
        ("p, allow, hr, read, any, log, any, always, x", 11, "relation to the kind 'log'", "known: anyone; a role is"),
        ("p, allow, hr, read, any, log, any, always, x", 11, "relation to the kind 'log'", "role:hr, a group group:hr"),
        ("p, allow, owner, read, any, log, any, always, x", 11, "relation to the kind 'log'", "anyone"),
        ("p, allow, role:Auditor, read, any, log, any, always, x", 11, "not a form of who", "role:NAME"),
        ("p, allow, role:A_b, read, any, log, any, always, x", 11, "not a form of who", "lower-case letters, digits"),
        ("g, role:Auditor, role:auditor", 4, "is not a role", "lower-case letters, digits and -"),
        ("p, allow, group:Night Shift, read, any, log, any, always, x", 11, "not a form of who", "group:NAME"),
        ("g, group:a, role:b", 4, "A g row links roles", "role:NAME"),
        ("p, allow, person:7, read, any, log, any, always, x", 11, "not a form of who", "person:UUID"),
        ("p, allow, owner, raed, any, timesheet, any, always, x", 18, "'raed' is not a known action", "'read'"),
        ("p, allow, owner, read, drfat, timesheet, any, always, x", 24, "'drfat' is not a known state", "'draft'"),
        ("p, allow, anyone, read, draft, me, any, always, x", 25, "has no states", "any"),
        ("p, allow, owner, read, draft or draft, timesheet, any, always, x", 24, "is repeated", None),
        ("p, allow, owner, read, any or draft, timesheet, any, always, x", 24, "'any' is not a known state", None),
        ("p, allow, owner, read, any, timeshet, any, always, x", 29, "'timeshet' is not a known kind", "'timesheet'"),
        ("p, allow, owner, read, any, timesheet, reed:timesheets, always, x", 40, "known scope", "'read:timesheets'"),
        ("p, allow, owner, read, any, timesheet, any, mfaa, x", 45, "'mfaa' is not a known fact", "'mfa'"),
        ("p, allow, owner, read, any, timesheet, any, mfa or mfa, x", 45, "is not a condition", "a row for each"),
        ("p, allow, owner, read, any, timesheet, any, mfa agent, x", 45, "is not a condition", "joined by and"),
        ("p, allow, owner, read, any, timesheet, any, mfa and not mfa, x", 45, "is repeated", None),
        ("p, allow, owner, read, any, timesheet, any, mfa and always, x", 45, "cannot be combined", None),
        ("p, allow, owner, read, any, timesheet, any, always, Read Own", 53, "is not a rule name", "read-own"),
        ("p, allow, owner, read, , timesheet, any, always, x", 24, "state is blank", None),
        ("p, allow, owner, read, any, timesheet, any, r.sub.drop(), x", 45, "not a known fact", None),
        ("p, allow, owner, read, any, timesheet, any, False) or (True, x", 45, "is not a condition", None),
        ('p, allow, owner, read, any, timesheet, "any", always, x', 40, 'the character "', None),
        ("p, allow, owner, read, any, timesheet, any, always, x # why", 55, "the character #", None),
        ("p, allow, owner,\u00a0read, any, timesheet, any, always, x", 17, "the character U+00A0", None),
        ("p, allow, own\u200ber, read, any, timesheet, any, always, x", 14, "the character U+200B", None),
        ("g, role:a, owner", 12, "A g row links roles", "role:NAME"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_by_line_and_column_with_a_suggestion(
    row: str, column: int, message: str, suggestion: str | None
) -> None:
    found = one_complaint("# a comment", GOOD, "", row)
    assert (found.file, found.line, found.column) == ("policy.csv", 4, column), str(found)
    assert message in found.message
    assert suggestion is None or suggestion in (found.suggestion or "")


@pytest.mark.parametrize(
    ("column", "words", "message", "suggestion"),
    [
        ("when", "!mfa", "'!mfa' is not a condition", "write not mfa"),
        ("when", "agent and ! mfa", "'! mfa' is not a condition", "write not mfa"),
        ("when", "not !mfa", "'not !mfa' is not a condition", "write mfa"),
        ("when", "mfa or agent", "'mfa or agent' is not a condition", OR),
        ("when", "mfa || not agent", "'mfa || not agent' is not a condition", OR),
        ("when", "mfa && agent", "'mfa && agent' is not a condition", "join facts by and"),
        ("when", "resource.minutes > 2400", "'resource.minutes > 2400' is not a condition", EXPRESSION),
        ("when", "mfa and principal.trusted", "'principal.trusted' is not a condition", EXPRESSION),
        ("when", "manager", "'manager' is not a known fact", "'manager' is a relation: write it under who"),
        (
            "when",
            "not manager",
            "'manager' is not a known",
            "'manager' is a relation: write it under who of a deny row",
        ),
        ("when", "role:hr", "'role:hr' is not a known fact", "'role:hr' is a form of who: write it under who"),
        ("state", "draft|approved", "'draft|approved' is not a known state", "join states by or: draft or approved"),
        ("state", "draft and approved", "is not a known state", "join states by or: draft or approved"),
        ("state", "draft OR approved", "is not a known state", "join states by or: draft or approved"),
        ("state", "not draft", "is not", "name the other states: approved or locked or rejected or submitted"),
        ("who", "manager or owner", "'manager or owner' is not", "who is one word: write a row for each"),
        ("who", "role:hr | role:payroll", "is not a form of who", "who is one word: write a row for each"),
        ("who", "manager and owner", "is not a form of who", "who is one word"),
        ("who", "not owner", "is not a form of who", "a row cannot exclude owner: write a deny row with owner"),
        ("action", "any", "'any' is not a known action", "write a row for each action"),
        ("action", "read or edit", "'read or edit' is not a known action", "write a row for each action"),
        ("action", "write", "'write' is not a known action", f"known: {ACTIONS}"),
        ("when", "true", "'true' is not a condition", "write always"),
        ("when", "*", "'*' is not a condition", "write always"),
        ("when", "mfa == true", "'mfa == true' is not a condition", "write mfa"),
        ("when", "mfa = false", "'mfa = false' is not a condition", "write not mfa"),
        ("when", "not mfa is false", "'not mfa is false' is not a condition", "write mfa"),
        ("state", "*", "'*' is not a known state", "write any"),
        ("who", "*", "'*' is not a form of who", "write anyone"),
        ("who", "ana@example.com", "is not a", "a person is person:UUID, with the id in the directory"),
        ("scope", "*", "'*' is not a known scope", "write any"),
        ("scope", "timesheets:read", "is not a known scope", "did you mean 'read:timesheets'?"),
        ("scope", "read:audit read:policies", "is not a known scope", "a row asks for one scope"),
    ],
)
def test_a_row_in_another_language_is_shown_how_rows_say_it(
    column: str, words: str, message: str, suggestion: str
) -> None:
    fields = {"effect": "allow", "who": "owner", "action": "read", "state": "any", "kind": "timesheet"}
    fields |= {"scope": "any", "when": "always", "name": "x"}
    row = ", ".join(["p", *{**fields, column: words}.values()])
    found = one_complaint(row)
    assert (found.column, message in found.message) == (row.index(words) + 1, True), str(found)
    assert found.suggestion == suggestion


def test_a_fact_may_have_the_name_of_no_condition_elsewhere() -> None:
    words = '[kinds.timesheet.facts.all]\nis = "resource.days == 7"\nyes = "x"\nno = "y"\n'
    policy = policy_file.parse(policy_forge.with_more("p, deny, owner, read, any, timesheet, any, all, x\n", words))
    assert policy.rules[-1].when == (Condition("all"),)


@pytest.mark.parametrize(
    ("row", "suggestion"),
    [
        (GOOD.replace(",", ";"), "separate the fields by commas"),
        (GOOD.replace("p,", "p"), "separate the fields by commas"),
        (GOOD.removeprefix("p, "), "write p before the effect"),
        (GOOD.replace("always", ""), "write always"),
        (f"{GOOD} # why", "comments start with # and take a whole line"),
        (GOOD.replace("owner", "role:Night_Shift"), "did you mean 'role:night-shift'? the forms are role:NAME"),
        ("g, ana, role:payroll", "The directory and tokens say who has a role"),
    ],
)
def test_a_row_in_another_form_is_shown_the_form(row: str, suggestion: str) -> None:
    assert suggestion in (one_complaint(row).suggestion or "")


def test_an_expression_with_quotes_in_a_row_is_shown_where_it_belongs() -> None:
    found = one_complaint(GOOD.replace("always", "principal.country == 'DE'"))
    assert found.message == "A row must not contain the character '"
    assert "an expression belongs into a fact of vocabulary.toml" in (found.suggestion or "")


@pytest.mark.parametrize(
    ("row", "message", "letter"),
    [
        (GOOD.replace("allow", "\u0430llow"), "is not a known effect", "U+0430 (CYRILLIC SMALL LETTER A)"),
        (GOOD.replace("owner", "\u043ewner"), "is not a known relation", "U+043E (CYRILLIC SMALL LETTER O)"),
        (GOOD.replace("owner", "role:\u0430udit"), "is not a form of who", "U+0430 (CYRILLIC SMALL LETTER A)"),
        (GOOD.replace("always", "mf\u03b1"), "is not a known fact", "U+03B1 (GREEK SMALL LETTER ALPHA)"),
        (GOOD.replace("read-own", "re\u0430d-own"), "is not a rule name", "U+0430 (CYRILLIC SMALL LETTER A)"),
        (GOOD.replace("p,", "\u0440,"), "starts with p or g", "U+0440 (CYRILLIC SMALL LETTER ER)"),
        ("g, role:a, role:\u0430", "is not a role", "U+0430 (CYRILLIC SMALL LETTER A)"),
    ],
)
def test_a_letter_that_looks_like_another_is_named(row: str, message: str, letter: str) -> None:
    found = one_complaint(row)
    assert message in found.message
    assert found.message.endswith(f", it has the character {letter}"), found.message


def test_a_letter_that_looks_like_another_is_named_in_the_vocabulary() -> None:
    text = policy_forge.read_shipped()
    quoted = text.vocabulary.replace("draft = ", '"dr\u0430ft" = ', 1)
    found = complaints(replace(text, vocabulary=quoted))
    assert any("it has the character U+0430 (CYRILLIC SMALL LETTER A)" in complaint.message for complaint in found)


def test_all_complaints_come_at_once() -> None:
    text = replace(policy_forge.rows(GOOD.replace("allow", "alow"), GOOD.replace("own,", "owner,")), model="nonsense")
    found = complaints(text)
    assert {complaint.file for complaint in found} == {"model.conf", "policy.csv"}


def test_a_rule_name_is_used_once() -> None:
    found = one_complaint(GOOD, GOOD.replace("read,", "edit,"))
    assert "already used in line 1" in found.message


def test_the_same_row_under_another_name_is_refused() -> None:
    found = one_complaint(GOOD, GOOD.replace("read-own", "read-mine"))
    assert "repeats line 1" in found.message


@pytest.mark.parametrize("rules", ["", "# only a comment\n", "g, role:a, role:b\n"])
def test_an_empty_policy_is_refused(rules: str) -> None:
    (found,) = complaints(replace(policy_forge.read_shipped(), rules=rules))
    assert "empty" in found.message


def test_roles_that_include_each_other_in_a_cycle_are_refused_with_each_link_of_it() -> None:
    found = complaints(
        policy_forge.rows(GOOD, "g, role:a, role:b", "g, role:b, role:c", "g, role:c, role:a", "g, role:x, role:a")
    )
    assert [complaint.line for complaint in found] == [2, 3, 4]


def test_a_role_does_not_include_itself() -> None:
    assert "cycle" in one_complaint(GOOD, "g, role:a, role:a").message


def test_a_policy_of_too_many_rows_is_refused() -> None:
    many = [GOOD.replace("owner", f"role:r{n}").replace("read-own", f"rule-{n}") for n in range(10_001)]
    assert "more than 10000 rows" in one_complaint(*many).message


def test_the_complaints_about_a_file_of_rubbish_are_bounded() -> None:
    assert len(complaints(policy_forge.rows(*["rubbish"] * 5_000))) <= 102


def test_a_text_that_is_too_large_or_has_forbidden_characters_is_refused() -> None:
    text = policy_forge.read_shipped()
    assert "exceeds" in complaints(replace(text, rules="#" * 1_048_577))[0].message
    found = complaints(replace(text, rules="# fine\n# \x00"))[0]
    assert (found.line, found.column) == (2, 3)
    assert "U+D800" in complaints(replace(text, vocabulary="\ud800"))[0].message
    assert "case file" in complaints(replace(text, cases={"../evil.yaml": ""}))[0].message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("some(where (p.eft == allow)) && !some(where (p.eft == deny))", "!some(where (p.eft == deny))"),
        ("some(where (p.eft == allow)) && !some(where (p.eft == deny))", "some(where (p.eft == allow))"),
        ("granted(r.scopes, p.scope)", "eval(p.when)"),
        ("r.act == p.act && ", ""),
        ("sub, act, obj", "sub, obj, act"),
        ("g = _, _", "g = _, _, _"),
        ("[matchers]", "[matchers]\nm2 = true"),
    ],
)
def test_the_model_is_fixed(old: str, new: str) -> None:
    text = policy_forge.read_shipped()
    assert old in text.model
    (found,) = complaints(replace(text, model=text.model.replace(old, new)))
    assert (found.file, found.line > 0) == ("model.conf", True)


def test_a_model_with_other_blanks_and_comments_is_accepted() -> None:
    text = policy_forge.read_shipped()
    spaced = "# ours\n\n" + text.model.replace(" && ", "   &&\t").replace("[matchers]", "\n  [matchers]  ")
    assert spaced != text.model
    assert policy_file.parse(replace(text, model=spaced)).rules == policy_file.parse(text).rules


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[scopes]", "[scopes", "not TOML"),
        ("[scopes]", "[sopces]", "is not known here"),
        ("draft = ", "drafty = ", "no state 'drafty'"),
        ("relations.fallback]", "relations.auditor]", "no relation 'auditor'"),
        ("[scopes]", '[directory.teams]\nabcdefghijklmnopqrstuvwxyzabcdefghijklmno = "int"\n[scopes]', "at most 40"),
        ("[kinds.me]", "[kinds.timesheet.facts.abcdefghijklmnopqrstuvwxyzabcdefghijklmno]\n[kinds.me]", "at most 40"),
        ("relations.owner]", 'relations.owner]\nis = "resource.owner"', "computed in code"),
        ("relations.importer]", "relations.projects]", "an edge of the timesheet"),
        ('is = "resource.owner.teams.above.grants"', "is = 7", "a path in one line"),
        ('is = "resource.owner.teams.above.grants"', 'is = """a\nb"""', "a path in one line"),
        ("proposer = {", 'proposer = { is = "resource.owner", ', "computed in code"),
        ("proposer = {", 'author = { is = "resource.owner", ', "has no edges"),
        ("[kinds.me.actions]\nread", "[kinds.me.actions]\nlook", "no action 'look'"),
        ("[kinds.log]", "[kinds.logs]", "no kind 'logs'"),
        ("max_age = 900", "max_age = true", "whole number of seconds"),
        ("max_age = 900", "maxage = 900", "no fact 'recent_sign_in'"),
        ('"read:audit" = "read the decision log"', '"any" = "all"', "cannot be declared"),
        ('"read:audit" = "read the decision log"', '"read audit" = "x"', "is not a word"),
        ('no = "this is not your own timesheet"', 'nope = "x"', "is not known here"),
        ('no = "this is not your own timesheet"', 'no = ""', "needs a sentence"),
        ("relations.owner]", "relations.boss]", "the relation 'owner'"),
    ],
)
def test_a_wrong_vocabulary_is_named(old: str, new: str, message: str) -> None:
    text = policy_forge.read_shipped()
    assert old in text.vocabulary
    found = complaints(replace(text, vocabulary=text.vocabulary.replace(old, new, 1)))
    assert any(message in complaint.message and complaint.line > 0 for complaint in found), [
        str(complaint) for complaint in found
    ]


@pytest.mark.parametrize(
    ("words", "message", "suggestion"),
    [
        ("is = resource.minutes > 3", "This is not TOML", "put texts in quotes"),
        ('is = "principal.country == "DE""', "This is not TOML", "put texts in single quotes"),
        ('is = "resource.minutes > 3', "This is not TOML", "a text ends in the line in which it begins"),
        ('is: "resource.minutes > 3"', "This is not TOML", 'write NAME = "VALUE"'),
        ('is = "true"\nis = "false"', "This is not TOML", "give each name once"),
        ('is = "true"\n[kinds.timesheet.states]', "This is not TOML", "below its first header"),
        ('is = "true"\n// a comment', "This is not TOML", "a comment that starts with #"),
    ],
)
def test_a_vocabulary_that_is_no_toml_is_shown_how_to_write_it(words: str, message: str, suggestion: str) -> None:
    (found,) = complaints(policy_forge.with_more(words=f"\n[kinds.timesheet.facts.odd]\n{words}\n"))
    assert message in found.message
    assert suggestion in (found.suggestion or "")


@pytest.mark.parametrize(
    ("words", "message", "suggestion"),
    [
        ('[request.facts.a]\nmax_age = "15m"', "max_age must be a whole number", "write max_age = 900"),
        ('[request.facts.a]\nis = "resource.minutes > 3"', "no attribute", "under [kinds.KIND.facts]"),
        ('[kinds.timesheet.relations.a]\nis = "resource.owner || resource.manager"', "A path starts", "| or - once"),
    ],
)
def test_a_wrong_word_has_one_complaint_with_a_remedy(words: str, message: str, suggestion: str) -> None:
    (found,) = complaints(policy_forge.with_more(words=f'\n{words}\nyes = "x"\nno = "y"\n'))
    assert message in found.message
    assert suggestion in (found.suggestion or "")


def test_a_complaint_about_the_vocabulary_points_at_the_line() -> None:
    vocabulary = policy_forge.read_shipped().vocabulary.replace("reopen = ", "repoen = ")
    _, (found,) = vocabulary_file.read(vocabulary)
    assert vocabulary.splitlines()[found.line - 1].startswith("repoen")
    assert found.suggestion == "did you mean 'reopen'?"


@pytest.mark.parametrize(
    ("declared", "column"),
    [
        ('[kinds.timesheet.relations.lead]\nis = "resource.projects.leeds"\nyes = "x"\nno = "y"', 25),
        ('[kinds.timesheet.relations.lead]\nyes = "x"\nno = "y"\nis = \'resource.projects.leeds\'', 25),
        ('[kinds.timesheet.relations]\nlead = { yes = "x", no = "y", is = "resource.projects.leeds" }', 55),
    ],
)
def test_a_complaint_about_a_path_points_into_the_path(declared: str, column: int) -> None:
    vocabulary = policy_forge.read_shipped().vocabulary + "\n" + declared
    _, (found,) = vocabulary_file.read(vocabulary)
    line = vocabulary.splitlines()[found.line - 1]
    assert line[found.column - 1 :].startswith("leeds")
    assert (found.column, found.suggestion) == (column, "did you mean 'leads'?")


def test_relations_of_an_older_version_have_the_paths_that_they_had() -> None:
    shipped, older = policy_forge.vocabulary_without_paths()
    assert older != shipped
    before, after = vocabulary_file.read(older)[0], vocabulary_file.read(shipped)[0]
    assert before is not None
    assert after is not None
    assert before.paths == after.paths
    with_path = ("manager", "delegate", "importer", "temporary_approver")
    assert before.paths.keys() == {("timesheet", relation) for relation in with_path}
    assert not any(path.declared for path in before.paths.values())


def test_a_vocabulary_has_a_bounded_number_of_paths() -> None:
    many = "\n".join(
        f'[kinds.timesheet.relations.lead{n}]\nis = "resource.owner"\nyes = "x"\nno = "y"' for n in range(20)
    )
    _, (found,) = vocabulary_file.read(policy_forge.read_shipped().vocabulary + "\n" + many)
    assert "more than 20 relations" in found.message


def test_the_paths_of_a_kind_have_a_bounded_number_of_branches() -> None:
    leads = " | ".join(f"resource.owner{'.delegates' * n}.teams.leads" for n in range(4))
    many = "\n".join(f'[kinds.timesheet.relations.lead{n}]\nis = "{leads}"\nyes = "x"\nno = "y"' for n in range(12))
    _, (found,) = vocabulary_file.read(policy_forge.read_shipped().vocabulary + "\n" + many)
    assert "more than 40 branches together" in found.message
    assert found.line > 0


def test_a_renamed_word_is_refused_with_its_new_name() -> None:
    shipped = policy_forge.read_shipped().vocabulary
    older = shipped.replace("[kinds.delegation", "[kinds.deputy").replace(
        '.delegate]\nis = "resource.manager.delegates - resource.owner"', ".deputy]"
    )
    _, found = vocabulary_file.read(older)
    assert [(complaint.message, complaint.suggestion) for complaint in found if complaint.suggestion] == [
        ("The service has no relation 'deputy'", "it was renamed to 'delegate'"),
        ("The service has no kind 'deputy'", "it was renamed to 'delegation'"),
    ]


def test_the_digest_names_every_text_and_no_other() -> None:
    text = policy_forge.read_shipped()
    moved = replace(text, model=text.model + text.rules[:1], rules=text.rules[1:])
    renamed = replace(text, cases={f"a{name}": body for name, body in text.cases.items()})
    reordered = replace(text, cases=dict(reversed(list(text.cases.items()))))
    assert len({text.digest(), moved.digest(), renamed.digest(), replace(text, rules="").digest()}) == 4
    assert reordered.digest() == text.digest()


def test_a_directory_without_the_files_is_refused_with_each_of_them(tmp_path: Path) -> None:
    (tmp_path / "policy.csv").write_bytes(b"# fine\n\xff")
    with pytest.raises(PolicyRejected) as refused:
        PolicyText.read(tmp_path)
    assert [complaint.file for complaint in refused.value.complaints] == ["model.conf", "policy.csv", "vocabulary.toml"]
    assert (refused.value.complaints[1].line, refused.value.complaints[1].column) == (2, 1)


def test_links_between_roles_are_bounded() -> None:
    chain = [f"g, role:r{number}, role:r{number + 1}" for number in range(1_001)]
    assert [complaint.message for complaint in complaints(policy_forge.rows(GOOD, *chain))] == [
        "There are more than 1000 g rows"
    ]
