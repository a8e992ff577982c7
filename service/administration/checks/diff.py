"""Compares two policies: rows, words, files, cases, and the verdicts that change, in sentences. Pure: owns no state.

The command line compares files with it, the API two versions. Both show the same members.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 — the output of the worker is decoded by these types
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.administration.checks.case_changes import CaseChange, compare_cases
from service.administration.checks.change_sentences import describe_change
from service.administration.checks.verdict_changes import verdict_changes
from service.administration.checks.word_changes import compare_words
from service.policy.access_request import FACT_VALUES
from service.policy.casbin_fence import row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.administration.checks.verdict_changes import VerdictChange
    from service.policy.access_request import Rule, Vocabulary
    from service.policy.policy_file import Policy


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that was `added`, `removed` or `changed`. `before` and `after` are its fields.

    `name` is the name of the rule, empty for a g row. `line` is its line in the later policy, for a removed row in the
    earlier; 0 for a g row.
    """

    change: str
    name: str
    line: int
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class ChangedVerdict:
    """A verdict that differs, as a sentence and in parts. `allowed` is the verdict under the later policy.

    The caller has all of `who` (empty for anyone) and all of `scopes`. The resource is in one of `states`; an empty
    state means none. Each fact has one of its values: true, false or unknown.
    """

    sentence: str
    kind: str
    action: str
    allowed: bool
    who: tuple[str, ...]
    scopes: tuple[str, ...]
    states: tuple[str, ...]
    facts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """Everything that differs. `words` are sentences about the vocabulary; `files` names the files whose text differs.

    `cut_short` names the actions with so many rows or changes that `verdicts` does not hold all of theirs. Each change
    in `verdicts` is complete.
    """

    same: bool
    rows: tuple[RowChange, ...]
    words: tuple[str, ...]
    files: tuple[str, ...]
    verdicts: tuple[ChangedVerdict, ...]
    cut_short: tuple[str, ...]
    cases: tuple[CaseChange, ...]


def compare_policies(before: Policy, after: Policy) -> PolicyDiff:
    """The differences from `before` to `after`. Thousands of rows may take some seconds."""
    changes = verdict_changes(before, after)
    old, new = dict(before.text.files()), dict(after.text.files())
    return PolicyDiff(
        same=old == new,
        rows=(*_compare_rules(before.rules, after.rules), *_compare_links(before.role_links, after.role_links)),
        words=tuple(compare_words(before.vocabulary, after)),
        files=tuple(sorted(name for name in {*old, *new} if old.get(name) != new.get(name))),
        verdicts=tuple(_put_in_words(change, after.vocabulary) for change in changes.found),
        cut_short=tuple(f"{action} of the kind {kind}" for kind, action in changes.cut_short),
        cases=tuple(compare_cases(before, after)),
    )


def _compare_rules(before: Iterable[Rule], after: Iterable[Rule]) -> Iterator[RowChange]:
    """Changes of rows, by name. A row with a new name and the same fields counts as changed."""
    old, new = {rule.name: rule for rule in before}, {rule.name: rule for rule in after}
    left = {_text(rule).rpartition(",")[0]: rule for name, rule in old.items() if name not in new}
    renamed: set[str] = set()
    for name, rule in new.items():
        was = old.get(name) or left.get(_text(rule).rpartition(",")[0])
        if was is None:
            yield RowChange("added", name, rule.line, None, _text(rule))
        elif _text(was) != _text(rule):
            renamed.add(was.name)
            yield RowChange("changed", name, rule.line, _text(was), _text(rule))
    for name, rule in old.items():
        if name not in new and name not in renamed:
            yield RowChange("removed", name, rule.line, _text(rule), None)


def _compare_links(before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]]) -> Iterator[RowChange]:
    old, new = {"g, " + ", ".join(link) for link in before}, {"g, " + ", ".join(link) for link in after}
    yield from (RowChange("added", "", 0, None, link) for link in sorted(new - old))
    yield from (RowChange("removed", "", 0, link, None) for link in sorted(old - new))


def _text(rule: Rule) -> str:
    return "p, " + ", ".join(row(rule))


def _put_in_words(change: VerdictChange, vocabulary: Vocabulary) -> ChangedVerdict:
    return ChangedVerdict(
        sentence=describe_change(change, vocabulary),
        kind=change.kind,
        action=change.action,
        allowed=change.allowed,
        who=tuple(sorted(change.who)),
        scopes=tuple(sorted(change.scopes)),
        states=tuple(sorted(change.states)),
        facts={
            name: tuple(FACT_VALUES[value] for value in FACT_VALUES if value in values) for name, values in change.facts
        },
    )
