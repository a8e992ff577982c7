"""Checks that a bundle holds the whole of a period, by the times in its records. Pure.

The header of a bundle does not name a period, so the auditor does. A record from before the period shows where it
begins, and a record from after it where it ends. A single record with a false time could stand for either. So another
record must be close to it: docs/decisions/0024-period-by-record-contents.md.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from .findings import INCOMPLETE, USAGE, Fault, require
from .times import AHEAD, format_span, format_time

if TYPE_CHECKING:
    from .findings import Report

# Twice the time after which a keeper writes a heartbeat, unless it is set to another.
CLOSE = timedelta(hours=2)
REASONS = (
    "either no keeper was running then, or its heartbeat is set to more than two hours, or this record has a false time"
    " and records of the period are hidden"
)


class DecidedRecord(NamedTuple):
    """The position of a record, and when it was decided."""

    position: int
    at: datetime


class Period:
    """The period from `since` to before `until`, of which one may be None, and what a bundle shows of it. Raises Fault
    if it ends before it begins."""

    def __init__(self, since: datetime | None, until: datetime | None) -> None:
        require(since is None or until is None or since < until, "--until must be later than --since", USAGE)
        self._since = since
        self._until = until
        self._first: DecidedRecord | None = None
        self._second: DecidedRecord | None = None
        self._last: DecidedRecord | None = None
        self._newest: DecidedRecord | None = None
        self._before_newest: DecidedRecord | None = None
        # Whether two neighbouring records are close in time, of which the first was decided before the period, or the
        # second after it.
        self._close_before = False
        self._close_after = False

    def observe(self, position: int, at: datetime) -> None:
        """Take note of when the next record was decided."""
        previous, self._last = self._last, DecidedRecord(position, at)
        if self._newest is None or at > self._newest.at:
            self._newest, self._before_newest = self._last, previous
        if previous is None:
            self._first = self._last
            return
        self._second = self._second or self._last
        if at - previous.at <= CLOSE:
            self._close_before = self._close_before or (self._since is not None and previous.at < self._since)
            self._close_after = self._close_after or (self._until is not None and at >= self._until)

    def conclude(self, report: Report, start: int, end: int, size: int, pruned_before: datetime | None) -> None:
        """Check the period once all records of the positions [start, end) in a log of `size` were read. `pruned_before`
        is the time before which the records of the first position and others were pruned; None if it was not
        pruned."""
        if self._since is not None:
            report.checked["since"] = format_time(self._since)
            self._check_beginning(self._since, report, start, pruned_before)
        elif self._until is not None and start > 0:
            report.unshown.append("where the period begins: give --since")
        if self._until is not None:
            report.checked["until"] = format_time(self._until)
            self._check_end(self._until, report, end, to_the_end=end == size)
        elif self._since is not None and end < size:
            report.unshown.append("where the period ends: give --until")
        if (self._since is not None and start > 0) or self._until is not None:
            report.unshown.append(
                "whether the records at the ends of the period have true times: anybody who can write to the database"
                " can add some with false times, and a bundle between them leaves out others; only a bundle of the"
                " whole log shows that they were written late"
            )

    def _check_beginning(self, since: datetime, report: Report, start: int, pruned_before: datetime | None) -> None:
        first, second, newest = self._first, self._second, self._newest
        begins = format_time(since)
        if newest is None or newest.at < since:
            what = f"does not show the period: it has no record that was decided at or after its beginning, {begins}"
            report.add(Fault(what, INCOMPLETE))
        elif pruned_before is not None:
            of_those = ", so a part of the period may be pruned" if since < pruned_before else ""
            report.shown.append(
                f"the bundle has the beginning of the period, {begins}: it begins with a pruned record, and only"
                f" records from before {format_time(pruned_before)} were pruned{of_those}"
            )
        elif start == 0:
            report.shown.append(f"the bundle has the beginning of the period, {begins}: it begins with the log")
        elif first is None or first.position != start or first.at >= since:
            when = f"was decided at {format_time(first.at)}" if first and first.position == start else "has no time"
            what = (
                f"does not show the beginning of the period, {begins}: its first record {when}; fetch a bundle that"
                " begins earlier"
            )
            report.add(Fault(what, INCOMPLETE), position=start)
        elif second is not None and not self._close_before:
            what = (
                f"may not show the beginning of the period, {begins}: this record was decided at"
                f" {format_time(first.at)}, and nothing was recorded for {format_span(second.at - first.at)} after it,"
                f" not even a heartbeat: {REASONS}; fetch a bundle that begins earlier"
            )
            report.add(Fault(what, INCOMPLETE), position=first.position)
        else:
            report.shown.append(
                f"the bundle has the beginning of the period, {begins}: its first record was decided at"
                f" {format_time(first.at)}"
            )

    def _check_end(self, until: datetime, report: Report, end: int, *, to_the_end: bool) -> None:
        last, newest, before = self._last, self._newest, self._before_newest
        ends, now = format_time(until), datetime.now(UTC)
        if to_the_end and newest is not None and newest.at < until:
            why = (
                "that lies in the future, so fetch the bundle when the period is over"
                if until > now
                else "fetch the bundle again; if the log does not grow, either no keeper is running, or newer records"
                " are withheld"
            )
            what = f"does not show the end of the period, {ends}: the log ends at {format_time(newest.at)}; {why}"
            report.add(Fault(what, INCOMPLETE), position=newest.position)
        elif newest is None or last is None or (not to_the_end and (last.position != end - 1 or last.at < until)):
            when = f"was decided at {format_time(last.at)}" if last and last.position == end - 1 else "has no time"
            what = (
                f"does not show the end of the period, {ends}: its last record {when}; fetch a bundle that ends later"
            )
            report.add(Fault(what, INCOMPLETE), position=end - 1)
        elif not self._close_after:
            silence = (
                f"nothing was recorded for {format_span(newest.at - before.at)} before it, not even a heartbeat"
                if before
                else "no record before it has a time"
            )
            what = (
                f"may not show the end of the period, {ends}: this record was decided at {format_time(newest.at)}, and"
                f" {silence}: {REASONS}; fetch a bundle that ends later"
            )
            report.add(Fault(what, INCOMPLETE), position=newest.position)
        else:
            report.shown.append(
                f"the bundle has the end of the period, {ends}: its newest record was decided at"
                f" {format_time(newest.at)}"
            )
            if until > now + AHEAD:
                report.note(f"the period ends in the future, at {ends}: a clock of the log was wrong, or yours is")
