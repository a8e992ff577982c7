"""Reports: hours by one or two of person, project, team, week, day and activity, of the sheets that the caller may
read. Owns no state.

The record of a report names every sheet in it, so the number of sheets is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from service.authorization.enforcement import names
from service.authorization.enforcement.team_references import load_team_names
from service.errors import InvalidField
from service.places import FieldError
from service.timesheets import reports_store
from service.timesheets.relations import KIND

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from service.authorization.enforcement.changes import Answer, Caller, Listing
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.names import Names
    from service.timesheets.reports_store import GroupBy, Span, Total

MAX_DAYS: Final = 366
MAX_SHEETS: Final = 10_000
# The keys whose names a report adds if asked. That of a team is always added, and other keys have none.
NAMED: Final[frozenset[GroupBy]] = frozenset({"person", "project"})


@dataclass(frozen=True, slots=True)
class Report:
    """Totals by key, and those of the whole report."""

    totals: tuple[Total, ...]
    whole: Total


class Reports:
    """The use case; it also raises Denied and TryLater."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def hours(
        self, caller: Caller, by: GroupBy, span: Span, *, then: GroupBy | None = None, with_names: bool = False
    ) -> Answer[Report]:
        """Add up the minutes that the caller may read, by one key or by two. A team has its name if the caller may know
        it; `with_names` adds the names of people and projects. Raises InvalidField for a span that ends before it
        begins, has more than 366 days, or more than 10,000 sheets, and for the same key twice."""
        if then == by:
            raise InvalidField(FieldError("query.then", "must be another key than by"))
        if span.until < span.since:
            raise InvalidField(FieldError("query.until", "must not be before since"))
        if (span.until - span.since).days >= MAX_DAYS:
            raise InvalidField(FieldError("query.until", f"must be less than {MAX_DAYS} days after since"))
        async with self._gate.list(caller, KIND, "read") as listed:
            connection = listed.connection
            sheets = await reports_store.find_visible_sheets(listed.visibility, connection, span, MAX_SHEETS + 1)
            if len(sheets) > MAX_SHEETS:
                raise InvalidField(FieldError("query.since", f"a report covers at most {MAX_SHEETS} timesheets"))
            approvals = await reports_store.load_approvals(listed.visibility, connection, sheets)
            totals = await reports_store.sum_by_key(connection, approvals, span, by, then)
            totals = _add_names(totals, by, then, await _load_team_names(listed, by, then, totals))
            if with_names and (groups := NAMED & {by, then}):
                totals = _add_names(totals, by, then, await _load_names(listed, sheets, span, groups))
            report = Report(totals, await reports_store.sum_all(connection, approvals, span))
            listed.returned = [str(sheet) for sheet in sheets]
        return listed.answer(report)


async def _load_team_names(
    listed: Listing, by: GroupBy, then: GroupBy | None, totals: Sequence[Total]
) -> Mapping[GroupBy, Names]:
    """The names of the teams of a report by team that the caller may know."""
    if "team" not in {by, then}:
        return {}
    keys = (total.key if by == "team" else total.then for total in totals)
    teams = {UUID(key) for key in keys if key is not None}
    return {"team": await load_team_names(listed.visibility, listed.connection, teams)}


async def _load_names(
    listed: Listing, sheets: Sequence[UUID], span: Span, groups: Collection[GroupBy]
) -> Mapping[GroupBy, Names]:
    """The names of the keys of these groups that stand in a sheet whose names the caller may see."""
    named = await names.find_named_rows(listed.visibility, listed.connection, sheets)
    keys = [key for group in groups for key in await reports_store.find_keys(listed.connection, named, span, group)]
    return dict.fromkeys(groups, await names.load_names(listed.connection, keys))


def _add_names(
    totals: Sequence[Total], by: GroupBy, then: GroupBy | None, found: Mapping[GroupBy, Names]
) -> tuple[Total, ...]:
    """The totals with these names of keys. An activity has none, also if a project has its code."""
    first, second = found.get(by, {}), found.get(then, {}) if then is not None else {}
    return tuple(
        replace(
            total,
            name=total.name or first.get(total.key or ""),
            then_name=total.then_name or second.get(total.then or ""),
        )
        for total in totals
    )
