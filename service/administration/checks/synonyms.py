"""Words of a vocabulary that mean the same: facts with one expression, relations with one path. Pure: owns no state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from service.policy.access_request import Rule, Vocabulary


class Synonyms:
    """`sentences`: each word that has the same meaning as another one."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.sentences: list[str] = []
        self._facts = self._collect("facts", "expression", vocabulary.definitions)
        self._relations = self._collect("relations", "path", vocabulary.paths)

    def normalize(self, rule: Rule) -> Rule:
        """The rule with the first of the words that mean the same in place of each."""
        when = tuple(
            replace(condition, fact=name)
            if (name := self._facts.get((rule.kind, condition.fact)) or self._facts.get(("", condition.fact)))
            else condition
            for condition in rule.when
        )
        who = self._relations.get((rule.kind, rule.who), rule.who)
        return rule if (who, when) == (rule.who, rule.when) else replace(rule, who=who, when=when)

    def _collect(
        self, what: str, meaning: str, found: Mapping[tuple[str, str], Hashable]
    ) -> dict[tuple[str, str], str]:
        """For each later word with the meaning of an earlier one, by kind and word, the earlier one."""
        first: dict[tuple[str, Hashable], str] = {}
        same: dict[tuple[str, str], str] = {}
        for (kind, name), means in sorted(found.items(), key=lambda item: item[0]):
            earlier = first.setdefault((kind, means), name)
            if earlier != name:
                same[kind, name] = earlier
                of_kind = f" of the kind {kind}" if kind else ""
                self.sentences.append(f"The {what} {earlier} and {name}{of_kind} have the same {meaning}")
        return same
