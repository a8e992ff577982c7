"""Compares missing bodies with the recorded pruning, the retention policy and the state of earlier checks.

The record of a pruning can be forged by anybody who can insert records. So it is compared with the records that are
left, which begin where the pruned ones ended, and the verdict is intact only if the auditor gives the policy.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .findings import INCOMPLETE, Fault, Report, require, require_integer
from .notes import decode_base64
from .records import read_object
from .times import AHEAD, LONG, SILENCE, format_days, format_time, parse_age, parse_time
from .tree import leaf_hash, verify_inclusion

if TYPE_CHECKING:
    from .notes import Checkpoint
    from .records import Object
    from .state import State

MEMBERS = {"to", "position", "body", "inclusion"}


class PruningRecord(NamedTuple):
    """The record of a pruning, at `position` and decided `at`: it pruned `records`, all below the position `to`, that
    were older than `older_than` by the policy `retention`."""

    to: int
    position: int
    records: int
    at: datetime
    older_than: datetime
    retention: str


class Pruning:
    """Checks the pruned records of a bundle while it is read. `retention` is the policy that the auditor gave."""

    def __init__(
        self, pruning: PruningRecord | None, report: Report, *, state: State | None, retention: timedelta | None
    ) -> None:
        self.below = pruning.to if pruning else 0
        self.older_than = pruning.older_than if pruning else None
        self._pruning = pruning
        self._report = report
        self._state = state
        self._retention = retention
        self._count = 0
        self._latest: datetime | None = None

    def count(self) -> None:
        """Count a position whose body was pruned."""
        self._count += 1
        self._report.count("pruned")

    def observe(self, position: int, record: Object) -> None:
        """Check a record after the pruned ones: the first must not be much younger than these, and the neighbours of
        the record of the pruning must have been decided at its time."""
        if self._pruning is None or not self._count:
            return
        try:
            decided = parse_time(record["decided_at"])
        except (KeyError, TypeError, ValueError):
            return
        at, beside = self._pruning.at, position - self._pruning.position
        if (beside == -1 and decided > at + AHEAD) or (beside == 1 and decided < at - AHEAD):
            what = (
                f"pruned: the pruning was recorded at {format_time(at)}, but the record next to it at"
                f" {format_time(decided)}"
            )
            self._report.add(Fault(what), position=self._pruning.position)
        first = self._latest is None
        before = self._pruning.older_than if self._latest is None else self._latest
        self._latest = max(before, decided)
        gap = decided - before
        if first and gap > SILENCE:
            what = (
                f"pruned: only records older than {format_time(before)} may be missing, but the first that is left is"
                f" {format_days(gap)} younger: those between were removed, unless the service was not running"
            )
            self._report.add(Fault(what) if gap > LONG else Fault(what, INCOMPLETE), position=position)
        elif gap > LONG:
            what = f"after the pruned records: nothing was recorded for {format_days(gap)}, not even a heartbeat"
            self._report.add(Fault(what, INCOMPLETE), position=position)

    def conclude(self) -> None:
        """Check the pruning as a whole, once every record was read."""
        pruning = self._pruning
        if pruning is None or not self._count:
            return
        self._report.checked |= {
            "pruned_below": pruning.to,
            "recorded_at": pruning.position,
            "pruned_on": format_time(pruning.at),
            "older_than": format_time(pruning.older_than),
            "retention": pruning.retention,
        }
        self._report.note(
            f"position {pruning.position}: on {format_time(pruning.at)} the last {pruning.records:,} of the first"
            f" {pruning.to:,} records were pruned, as older than {pruning.retention}"
        )
        try:
            own = parse_age(pruning.retention)
        except ValueError as error:
            self._add(f"pruned: the record of the pruning has no valid policy: {error}")
            return
        if pruning.at > datetime.now(UTC) + AHEAD:
            self._add(f"pruned: the record of the pruning was decided in the future, {format_time(pruning.at)}")
        for policy, whose in ((own, "its own policy"), (self._retention, "the policy that you gave")):
            if policy is not None and pruning.older_than > pruning.at - policy:
                young = format_days(pruning.at - pruning.older_than)
                self._add(
                    f"pruned: by {whose} records are kept for {format_days(policy)}; here records {young} old were"
                    " pruned"
                )
        self._check_state(pruning, own if self._retention is None else self._retention)
        if self._retention is None:
            what = "pruned: the record of a pruning can be forged: give the retention policy, such as --retention 36mo"
            self._add(what, INCOMPLETE)
            self._report.unshown.append(
                "that pruned records had reached the age that your law requires: give it with --retention"
            )
        if self._latest is None:
            what = f"pruned: every record of this bundle was pruned: fetch one that goes beyond position {pruning.to}"
            self._add(what, INCOMPLETE)

    def _check_state(self, pruning: PruningRecord, policy: timedelta) -> None:
        mark = self._state.latest_mark_below(pruning.to) if self._state else None
        if mark and pruning.at - mark.moment < policy:
            self._add(
                f"pruned: by your state file, records from position {mark.position} on are younger than"
                f" {format_time(mark.moment)}; so pruned records were {format_days(pruning.at - mark.moment)} old,"
                f" not {format_days(policy)}"
            )

    def _add(self, what: str, verdict: int | None = None) -> None:
        pruning = cast("PruningRecord", self._pruning)
        self._report.add(Fault(what) if verdict is None else Fault(what, verdict), position=pruning.position)


def read_pruned(members: Object | None, checkpoint: Checkpoint, report: Report) -> PruningRecord | None:
    """Read `pruned` in the header; None unless its record is in the log. Raises Fault and the errors in MALFORMED."""
    if members is None:
        return None
    require(members.keys() == MEMBERS, "header: pruned has unexpected members")
    body, path = decode_base64(members["body"]), [decode_base64(sibling) for sibling in members["inclusion"]]
    record, to, position = read_object(body), require_integer(members["to"]), require_integer(members["position"])
    if not verify_inclusion(leaf_hash(body), position, checkpoint.size, path, checkpoint.root):
        report.add(Fault("header: the record of the pruning is not in the log"))
        return None
    require(
        record.get("kind") == "system" and record.get("event") == "log.pruned", "header: pruned names another event"
    )
    require(record.get("pruned_to") == to, "header: the record is of another pruning")
    # Records after this one were written later, so they were not pruned then.
    require(to <= position, "header: the pruning includes its own record or later ones")
    policy: Any = record.get("retention")
    records = require_integer(record["records"])
    require(0 < records <= to, f"header: the record says that {records} of {to} records were pruned")
    return PruningRecord(
        to, position, records, parse_time(record["decided_at"]), parse_time(record["older_than"]), str(policy)
    )
