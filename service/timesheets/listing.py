"""SQL of lists of timesheets. The cost of a page does not grow with the number of sheets. Postgres owns the rows.

A page is one statement. Its plans test rows against the condition of a Visibility; they differ only in which rows they
read, and in which order (docs/decisions/0009 and 0038).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from service.authorization.enforcement.fact_statements import AMBIENT_FROM, fact_columns
from service.authorization.enforcement.merged_people import all_ids, canonical_id
from service.authorization.enforcement.path_sql import now
from service.authorization.enforcement.person_references import PersonReference, find_listed_person
from service.authorization.enforcement.team_references import find_listed_team
from service.errors import InvalidField
from service.places import FieldError
from service.policy.known_words import SEE_NAMES
from service.timesheets.relations import KIND
from service.timesheets.sheet_columns import columns_of
from service.timesheets.store import sheet_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import asyncpg

    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.team_references import NamedTeam
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.timesheets.timesheet import State, Timesheet

# The keyset of a page: the sort key and the id of its last sheet.
SortKey = date | datetime | int | str
Place = tuple[SortKey, UUID]
# `-`: the greatest first.
Sort = Literal[
    "period_start",
    "-period_start",
    "updated_at",
    "-updated_at",
    "created_at",
    "-created_at",
    "submitted_at",
    "-submitted_at",
    "minutes",
    "-minutes",
    "owner_name",
    "-owner_name",
]
PERIOD: Final = "period_start"
# Of sort keys without an index. The sheets of all pages are read for each page, so there is a limit to their number.
_SORT_KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "updated_at": ("r.updated_at", "timestamptz"),
    "created_at": ("r.created_at", "timestamptz"),
    # A draft has no such time and counts as the oldest.
    "submitted_at": ("coalesce(r.submitted_at, 'epoch')", "timestamptz"),
    # By entry_timesheet.
    "minutes": ("(SELECT coalesce(sum(e.minutes), 0) FROM entry AS e WHERE e.timesheet_id = r.id)", "bigint"),
    # A name that the caller may not see has no influence on the order.
    "owner_name": (
        f"""
        coalesce((SELECT left(lower(person.display_name), 60) FROM person
                  WHERE person.id = {canonical_id("r.owner_id")} AND {{may_see_names}}), '')
        """,
        "text",
    ),
}
_PARSE_KEY: Final[Mapping[str, Callable[[str], SortKey]]] = {
    PERIOD: date.fromisoformat,
    "updated_at": datetime.fromisoformat,
    "created_at": datetime.fromisoformat,
    "submitted_at": datetime.fromisoformat,
    "minutes": int,
    "owner_name": str,
}
MAX_SORTED_SHEETS = 10_000
# Up to FEW visible owners, the plan reads the newest sheet of each. With more, it first tests the WINDOW newest sheets.
FEW, WINDOW = 500, 4_000
# Of a week with so many entries on the caller's projects, sheets are tested in order; with fewer, their sheets are.
MANY_ENTRIES = 1_000
# Of sheets whose notes are searched, unless they are of one owner.
MAX_DAYS_OF_TEXT = 31
# By entry_timesheet.
_HAS_PROJECT = "EXISTS (SELECT FROM entry AS f WHERE f.timesheet_id = r.id AND f.project = ANY ({}::text[]))"
_HAS_NOTE = "EXISTS (SELECT FROM entry AS f WHERE f.timesheet_id = r.id AND f.note ILIKE {}::text)"
# Present members of a team and of those below.
_MEMBERS = f"""
    membership AS belongs JOIN team_path AS below
    ON below.descendant_id = belongs.team_id AND below.ancestor_id = {{}}
    AND belongs.part = 'member' AND {now("belongs")}
"""
IN_TEAM = f"""
    EXISTS (SELECT FROM {_MEMBERS.format("{}::uuid")} WHERE belongs.person_id = {canonical_id("r.owner_id")} OFFSET 0)
"""
# Every id of them.
OWNERS_IN_TEAM = f"SELECT unnest({all_ids('belongs.person_id')}) AS owner_id FROM {_MEMBERS}"


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of a list, and its order. A sheet matches `since` and `until` if any day of its week lies between them,
    inclusive; `team` if its owner is a member of the team, or of a team below, now; `text` if a note of an entry
    contains it."""

    owner: NamedPerson | None = None
    states: tuple[State, ...] = ()
    since: date | None = None
    until: date | None = None
    projects: tuple[str, ...] = ()
    team: NamedTeam | None = None
    text: str | None = None
    sort: Sort = "-period_start"

    @property
    def sort_key(self) -> str:
        """The sort key without its direction."""
        return self.sort.removeprefix("-")

    @property
    def ascending(self) -> bool:
        """Whether the least of the sort key comes first."""
        return not self.sort.startswith("-")

    def parse_place(self, key: str, sheet_id: str) -> Place:
        """The place whose sort key and id were written as text."""
        return _PARSE_KEY[self.sort_key](key), UUID(sheet_id)


