"""The result of a replay: counts, groups and examples, of bounded size for any number of records. Pure.

Each batch has a tally, which a worker process returns. Tallies are merged in the order of the log; a job stores its
tally as JSON.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from service.administration.replay.reevaluation import Undecidable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.administration.replay.recorded_request import RecordedRequest
    from service.administration.replay.reevaluation import Reevaluation
    from service.policy.access_request import Verdict

MAX_WORDS_PER_GROUP: Final = 200
MAX_EXAMPLES: Final = 10
OTHERS: Final = "(others)"
Group: TypeAlias = Literal["rule", "action", "subject", "cause"]


class ReplayOutcome(StrEnum):
    """How the new verdict differs from the recorded one. OTHER_RULES: by the names of the rules alone. OTHER_APPROVALS:
    the approval is allowed as before, but is enough for the timesheet under one of the two versions only."""

    SAME = "same"
    ALLOW_TO_DENY = "allow_to_deny"
    DENY_TO_ALLOW = "deny_to_allow"
    OTHER_REASON = "other_reason"
    OTHER_RULES = "other_rules"
    OTHER_APPROVALS = "other_approvals"
    UNDECIDABLE = "undecidable"


class Example(msgspec.Struct, frozen=True):
    """A record, by its id `decision`. `was` and `now` are verdicts; `now` may be the cause of being undecidable."""

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
        """How many records were counted."""
        return sum(self.counts.values())

    def subjects(self) -> Iterator[str]:
        """The subjects that groups and examples name: people's ids, and clients with `client:` before them."""
        for groups in self.groups.values():
            yield from groups.get("subject", ())
        for examples in self.examples.values():
            yield from (example.subject for example in examples)

    def note(self, recorded: RecordedRequest, again: Reevaluation, approvals: tuple[str, str] | None = None) -> None:
        """Count a record. `approvals`: of an approval, how many there were of how many needed, then and now."""
        outcome = ReplayOutcome.OTHER_APPROVALS if approvals else outcome_of(recorded.verdict, again)
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        if outcome is ReplayOutcome.SAME:
            return
        request = recorded.request
        was = describe_verdict(recorded.verdict)
        if isinstance(again, Undecidable):
            self._group(outcome, "cause", [again.cause])
            now = again.cause
        elif approvals:
            was, now = (
                f"{verdict}, {count}" for verdict, count in zip((was, describe_verdict(again)), approvals, strict=True)
            )
            self._group(outcome, "cause", [f"{approvals[1]}, before {approvals[0]}"])
        else:
            self._group(outcome, "rule", _rules(recorded.verdict, again))
            now = describe_verdict(again)
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
                    was,
                    now,
                )
            )

    def note_unreadable(self, cause: str) -> None:
        """Count a record that does not hold a request."""
        self.counts[ReplayOutcome.UNDECIDABLE] = self.counts.get(ReplayOutcome.UNDECIDABLE, 0) + 1
        self._group(ReplayOutcome.UNDECIDABLE, "cause", [cause])

    def merge(self, later: Tally) -> None:
        """Add the tally of a later part of the log."""
        for outcome, count in later.counts.items():
            self.counts[outcome] = self.counts.get(outcome, 0) + count
        for outcome, groups in later.groups.items():
            for name, words in groups.items():
                mine = self.groups.setdefault(outcome, {}).setdefault(name, {})
                for word, count in words.items():
                    mine[word] = mine.get(word, 0) + count
                _limit(mine)
        for outcome, examples in later.examples.items():
            kept = self.examples.setdefault(outcome, [])
            kept += examples[: MAX_EXAMPLES - len(kept)]

    def _group(self, outcome: ReplayOutcome, name: Group, words: Iterable[str]) -> None:
        mine = self.groups.setdefault(outcome, {}).setdefault(name, {})
        for word in words:
            mine[word] = mine.get(word, 0) + 1


def outcome_of(was: Verdict, again: Reevaluation) -> ReplayOutcome:
    """How two verdicts differ."""
    if isinstance(again, Undecidable):
        return ReplayOutcome.UNDECIDABLE
    if was.allowed is not again.allowed:
        return ReplayOutcome.ALLOW_TO_DENY if was.allowed else ReplayOutcome.DENY_TO_ALLOW
    if was.reason is not again.reason:
        return ReplayOutcome.OTHER_REASON
    return ReplayOutcome.SAME if was.rules == again.rules else ReplayOutcome.OTHER_RULES


def describe_verdict(verdict: Verdict) -> str:
    """A verdict in short, such as `allowed by read-own` or `no-rule`."""
    rules = ", ".join(verdict.rules)
    if verdict.allowed:
        return f"allowed by {rules}" if rules else "allowed"
    return f"{verdict.reason} {rules}".strip()


def _rules(was: Verdict, again: Verdict) -> tuple[str, ...]:
    """The rules that made the difference: those that decide only now, or else those that decided only then."""
    changed = tuple(name for name in again.rules if name not in was.rules)
    return changed or tuple(name for name in was.rules if name not in again.rules) or ("(no rule)",)


def _limit(words: dict[str, int]) -> None:
    """Keep the words with the largest counts; the others become one sum."""
    if len(words) <= 2 * MAX_WORDS_PER_GROUP:
        return
    rest = words.pop(OTHERS, 0)
    largest = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    rest += sum(count for _, count in largest[MAX_WORDS_PER_GROUP:])
    words.clear()
    words.update(largest[:MAX_WORDS_PER_GROUP])
    words[OTHERS] = rest
