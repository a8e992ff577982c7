"""What differs between two policies: rows, words, files, and in words whose verdicts change. Pure: owns no state.

The command asks it about the files in hand, the API about two versions; both show the same members.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 — what comes from another process is read by these types
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.administration.checks.case_changes import CaseChange, case_changes
from service.administration.checks.change_sentences import VALUES, sentence
from service.administration.checks.verdict_changes import verdict_changes
from service.policy.casbin_fence import row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.administration.checks.verdict_changes import VerdictChange
    from service.policy.access_request import Rule, Vocabulary
    from service.policy.policy_file import Policy


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that was `added`, `removed` or `changed`; `name` is the rule's, or empty for a g row. `line` is its line in
    the later policy, or, of a removed row, in the earlier; 0 for a g row. `before` and `after` are its fields."""

    change: str
    name: str
    line: int
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class ChangedVerdict:
    """A verdict that differs, in words and in parts. `allowed` is what it is afterwards; `who` must all hold (empty for
    anyone) and so must `scopes`; one of `states` and, for each fact, one of its values: true, false or unknown. An
    empty state stands for things that have none."""

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
    """Everything that differs. `words` tells of the vocabulary, `files` names those whose text differs at all,
    `cut_short` the actions with so many rows or changes that `verdicts` does not hold all of theirs: those that it
    holds are whole."""

    same: bool
    rows: tuple[RowChange, ...]
    words: tuple[str, ...]
    files: tuple[str, ...]
    verdicts: tuple[ChangedVerdict, ...]
    cut_short: tuple[str, ...]
    cases: tuple[CaseChange, ...]


def policy_diff(before: Policy, after: Policy) -> PolicyDiff:
    """What to tell of the way from one policy to the other. It may take some seconds for thousands of rows."""
    changes = verdict_changes(before, after)
    old, new = dict(before.text.files()), dict(after.text.files())
    return PolicyDiff(
        same=old == new,
        rows=(*_rules(before.rules, after.rules), *_links(before.role_links, after.role_links)),
        words=tuple(_words(before.vocabulary, after.vocabulary)),
        files=tuple(sorted(name for name in {*old, *new} if old.get(name) != new.get(name))),
        verdicts=tuple(_verdict(one, after.vocabulary) for one in changes.found),
        cut_short=tuple(f"{action} of the kind {kind}" for kind, action in changes.cut_short),
        cases=tuple(case_changes(before, after)),
    )


def _rules(before: Iterable[Rule], after: Iterable[Rule]) -> Iterator[RowChange]:
    """Rows by name; one that has another name only counts as changed."""
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


def _links(before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]]) -> Iterator[RowChange]:
    old, new = {"g, " + ", ".join(one) for one in before}, {"g, " + ", ".join(one) for one in after}
    yield from (RowChange("added", "", 0, None, one) for one in sorted(new - old))
    yield from (RowChange("removed", "", 0, one, None) for one in sorted(old - new))


def _text(rule: Rule) -> str:
    return "p, " + ", ".join(row(rule))


def _words(before: Vocabulary, after: Vocabulary) -> Iterator[str]:
    """Words that came and went, and facts that hold for longer or shorter: rows may mean something else by them."""
    old, new = set(_known(before)), set(_known(after))
    yield from (f"new: {word}" for word in sorted(new - old))
    yield from (f"gone: {word}" for word in sorted(old - new))
    for name in sorted(before.thresholds.keys() & after.thresholds.keys()):
        was, now = before.thresholds[name], after.thresholds[name]
        if was != now:
            yield f"the fact {name} holds for {now} seconds after signing in, before it was {was}"


def _known(vocabulary: Vocabulary) -> Iterator[str]:
    tables = {
        "action": vocabulary.actions, "state": vocabulary.states,
        "relation": vocabulary.relations, "fact": vocabulary.facts,
    }  # fmt: skip
    for what, table in tables.items():
        yield from (f"{what} {word} of the kind {kind}" for kind, words in table.items() for word in words)
    yield from (f"fact {name}" for name in vocabulary.request_facts)
    yield from (f"scope {scope}" for scope in vocabulary.scopes)


def _verdict(change: VerdictChange, vocabulary: Vocabulary) -> ChangedVerdict:
    return ChangedVerdict(
        sentence=sentence(change, vocabulary),
        kind=change.kind,
        action=change.action,
        allowed=change.allowed,
        who=tuple(sorted(change.who)),
        scopes=tuple(sorted(change.scopes)),
        states=tuple(sorted(change.states)),
        facts={name: tuple(VALUES[value] for value in VALUES if value in values) for name, values in change.facts},
    )