@dataclass(frozen=True, slots=True)
class Page:
    """Sheets in the order of the list: rows with the columns of `sheet_columns.ROW`, with the caller's relations if
    requested. `after` is the keyset of the next page, None on the last page. `confirmation` is a row that confirms the
    visibility."""

    rows: tuple[asyncpg.Record, ...]
    after: Place | None
    confirmation: asyncpg.Record | None

    @property
    def items(self) -> tuple[Timesheet, ...]:
        """The sheets."""
        return tuple(map(sheet_of, self.rows))

    @property
    def ids(self) -> list[str]:
        """The ids of the sheets."""
        return [str(row["id"]) for row in self.rows]


def check_filters(filters: Filters) -> None:
    """Raise InvalidField for a span that ends before it begins, and for a text that could lie anywhere: no index holds
    the notes."""
    if filters.since and filters.until and filters.since > filters.until:
        raise InvalidField(FieldError("query.until", "must not be before since"))
    days = (filters.until - filters.since).days + 1 if filters.since and filters.until else None
    if filters.text is not None and filters.owner is None and (days is None or days > MAX_DAYS_OF_TEXT):
        message = f"needs owner, or since and until with at most {MAX_DAYS_OF_TEXT} days"
        raise InvalidField(FieldError("query.text", message))


@dataclass(frozen=True, slots=True)
class ListTotals:
    """The sheets of all pages of a list, and their minutes."""

    ids: tuple[UUID, ...]
    minutes: int


async def total(visibility: Visibility, connection: Connection, filters: Filters, most: int) -> ListTotals:
    """The totals of a list, of at most `most` sheets."""
    filters = await _find_named(visibility, connection, filters)
    statement, parameters = _Statement(visibility, filters, None, most, ordered=False).compile_totals()
    row = await connection.fetchrow(statement, *parameters)
    return ListTotals(tuple(row["ids"]), row["minutes"]) if row is not None else ListTotals((), 0)


async def _find_named(visibility: Visibility, connection: Connection, filters: Filters) -> Filters:
    """The filters with ids, where they name the owner or the team in another way."""
    if isinstance(filters.owner, PersonReference):
        filters = replace(filters, owner=await find_listed_person(visibility, connection, filters.owner, "query.owner"))
    if isinstance(filters.team, str):
        filters = replace(filters, team=await find_listed_team(visibility, connection, filters.team, "query.team"))
    return filters


