"""Bodies that are gone, held against what the log says of pruning, against the policy, and against what was seen.

A log that tells of its own pruning can lie: whoever may insert a record can insert this one. So it is held against the
records that are left, which begin where the pruned ones ended, and nobody is told "intact" who does not know the
policy.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .ages import LONG, SILENCE, age, days, moment, written
from .findings import INCOMPLETE, Fault, Report, need
from .notes import decoded
from .records import read_object
from .tree import included, leaf_hash

if TYPE_CHECKING:
    from .notes import Checkpoint
    from .records import Object
    from .seen import State

MEMBERS = {"to", "position", "body", "inclusion"}
# The clocks of log and auditor.
AHEAD = timedelta(days=1)


class Told(NamedTuple):
    """What a sealed record, at `position` and decided `at`, says: below `to` were only records older than `older_than`,
    as the policy `retention` wants it, and so many `records` went then."""

    to: int
    position: int
    records: int
    at: datetime
    older_than: datetime
    retention: str


class Pruning:
    """What is pruned in a bundle, while it is read. `retention` is the policy as the auditor knows it."""

    def __init__(self, told: Told | None, report: Report, *, state: State | None, retention: timedelta | None) -> None:
        self.below = told.to if told else 0
        self._told = told
        self._report = report
        self._state = state
        self._retention = retention
        self._gone = 0
        self._latest: datetime | None = None

    def gone(self) -> None:
        """Count a position whose body is pruned."""
        self._gone += 1
        self._report.count("pruned")

    def left(self, position: int, record: Object) -> None:
        """Look at a record behind the pruned ones: it may not begin long after they end, and those around the record
        that tells of it were written when that was."""
        if self._told is None or not self._gone:
            return
        try:
            decided = moment(record["decided_at"])
        except (KeyError, TypeError, ValueError):
            return
        at, beside = self._told.at, position - self._told.position
        if (beside == -1 and decided > at + AHEAD) or (beside == 1 and decided < at - AHEAD):
            what = f"pruned: the record that tells of it says {written(at)}, the one beside it {written(decided)}"
            self._report.find(Fault(what), position=self._told.position)
        first = self._latest is None
        before = self._told.older_than if self._latest is None else self._latest
        self._latest = max(before, decided)
        gap = decided - before
        if first and gap > SILENCE:
            what = (
                f"pruned: only what is older than {written(before)} may be gone, but the first record that is left is"
                f" {days(gap)} younger: what lay between is missing, unless nothing ran then"
            )
            self._report.find(Fault(what) if gap > LONG else Fault(what, INCOMPLETE), position=position)
        elif gap > LONG:
            what = f"behind pruned records: nothing was recorded for {days(gap)}, not even a heartbeat"
            self._report.find(Fault(what, INCOMPLETE), position=position)

    def judge(self) -> None:
        """Once everything was read."""
        told = self._told
        if told is None or not self._gone:
            return
        self._report.checked |= {
            "pruned_below": told.to,
            "told_at": told.position,
            "pruned_on": written(told.at),
            "older_than": written(told.older_than),
            "retention": told.retention,
        }
        self._report.note(
            f"position {told.position} tells that on {written(told.at)} the last {told.records:,} of the first"
            f" {told.to:,} records were dropped, as older than {told.retention}"
        )
        try:
            own = age(told.retention)
        except ValueError as error:
            self._find(f"pruned: the record that tells of it names no policy: {error}")
            return
        if told.at > datetime.now(UTC) + AHEAD:
            self._find(f"pruned: the record that tells of it was decided in the future, {written(told.at)}")
        for policy, whose in ((own, "its own policy"), (self._retention, "the policy that you know")):
            if policy is not None and told.older_than > told.at - policy:
                young = days(told.at - told.older_than)
                self._find(f"pruned: by {whose} only what is {days(policy)} old may go; here went what is {young} old")
        self._judge_seen(told, own if self._retention is None else self._retention)
        if self._retention is None:
            what = (
                "pruned: whoever may write to the log may also write that it was pruned: hold this against the policy"
                " that you know, say with --retention 36mo"
            )
            self._find(what, INCOMPLETE)
            self._report.unshown.append(
                "that what is pruned was as old as your law wants: --retention says how old that is"
            )
        if self._latest is None:
            what = f"pruned: no record that is left is in this bundle: fetch one that goes on beyond position {told.to}"
            self._find(what, INCOMPLETE)

    def _judge_seen(self, told: Told, policy: timedelta) -> None:
        mark = self._state.youngest(told.to) if self._state else None
        if mark and told.at - mark.moment < policy:
            self._find(
                f"pruned: you have seen that everything behind position {mark.position} is younger than"
                f" {written(mark.moment)}; so what was pruned was {days(told.at - mark.moment)} old, not {days(policy)}"
            )

    def _find(self, what: str, verdict: int | None = None) -> None:
        told = cast("Told", self._told)
        self._report.find(Fault(what) if verdict is None else Fault(what, verdict), position=told.position)


def read_pruned(said: Object | None, checkpoint: Checkpoint, report: Report) -> Told | None:
    """What the header's `pruned` says, if a record of the log says so. Raises Fault and what MALFORMED lists."""
    if said is None:
        return None
    need(said.keys() == MEMBERS, "header: pruned has other members than it should")
    body, path = decoded(said["body"]), [decoded(one) for one in said["inclusion"]]
    record, to, position = read_object(body), _whole(said["to"]), _whole(said["position"])
    if not included(leaf_hash(body), position, checkpoint.size, path, checkpoint.root):
        report.find(Fault("header: the record that tells of pruning is not in the log"))
        return None
    need(record.get("kind") == "system" and record.get("event") == "log.pruned", "header: pruned names another event")
    need(record.get("pruned_to") == to, "header: the record tells of another pruning")
    # What comes behind the record was written later, so it was not pruned then.
    need(to <= position, "header: the record tells of pruning itself or what came later")
    policy: Any = record.get("retention")
    records = _whole(record["records"])
    need(0 < records <= to, f"header: the record tells that {records} of {to} records went")
    return Told(to, position, records, moment(record["decided_at"]), moment(record["older_than"]), str(policy))


def _whole(number: object) -> int:
    need(type(number) is int, f"{number!r} is not an integer")
    return cast("int", number)
