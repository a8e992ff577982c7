"""Compares the words of two policies: which there are, and what they mean, in sentences. Pure: owns no state.

A verdict is compared as a function of facts and relations. So a fact with another expression, or a relation with
another path, changes verdicts without changing a row: here it is a change of its own, with the rows that it touches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from service.policy.access_request import Rule, Vocabulary
    from service.policy.attributes import Attribute
    from service.policy.policy_file import Policy

# More rows are counted.
MAX_ROWS_NAMED = 5


def compare_words(before: Vocabulary, after: Policy) -> Iterator[str]:
    """Words that were added or removed, and those with another meaning: a maximum age, an expression, a path, the
    approvals that a timesheet needs, or the type of an attribute."""
    words = after.vocabulary
    old, new = _list_words(before), _list_words(words)
    yield from (f"added: {word}{new[word]}" for word in sorted(new.keys() - old.keys()))
    yield from (f"removed: {word}" for word in sorted(old.keys() - new.keys()))
    for name in sorted(before.thresholds.keys() & words.thresholds.keys()):
        was, now = before.thresholds[name], words.thresholds[name]
        if was != now:
            yield f"the fact {name} holds for {now} seconds after sign-in, {was} before"
    yield from _compare_facts(before, after)
    yield from _compare_paths(before, after)
    if before.approval != words.approval:
        yield f"a timesheet is approved when {_approval(words)}, before when {_approval(before)}"
    for what, was_declared, now_declared in (
        ("people", before.people, words.people),
        ("teams", before.teams, words.teams),
        ("projects", before.projects, words.projects),
    ):
        yield from _compare_attributes(what, was_declared, now_declared)


def _compare_facts(before: Vocabulary, after: Policy) -> Iterator[str]:
    """Facts of both policies with another expression, or with one over attributes of other types."""
    old, new = before.definitions, after.vocabulary.definitions
    for kind, name in sorted(old.keys() | new.keys()):
        was, now = old.get((kind, name)), new.get((kind, name))
        if was == now or not (_has_fact(before, kind, name) and _has_fact(after.vocabulary, kind, name)):
            continue
        texts = [f"`{found.text}`" if found else "computed by the service" for found in (now, was)]
        if was and now and was.text == now.text:
            texts[0] += " over attributes of other types"
        rows = (rule for rule in after.rules if any(condition.fact == name for condition in rule.when))
        of_kind = f" of the kind {kind}" if kind else ""
        touched = _name_rows(rule for rule in rows if kind in {"", rule.kind})
        yield f"the fact {name}{of_kind} is now {texts[0]}, before {texts[1]}{touched}"


def _compare_paths(before: Vocabulary, after: Policy) -> Iterator[str]:
    """Relations of both policies that lead to others."""
    old, new = before.paths, after.vocabulary.paths
    for kind, name in sorted(old.keys() | new.keys()):
        was, now = old.get((kind, name)), new.get((kind, name))
        known = all(name in vocabulary.relations.get(kind, ()) for vocabulary in (before, after.vocabulary))
        if was == now or not known:
            continue
        texts = [f"`{found.text}`" if found else "computed by the service" for found in (now, was)]
        touched = _name_rows(rule for rule in after.rules if (rule.kind, rule.who) == (kind, name))
        yield f"the relation {name} of the kind {kind} is now {texts[0]}, before {texts[1]}{touched}"


def _compare_attributes(what: str, before: Mapping[str, Attribute], after: Mapping[str, Attribute]) -> Iterator[str]:
    """Attributes of both policies that are declared in another way."""
    for name in sorted(before.keys() & after.keys()):
        was, now = before[name], after[name]
        if was.type is not now.type:
            yield f"the attribute {name} of {what} is now of the type {now.type}, before {was.type}"
        if was.personal is not now.personal:
            yield f"the attribute {name} of {what} is {'now' if now.personal else 'no longer'} personal data"


def _list_words(vocabulary: Vocabulary) -> dict[str, str]:
    """Each word, with what a reader of an added word wants to know of it."""
    found: dict[str, str] = {}
    tables = {
        "action": vocabulary.actions, "state": vocabulary.states,
        "relation": vocabulary.relations, "fact": vocabulary.facts,
    }  # fmt: skip
    for what, table in tables.items():
        found |= {f"{what} {word} of the kind {kind}": "" for kind, words in table.items() for word in words}
    found |= {f"fact {name}": "" for name in vocabulary.request_facts}
    found |= {f"scope {scope}": "" for scope in vocabulary.scopes}
    for (kind, name), expression in vocabulary.definitions.items():
        found[f"fact {name} of the kind {kind}" if kind else f"fact {name}"] = f", `{expression.text}`"
    for (kind, name), path in vocabulary.paths.items():
        if path.declared and f"relation {name} of the kind {kind}" in found:
            found[f"relation {name} of the kind {kind}"] = f", `{path.text}`"
    for what, declared in (
        ("people", vocabulary.people),
        ("teams", vocabulary.teams),
        ("projects", vocabulary.projects),
    ):
        found |= {f"attribute {name} of {what}": f", {attribute.type}" for name, attribute in declared.items()}
    return found


def _has_fact(vocabulary: Vocabulary, kind: str, name: str) -> bool:
    return name in (vocabulary.facts.get(kind, ()) if kind else vocabulary.request_facts)


def _approval(vocabulary: Vocabulary) -> str:
    return f"`{vocabulary.approval.text}`" if vocabulary.approval else "it has one approval"


def _name_rows(rules: Iterable[Rule]) -> str:
    """The rows that a change touches, at the end of its sentence."""
    names = [rule.name for rule in rules]
    if not names:
        return ""
    more = f" and {len(names) - MAX_ROWS_NAMED} more" if len(names) > MAX_ROWS_NAMED else ""
    return f"; rows: {', '.join(names[:MAX_ROWS_NAMED])}{more}"
