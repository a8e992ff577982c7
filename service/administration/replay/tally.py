"""What comes of deciding many records again: counts, groups and examples, bounded however many records there are. Pure.

A tally is made for a batch, travels between processes, and is merged in the order of the log; a job keeps it as JSON.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from service.administration.replay.reevaluation import Undecidable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.administration.replay.recorded_request import RecordedRequest
    from service.administration.replay.reevaluation import Again
    from service.policy.access_request import Verdict

MAX_WORDS: Final = 200
MAX_EXAMPLES: Final = 10
OTHERS: Final = "(others)"
Group: TypeAlias = Literal["rule", "action", "subject", "cause"]


class ReplayOutcome(StrEnum):
    """How the new verdict differs from the recorded one; OTHER_RULES only by the names of the rules."""

    SAME = "same"
    ALLOW_TO_DENY = "allow_to_deny"
    DENY_TO_ALLOW = "deny_to_allow"
    OTHER_REASON = "other_reason"
    OTHER_RULES = "other_rules"
    UNDECIDABLE = "undecidable"


class Example(msgspec.Struct, frozen=True):
    """One record: `decision` is its id, `was` and `now` a reason with its rules, or the cause why it is undecidable."""

    decision: str
    subject: str
    action: str
    kind: str
    was: str
    now: str


class Tally(msgspec.Struct):
    """`counts` by Outcome; `groups`: Outcome, then Group, then word, to a count."""

    counts: dict[str, int] = msgspec.field(default_factory=dict)
    groups: dict[str, dict[Group, dict[str, int]]] = msgspec.field(default_factory=dict)
    examples: dict[str, list[Example]] = msgspec.field(default_factory=dict)

    @property
    def records(self) -> int:
        """All that were looked at."""
        return sum(self.counts.values())

    def note(self, recorded: RecordedRequest, again: Again) -> None:
        """Count one record."""
        outcome = outcome_of(recorded.verdict, again)
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        if outcome is ReplayOutcome.SAME:
            return
        request = recorded.request
        if isinstance(again, Undecidable):
            self._group(outcome, "cause", [again.cause])
            now = again.cause
        else:
            self._group(outcome, "rule", _rules(recorded.verdict, again))
            now = told(again)
        self._group(outcome, "action", [f"{recorded.action} {request.resource.kind}"])
        self._group(outcome, "subject", [recorded.subject])
        examples = self.examples.setdefault(outcome, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(
                Example(
                    recorded.uid,
                    recorded.subject,
                    recorded.action,
                    request.resource.kind,
                    told(recorded.verdict),
                    now,
                )
            )

    def note_unreadable(self, cause: str) -> None:
        """Count a record whose bytes are no request."""
        self.counts[ReplayOutcome.UNDECIDABLE] = self.counts.get(ReplayOutcome.UNDECIDABLE, 0) + 1
        self._group(ReplayOutcome.UNDECIDABLE, "cause", [cause])

    def merge(self, later: Tally) -> None:
        """Add what was found behind this in the log."""
        for outcome, count in later.counts.items():
            self.counts[outcome] = self.counts.get(outcome, 0) + count
        for outcome, groups in later.groups.items():
            for name, words in groups.items():
                mine = self.groups.setdefault(outcome, {}).setdefault(name, {})
                for word, count in words.items():
                    mine[word] = mine.get(word, 0) + count
                _bound(mine)
        for outcome, examples in later.examples.items():
            kept = self.examples.setdefault(outcome, [])
            kept += examples[: MAX_EXAMPLES - len(kept)]

    def _group(self, outcome: ReplayOutcome, name: Group, words: Iterable[str]) -> None:
        mine = self.groups.setdefault(outcome, {}).setdefault(name, {})
        for word in words:
            mine[word] = mine.get(word, 0) + 1


def outcome_of(was: Verdict, again: Again) -> ReplayOutcome:
    """How two verdicts differ."""
    if isinstance(again, Undecidable):
        return ReplayOutcome.UNDECIDABLE
    if was.allowed is not again.allowed:
        return ReplayOutcome.ALLOW_TO_DENY if was.allowed else ReplayOutcome.DENY_TO_ALLOW
    if was.reason is not again.reason:
        return ReplayOutcome.OTHER_REASON
    return ReplayOutcome.SAME if was.rules == again.rules else ReplayOutcome.OTHER_RULES


def told(verdict: Verdict) -> str:
    """A verdict in a few words: `allowed by read-own`, `no-rule`."""
    rules = ", ".join(verdict.rules)
    if verdict.allowed:
        return f"allowed by {rules}" if rules else "allowed"
    return f"{verdict.reason} {rules}".strip()


def _rules(was: Verdict, again: Verdict) -> tuple[str, ...]:
    """The rules that made the difference: those that decide now, or else those that decided then."""
    changed = tuple(name for name in again.rules if name not in was.rules)
    return changed or tuple(name for name in was.rules if name not in again.rules) or ("(no rule)",)


def _bound(words: dict[str, int]) -> None:
    """Keep the largest counts by name; the rest are one number."""
    if len(words) <= 2 * MAX_WORDS:
        return
    rest = words.pop(OTHERS, 0)
    largest = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    rest += sum(count for _, count in largest[MAX_WORDS:])
    words.clear()
    words.update(largest[:MAX_WORDS])
    words[OTHERS] = rest