async def page(
    visibility: Visibility,
    connection: Connection,
    filters: Filters,
    *,
    after: Place | None,
    limit: int,
    with_relations: bool = False,
    with_entries: bool = True,
) -> Page:
    """At most `limit` visible sheets that follow `after`, read by one statement. Raises InvalidField for an owner or a
    team that is not found, and for more than MAX_SORTED_SHEETS in an order that has no index."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    filters = await _find_named(visibility, connection, filters)
    statement, parameters = _Statement(visibility, filters, after, limit + 1).compile(
        with_relations=with_relations, with_entries=with_entries
    )
    rows = await connection.fetch(statement, *parameters)
    confirmation = rows[0] if visibility.assumed is not None else None
    key = PERIOD if filters.sort_key == PERIOD else "sort_key"
    if key != PERIOD and rows[0]["matches"] > MAX_SORTED_SHEETS:
        message = f"{filters.sort} orders at most {MAX_SORTED_SHEETS} timesheets; narrow the list, for example by since"
        raise InvalidField(FieldError("query.sort", message))
    if rows and rows[0]["id"] is None:
        rows = []
    shown = tuple(rows[:limit])
    following = (shown[-1][key], shown[-1]["id"]) if len(rows) > limit else None
    return Page(shown, following, confirmation)


def _escape_like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


class _Statement:
    """The statement for one page of `most` rows. Its parameters are the caller's, `most`, those of the filters, and
    owners. Not `ordered`: any `most` of the rows. For a sort key without an index, the page is one of any
    MAX_SORTED_SHEETS + 1 rows, which are all rows unless the list is too long."""

    def __init__(
        self, visibility: Visibility, filters: Filters, after: Place | None, most: int, *, ordered: bool = True
    ) -> None:
        self.visibility, self.wanted = visibility, filters
        self.page, self.page_after = most, after
        self.by_period = filters.sort_key == PERIOD or not ordered
        self.ordered = ordered and self.by_period
        if not self.by_period:
            most, after = MAX_SORTED_SHEETS + 1, None
        self.most = most
        self.oldest_first = self.ordered and filters.ascending
        self.direction, follows = ("ASC", ">") if self.oldest_first else ("DESC", "<")
        self.order = f"ORDER BY r.period_start {self.direction}, r.id {self.direction}"
        # The first and last day of sheets that match.
        first_day, last_day = filters.since, filters.until
        monday = after[0] if after is not None else None
        if isinstance(monday, date) and self.oldest_first:
            first_day = max(monday, first_day or monday)
        elif isinstance(monday, date):
            last_day = min(monday, last_day or monday)
        self.days = {"e.day >= {}::date - 6": first_day, "e.day <= {}::date + 6": last_day}
        self.parameters: list[object] = [*visibility.parameters, most]
        templates = {
            "r.state = {}::text": filters.states[0] if len(filters.states) == 1 else None,
            "r.state = ANY ({}::text[])": list(filters.states) if len(filters.states) > 1 else None,
            _HAS_PROJECT: list(filters.projects) or None,
            IN_TEAM: filters.team,
            _HAS_NOTE: None if filters.text is None else f"%{_escape_like(filters.text)}%",
            "r.period_start >= {}::date - 6": filters.since,
            "r.period_start <= {}::date": filters.until,
            f"(r.period_start, r.id) {follows} ({{}}::date, {{}}::uuid)": after,
        }
        conditions = [self._bind(template, value) for template, value in templates.items() if value is not None]
        self.filters = " AND ".join(conditions) or "true"
        self.owner = None if filters.owner is None else self._bind("{}::uuid", filters.owner)
        self.visible, self.arrays, owners = visibility.condition_by_owners(len(self.parameters) + 1)
        self.parameters += owners
        self.owners = None if visibility.owners is None else sum(map(len, owners))

    def compile(self, *, with_relations: bool, with_entries: bool) -> tuple[str, list[object]]:
        """The statement and its parameters. If the visibility is assumed, each row tells what confirms it, and there is
        one row at least."""
        assumed = self.visibility.assumed
        columns = columns_of(self.visibility.snapshot, self.visibility.facts, entries=with_entries)
        if with_relations:
            columns += f", {fact_columns(self.visibility.facts)}"
        # Entries are read for the sheets of the page only.
        order = self.order
        if self.by_period:
            page = f"SELECT {columns} FROM ({self._rows()}) AS r"
        else:
            direction = "ASC" if self.wanted.ascending else "DESC"
            order = f"ORDER BY r.sort_key {direction}, r.id {direction}"
            page = self._page_by_key(columns, order)
        if assumed is None:
            return f"{page} {order}" if self.by_period else f"SELECT r.* FROM ({page}) AS r {order}", self.parameters
        confirming, parameters = assumed.columns(self.visibility.principal, len(self.parameters) + 1)
        statement = f"SELECT {confirming}, r.* FROM {AMBIENT_FROM} LEFT JOIN ({page}) AS r ON true {order}"
        return statement, [*self.parameters, *parameters]

    def _page_by_key(self, columns: str, order: str) -> str:
        """A page in the order of the sort key, and in `matches` the number of sheets that the list has; at least one
        row, which has no id if the page is empty."""
        key, kind = _SORT_KEYS[self.wanted.sort_key]
        key = key.format(may_see_names=self._may_see_names())
        further = "true"
        if self.page_after is not None:
            follows = ">" if self.wanted.ascending else "<"
            further = self._bind(f"(r.sort_key, r.id) {follows} ({{}}::{kind}, {{}}::uuid)", self.page_after)
        limit = self._bind("{}", self.page)
        # The sheets of the page by their primary key.
        return f"""
            WITH found AS MATERIALIZED (SELECT r.id, ({key})::{kind} AS sort_key FROM ({self._rows()}) AS r)
            SELECT {columns}, shown.sort_key, counted.matches FROM (SELECT count(*) AS matches FROM found) AS counted
            LEFT JOIN (SELECT r.* FROM found AS r WHERE {further} {order} LIMIT {limit}) AS shown ON true
            LEFT JOIN LATERAL (SELECT r.* FROM timesheet AS r WHERE r.id = shown.id OFFSET 0) AS r ON true
        """

    def _may_see_names(self) -> str:
        """The condition for a row in which the caller may see names, with the parameters of the visibility."""
        known = SEE_NAMES in self.visibility.snapshot.vocabulary.actions.get(KIND, ())
        return self.visibility.of_action(SEE_NAMES).condition if known else "false"

    def compile_totals(self) -> tuple[str, list[object]]:
        """The statement for the ids of the rows and the sum of their minutes, and its parameters."""
        minutes = "SELECT sum(e.minutes) FROM entry AS e WHERE e.timesheet_id = r.id"
        found = f"SELECT r.id, ({minutes}) AS minutes FROM ({self._rows()}) AS r"
        columns = "coalesce(array_agg(id), '{}') AS ids, coalesce(sum(minutes), 0)::bigint AS minutes"
        return f"SELECT {columns} FROM ({found}) AS found", self.parameters

    def _rows(self) -> str:
        """The rows of the page, by the plan that reads the fewest."""
        if self.owner is not None:
            # Every id of the owner.
            return self._of_owners(f"SELECT unnest({all_ids(self.owner)})", self.most)
        if self.wanted.projects:
            return self._at_points(f"SELECT unnest({self._bind('{}::text[]', [*self.wanted.projects])}) AS point")
        if self.wanted.team is not None:
            return self._of_owners(self._bind(OWNERS_IN_TEAM, self.wanted.team), 1)
        if self.visibility.reach is None:
            return self._newest()
        points, found = self.visibility.points, self.visibility.found_points
        if points is None or (found is not None and not found):
            return self._of_visible_owners(self.visibility.reach)
        if found is not None:
            points = f"SELECT unnest({self._bind('{}::text[]', [*found])}) AS point"
        # The newest of both, by their primary key.
        return f"""
            SELECT r.* FROM (SELECT r.id FROM ({self._of_visible_owners(self.visibility.reach)}) AS r
                             UNION SELECT r.id FROM ({self._at_points(points)}) AS r) AS found
            CROSS JOIN LATERAL (SELECT r.* FROM timesheet AS r WHERE r.id = found.id OFFSET 0) AS r
            {self.order} LIMIT $3
        """

    def _of_visible_owners(self, reach: str) -> str:
        """The rows of owners for whom a relation holds."""
        if self.owners == 1:
            # By timesheet_owner_period.
            rows = f"SELECT r.* FROM timesheet AS r WHERE r.owner_id = ({self.arrays[0]})[1]"
            return f"{rows} AND {self._condition} {self.order} LIMIT $3"
        given = " UNION ALL ".join(f"SELECT unnest({array})" for array in self.arrays) or "SELECT NULL::uuid"
        if self.owners is not None and self.owners <= FEW:
            return self._of_owners(given, -(-self.most // max(self.owners, 1)))
        source = reach if self.owners is None else given
        if not self.ordered:
            return self._of_owners(source, 1)
        # First the newest sheets are tested. If they do not fill the page, those of all owners are read.
        return f"""
            WITH newest AS MATERIALIZED ({self._newest(within=WINDOW)}),
            counted AS (SELECT count(*) AS found FROM newest)
            SELECT r.* FROM newest AS r WHERE (SELECT found FROM counted) >= $3
            UNION ALL SELECT r.* FROM ({self._of_owners(source, 1)}) AS r WHERE (SELECT found FROM counted) < $3
        """

    @property
    def _condition(self) -> str:
        return f"{self.filters} AND {self.visible}"

    def _newest(self, within: int | None = None) -> str:
        """Sheets in order, each tested, until the page is full; `within`: of so many sheets at most."""
        looked_at = f"(SELECT r.* FROM timesheet AS r WHERE {self.filters} {self.order} LIMIT {within})"
        source = f"{looked_at} AS r WHERE" if within else f"timesheet AS r WHERE {self.filters} AND"
        return f"SELECT r.* FROM {source} {self.visible} {self.order} LIMIT $3"

    def _of_owners(self, source: str, each: int) -> str:
        """Sheets of these owners. First the `each` newest of each owner by timesheet_owner_period: the sheets of a page
        belong to the owners with the newest sheets, and none is older than the oldest of a page of those. Where the
        oldest are first, the other way round."""
        if not self.ordered:
            # Any of them, by the same index.
            return f"""
                SELECT r.* FROM (SELECT DISTINCT owner_id FROM ({source}) AS given (owner_id)) AS owner
                CROSS JOIN LATERAL (SELECT r.* FROM timesheet AS r
                                    WHERE r.owner_id = owner.owner_id AND {self._condition} OFFSET 0) AS r
                LIMIT $3
            """
        reaches, end = ("<=", "infinity") if self.oldest_first else (">=", "-infinity")
        return f"""
            WITH candidate AS MATERIALIZED (
                SELECT given.owner_id, r.period_start, r.id
                FROM (SELECT DISTINCT owner_id FROM ({source}) AS given (owner_id)) AS given CROSS JOIN LATERAL (
                    SELECT r.period_start, r.id FROM timesheet AS r
                    WHERE r.owner_id = given.owner_id AND {self._condition} {self.order} LIMIT {each}) AS r
                {self.order} LIMIT $3)
            SELECT r.* FROM (SELECT DISTINCT owner_id FROM candidate) AS owner CROSS JOIN LATERAL (
                SELECT r.* FROM timesheet AS r
                WHERE r.owner_id = owner.owner_id AND {self._condition} AND r.period_start {reaches} coalesce(
                    (SELECT r.period_start FROM candidate AS r {self.order} OFFSET $3 - 1 LIMIT 1), '{end}')
                {self.order} LIMIT $3) AS r
            {self.order} LIMIT $3
        """

    def _at_points(self, points: str) -> str:
        """Sheets with hours on these projects, week by week from the newest, until the page is full. Of a week with few
        such entries, their sheets are tested, else the sheets of the week in order."""
        bounds = [self._bind(template, day) for template, day in self.days.items() if day is not None]
        days = " AND ".join(bounds) or "true"
        nearest = "min" if self.oldest_first else "max"
        beyond = "e.day >= week.monday + 7" if self.oldest_first else "e.day < week.monday"

        def week_near(when: str) -> str:
            # The next entry by entry_project, for each project.
            return f"""
                (SELECT date_trunc('week', {nearest}(near.day))::date FROM point CROSS JOIN LATERAL (
                    SELECT e.day FROM entry AS e WHERE e.project = point.point AND {when}
                    ORDER BY e.day {self.direction} LIMIT 1) AS near)
            """

        entries = """
            FROM point CROSS JOIN LATERAL (
                SELECT e.timesheet_id FROM entry AS e
                WHERE e.project = point.point AND e.day >= week.monday AND e.day < week.monday + 7 OFFSET 0) AS e
        """
        return f"""
            WITH RECURSIVE point AS MATERIALIZED ({points}),
            week AS (
                SELECT {week_near(days)} AS monday, '{{}}'::uuid[] AS ids, 0::bigint AS found
                UNION ALL
                SELECT {week_near(f"{beyond} AND {days}")}, seen.ids,
                       week.found + cardinality(seen.ids)
                FROM week
                CROSS JOIN LATERAL (SELECT count(*) = {MANY_ENTRIES} AS many
                                    FROM (SELECT {entries} LIMIT {MANY_ENTRIES}) AS found) AS entries
                CROSS JOIN LATERAL (SELECT ARRAY(SELECT r.id FROM (
                    (SELECT r.id FROM timesheet AS r
                     WHERE entries.many AND r.period_start = week.monday AND {self._condition}
                     ORDER BY r.id {self.direction} LIMIT $3)
                    UNION ALL (
                     SELECT r.id FROM (SELECT DISTINCT e.timesheet_id {entries} WHERE NOT entries.many) AS given
                     CROSS JOIN LATERAL (SELECT r.id FROM timesheet AS r
                                         WHERE r.id = given.timesheet_id AND {self._condition} OFFSET 0) AS r
                     ORDER BY r.id {self.direction} LIMIT $3)) AS r) AS ids) AS seen
                WHERE week.monday IS NOT NULL AND week.found < $3)
            SELECT r.* FROM week CROSS JOIN LATERAL unnest(week.ids) AS shown (id)
            CROSS JOIN LATERAL (SELECT r.* FROM timesheet AS r WHERE r.id = shown.id OFFSET 0) AS r
            {self.order} LIMIT $3
        """

    def _bind(self, template: str, value: object) -> str:
        """Fill the template with the numbers of new parameters."""
        values = value if isinstance(value, tuple) else (value,)
        first = len(self.parameters) + 1
        self.parameters += values
        return template.format(*(f"${first + place}" for place in range(len(values))))
